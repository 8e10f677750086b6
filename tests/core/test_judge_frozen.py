"""The soak's counts in place of a baseline that vanishes."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge_counts, judge_frozen
from rollout.core.judge_counts import CountParameters, CountWindow
from rollout.core.judge_frozen import FrozenBaseline, freeze, stand_in
from rollout.core.judge_seed import binomial, uniform
from tests.bench.judge_promotion import Promotion, alarm_at
from tests.bench.judge_worlds import first, part, poisson, quantile

ALONE = CountWindow(3, 300, 0, 0)


@pytest.mark.parametrize(
    "promotion",
    [Promotion(), Promotion(per_pod=6), Promotion(clump=5), Promotion(rate=0.001), Promotion(drift=1.3)],
    ids=["60 a minute", "6 a minute", "clumps", "seldom", "worse than yesterday"],
)
def test_a_healthy_promotion_is_no_alarm(promotion: Promotion) -> None:
    assert part(first(60, 31, lambda random: alarm_at(promotion, random))) <= 0.01


@pytest.mark.parametrize(("bad", "minutes"), [(0.03, 45), (0.1, 10)])
def test_a_fault_is_found_before_many_pods_are_replaced(bad: float, minutes: int) -> None:
    times = first(40, 32, lambda random: alarm_at(Promotion(bad_rate=bad), random))
    assert quantile(times, 0.9) <= minutes


def test_counting_the_whole_frozen_hour_in_every_window_would_be_wrong() -> None:
    """What this module avoids: the chance error of the frozen rate, counted again in each window."""
    parameters = CountParameters(137, r0=1.5, cap=None)

    def once(random: Random, *, reuse: bool) -> int | None:
        frozen = freeze(FrozenBaseline(), 14, poisson(random, 20), 2000)
        state = judge_counts.start(parameters)
        for t in range(137):
            window = CountWindow(poisson(random, 1.5 * 6), 600, 0, 0)
            left, filled = stand_in(frozen, window, hour=14, seed=f"{random.random()}")
            if reuse:
                filled = CountWindow(window.candidate_events, 600, frozen.events[14], 2000)
            else:
                frozen = left
            state = judge_counts.update(parameters, state, filled)
            if judge_counts.e_value(parameters, state) >= parameters.line:
                return t
        return None

    assert part(first(100, 33, lambda random: once(random, reuse=True))) > 0.2
    assert part(first(100, 33, lambda random: once(random, reuse=False))) <= 0.01


def test_a_slice_is_as_large_as_the_candidate_and_is_gone_afterwards() -> None:
    frozen = freeze(FrozenBaseline(), 14, 400, 36_000)
    left, filled = stand_in(frozen, CountWindow(3, 300, 1, 60), hour=14, seed="r1/errors/14:05")
    assert filled.baseline_requests == 300
    assert left.requests[14] == 36_000 - 240
    assert left.events[14] + filled.baseline_events == 401


def test_live_pods_come_first() -> None:
    frozen = freeze(FrozenBaseline(), 14, 400, 36_000)
    live = CountWindow(3, 300, 2, 300)
    assert stand_in(frozen, live, hour=14, seed="s") == (frozen, live)


def test_the_same_window_gets_the_same_slice_again_and_another_one_another() -> None:
    frozen = freeze(FrozenBaseline(), 14, 5000, 36_000)
    drawn = {stand_in(frozen, ALONE, hour=14, seed=f"window {k}")[1].baseline_events for k in range(20)}
    assert len(drawn) > 5
    assert stand_in(frozen, ALONE, hour=14, seed="x") == stand_in(frozen, ALONE, hour=14, seed="x")


def test_an_hour_without_counts_takes_from_a_near_hour_and_never_from_a_far_one() -> None:
    near = freeze(FrozenBaseline(), 23, 10, 1000)
    left, filled = stand_in(near, ALONE, hour=1, seed="s")
    assert (filled.baseline_requests, left.requests[23]) == (300, 700)
    assert stand_in(near, ALONE, hour=12, seed="s")[1] == ALONE


def test_spent_counts_bring_no_more_evidence() -> None:
    parameters = CountParameters(100)
    state, frozen = judge_counts.start(parameters), freeze(FrozenBaseline(), 14, 5, 500)
    for k in range(5):
        state, frozen = judge_frozen.update(parameters, state, frozen, ALONE, hour=14, seed=str(k))
    assert sum(frozen.requests) == 0
    assert sum(frozen.events) == 0
    assert state.baseline_requests == 500
    assert state.baseline_events == 5
    assert state.candidate_requests == 600


def test_promotion_tolerates_half_again_as_many_and_begins_without_evidence() -> None:
    soak = CountParameters(1440, r0=1.0)
    parameters = judge_frozen.parameters_for(soak, 137)
    before = judge_counts.update(soak, judge_counts.start(soak), CountWindow(2, 60, 3, 600))
    state = judge_frozen.begin(parameters, before)
    assert (parameters.r0, parameters.planned_windows) == (1.5, 137)
    assert judge_counts.e_value(parameters, state) == pytest.approx(1.0)
    assert state.clumping == before.clumping


def test_slices_do_not_teach_how_events_clump() -> None:
    parameters = CountParameters(100)
    state, frozen = judge_counts.start(parameters), freeze(FrozenBaseline(), 14, 50, 5000)
    after, _ = judge_frozen.update(parameters, state, frozen, ALONE, hour=14, seed="s")
    assert after.clumping == state.clumping


@given(
    events=st.integers(0, 3000),
    requests=st.integers(1, 50_000),
    wanted=st.lists(st.integers(1, 2000), max_size=20),
)
def test_no_frozen_event_is_lost_or_counted_twice(events: int, requests: int, wanted: list[int]) -> None:
    frozen = freeze(FrozenBaseline(), 3, events, requests)
    used_events = used_requests = 0.0
    for number, size in enumerate(wanted):
        frozen, filled = stand_in(frozen, CountWindow(0, size, 0, 0), hour=3, seed=str(number))
        used_events += filled.baseline_events
        used_requests += filled.baseline_requests
    assert used_events + frozen.events[3] == events
    assert used_requests + frozen.requests[3] == requests
    assert frozen.events[3] >= 0


@given(trials=st.integers(1, 2000), probability=st.floats(0.0005, 0.9995))
def test_a_binomial_count_lies_within_its_trials(trials: int, probability: float) -> None:
    assert all(0 <= binomial(u, trials, probability) <= trials for u in (1e-12, 0.5, 1 - 1e-12))


def test_binomial_counts_have_the_right_mean_and_spread() -> None:
    drawn = [binomial(uniform("seed", k), 400, 0.05) for k in range(4000)]
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((x - mean) ** 2 for x in drawn) / len(drawn))
    assert mean == pytest.approx(20, rel=0.02)
    assert spread == pytest.approx(math.sqrt(19), rel=0.05)


def test_even_numbers_are_even_and_repeatable() -> None:
    drawn = [uniform("rollout", "signal", k) for k in range(2000)]
    assert sum(drawn) / 2000 == pytest.approx(0.5, abs=0.02)
    assert 0 < min(drawn) < 0.01
    assert 0.99 < max(drawn) < 1
    assert drawn[7] == uniform("rollout", "signal", 7)
    assert uniform("a", "bc") != uniform("ab", "c")
