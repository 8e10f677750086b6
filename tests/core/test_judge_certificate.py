"""Good enough to promote: the certificate's figures, and how often it is wrong."""

from __future__ import annotations

import math
from random import Random

import pytest

from rollout.core import judge_counts
from rollout.core.judge_certificate import absolute_bound, absolute_e_value, good_enough, relative_e_value, requests_without_events
from rollout.core.judge_counts import CountParameters, CountState, CountWindow
from tests.bench.judge_worlds import World, first, judged, part, quantile, windows_of

EXACT = CountParameters(1440, r0=1.0, cap=None)
SHIPPED = CountParameters(1440)


def state_of(*windows: CountWindow, parameters: CountParameters = SHIPPED) -> CountState:
    state = judge_counts.start(parameters)
    for window in windows:
        state = judge_counts.update(parameters, state, window)
    return state


def certified_after(world: World, parameters: CountParameters, runs: int, seed: int) -> list[int | None]:
    def once(random: Random) -> int | None:
        steps = enumerate(judged(parameters, windows_of(world, random)), start=1)
        return next((t for t, (state, _) in steps if relative_e_value(state) >= 1 / parameters.alpha_good), None)

    return first(runs, seed, once)


@pytest.mark.parametrize(("limit", "needed"), [(0.01, 354), (0.005, 710), (0.001, 3556)])
def test_so_many_requests_without_an_error_certify_a_rate(limit: float, needed: int) -> None:
    assert requests_without_events(limit) == needed
    assert absolute_bound(0, needed, limit) >= 20 > absolute_bound(0, needed - 1, limit)


def test_the_absolute_bound_is_seldom_wrong_at_its_limit() -> None:
    def once(random: Random) -> int | None:
        seen = total = 0
        for t, window in enumerate(windows_of(World(20, 200, windows=200), random), start=1):
            seen, total = seen + int(window.candidate_events), total + int(window.candidate_requests)
            if absolute_bound(seen, total, 0.01) >= 20:
                return t
        return None

    assert 0 < part(first(400, 2, once)) <= 0.05


@pytest.mark.parametrize("parameters", [EXACT, SHIPPED])
def test_a_candidate_three_times_as_bad_is_certified_in_at_most_one_of_twenty_runs(parameters: CountParameters) -> None:
    assert part(certified_after(World(60, 600, bad_rate=0.03, windows=150), parameters, 120, seed=2)) <= 0.05


def test_errors_in_clumps_do_not_buy_a_certificate() -> None:
    clumped = World(60, 600, bad_rate=0.03, windows=150, clump=5)
    assert part(certified_after(clumped, SHIPPED, 120, seed=3)) <= 0.05


def test_an_equal_candidate_is_certified_after_the_reference_number_of_requests() -> None:
    times = certified_after(World(10, 100, windows=600), EXACT, 150, seed=4)
    assert quantile(times, 0.5) * 10 == pytest.approx(350, rel=0.25)
    assert quantile(times, 0.9) * 10 == pytest.approx(1000, rel=0.25)


def test_no_errors_at_all_are_certified_by_the_absolute_bound() -> None:
    certificate = good_enough(SHIPPED, state_of(*[CountWindow(0, 60, 0, 600)] * 6))
    assert certificate.certified
    assert "below 1 % by itself: 0 events in 360 candidate requests" in certificate.why


QUIET, STORM = CountWindow(0, 60, 0, 600), CountWindow(12, 60, 120, 600)


def test_an_incident_of_the_whole_service_is_left_out_of_what_the_candidate_shows_by_itself() -> None:
    assert not good_enough(SHIPPED, state_of(*[QUIET] * 20, *[STORM] * 3)).certified
    certificate = good_enough(SHIPPED, state_of(*[QUIET] * 20, *[STORM] * 3, *[QUIET] * 60))
    assert certificate.certified
    assert "36 in 180 while the baseline failed as well, which are left out" in certificate.why


def test_what_the_candidate_alone_shows_is_not_left_out() -> None:
    alone = CountWindow(12, 60, 0, 600)
    assert state_of(*[QUIET] * 5, *[alone] * 3, *[QUIET] * 40).calm == (36, 48 * 60)
    assert not good_enough(SHIPPED, state_of(*[QUIET] * 5, *[alone] * 3, *[QUIET] * 40)).certified


def test_leaving_incidents_out_does_not_certify_what_is_at_its_limit() -> None:
    def once(random: Random) -> int | None:
        calm = list(windows_of(World(20, 200, windows=200), random))
        storms = [
            CountWindow(w.candidate_events + 3, w.candidate_requests, w.baseline_events + 60, w.baseline_requests) for w in calm
        ]
        state = judge_counts.start(EXACT)
        for t, (quiet, storm) in enumerate(zip(calm, storms, strict=True), start=1):
            state = judge_counts.update(EXACT, state, storm if t % 20 == 10 else quiet)
            if absolute_e_value(EXACT, state) >= 20:
                return t
        return None

    assert 0 < part(first(400, 2, once)) <= 0.05


def test_silence_is_not_certified_and_says_what_is_missing() -> None:
    certificate = good_enough(SHIPPED, state_of(*[CountWindow(0, 60, 0, 600)] * 5))
    assert not certificate.certified
    assert "about 54 more candidate requests" in certificate.why


def test_no_traffic_certifies_nothing() -> None:
    certificate = good_enough(SHIPPED, state_of(*[CountWindow(0, 0, 5, 600)] * 1000))
    assert not certificate.certified
    assert certificate.e_value == pytest.approx(1.0)


def test_an_equal_candidate_is_certified_by_comparison() -> None:
    certificate = good_enough(SHIPPED, state_of(*[CountWindow(3, 60, 30, 600)] * 20))
    assert certificate.certified
    assert certificate.why.startswith("not 3 times worse than the baseline: 60 events in 1200 candidate requests")


def test_where_requests_are_not_measured_silence_is_never_enough() -> None:
    parameters = CountParameters(1440, r0=1.5, measured=False)
    state = state_of(*[CountWindow(0, 1, 0, 10)] * 1000, parameters=parameters)
    assert not good_enough(parameters, state).certified


def test_clumping_makes_silence_worth_less() -> None:
    clumped = [CountWindow(0, 10, 5 * (t % 2), 10) for t in range(40)]
    state = state_of(*clumped)
    assert state.candidate_requests == 400
    assert absolute_bound(0, 400, 0.01) >= 20 > absolute_e_value(SHIPPED, state)


def test_before_it_is_known_how_events_clump_no_comparison_is_certified() -> None:
    assert relative_e_value(state_of(CountWindow(0, 600, 500, 6000))) == pytest.approx(1.0)


def test_later_bad_windows_take_the_certificate_away() -> None:
    good = [CountWindow(3, 60, 30, 600)] * 20
    bad = [CountWindow(30, 60, 30, 600)] * 20
    assert good_enough(SHIPPED, state_of(*good)).certified
    assert not good_enough(SHIPPED, state_of(*good, *bad)).certified


def test_more_events_than_requests_are_no_reason_to_fail() -> None:
    certificate = good_enough(SHIPPED, state_of(CountWindow(200, 60, 30, 600)))
    assert not certificate.certified
    assert math.isfinite(certificate.e_value)
