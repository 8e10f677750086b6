"""The one simulated traffic that every source of evidence reads from, so that they agree to the last request.

Requests of a Service are split evenly over its ready endpoints. Nothing is simulated second by second: a count is computed
when somebody asks, from the history of the endpoints and from seeds (pod, minute), and the same question always has the
same answer. Counts are additive: [a, b) and [b, c) make [a, c).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zlib import crc32

from rollout.sandbox.behaviour import HEALTHY, Behaviour, Behaviours
from rollout.sandbox.traffic_counts import NOTHING, Tally, TrafficCounts

GRAIN = 60.0
"""Seconds in which rates are constant; a fault's onset shows in the traffic from the next full grain of a running pod."""
_CHECKPOINT = 16
_MASK = (1 << 64) - 1


def _uniform(seed: int, grain: int, stream: int) -> float:
    """Draw from [0, 1): a splitmix64 step, so that it is the same on every machine and Python."""
    x = (seed + grain * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)


def _hits(rate: float, after: int, until: int, seed: int, grain: int, stream: int) -> int:
    """Count which of the requests number `after`+1 .. `until` of a grain are hit, each with probability `rate`.

    Walks from hit to hit by geometric gaps, so rare events cost one draw, and the answer for the first requests does not
    depend on how many follow.
    """
    if rate <= 0.0 or until <= after:
        return 0
    if rate >= 1.0:
        return until - after
    scale = math.log1p(-rate)
    position, hits, draw = 0, 0, 0
    while True:
        position += 1 + int(math.log(1.0 - _uniform(seed, grain, stream + 16 * draw)) / scale)
        if position > until:
            return hits
        hits += position > after
        draw += 1


@dataclass(slots=True)
class Route:
    """A Service's flow: its rate over time (requests a minute) and who serves it."""

    seed: int
    rate_times: list[float]
    rates: list[float]
    serving: tuple[str, ...] = ()


class Stream:
    """What one Service sends to one pod: pieces of time with a constant part of the flow, and their integral."""

    def __init__(self, route: Route, uid: str, seed: int) -> None:
        self.route = route
        self.seed = (crc32(uid.encode()) << 32 | route.seed) ^ (seed * 0x2545F4914F6CDD1D & _MASK)
        self.times: list[float] = []
        self.parts: list[float] = []
        self.integrals: list[float] = []
        self.checkpoints: list[TrafficCounts] = []

    def change(self, when: float, part: float) -> None:
        """From now on the pod gets this part of the flow."""
        if self.times and self.parts[-1] == part:
            return
        integral = self.integral(when) if self.times else 0.0
        self.times.append(when)
        self.parts.append(part)
        self.integrals.append(integral)

    def integral(self, when: float) -> float:
        """Part times seconds, up to a time."""
        index = bisect_right(self.times, when) - 1
        if index < 0:
            return 0.0
        return self.integrals[index] + self.parts[index] * (when - self.times[index])

    @property
    def first(self) -> int:
        """The grain in which the pod first served."""
        return int(self.times[0] // GRAIN)


@dataclass(frozen=True, slots=True)
class _PodFacts:
    started: float
    images: tuple[str, ...]


class Traffic:
    """Traffic of a whole world. `requests_per_minute` is a Service's rate unless set; `daily_swing` 0..1 makes nights quiet."""

    def __init__(self, behaviours: Behaviours, seed: int, *, requests_per_minute: float = 600.0) -> None:
        self.requests_per_minute = requests_per_minute
        self.daily_swing = 0.0
        self._behaviours = behaviours
        self._seed = seed
        self._routes: dict[str, Route] = {}
        self._streams: dict[str, dict[str, Stream]] = {}
        self._facts: dict[str, _PodFacts] = {}

    def set_rate(self, service: str, requests_per_minute: float, at: datetime) -> None:
        """Set the rate of `namespace/service`, from the next full minute on."""
        route = self._route(service)
        route.rate_times.append(at.timestamp())
        route.rates.append(requests_per_minute)

    def pod_started(self, uid: str, images: Iterable[str], at: datetime) -> None:
        """Note that a pod's containers began to run (the first time)."""
        self._facts.setdefault(uid, _PodFacts(at.timestamp(), tuple(images)))

    def endpoints_changed(self, service: str, uids: tuple[str, ...], at: datetime) -> None:
        """Note which pods serve `namespace/service` from now on."""
        route = self._route(service)
        when = at.timestamp()
        if uids == route.serving:
            return
        for uid in set(route.serving).difference(uids):
            streams = self._streams.get(uid)
            if streams is not None:
                streams[service].change(when, 0.0)
        route.serving = uids
        for uid in uids:
            streams = self._streams.setdefault(uid, {})
            if service not in streams:
                streams[service] = Stream(route, uid, self._seed)
            streams[service].change(when, 1.0 / len(uids))

    def forget(self, uid: str) -> None:
        """Drop a pod that is gone; from now on it never had traffic."""
        self._streams.pop(uid, None)
        self._facts.pop(uid, None)

    def started_at(self, uid: str) -> datetime | None:
        """When the pod's containers first ran; None when they have not."""
        facts = self._facts.get(uid)
        return datetime.fromtimestamp(facts.started, UTC) if facts else None

    def services_of(self, uid: str) -> tuple[str, ...]:
        """Name the Services (`namespace/name`) that have ever sent to the pod."""
        return tuple(self._streams.get(uid, ()))

    def counts(self, uid: str, start: datetime, end: datetime, service: str | None = None) -> TrafficCounts:
        """What happened at one pod in `[start, end)`, over all Services or one. A pod that never served has all zeros."""
        total = NOTHING
        for name, stream in self._streams.get(uid, {}).items():
            if service in (None, name):
                total += self._between(stream, uid, start.timestamp(), end.timestamp())
        return total

    def total(self, uid: str, at: datetime, service: str | None = None) -> TrafficCounts:
        """What happened at one pod since it started: the value of its counters. Monotone in `at`."""
        total = NOTHING
        for name, stream in self._streams.get(uid, {}).items():
            if service in (None, name):
                total += self._until(stream, uid, at.timestamp())
        return total

    def rate(self, service: str, at: datetime) -> float:
        """Requests a minute that `namespace/service` gets at a time."""
        return self._rate(self._route(service), at.timestamp())

    def _route(self, service: str) -> Route:
        if service not in self._routes:
            self._routes[service] = Route(crc32(service.encode()), [0.0], [self.requests_per_minute])
        return self._routes[service]

    def _rate(self, route: Route, when: float) -> float:
        rate = route.rates[bisect_right(route.rate_times, when) - 1]
        if self.daily_swing:
            rate *= 1.0 - self.daily_swing * math.cos(2 * math.pi * (when % 86_400) / 86_400)
        return rate

    def _between(self, stream: Stream, uid: str, start: float, end: float) -> TrafficCounts:
        if end <= start or end <= stream.times[0]:
            return NOTHING
        if end - start > 2 * _CHECKPOINT * GRAIN:
            return self._until(stream, uid, end) - self._until(stream, uid, start)
        tally = Tally()
        self._collect(stream, uid, max(start, stream.times[0]), end, tally)
        return tally.counts()

    def _until(self, stream: Stream, uid: str, end: float) -> TrafficCounts:
        if end <= stream.times[0]:
            return NOTHING
        grains = max(int(end // GRAIN) - stream.first, 0)
        while len(stream.checkpoints) < grains // _CHECKPOINT:
            behind = stream.checkpoints[-1] if stream.checkpoints else NOTHING
            at = (stream.first + len(stream.checkpoints) * _CHECKPOINT) * GRAIN
            tally = Tally()
            self._collect(stream, uid, max(at, stream.times[0]), at + _CHECKPOINT * GRAIN, tally)
            stream.checkpoints.append(behind + tally.counts())
        passed = grains // _CHECKPOINT
        tally = Tally()
        self._collect(stream, uid, max((stream.first + passed * _CHECKPOINT) * GRAIN, stream.times[0]), end, tally)
        return (stream.checkpoints[passed - 1] if passed else NOTHING) + tally.counts()

    def _collect(self, stream: Stream, uid: str, start: float, end: float, tally: Tally) -> None:
        facts = self._facts.get(uid)
        images = facts.images if facts else ("",)
        born = facts.started if facts else stream.times[0]
        grain = int(start // GRAIN)
        while grain * GRAIN < end:
            at = grain * GRAIN
            base = stream.integral(at)
            upper = stream.integral(min(end, at + GRAIN))
            if upper > base:
                per_second = self._rate(stream.route, at) / GRAIN * (0.95 + 0.1 * _uniform(stream.seed, grain, 0))
                offset = _uniform(stream.seed, grain, 1)
                lower = stream.integral(start) if start > at else base
                before = int(per_second * (lower - base) + offset)
                after = int(per_second * (upper - base) + offset)
                if after > before:
                    behaviour = self._behaviour(images, max(at, born), born)
                    _count(stream.seed, grain, (before, after), behaviour, tally)
            grain += 1

    def _behaviour(self, images: tuple[str, ...], when: float, born: float) -> Behaviour:
        behaviour = self._behaviours.at(images, datetime.fromtimestamp(when, UTC)) if images[0] else HEALTHY
        if timedelta(seconds=when - born) < behaviour.onset:
            return HEALTHY
        return behaviour


def _count(seed: int, grain: int, span: tuple[int, int], behaviour: Behaviour, tally: Tally) -> None:
    before, after = span
    requests = after - before
    errors = _hits(behaviour.error_rate, before, after, seed, grain, 2)
    slow = _hits(behaviour.slow_rate, before, after, seed, grain, 3)
    tally.requests += requests
    tally.errors += errors
    tally.error_logs += errors + _hits(behaviour.log_error_rate, before, after, seed, grain, 4)
    tally.error_traces += errors + _hits(behaviour.trace_error_rate, before, after, seed, grain, 5)
    tally.took(behaviour.latency_ms, requests - slow)
    tally.took(behaviour.slow_ms, slow)
