"""Rules without statistics, and the verdict with its sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import judge_counts, judge_rules
from rollout.core.evidence_state import Verdict
from rollout.core.judge import Judgement, combined, judge_window
from rollout.core.judge_counts import CountParameters, CountState, CountWindow

PARAMETERS = CountParameters(1440)
NORMAL = CountWindow(1, 100, 10, 1000)


def history(*windows: CountWindow) -> CountState:
    state = judge_counts.start(PARAMETERS)
    for window in windows:
        state = judge_counts.update(PARAMETERS, state, window)
    return state


def judged(window: CountWindow, *before: CountWindow, parameters: CountParameters = PARAMETERS) -> Judgement:
    state = history(*before)
    return judge_window("error traces", parameters, state, window, judge_counts.update(parameters, state, window))


def test_half_of_twenty_requests_fail_at_once_and_one_of_one_does_not() -> None:
    assert judge_rules.mostly_failing(10, 20)
    assert not judge_rules.mostly_failing(9, 20)
    assert not judge_rules.mostly_failing(1, 1)
    assert not judge_rules.mostly_failing(0, 0)


@pytest.mark.parametrize(
    ("outcomes", "k", "n", "failing"),
    [("BGB", 2, 3, True), ("BGGB", 2, 3, False), ("", 1, 3, False), ("BBB", 3, 5, True), ("BBGGGGG", 2, 5, False)],
)
def test_k_of_the_last_n_fail(outcomes: str, k: int, n: int, *, failing: bool) -> None:
    assert judge_rules.k_of_n([o == "B" for o in outcomes], k, n) is failing


@pytest.mark.parametrize(("outcomes", "failing"), [("BBB", True), ("BB", False), ("BBGB", False), ("GBBB", True)])
def test_three_in_a_row_fail(outcomes: str, *, failing: bool) -> None:
    assert judge_rules.consecutive([o == "B" for o in outcomes], 3) is failing


@given(outcomes=st.lists(st.booleans(), max_size=20), n=st.integers(1, 8))
def test_only_the_last_n_outcomes_are_remembered(outcomes: list[bool], n: int) -> None:
    kept: tuple[bool, ...] = ()
    for outcome in outcomes:
        kept = judge_rules.remember(kept, outcome, n)
    assert kept == tuple(outcomes[-n:])


def test_a_limit_needs_enough_requests() -> None:
    assert judge_rules.over_limit(3, 100, 0.02, 50)
    assert not judge_rules.over_limit(2, 100, 0.02, 50)
    assert not judge_rules.over_limit(1, 1, 0.02, 50)
    assert not judge_rules.over_limit(1, 0, 0.02, 0)


def test_an_error_kind_that_the_soak_never_showed_is_named() -> None:
    now = {"Timeout": 3.0, "NullPointerException": 1.0, "Gone": 0.0}
    assert judge_rules.unseen_kinds(frozenset({"Timeout"}), now) == ("NullPointerException",)


def test_signals_share_alpha_by_averaging() -> None:
    assert combined([1, 298, 1]) == pytest.approx(100)
    assert combined([1, 99], weights=[3, 1]) == pytest.approx(25.5)
    assert combined([]) == 0


def test_a_candidate_like_the_baseline_is_healthy() -> None:
    judgement = judged(NORMAL, *[NORMAL] * 10)
    assert judgement.verdict is Verdict.HEALTHY
    assert judgement.why.startswith("error traces: candidate 1 of 100 requests failed (1 %), 1 % so far, baseline 1 %; E = ")


def test_evidence_grows_from_healthy_through_suspect_to_failing() -> None:
    state, verdicts = history(*[NORMAL] * 20), []
    for _ in range(40):
        window = CountWindow(4, 100, 10, 1000)
        behind = judge_counts.update(PARAMETERS, state, window)
        verdicts.append(judge_window("errors", PARAMETERS, state, window, behind).verdict)
        state = behind
    changes = [v for k, v in enumerate(verdicts) if k == 0 or verdicts[k - 1] is not v]
    assert changes == [Verdict.HEALTHY, Verdict.SUSPECT, Verdict.FAILING]


def test_a_gross_fault_fails_in_the_first_window() -> None:
    judgement = judged(CountWindow(20, 40, 10, 1000))
    assert judgement.verdict is Verdict.FAILING
    assert judgement.why == (
        "error traces: candidate 20 of 40 requests failed (50 %), 50 % so far, baseline 1 %;"
        " at least half of the requests fail: stepping back"
    )


def test_a_gross_fault_of_both_holds_and_does_not_step_back() -> None:
    judgement = judged(CountWindow(20, 40, 400, 1000))
    assert judgement.verdict is Verdict.SHARED
    assert "holding" in judgement.why


def test_an_incident_of_the_whole_service_holds_and_names_what_changed() -> None:
    judgement = judged(CountWindow(14, 100, 120, 1000), *[NORMAL] * 20)
    assert judgement.verdict is Verdict.SHARED
    assert "the baseline went from 1 % to 12 % and the candidate is no worse" in judgement.why


@pytest.mark.parametrize("normal", [CountWindow(0, 6, 0, 60), CountWindow(0, 60, 0, 600), CountWindow(0.6, 60, 6, 600)])
@pytest.mark.parametrize("rate", [0.2, 0.3, 0.5])
def test_an_incident_holds_from_its_first_window_to_its_last(normal: CountWindow, rate: float) -> None:
    mine, theirs = normal.candidate_requests, normal.baseline_requests
    storm = CountWindow(rate * mine, mine, rate * theirs, theirs)
    state, verdicts = judge_counts.start(PARAMETERS), []
    for window in [*[normal] * 120, *[storm] * 20, *[normal] * 10]:
        after = judge_counts.update(PARAMETERS, state, window)
        verdicts.append(judge_window("5xx", PARAMETERS, state, window, after).verdict)
        state = after
    assert [verdict is Verdict.SHARED for verdict in verdicts] == [*[False] * 120, *[True] * 20, *[False] * 10]


def test_a_service_that_has_become_worse_for_good_is_not_held_for_ever() -> None:
    normal, worse = CountWindow(0, 60, 0, 600), CountWindow(18, 60, 180, 600)
    state, held = judge_counts.start(PARAMETERS), 0
    for window in [*[normal] * 120, *[worse] * 120]:
        held += judge_rules.shared_incident(state, window, PARAMETERS.r0)
        state = judge_counts.update(PARAMETERS, state, window)
    assert 20 <= held <= 30


def test_an_incident_does_not_excuse_a_candidate_that_is_far_worse() -> None:
    window = CountWindow(45, 100, 60, 1000)
    before = history(*[NORMAL] * 20)
    assert not judge_rules.shared_incident(before, window, 1.5)


def test_a_first_error_on_a_quiet_baseline_is_no_incident() -> None:
    quiet = history(*[CountWindow(0, 100, 0, 1000)] * 60)
    assert not judge_rules.shared_incident(quiet, CountWindow(1, 100, 3, 1000), 1.5)


def test_without_history_nothing_is_an_incident() -> None:
    assert not judge_rules.shared_incident(history(), CountWindow(14, 100, 120, 1000), 1.5)


@pytest.mark.parametrize(("window", "idle"), [(CountWindow(0, 0, 1, 100), "candidate"), (CountWindow(0, 9, 0, 0), "baseline")])
def test_a_window_without_traffic_is_idle_and_never_healthy(window: CountWindow, idle: str) -> None:
    judgement = judged(window, NORMAL)
    assert judgement.verdict is Verdict.IDLE
    assert f"the {idle} had no traffic" in judgement.why


def test_evidence_that_has_reached_the_line_outlives_an_idle_window() -> None:
    bad = [CountWindow(20, 100, 10, 1000)] * 15
    assert judged(CountWindow(0, 0, 0, 1000), *bad).verdict is Verdict.FAILING


def test_where_requests_are_not_measured_pod_minutes_are_named() -> None:
    parameters = CountParameters(1440, r0=1.5, measured=False)
    judgement = judged(CountWindow(1, 1, 2, 10), CountWindow(0, 1, 2, 10), parameters=parameters)
    assert "1 event in 1 pod-minute, 0.5 a pod-minute so far, baseline 0.2" in judgement.why


def test_a_baseline_as_bad_as_the_candidate_is_recognised_only_from_enough_requests() -> None:
    assert judge_rules.baseline_as_bad(CountWindow(10, 100, 60, 1000))
    assert not judge_rules.baseline_as_bad(CountWindow(10, 100, 40, 1000))
    assert not judge_rules.baseline_as_bad(CountWindow(1, 1, 1, 1))
