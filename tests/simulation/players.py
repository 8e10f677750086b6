"""The outside world as the daemon meets it: each port played on the pretend world, with the dice before and after every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from zlib import crc32

from rollout.core.cohorts import TargetView
from rollout.core.effects import PatchDeployment
from rollout.core.errors import Rejected, Unavailable
from rollout.core.signals import Answer, Counts, NoData, PodCount, Question, Reading, Unreachable
from rollout.core.target import Target
from rollout.ports import Check, Command, Message, OwedNotice, RolloutRow, Store, Transition
from rollout.sandbox.world import World
from tests.simulation.dice import Crash, Dice, Fate
from tests.simulation.pretend import WorldCluster

Later = Callable[[timedelta, str, Callable[[], object]], None]
"""Does something in so much time; the text is for the story."""


class Referee(Protocol):
    """Is told what a daemon sends, before it is sent."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None: ...


class Trap(Protocol):
    """May do its worst between what was done and the answer to it."""

    def sent(self, patch: PatchDeployment) -> None: ...

    def written(self, patch: PatchDeployment) -> None: ...

    def committed(self, transition: Transition) -> None: ...


@dataclass
class Outages:
    """Spans of the world's time in which one backend is away, by name (`cluster`, `store`, a signal's backend)."""

    spans: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)

    def add(self, backend: str, start: datetime, end: datetime) -> None:
        self.spans.setdefault(backend, []).append((start, end))

    def now(self, backend: str, at: datetime) -> bool:
        return any(start <= at < end for start, end in self.spans.get(backend, ()))


@dataclass
class Stage:
    """What all players share."""

    world: World
    dice: Dice
    outages: Outages
    later: Later
    tell: Callable[[str], None]
    trap: Trap | None = None
    commits: int = 0
    """How often the database may have been written to: what was read before is old."""

    def away(self, backend: str) -> bool:
        return backend in self.outages.spans and self.outages.now(backend, self.world.now)

    def play(self, what: str, do: Callable[[], Any], *, backend: str, write: bool, weight: float = 1.0) -> Any:  # noqa: ANN401 - whatever the call answers
        """Make one call as the dice want it."""
        if self.away(backend):
            raise Unavailable(backend, "is away")
        fate = self.dice.fate(write=write, weight=weight)
        if fate is Fate.ANSWER:
            return do()
        self.tell(f"{backend}: {what} {fate}")
        if fate is Fate.CRASH_BEFORE:
            raise Crash
        if fate is Fate.FAIL:
            raise Unavailable(backend, "connection refused")
        if fate is Fate.LATE:
            wait = timedelta(seconds=self.dice.random.choice((1, 5, 40, 300, 1500)))
            self.later(wait, f"late: {what}", do)
            raise Unavailable(backend, "timed out", maybe_done=True)
        do()
        if fate is Fate.CRASH_AFTER:
            raise Crash
        raise Unavailable(backend, "timed out", maybe_done=True)


class PlayedCluster(WorldCluster):
    """The cluster, as one daemon sees it and writes to it."""

    def __init__(self, stage: Stage, daemon: str, referee: Referee) -> None:
        super().__init__(stage.world)
        self._stage = stage
        self._daemon = daemon
        self._referee = referee

    def view(self, target: Target) -> Any:  # noqa: ANN401 - TargetView or Unreachable
        self.unseen = "the API server is away" if self._stage.away("cluster") else ""
        return super().view(target)

    def look(self, target: Target, *, timeout: timedelta) -> TargetView:
        found: TargetView = self._stage.play(
            "look", lambda: super(PlayedCluster, self).look(target, timeout=timeout), backend="cluster", write=False
        )
        return found

    def apply(self, patch: PatchDeployment, *, timeout: timedelta) -> None:
        self._referee.sent(self._daemon, patch)
        if self._stage.away("cluster"):
            raise Unavailable("cluster", "is away")
        arrive = self.request(patch)
        if self._stage.trap is not None:
            self._stage.trap.sent(patch)
        self._stage.play(patch.why, arrive, backend="cluster", write=True, weight=6)
        if self._stage.trap is not None:
            self._stage.trap.written(patch)


class PlayedStore:
    """The store, as one daemon reaches it. What is not named here is not played with."""

    def __init__(self, stage: Stage, inner: Store) -> None:
        self._stage = stage
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the inner store's method
        return getattr(self._inner, name)

    def commit(self, daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        def commit() -> frozenset[str]:
            self._stage.commits += 1
            return self._inner.commit(daemon, transitions)

        what = f"commit of {transitions[0].step} by {daemon}"
        found: frozenset[str] = self._stage.play(what, commit, backend="store", write=True)
        for transition in transitions:
            if self._stage.trap is not None and transition.rollout in found:
                self._stage.trap.committed(transition)
        return found

    def claim(self, daemon: str, *, limit: int, lease: timedelta) -> Sequence[RolloutRow]:
        def claim() -> Sequence[RolloutRow]:
            return self._inner.claim(daemon, limit=limit, lease=lease)

        found: Sequence[RolloutRow] = self._stage.play("claim", claim, backend="store", write=False, weight=0.3)
        return found

    def renew(self, daemon: str, *, lease: timedelta, about: str = "") -> bool:
        def renew() -> bool:
            return self._inner.renew(daemon, lease=lease, about=about)

        return bool(self._stage.play(f"renewal by {daemon}", renew, backend="store", write=True, weight=0.3))

    def commands(self, rollouts: Sequence[str] | None = None) -> Mapping[str, Sequence[Command]]:
        found: Mapping[str, Sequence[Command]] = self._stage.play(
            "commands", lambda: self._inner.commands(rollouts), backend="store", write=False, weight=0.3
        )
        return found

    def rollout(self, rollout: str) -> RolloutRow | None:
        found: RolloutRow | None = self._stage.play("look", lambda: self._inner.rollout(rollout), backend="store", write=False)
        return found

    def owned(self, daemon: str) -> frozenset[str]:
        found: frozenset[str] = self._stage.play("owned", lambda: self._inner.owned(daemon), backend="store", write=False)
        return found

    def owed(self, now: datetime, *, limit: int) -> Sequence[OwedNotice]:
        if self._stage.away("store"):
            raise Unavailable("store", "is away")
        return self._inner.owed(now, limit=limit)

    def delivered(self, notice: int, at: datetime) -> None:
        self._stage.play("delivered", lambda: self._inner.delivered(notice, at), backend="store", write=True, weight=2)

    def postponed(self, notice: int, next_attempt_at: datetime, error: str) -> None:
        def postpone() -> None:
            self._inner.postponed(notice, next_attempt_at, error)

        self._stage.play("postponed", postpone, backend="store", write=False)


class TrafficSource:
    """A signal backend: it counts what the traffic sent to each pod, or with `least` one request in a quarter of an hour."""

    def __init__(self, stage: Stage, name: str, *, least: bool = False) -> None:
        self._stage = stage
        self._name = name
        self.answered: set[datetime] = set()
        self.quiet: tuple[datetime, datetime] | None = None
        self.least = least
        self.empty = False
        """While it is away it answers, and has nothing."""

    @property
    def name(self) -> str:
        return self._name

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        now = self._stage.world.now
        if self.empty and self._stage.away(self._name):
            return {q: Answer(q, NoData("no series"), "pretend", now) for q in questions}
        try:
            readings = self._stage.play(
                f"{len(questions)} questions", lambda: [self._reading(q) for q in questions], backend=self._name, write=False
            )
        except Unavailable as error:
            readings = [Unreachable(str(error))] * len(questions)
        return {q: Answer(q, reading, "pretend", now) for q, reading in zip(questions, readings, strict=True)}

    def _reading(self, question: Question) -> Reading:
        if self._stage.dice.random.random() < self._stage.dice.trouble / 2:
            return NoData("no series")
        window = question.window
        self.answered.add(window.start)
        counts = {}
        start, end, words = window.start.timestamp(), window.end.timestamp(), str(window.start)
        silent = self.quiet is not None and self.quiet[0] <= window.start < self.quiet[1]
        for key in question.pods:
            requests = 0 if silent else self._requests(key.uid, start, end)
            rate = self._error_rate(key.uid, window.start) if requests else 0.0
            noise = (crc32(f"{key.uid}{words}".encode()) % 1000) / 1000
            counts[key.name] = PodCount(float(int(requests * rate + noise)), float(requests))
        return Counts(counts)

    def _requests(self, uid: str, start: float, end: float) -> int:
        traffic = self._stage.world.traffic
        if self.least:
            return max(1, round((end - start) / 900))
        total = 0.0
        for stream in traffic._streams.get(uid, {}).values():
            total += stream.integral(end) - stream.integral(start)
        return int(total * traffic.requests_per_minute / 60)

    def _error_rate(self, uid: str, at: datetime) -> float:
        world = self._stage.world
        facts = world.traffic._facts.get(uid)
        if facts is None:
            return 0.0
        behaviour = world.behaviours.at(facts.images, at)
        return behaviour.error_rate if at.timestamp() - facts.started >= behaviour.onset.total_seconds() else 0.0005

    def check(self) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        return


class Channel:
    """A chat system. `told`: what arrived, in order."""

    name = "ops"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.told: list[str] = []

    def send(self, message: Message) -> None:
        self._stage.play("send", lambda: self.told.append(message.notice.key), backend="channel", write=True, weight=2)

    def close(self) -> None:
        return


__all__ = ["Channel", "Outages", "PlayedCluster", "PlayedStore", "Rejected", "Stage", "TrafficSource"]
