"""The count test: its formula, its reference figures, and what must hold for any windows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge_bursts, judge_counts, judge_mixture
from rollout.core.errors import Refused
from rollout.core.judge_bursts import Clumping
from rollout.core.judge_counts import CountParameters, CountState, CountWindow
from rollout.core.judge_mixture import Mixture
from tests.bench.judge_worlds import DAY, World, alarms, healthy, part, quantile, since

EXACT = CountParameters(DAY, r0=1.0, cap=None)
SHIPPED = CountParameters(DAY, r0=1.0)
COUNTS = st.integers(0, 50)
REQUESTS = st.integers(0, 5000)
WINDOWS = st.lists(st.builds(CountWindow, COUNTS, REQUESTS, COUNTS, REQUESTS), max_size=30)


def after(parameters: CountParameters, windows: list[CountWindow]) -> CountState:
    state = judge_counts.start(parameters)
    for window in windows:
        state = judge_counts.update(parameters, state, window)
    return state


@pytest.mark.parametrize(("errors", "expected"), [(1, 4.5), (2, 28), (3, 202)])
def test_a_quiet_service_reaches_the_known_evidence_after_a_few_errors(errors: int, expected: float) -> None:
    quiet = CountWindow(0, 60, 0, 600)
    state = after(EXACT, [quiet, *[CountWindow(1, 60, 0, 600)] * errors, quiet])
    assert judge_counts.whole_run_e_value(state) == pytest.approx(expected, rel=0.01)


def test_one_window_agrees_with_the_formula_of_theta() -> None:
    share, window = 1 / 11, CountWindow(3, 60, 4, 600)

    def theta(r: float) -> float:
        return r * share / (r * share + 1 - share)

    by_hand = [(theta(g) / theta(1)) ** 3 * ((1 - theta(g)) / (1 - theta(1))) ** 4 for g in EXACT.ratios]
    assert judge_counts.whole_run_e_value(after(EXACT, [window])) == pytest.approx(sum(by_hand) / len(by_hand))


def test_what_a_window_may_count_for_is_decided_by_the_windows_before_it() -> None:
    calm = [CountWindow(1, 100, 10 + n % 3, 1000) for n in range(60)]
    before, burst = after(SHIPPED, calm), CountWindow(4, 100, 200, 1000)
    cap = SHIPPED.cap
    assert cap is not None
    rate = before.baseline_rate
    known = judge_bursts.weigh(cap, before.clumping, (4, 200), (rate * 100, rate * 1000), 1 / 11)
    factors = judge_counts.log_factors(1.0, SHIPPED.ratios, 1 / 11, known.candidate, known.baseline)
    seen = judge_counts.update(SHIPPED, before, burst)
    expected = [whole + factor for whole, factor in zip(before.evidence.whole, factors, strict=True)]
    assert seen.evidence.whole == pytest.approx(expected)
    assert seen.clumping.phi > 2 * before.clumping.phi, "the burst counts for the next window"


def test_the_combined_evidence_follows_the_recursion_with_restarts() -> None:
    parameters = CountParameters(5, r0=1.0, cap=None)
    windows = [CountWindow(c, 100, s, 1000) for c, s in ((0, 3), (2, 1), (1, 0), (3, 2), (0, 1), (4, 4), (2, 0))]
    count = len(parameters.ratios)
    whole, restarted = [1 / count] * count, [0.0] * count
    for t, window in enumerate(windows):
        factors = [
            math.exp(x)
            for x in judge_counts.log_factors(1.0, parameters.ratios, 1 / 11, window.candidate_events, window.baseline_events)
        ]
        fresh = 1 / count / 5 if t < 5 else 0.0
        restarted = [(a + fresh) * f for a, f in zip(restarted, factors, strict=True)]
        whole = [w * f for w, f in zip(whole, factors, strict=True)]
    assert judge_counts.e_value(parameters, after(parameters, windows)) == pytest.approx(sum(whole) / 2 + sum(restarted) / 2)


def test_before_the_first_window_the_evidence_is_one() -> None:
    assert judge_counts.e_value(SHIPPED, judge_counts.start(SHIPPED)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rate", "bad", "median", "p90"),
    [(0.01, 0.02, 1945, 3711), (0.01, 0.03, 540, 1110), (0.01, 0.05, 180, 380), (0.01, 0.10, 60, 120),
     (0.001, 0.03, 120, 250), (0.01, 0.50, 10, 20)],
)  # fmt: skip
def test_detection_takes_as_many_requests_as_the_reference_says(rate: float, bad: float, median: float, p90: float) -> None:
    times = alarms(EXACT, World(10, 100, rate=rate, bad_rate=bad), 150, seed=11)
    assert quantile(times, 0.5) * 10 == pytest.approx(median, rel=0.25, abs=10)
    assert quantile(times, 0.9) * 10 == pytest.approx(p90, rel=0.25, abs=10)


@pytest.mark.parametrize(("per_minute", "minutes"), [(6, 92), (60, 10), (600, 2)])
def test_three_times_the_errors_are_found_in_the_reference_time(per_minute: float, minutes: float) -> None:
    times = alarms(EXACT, replace(healthy(per_minute), bad_rate=0.03), 150, seed=3)
    assert quantile(times, 0.5) == pytest.approx(minutes, rel=0.25, abs=1)


def test_a_fault_at_hour_twenty_is_found_within_the_reference_time() -> None:
    late = replace(healthy(60), bad_rate=0.03, onset=1200)
    times = since(1200, alarms(EXACT, late, 60, seed=5))
    assert quantile(times, 0.5) == pytest.approx(21, abs=5)


def test_half_again_as_many_errors_tolerated_forgives_a_harmless_difference() -> None:
    harmless = World(3000, 30000, bad_rate=0.012, windows=288)
    strict, tolerant = CountParameters(288, r0=1.0, cap=None), CountParameters(288, r0=1.5, cap=None)
    assert part(alarms(strict, harmless, 40, seed=1)) > 0.5
    assert part(alarms(tolerant, harmless, 40, seed=1)) == 0


@pytest.mark.parametrize("window", [CountWindow(0, 0, 5, 600), CountWindow(3, 60, 0, 0), CountWindow(2, 0, 0, 0)])
def test_a_window_without_traffic_on_one_side_says_nothing_but_time_passes(window: CountWindow) -> None:
    before = after(SHIPPED, [CountWindow(2, 60, 3, 600)])
    behind = judge_counts.update(SHIPPED, before, window)
    assert behind.evidence.t == before.evidence.t + 1
    assert behind.evidence.whole == before.evidence.whole
    assert behind.good == before.good
    assert (behind.candidate_requests, behind.baseline_requests) == (60, 600)


def test_beyond_the_plan_nothing_is_restarted() -> None:
    parameters = CountParameters(2, r0=1.0, cap=None)
    long_quiet = after(parameters, [CountWindow(0, 60, 0, 600)] * 50)
    assert judge_counts.e_value(parameters, long_quiet) == pytest.approx(1.0)
    assert judge_mixture.log_sum(long_quiet.evidence.restarted) == pytest.approx(0.0)


def test_overwhelming_evidence_stays_a_finite_number() -> None:
    state = after(EXACT, [CountWindow(5000, 6000, 0, 60000)] * 100)
    assert judge_counts.e_value(EXACT, state) == 1e300


@pytest.mark.parametrize(
    "wrong",
    [{"planned_windows": 0}, {"alpha": 0.0}, {"r0": 0.9}, {"measured": False, "r0": 1.2}, {"ratios": ()}, {"ratios": (1.0,)},
     {"good_ratios": (3.0,)}, {"absolute_limit": 1.0}],
)  # fmt: skip
def test_parameters_that_make_the_test_meaningless_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused):
        CountParameters(**{"planned_windows": 10, **wrong})  # type: ignore[arg-type]


def test_negative_counts_are_a_bug_and_not_evidence() -> None:
    with pytest.raises(ValueError, match="negative"):
        judge_counts.update(SHIPPED, judge_counts.start(SHIPPED), CountWindow(-1, 60, 0, 600))


@given(windows=WINDOWS, share=st.integers(1, 500), base=COUNTS, events=COUNTS, more=st.integers(1, 50))
def test_more_candidate_events_never_lower_the_evidence(
    windows: list[CountWindow], share: int, base: int, events: int, more: int
) -> None:
    for parameters in (EXACT, SHIPPED):
        state = after(parameters, windows)
        fewer = judge_counts.update(parameters, state, CountWindow(events, share, base, 1000))
        greater = judge_counts.update(parameters, state, CountWindow(events + more, share, base, 1000))
        assert judge_counts.e_value(parameters, greater) >= judge_counts.e_value(parameters, fewer) * (1 - 1e-9)
        assert max(greater.good) <= max(fewer.good) + 1e-9


@given(windows=WINDOWS)
def test_without_burst_cap_the_order_of_windows_does_not_matter_to_the_whole_run(windows: list[CountWindow]) -> None:
    forwards, backwards = after(EXACT, windows), after(EXACT, windows[::-1])
    assert forwards.evidence.whole == pytest.approx(backwards.evidence.whole, abs=1e-6)
    assert forwards.good == pytest.approx(backwards.good, abs=1e-6)


@given(c=COUNTS, d=COUNTS, s=COUNTS, u=COUNTS, n=st.integers(1, 500), m=st.integers(1, 5000))
def test_two_windows_of_one_share_say_the_same_as_their_sum(c: int, d: int, s: int, u: int, n: int, m: int) -> None:
    apart = after(EXACT, [CountWindow(c, n, s, m), CountWindow(d, n, u, m)])
    summed = after(EXACT, [CountWindow(c + d, 2 * n, s + u, 2 * m)])
    assert apart.evidence.whole == pytest.approx(summed.evidence.whole, abs=1e-6)


@given(windows=WINDOWS)
def test_the_state_survives_json_and_goes_on_the_same(windows: list[CountWindow]) -> None:
    state = after(SHIPPED, windows)
    raw = json.loads(json.dumps(asdict(state), allow_nan=False))
    evidence = Mixture(raw["evidence"]["t"], tuple(raw["evidence"]["whole"]), tuple(raw["evidence"]["restarted"]))
    again = CountState(**{**raw, "evidence": evidence, "good": tuple(raw["good"]), "clumping": Clumping(**raw["clumping"])})
    assert again == state
    window = CountWindow(1, 60, 3, 600)
    assert judge_counts.update(SHIPPED, again, window) == judge_counts.update(SHIPPED, state, window)


@given(windows=WINDOWS)
def test_the_evidence_is_never_negative_nor_infinite(windows: list[CountWindow]) -> None:
    assert 0 <= judge_counts.e_value(SHIPPED, after(SHIPPED, windows)) <= 1e300
