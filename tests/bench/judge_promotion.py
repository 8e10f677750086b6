"""Simulated promotions: eleven pods are replaced one by one, frozen counts stand in for the baseline, an hour of bake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from rollout.core import judge_counts, judge_frozen
from rollout.core.judge_counts import CountParameters, CountState, CountWindow
from rollout.core.judge_frozen import FrozenBaseline, freeze
from tests.bench.judge_worlds import World, events, poisson

PODS = 11
PACE = 7
BAKE = 60
WINDOWS = PODS * PACE + BAKE


@dataclass(frozen=True, slots=True)
class Promotion:
    """A service of `per_pod` requests a pod and minute; `rate` of the old version, `bad_rate` of the new one; clumps."""

    per_pod: float = 60
    rate: float = 0.01
    bad_rate: float | None = None
    clump: int = 1
    drift: float = 1.0
    """How many times as many events today as yesterday, on both versions."""


def soak(promotion: Promotion, random: Random) -> tuple[CountState, FrozenBaseline]:
    """Soak for a day: what was frozen, and how events clump."""
    parameters = CountParameters(1440)
    state = judge_counts.start(parameters)
    frozen = FrozenBaseline()
    for hour in range(24):
        for _ in range(12):
            window = _window(promotion, random, PODS * 5, PODS * 5 * 10, promotion.rate, promotion.rate)
            state = judge_counts.update(parameters, state, window)
            frozen = freeze(frozen, hour, window.baseline_events, window.baseline_requests)
    return state, frozen


def windows_of(promotion: Promotion, random: Random) -> Iterator[CountWindow]:
    """Draw promotion and bake, minute by minute: the candidate grows pod by pod, the live baseline shrinks to nothing."""
    bad = promotion.rate if promotion.bad_rate is None else promotion.bad_rate
    for t in range(WINDOWS):
        updated = min(PODS, 1 + t // PACE)
        rates = bad * promotion.drift, promotion.rate * promotion.drift
        yield _window(promotion, random, updated, PODS - updated, *rates)


def alarm_at(promotion: Promotion, random: Random, r0: float = 1.5) -> int | None:
    """Run a soak and a promotion once: minutes until the alarm, None for none."""
    before, frozen = soak(promotion, random)
    parameters = judge_frozen.parameters_for(CountParameters(1440, r0=r0), WINDOWS)
    state = judge_frozen.begin(parameters, before)
    for t, window in enumerate(windows_of(promotion, random), start=1):
        state, frozen = judge_frozen.update(parameters, state, frozen, window, hour=(14 + t // 60) % 24, seed=f"{random.random()}")
        if judge_counts.e_value(parameters, state) >= parameters.line:
            return t
    return None


def _window(promotion: Promotion, random: Random, mine: float, theirs: float, bad: float, rate: float) -> CountWindow:
    world = World(mine, theirs, clump=promotion.clump)
    n, m = mine * promotion.per_pod, theirs * promotion.per_pod
    c, s = events(world, random, n * bad), events(world, random, m * rate)
    return CountWindow(c, c + poisson(random, n * (1 - bad)), s, s + poisson(random, m * (1 - rate)))
