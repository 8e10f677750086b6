"""The rank test for gauges per pod."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge_rank
from rollout.core.errors import Refused
from rollout.core.judge_rank import RankParameters, rank
from rollout.core.judge_seed import uniform
from tests.bench.judge_gauges import Service, alarm_at
from tests.bench.judge_worlds import first, part, quantile

WINDOWS = 288
SCORES = st.lists(st.floats(0, 1e6), min_size=1, max_size=12)


def alarmed(tolerance: float, service: Service, runs: int = 100) -> list[int | None]:
    parameters = RankParameters(WINDOWS, tolerance=tolerance)
    return first(runs, 41, lambda random: alarm_at(parameters, service, random))


def test_pods_that_differ_by_five_percent_are_no_alarm_with_tolerance_and_often_one_without() -> None:
    assert part(alarmed(0.2, Service())) == 0
    assert part(alarmed(0.0, Service())) == pytest.approx(0.26, abs=0.12)


def test_bursts_on_single_pods_are_no_alarm() -> None:
    assert part(alarmed(0.2, Service(burst=0.05))) <= 0.01


def test_half_again_as_slow_is_found_within_twenty_windows() -> None:
    assert quantile(alarmed(0.2, Service(factor=1.5), 50), 0.9) <= 20


def test_slowness_that_begins_late_is_found_as_well() -> None:
    times = alarmed(0.2, Service(factor=1.5, onset=240), 30)
    assert 240 < quantile(times, 0.5) <= 262


def test_the_rank_agrees_with_the_example() -> None:
    assert rank(9, [1, 2, 3], 0, 0.5) == pytest.approx(0.125)
    assert rank(260, [100, 110, 120], 0.2, 0.5) == pytest.approx(0.125)
    assert rank(100, [100, 100, 200], 0.0, 0.5) == pytest.approx((1 + 0.5 * 3) / 4)


def test_ties_are_spread_evenly() -> None:
    drawn = [rank(5, [5, 5, 5], 0.0, (k + 0.5) / 100) for k in range(100)]
    assert sum(drawn) / 100 == pytest.approx(0.5)


@given(score=st.floats(0, 1e6), baseline=SCORES, chance=st.floats(0.001, 0.999), more=st.floats(0, 1e6))
def test_a_worse_score_never_ranks_better(score: float, baseline: list[float], chance: float, more: float) -> None:
    assert 0 < rank(score + more, baseline, 0.2, chance) <= rank(score, baseline, 0.2, chance) <= 1


@given(candidate=SCORES, baseline=SCORES)
def test_the_order_of_baseline_pods_does_not_matter_and_a_replay_agrees(candidate: list[float], baseline: list[float]) -> None:
    parameters = RankParameters(10)
    begin = judge_rank.start(parameters)
    one = judge_rank.update(parameters, begin, candidate, baseline, seed="r/s/1")
    assert one == judge_rank.update(parameters, begin, candidate, baseline[::-1], seed="r/s/1")
    assert judge_rank.e_value(parameters, one) >= 0
    json.dumps(asdict(one), allow_nan=False)


@pytest.mark.parametrize(("candidate", "baseline"), [([], [1.0]), ([1.0], []), ([], [])])
def test_without_scores_on_one_side_nothing_is_learned_but_time_passes(candidate: list[float], baseline: list[float]) -> None:
    parameters = RankParameters(10)
    state = judge_rank.update(parameters, judge_rank.start(parameters), candidate, baseline, seed="s")
    assert state.evidence.t == 1
    assert judge_rank.e_value(parameters, state) == pytest.approx(1.0)


def test_several_candidate_pods_count_as_their_mean() -> None:
    parameters = RankParameters(10, exponents=(0.5,))
    begin = judge_rank.start(parameters)
    state = judge_rank.update(parameters, begin, [500.0, 1.0], [100.0, 110.0, 120.0], seed="s")
    chances = [uniform("s", "rank", k) for k in range(2)]
    places = [rank(500, [100, 110, 120], 0.2, chances[0]), rank(1, [100, 110, 120], 0.2, chances[1])]
    expected = sum(0.5 * p**-0.5 for p in places) / 2
    assert math.exp(state.evidence.whole[0]) == pytest.approx(expected)


def test_a_score_that_is_no_number_is_a_bug_and_not_evidence() -> None:
    with pytest.raises(ValueError, match="finite"):
        rank(math.nan, [1.0], 0.2, 0.5)


@pytest.mark.parametrize("wrong", [{"planned_windows": 0}, {"tolerance": -0.1}, {"exponents": (1.0,)}, {"alpha": 1.0}])
def test_parameters_that_make_the_test_meaningless_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused):
        RankParameters(**{"planned_windows": 10, **wrong})  # type: ignore[arg-type]
