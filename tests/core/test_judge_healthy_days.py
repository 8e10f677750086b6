"""A healthy day stays unalarmed: quiet, busy, bursty, with a daily cycle, growing, and while the whole service suffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from rollout.core import judge_bursts
from rollout.core.judge_bursts import BurstCap, Clumping
from rollout.core.judge_counts import CountParameters, CountWindow
from tests.bench.judge_worlds import World, alarms, first, healthy, judged, part, quantile, since, windows_of

ALPHA = 0.01
RUNS = 100
FIVE_MINUTES = 288
SHIPPED = CountParameters(FIVE_MINUTES, r0=1.0)
EXACT = CountParameters(FIVE_MINUTES, r0=1.0, cap=None)


@pytest.mark.parametrize("per_minute", [0.6, 6, 60, 600])
def test_a_healthy_day_is_no_alarm(per_minute: float) -> None:
    assert part(alarms(EXACT, healthy(per_minute, minutes=5), RUNS, seed=21)) <= ALPHA


@pytest.mark.parametrize("rate", [0.001, 0.05])
def test_a_healthy_day_is_no_alarm_whatever_the_base_rate(rate: float) -> None:
    assert part(alarms(SHIPPED, healthy(60, rate=rate, minutes=5), RUNS, seed=22)) <= ALPHA


def test_errors_in_clumps_ruin_the_test_without_a_cap() -> None:
    assert part(alarms(EXACT, replace(healthy(60, minutes=5), clump=5), 30, seed=23)) > 0.5


@pytest.mark.parametrize(
    ("per_minute", "clump", "ragged"),
    [(6, 5, False), (60, 5, False), (600, 5, False), (60, 5, True), (600, 5, True), (600, 20, False)],
)
def test_errors_in_clumps_are_no_alarm_with_the_cap(per_minute: float, clump: int, *, ragged: bool) -> None:
    bursty = replace(healthy(per_minute, minutes=5), clump=clump, ragged=ragged)
    assert part(alarms(SHIPPED, bursty, RUNS, seed=24)) <= ALPHA


@pytest.mark.parametrize(("per_minute", "clump", "ragged"), [(60, 1, False), (60, 5, True), (6, 5, False), (60, 20, False)])
def test_half_an_hour_of_the_baseline_before_the_rollout_makes_no_healthy_day_an_alarm(
    per_minute: float, clump: int, *, ragged: bool
) -> None:
    world = replace(healthy(per_minute, minutes=5), clump=clump, ragged=ragged)
    assert part(alarms(SHIPPED, world, RUNS, seed=31, history=6)) <= ALPHA


def test_a_fault_from_the_start_is_found_sooner_when_the_baseline_was_seen_before() -> None:
    parameters = CountParameters(1440, r0=1.0)
    bad = replace(healthy(60), bad_rate=0.1, windows=240)
    unknown, known = (alarms(parameters, bad, 40, seed=32, history=windows) for windows in (0, 30))
    assert quantile(known, 0.5) < quantile(unknown, 0.5) / 2


def test_one_burst_on_the_candidate_alone_does_not_convict_it() -> None:
    windows = list(windows_of(healthy(600), Random(1)))[:120]
    burst = replace(windows[60], candidate_events=300, candidate_requests=600)
    highest = max(e for _, e in judged(SHIPPED, iter([*windows[:60], burst, *windows[61:]])))
    assert highest < SHIPPED.line


def test_a_daily_load_cycle_is_no_alarm() -> None:
    parameters = CountParameters(1440, r0=1.0)
    assert part(alarms(parameters, replace(healthy(20), swing=0.8), 40, seed=25)) <= ALPHA


def test_growing_from_one_to_three_replicas_is_no_alarm_and_a_fault_is_still_found() -> None:
    growing = replace(healthy(20, minutes=5), grow_every=72)
    assert part(alarms(SHIPPED, growing, RUNS, seed=26)) <= ALPHA
    late = since(200, alarms(SHIPPED, replace(growing, bad_rate=0.03, onset=200), 60, seed=26))
    assert quantile(late, 0.9) < FIVE_MINUTES - 200


def unequal(random: Random) -> Iterator[CountWindow]:
    """Give the candidate 12.5 % of the traffic."""
    return windows_of(World(300, 2100, windows=FIVE_MINUTES), random)


def as_pod_minutes(windows: Iterator[CountWindow]) -> Iterator[CountWindow]:
    return (replace(window, candidate_requests=5, baseline_requests=50) for window in windows)


def share_alarms(parameters: CountParameters, *, measured: bool) -> float:
    def once(random: Random) -> int | None:
        windows = unequal(random) if measured else as_pod_minutes(unequal(random))
        return next((t for t, (_, e) in enumerate(judged(parameters, windows)) if e >= parameters.line), None)

    return part(first(100, 27, once))


def test_a_share_that_is_not_the_replica_ratio_is_harmless_where_requests_are_measured() -> None:
    assert share_alarms(SHIPPED, measured=True) <= ALPHA


def test_a_share_that_is_assumed_ruins_the_test_unless_half_again_as_many_are_tolerated() -> None:
    assert share_alarms(EXACT, measured=False) > 0.9
    assert share_alarms(CountParameters(FIVE_MINUTES, r0=1.5, measured=False), measured=False) <= ALPHA


def test_an_incident_that_both_cohorts_suffer_is_no_alarm() -> None:
    stormy = replace(healthy(60), windows=300, incident=(100, 110, 0.3))
    assert part(alarms(CountParameters(1440, r0=1.0), stormy, 100, seed=28)) <= ALPHA


def test_a_busy_service_keeps_its_sight_under_the_cap() -> None:
    late = replace(healthy(600), windows=300, bad_rate=0.03, onset=200)
    assert quantile(since(200, alarms(CountParameters(1440, r0=1.0), late, 40, seed=29)), 0.9) <= 8


def test_a_late_fault_is_found_as_quickly_under_the_cap_as_without_it() -> None:
    late = replace(healthy(60), windows=600, bad_rate=0.03, onset=300)
    assert quantile(since(300, alarms(CountParameters(1440, r0=1.0), late, 60, seed=30)), 0.5) <= 30


@pytest.mark.parametrize("clump", [1, 5, 20])
def test_clumping_is_learned_from_the_baseline_through_the_daily_cycle(clump: int) -> None:
    clumping = Clumping()
    for window in windows_of(replace(healthy(60), clump=clump, swing=0.8), Random(4)):
        clumping = judge_bursts.watch(clumping, window.baseline_events, window.baseline_requests)
    assert clumping.estimate == pytest.approx(clump, rel=0.35)


def test_an_outage_blunts_the_test_for_hours_at_most() -> None:
    stormy = replace(healthy(60), windows=500, incident=(100, 110, 0.3))
    clumping = Clumping()
    seen = []
    for window in windows_of(stormy, Random(5)):
        clumping = judge_bursts.watch(clumping, window.baseline_events, window.baseline_requests)
        seen.append(clumping.estimate)
    assert max(seen) < 10
    assert seen[-1] < 2.5


def test_until_the_clumping_is_known_half_of_the_cap_counts() -> None:
    weighed = judge_bursts.weigh(BurstCap(2, 20), Clumping(), (7, 50), (0, 0), 1 / 11)
    assert (weighed.candidate, weighed.baseline) == (1, 10)


def test_the_baselines_cap_is_never_below_the_candidates_in_proportion_to_the_traffic() -> None:
    weighed = judge_bursts.weigh(BurstCap(2, 20), Clumping(), (7, 500), (0, 0), 1 / 101)
    assert weighed.baseline == pytest.approx(100)
