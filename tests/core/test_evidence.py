"""From readings to verdicts: what a window may say, and that silence is never good news."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.evidence import absorb
from rollout.core.evidence_counts import Setting
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.signals import (
    Alarm,
    Alarms,
    Answer,
    Counts,
    Gauges,
    NoData,
    PodCount,
    PodKey,
    Question,
    Reading,
    Unreachable,
    Window,
)
from rollout.core.signals_compiled import Signal
from tests.core.builders import canary_plan
from tests.core.scenes import NOW, H, M, parts, view

SETTING = Setting("r", 24.0)
COHORTS = parts(view(1, 10))
NAMES = tuple(sorted(p.name for p in (*COHORTS.candidate, *COHORTS.baseline)))
RATIO = canary_plan(signals=["apisix-5xx"]).signals[0]
LIMIT = canary_plan(signals=[{"preset": "apisix-5xx", "limit": "5%"}]).signals[0]
RANK = canary_plan(signals=["apisix-latency"]).signals[0]
ALARM = canary_plan(signals=["alertmanager"]).signals[0]


def answer(signal: Signal, reading: Reading, number: int = 0) -> Answer:
    start = NOW - 30 * M + number * signal.window
    keys = tuple(PodKey("default", name, f"uid-{name}", "10.0.0.1") for name in NAMES)
    return Answer(
        Question(signal.name, signal.backend, signal.ask, (), keys, Window(start, start + signal.window)), reading, "q", NOW
    )


def counts(mine: tuple[float, float], theirs: tuple[float, float] = (0.0, 100.0)) -> Counts:
    return Counts({name: PodCount(*(mine if "canary" in name else theirs)) for name in NAMES})


def judged(signal: Signal, *readings: Reading, before: SignalState | None = None, at: Any = None) -> SignalState:  # noqa: ANN401 - a datetime
    state: tuple[SignalState, ...] = (before,) if before else ()
    for number, reading in enumerate(readings):
        one = answer(signal, reading, number)
        state = absorb(SETTING, [signal], state, [one], COHORTS, at or one.question.window.end + M)
    return state[0]


def test_enough_good_requests_are_healthy() -> None:
    assert judged(RATIO, counts((0, 100))).verdict is Verdict.HEALTHY


def test_a_missing_signal_never_counts_as_a_pass() -> None:
    assert judged(RATIO, NoData("nothing")).verdict is Verdict.NO_DATA
    assert judged(RATIO, Unreachable("away")).verdict is Verdict.UNREACHABLE
    assert judged(RATIO, Counts({})).verdict is Verdict.NO_DATA


@pytest.mark.parametrize("impossible", [(-1.0, 100.0), (0.0, -100.0), (float("nan"), 100.0), (1e308, 1e308)])
@pytest.mark.parametrize("signal", [RATIO, LIMIT], ids=["ratio", "limit"])
def test_counts_that_cannot_be_are_not_believed_on_either_side(signal: Signal, impossible: tuple[float, float]) -> None:
    fine = counts((0, 100))
    mine, theirs = counts(impossible), counts((0, 100), impossible)
    for reading in (mine, theirs):
        state = judged(signal, fine, reading)
        assert state.verdict is Verdict.UNREACHABLE
        assert "cannot be" in state.why
        assert state.count == judged(signal, fine).count
    young = replace(SETTING, warm_up=2 * H)
    assert absorb(young, [signal], (), [answer(signal, mine)], COHORTS, NOW)[0].verdict is Verdict.WARMING


@pytest.mark.parametrize("impossible", [float("nan"), float("inf")])
def test_gauges_that_are_no_number_are_not_believed_on_either_side(impossible: float) -> None:
    for lying in ("canary", "nginx-3"):
        state = judged(RANK, Gauges({name: impossible if lying in name else 20.0 for name in NAMES}))
        assert state.verdict is Verdict.UNREACHABLE
        assert "cannot be" in state.why


def test_a_signal_that_was_never_read_is_not_healthy() -> None:
    state = absorb(SETTING, [RATIO], (), (), COHORTS, NOW)[0]
    assert state.verdict is Verdict.WARMING


def test_a_window_is_used_once() -> None:
    once = judged(RATIO, counts((1, 100)))
    again = absorb(SETTING, [RATIO], (once,), [answer(RATIO, counts((1, 100)))], COHORTS, NOW - 28 * M)[0]
    assert again.since_summary == once.since_summary
    assert again.count == once.count


def test_half_of_twenty_requests_failing_fails_at_once() -> None:
    assert judged(RATIO, counts((10, 20))).verdict is Verdict.FAILING


def test_a_limit_fails_after_k_of_n_windows_and_is_suspect_before() -> None:
    bad = counts((10, 100))
    assert judged(LIMIT, bad).verdict is Verdict.SUSPECT
    assert judged(LIMIT, bad, bad, bad).verdict is Verdict.FAILING


def test_a_limit_that_the_baseline_breaks_as_well_is_a_shared_incident() -> None:
    bad = counts((10, 100), (10, 100))
    assert judged(LIMIT, bad, bad, bad).verdict is Verdict.SHARED


def test_a_quiet_candidate_is_idle_after_a_quarter_of_an_hour_and_earns_nothing() -> None:
    quiet = counts((0, 0), (0, 0))
    assert judged(RATIO, *[quiet] * 16).verdict is Verdict.IDLE


def test_a_busy_baseline_beside_a_candidate_without_requests_is_told_at_once() -> None:
    state = judged(RATIO, counts((0, 0), (0, 300)))
    assert state.verdict is Verdict.IDLE
    assert state.idle_windows == 1


def test_knowledge_grows_old() -> None:
    good = judged(RATIO, counts((0, 100)))
    later = absorb(SETTING, [RATIO], (good,), (), COHORTS, NOW + timedelta(hours=1))[0]
    assert later.verdict is Verdict.UNREACHABLE
    assert later.blind_since is not None


def test_a_failing_verdict_does_not_fade_into_not_knowing() -> None:
    bad = judged(RATIO, counts((20, 20)))
    assert judged(RATIO, NoData("nothing"), before=replace(bad, used_until=None)).verdict is Verdict.FAILING


@pytest.mark.parametrize(
    ("firing", "verdict"),
    [
        ((), Verdict.HEALTHY),
        ((Alarm("High", NOW, "5xx", ("nginx-canary-0",)),), Verdict.FAILING),
        ((Alarm("High", NOW, "5xx", ("nginx-3",)),), Verdict.SHARED),
        ((Alarm("High", NOW, "5xx"),), Verdict.SHARED),
        ((Alarm("High", NOW, "5xx", ("nginx-canary-0",)), Alarm("High", NOW, "5xx", ("nginx-3",))), Verdict.SHARED),
    ],
)
def test_an_alarm_fails_only_what_it_points_at_alone(firing: tuple[Alarm, ...], verdict: Verdict) -> None:
    assert judged(ALARM, Alarms(firing)).verdict is verdict


def test_the_same_answers_bring_the_same_verdict() -> None:
    readings = [counts((number % 2, 100)) for number in range(10)]
    assert judged(RATIO, *readings) == judged(RATIO, *readings)


WARMING = replace(SETTING, warm_up=3 * M)
"""Every pod of COHORTS is older than that; `born` makes the canary young in the window of `answer`."""


def born(ago: timedelta) -> Any:  # noqa: ANN401 - cohorts
    start = answer(RATIO, counts((0, 0))).question.window.start
    fresh = tuple(replace(pod, ready_since=start - ago) for pod in COHORTS.candidate)
    return replace(COHORTS, candidate=fresh)


def absorbed(signal: Signal, reading: Reading, ago: timedelta, *, numbers: tuple[int, ...] = (0,)) -> SignalState:
    state: tuple[SignalState, ...] = ()
    for number in numbers:
        one = answer(signal, reading, number)
        state = absorb(WARMING, [signal], state, [one], born(ago), one.question.window.end + M)
    return state[0]


def test_a_version_of_which_half_fails_is_caught_while_it_warms_up() -> None:
    state = absorbed(RATIO, counts((12, 20)), timedelta())
    assert state.verdict is Verdict.FAILING
    assert "nginx-canary-0: 12 of 20 requests failed in a window (60 %), baseline 0 %" in state.why


def test_a_gross_fault_in_the_warm_up_that_the_baseline_shares_is_held() -> None:
    assert absorbed(RATIO, counts((12, 20), (60, 100)), timedelta()).verdict is Verdict.SHARED


def test_the_warm_up_brings_no_evidence_and_no_credit() -> None:
    young = absorbed(RATIO, counts((5, 100)), timedelta())
    assert young.verdict is Verdict.WARMING
    assert young.count is not None
    assert young.count.candidate_requests == 0
    assert young.used_until is not None
    warm = absorbed(RATIO, counts((5, 100)), 4 * M)
    assert warm.count is not None
    assert warm.count.candidate_requests == 100


def test_what_the_baseline_showed_before_the_canary_is_no_evidence_but_tells_how_errors_clump() -> None:
    alone = replace(COHORTS, candidate=())
    state: tuple[SignalState, ...] = ()
    for number in range(8):
        reading = Counts({name: PodCount(float(number % 2), 100.0) for name in NAMES if "canary" not in name})
        one = answer(RATIO, reading, number)
        state = absorb(WARMING, [RATIO], state, [one], alone, one.question.window.end + M)
    known = state[0]
    assert known.verdict is Verdict.WARMING
    assert known.count is not None
    assert known.count.clumping.learned
    assert known.count.baseline_requests == 0
    first = answer(RATIO, counts((2, 100), (0.5, 100)), 8)
    at = first.question.window.end + M
    with_history = absorb(WARMING, [RATIO], state, [first], COHORTS, at)[0]
    without = absorb(WARMING, [RATIO], (), [first], COHORTS, at)[0]
    assert with_history.e_value > without.e_value


def test_a_backend_that_does_not_know_a_pod_yet_is_not_blind_in_its_warm_up() -> None:
    for reading in (NoData("unknown instance"), Unreachable("away")):
        state = absorbed(RATIO, reading, timedelta())
        assert (state.verdict, state.blind_since) == (Verdict.WARMING, None)


def test_a_limit_that_people_set_acts_in_the_warm_up_but_earns_nothing_there() -> None:
    assert absorbed(LIMIT, counts((10, 100)), timedelta(), numbers=(0, 1, 2)).verdict is Verdict.FAILING
    assert absorbed(LIMIT, counts((0, 100)), timedelta(), numbers=(0, 1, 2)).verdict is Verdict.WARMING


def test_one_new_pod_that_mostly_fails_is_not_diluted_by_those_that_do_not() -> None:
    shown = parts(view(3, 10))
    names = [pod.name for pod in (*shown.candidate, *shown.baseline)]
    bad = shown.candidate[-1].name
    by_pod = {name: PodCount(90.0 if name == bad else 0.0, 100.0) for name in names}
    asked = answer(RATIO, Counts(by_pod))
    keys = tuple(PodKey("default", name, f"uid-{name}", "10.0.0.1") for name in names)
    asked = replace(asked, question=replace(asked.question, pods=keys))
    state = absorb(WARMING, [RATIO], (), [asked], shown, NOW)[0]
    assert state.verdict is Verdict.FAILING
    assert state.why.startswith(f"{bad}: 90 of 100 requests failed")


def test_an_alarm_acts_on_a_pod_that_is_still_warming_up() -> None:
    fires = Alarms((Alarm("HighErrorRate", NOW - M, "5 %", ("nginx-canary-0",)),))
    warming = Setting("r", 24.0, warm_up=2 * H)
    one = answer(ALARM, fires)
    (state,) = absorb(warming, [ALARM], (), [one], COHORTS, one.question.window.end + M)
    assert state.verdict is Verdict.FAILING
    (quiet,) = absorb(warming, [ALARM], (), [answer(ALARM, Alarms(()))], COHORTS, one.question.window.end + M)
    assert quiet.verdict is Verdict.WARMING, "and its silence earns nothing yet"
