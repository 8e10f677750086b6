"""Simulated days for the judge: what a service shows in each window, from a fixed seed, in plain Python.

Counts are drawn per window, not per request: bad events and good requests are independent Poisson numbers, looked up in the
distribution's table, which is computed once per mean.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from rollout.core import judge_bursts, judge_counts
from rollout.core.judge_bursts import Clumping
from rollout.core.judge_counts import CountParameters, CountState, CountWindow

DAY = 1440
"""Windows of a minute."""


@dataclass(frozen=True, slots=True)
class World:
    """One service for some time. Rates are bad events per request; requests are the mean number per window.

    `bad_rate` holds for the candidate from window `onset` on. `clump`: events come in clumps of this size, of geometric size
    with this mean when `ragged`. `swing`: requests go up and down by this part over a day (0.8: from a fifth to nine fifths).
    `grow_every`: the candidate gains one replica (up to three) after each so many windows. `incident`: from, to and rate of a
    fault that both cohorts suffer. `window`: minutes.
    """

    candidate: float
    baseline: float
    rate: float = 0.01
    bad_rate: float | None = None
    onset: int = 0
    windows: int = DAY
    clump: int = 1
    ragged: bool = False
    swing: float = 0.0
    grow_every: int = 0
    incident: tuple[int, int, float] | None = None


def healthy(per_minute: float, *, rate: float = 0.01, minutes: int = 1, pods: int = 10) -> World:
    """Build a day of a healthy canary of one pod beside `pods` baseline pods, in windows of `minutes`."""
    each = per_minute * minutes
    return World(each, each * pods, rate=rate, windows=DAY // minutes)


def windows_of(world: World, random: Random) -> Iterator[CountWindow]:
    """Draw the windows of one run."""
    bad = world.rate if world.bad_rate is None else world.bad_rate
    for t in range(world.windows):
        load = _load(world, t)
        replicas = min(3, 1 + t // world.grow_every) if world.grow_every else 1
        mine, theirs = world.candidate * load * replicas, world.baseline * load
        rate, other = (bad if t >= world.onset else world.rate), world.rate
        if world.incident is not None and world.incident[0] <= t < world.incident[1]:
            rate = other = world.incident[2]
        c, good = events(world, random, mine * rate), poisson(random, mine * (1 - rate))
        s, fine = events(world, random, theirs * other), poisson(random, theirs * (1 - other))
        yield CountWindow(c, c + good, s, s + fine)


def events(world: World, random: Random, mean: float) -> int:
    """Draw bad events, in clumps where the world has them."""
    if world.clump == 1:
        return poisson(random, mean)
    clumps = poisson(random, mean / world.clump)
    if not world.ragged:
        return clumps * world.clump
    odds = math.log(1 - 1 / world.clump)
    return sum(1 + int(math.log(1 - random.random()) / odds) for _ in range(clumps))


def poisson(random: Random, mean: float) -> int:
    """Draw a Poisson number."""
    least, table = _poisson(mean)
    return least + bisect_left(table, random.random())


def judged(
    parameters: CountParameters, windows: Iterator[CountWindow], state: CountState | None = None
) -> Iterator[tuple[CountState, float]]:
    """Feed a run to the count test: the state and the e-value after each window."""
    state = state or judge_counts.start(parameters)
    for window in windows:
        state = judge_counts.update(parameters, state, window)
        yield state, judge_counts.e_value(parameters, state)


def known(parameters: CountParameters, world: World, random: Random, history: int) -> CountState:
    """Begin a test that has watched the baseline for `history` windows before the rollout."""
    clumping = Clumping()
    for window in windows_of(replace(world, windows=history), random):
        clumping = judge_bursts.watch(clumping, window.baseline_events, window.baseline_requests)
    return judge_counts.start(parameters, clumping)


def alarm_at(parameters: CountParameters, world: World, random: Random, history: int = 0) -> int | None:
    """Run once, and say after how many windows the line was reached; None: never."""
    begin = known(parameters, world, random, history)
    for t, (_, e) in enumerate(judged(parameters, windows_of(world, random), begin), start=1):
        if e >= parameters.line:
            return t
    return None


def alarms(parameters: CountParameters, world: World, runs: int, seed: int, history: int = 0) -> list[int | None]:
    """Run often. The whole answer depends on the seed only."""
    random = Random(seed)
    return [alarm_at(parameters, world, random, history) for _ in range(runs)]


def part(times: list[int | None]) -> float:
    """Compute the part of the runs that alarmed."""
    return sum(t is not None for t in times) / len(times)


def quantile(times: list[int | None], q: float) -> float:
    """Compute a quantile of the alarm times; infinity when fewer runs than that alarmed."""
    ordered = sorted(math.inf if t is None else t for t in times)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def since(onset: int, times: list[int | None]) -> list[int | None]:
    """Count alarm times from the onset of the fault; what came before it is no detection."""
    return [t - onset if t is not None and t > onset else None for t in times]


def day_by(minutes: int, world: World) -> World:
    """Take the same day in windows of `minutes`."""
    return replace(
        world,
        candidate=world.candidate * minutes,
        baseline=world.baseline * minutes,
        windows=world.windows // minutes,
        onset=world.onset // minutes,
    )


def first(runs: int, seed: int, once: Callable[[Random], int | None]) -> list[int | None]:
    """Run anything else often, from one seed."""
    random = Random(seed)
    return [once(random) for _ in range(runs)]


def _load(world: World, t: int) -> float:
    return 1 + world.swing * math.sin(2 * math.pi * t / DAY) if world.swing else 1.0


@lru_cache(maxsize=20_000)
def _poisson(mean: float) -> tuple[int, list[float]]:
    """Tabulate the chances of at most k events, from a least k that is worth a line."""
    if mean <= 0:
        return 0, [1.0]
    least = max(0, int(mean - 9 * math.sqrt(mean) - 9))
    table: list[float] = []
    total, k = 0.0, least
    while total < 1 - 1e-12 and k < mean + 12 * math.sqrt(mean) + 12:
        total += math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
        table.append(total)
        k += 1
    table[-1] = 1.0
    return least, table
