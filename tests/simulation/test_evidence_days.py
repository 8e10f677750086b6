"""Days of evidence on the real engine: what a healthy version may not suffer, and what a bad one may not get away with."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache
from itertools import pairwise

import pytest

from rollout.core.evidence_state import Verdict
from rollout.core.history import Outcome
from rollout.core.state import Certifying, Promoting, Soaking, Watching
from rollout.sandbox.behaviour import Behaviour
from tests.simulation.days import FAILED_CALLS, NEW, OLD, Day, H, M

ALL = (FAILED_CALLS, "apisix-5xx", "error-logs")
A_DAY_AND_MORE = 30 * H
QUIET, NORMAL = 6.6, 660.0
"""Requests a minute of the whole Service of ten pods: the candidate gets 0.6 and 60."""


@cache
def healthy_day() -> Day:
    """The day that nothing happens in; only looked at."""
    return Day().run(A_DAY_AND_MORE)


# -- healthy versions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [0.001, 0.01, 0.05])
def test_a_healthy_version_goes_all_the_way_in_a_day_whatever_its_usual_error_rate(base: float) -> None:
    day = healthy_day() if base == 0.01 else Day(base=base, requests=NORMAL).run(A_DAY_AND_MORE)
    assert day.outcome() is Outcome.SUCCEEDED
    assert day.stepped_back is None
    assert not day.holds("suspect")
    assert day.since(day.first("promoted")) < 26 * H


@pytest.mark.parametrize("requests", [QUIET, 66.0, NORMAL])
def test_a_healthy_version_goes_all_the_way_at_few_and_at_many_requests(requests: float) -> None:
    day = Day(requests=requests, seed=3).run(A_DAY_AND_MORE)
    assert day.outcome() is Outcome.SUCCEEDED


def test_errors_that_come_in_bursts_on_both_are_no_alarm() -> None:
    day = Day(requests=NORMAL, base=0.002)
    day.source.clump = 5
    day.run(A_DAY_AND_MORE)
    assert day.outcome() is Outcome.SUCCEEDED


def test_a_p95_that_differs_from_pod_to_pod_is_no_alarm() -> None:
    day = Day("apisix-latency", requests=NORMAL).run(7 * H)
    assert day.state().holds == ()
    assert day.first("replica-added") is not None


# -- bad versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "within"), [(0.02, 45), (0.03, 30), (0.05, 20), (0.1, 12), (0.5, 9)])
def test_a_version_that_errs_more_from_the_start_is_stepped_back(rate: float, within: int) -> None:
    day = Day().turns(rate).run(3 * H)
    assert day.outcome() is Outcome.FAILED
    assert day.since(day.stepped_back) < within * M


@pytest.mark.parametrize(("rate", "within"), [(0.02, 25), (0.03, 10), (0.05, 8), (0.1, 6), (0.5, 5)])
def test_a_version_that_begins_to_err_after_twenty_hours_is_stepped_back_as_fast(rate: float, within: int) -> None:
    day = Day().turns(rate, 20 * H).run(23 * H)
    assert day.outcome() is Outcome.FAILED
    assert 20 * H < day.since(day.stepped_back) < 20 * H + within * M


@pytest.mark.parametrize(("requests", "within"), [(QUIET, 2 * H), (66.0, 45 * M), (NORMAL, 30 * M), (6_600.0, 12 * M)])
def test_ten_per_cent_errors_are_found_at_few_and_at_many_requests(requests: float, within: timedelta) -> None:
    day = Day(requests=requests).turns(0.1).run(5 * H)
    assert day.outcome() is Outcome.FAILED
    assert day.since(day.stepped_back) < within


def test_a_p95_that_is_half_again_as_high_is_found_by_rank() -> None:
    day = Day("apisix-latency")
    day.world.behaviours[NEW] = Behaviour(latency_ms=60.0)
    day.run(3 * H)
    assert day.outcome() is Outcome.FAILED
    assert day.since(day.stepped_back) < 25 * M
    assert "apisix-latency" in day.why


def test_the_reason_names_who_what_was_seen_what_was_expected_and_what_follows() -> None:
    day = Day().turns(0.1).run(H)
    back = day.stepped_back
    assert back is not None
    assert back.why.startswith("nginx-canary: skywalking-success-rate: ")
    assert " requests failed (" in back.why
    assert re.search(r"baseline (0\.[89]\d*|1(\.[0-2]\d*)?) %", back.why)
    assert back.why.endswith("; canary scaled to 0")


# -- what both suffer -------------------------------------------------------------------------------------------------


def test_an_incident_of_the_whole_service_holds_and_does_not_step_back() -> None:
    day = Day()
    for image in (OLD, NEW):
        day.turns(0.3, 5 * H, image).turns(0.01, 5 * H + 20 * M, image)
    day.run(5 * H + 19 * M)
    assert day.signal().verdict is Verdict.SHARED
    during = day.credited()
    day.run(7 * H)
    assert day.outcome() is Outcome.ACTIVE
    assert day.holds("shared-incident")
    assert during <= 5 * H + 4 * M
    assert day.credited() < day.world.now - day.began - 18 * M


def test_a_baseline_that_fails_as_badly_holds_the_candidate_and_does_not_step_it_back() -> None:
    day = Day(base=0.6, requests=NORMAL).run(4 * H)
    assert day.outcome() is Outcome.ACTIVE
    assert day.signal().verdict is Verdict.SHARED
    assert day.credited() == timedelta()


# -- blindness --------------------------------------------------------------------------------------------------------


def test_a_backend_away_for_twenty_minutes_holds_is_told_and_goes_on_by_itself() -> None:
    day = Day(*ALL).away(5 * H, 20 * M, "prometheus").run(5 * H + 18 * M)
    held = day.holds("blind")
    before = day.credited()
    assert [e.why for e in held] == ["apisix-5xx: unreachable: prometheus: connection refused"]
    assert "default/nginx: held, blind" in day.titles()
    day.run(5 * H + 30 * M)
    assert not day.state().holds
    assert day.outcome() is Outcome.ACTIVE
    assert before < 5 * H + 2 * M
    assert before < day.credited() < 5 * H + 12 * M
    assert "default/nginx: goes on" in day.titles()


def test_minutes_that_a_backend_could_not_answer_are_asked_again_when_it_is_back() -> None:
    day = Day("apisix-5xx").away(H, 20 * M).run(2 * H)
    asked = sorted({window.start for window in day.source.windows["apisix-5xx"]})
    assert all(later - earlier == M for earlier, later in pairwise(asked))


def test_all_backends_away_for_an_hour_steps_back_and_not_all_rollouts_at_once() -> None:
    apps = ("nginx", "shop", "cart", "mail")
    day = Day(*ALL, apps=apps, requests=NORMAL).away(5 * H, H).run(6 * H)
    backs = [day.since(day.first("stepping-back", app)) for app in apps]
    assert {day.outcome(app) for app in apps} == {Outcome.FAILED}
    assert len(set(backs)) >= 3
    assert all(5 * H + 30 * M <= back <= 5 * H + 47 * M for back in backs)
    assert "every source is blind" in day.why


def test_one_backend_of_three_away_for_hours_steps_back_later() -> None:
    day = Day(*ALL).away(5 * H, 4 * H, "prometheus").run(9 * H)
    assert day.outcome() is Outcome.FAILED
    assert 7 * H <= day.since(day.stepped_back) <= 8 * H + 3 * M
    assert "apisix-5xx is blind" in day.why


def test_no_data_is_never_good_news() -> None:
    day = Day()
    day.source.unknown = lambda pod: "canary" in pod.name
    day.run(25 * M)
    assert day.credited() == timedelta()
    assert day.signal().verdict is Verdict.NO_DATA
    assert day.holds("blind")


# -- traffic ----------------------------------------------------------------------------------------------------------


def test_a_busy_baseline_beside_an_idle_candidate_is_misrouting_held_and_told() -> None:
    day = Day()
    day.after(3 * H, lambda: day.world.patch("services", "default", "nginx", {"spec": {"selector": {"role": "release"}}}))
    day.after(4 * H, lambda: day.world.patch("services", "default", "nginx", {"spec": {"selector": {"role": None}}}))
    day.run(4 * H)
    during = day.credited()
    assert day.outcome() is Outcome.ACTIVE
    assert "is it in the Service?" in day.holds("misrouted")[0].why
    assert "default/nginx: held, misrouted" in day.titles()
    day.run(4 * H + 30 * M)
    assert during <= 3 * H + 5 * M
    assert day.credited() > during


def test_a_quiet_service_soaks_longer_and_says_why() -> None:
    day = Day(requests=0.8, base=0.0).run(40 * H)
    assert isinstance(day.state().step, Certifying)
    assert day.since(day.first("soaked")) > 26 * H
    assert "0 candidate requests in" in day.holds("idle")[0].why
    assert "more candidate requests without an event would do" in day.holds("evidence")[0].why
    assert day.stepped_back is None


# -- promotion and bake -----------------------------------------------------------------------------------------------


def test_errors_that_begin_in_the_promotion_step_back_although_the_baseline_vanishes() -> None:
    day = Day().turns(0.05, 24 * H + 15 * M).run(A_DAY_AND_MORE)
    back = day.stepped_back
    assert day.outcome() is Outcome.FAILED
    assert back is not None
    assert day.since(back) < 24 * H + 25 * M
    assert "nginx goes back to nginx:1.27.3" in back.why


def test_errors_that_begin_in_the_bake_step_back_against_the_frozen_baseline() -> None:
    day = Day(requests=NORMAL).turns(0.1, 24 * H + 50 * M).run(A_DAY_AND_MORE)
    assert isinstance(day.state().step, Soaking | Watching | Promoting) is False
    assert day.outcome() is Outcome.FAILED
    assert day.first("promoted") is not None
    assert day.since(day.stepped_back) < 25 * H + 20 * M


def test_an_error_that_the_soak_never_showed_stops_the_promotion() -> None:
    day = Day("skywalking-traces", requests=NORMAL)
    late = day.began + 24 * H + 5 * M
    day.source.kinds = lambda pod, at: ("/checkout",) if at > late and day.runs_new(pod) else ("/orders",)
    day.run(A_DAY_AND_MORE)
    assert day.outcome() is Outcome.FAILED
    assert "an error that the soak never showed: /checkout" in day.why


# -- several signals, and signals that do not count -------------------------------------------------------------------


def test_several_signals_share_one_alpha_by_averaging_their_evidence() -> None:
    alone = Day().turns(0.03).run(2 * H)
    beside = Day(FAILED_CALLS, *({"preset": "apisix-5xx", "name": f"quiet-{n}"} for n in range(3)))
    beside.played["prometheus"].clump = 0
    beside.turns(0.03).run(2 * H)
    assert alone.outcome() is beside.outcome() is Outcome.FAILED
    assert max(item.e_value for item in alone.state().signals) >= 100
    assert max(item.e_value for item in beside.state().signals) >= 400
    assert day_of(beside) >= day_of(alone)


def day_of(day: Day) -> timedelta:
    return day.since(day.stepped_back)


@pytest.mark.parametrize("how", [{"required": False}, {"dryRun": True}])
def test_an_advisory_signal_and_a_dry_run_neither_hold_nor_step_back_but_are_shown(how: dict[str, bool]) -> None:
    day = Day(FAILED_CALLS, {"preset": "apisix-5xx", **how})
    day.played["skywalking"].clump = 0
    day.turns(0.6, 2 * H).run(4 * H)
    assert day.outcome() is Outcome.ACTIVE
    assert not day.events("held")
    assert day.credited() > 3 * H + 50 * M
    assert day.signal("apisix-5xx").verdict is Verdict.FAILING
    advice = day.events("advice")
    assert len(advice) == 1
    assert advice[0].why.startswith("nginx-canary: apisix-5xx: ")
    assert advice[0].evidence[0].verdict == "failing"
    assert any("apisix-5xx" in title for title in day.titles()) is not how.get("dryRun", False)


def test_an_advisory_signal_that_is_blind_holds_nothing() -> None:
    day = Day(FAILED_CALLS, {"preset": "apisix-5xx", "required": False}).away(H, 4 * H, "prometheus").run(5 * H)
    assert day.outcome() is Outcome.ACTIVE
    assert day.credited() > 4 * H + 50 * M
    assert day.signal("apisix-5xx").verdict is Verdict.UNREACHABLE


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_window_that_is_answered_twice_is_counted_once() -> None:
    once = Day(requests=NORMAL).run(2 * H)
    twice = Day(requests=NORMAL)
    twice.repeat_answers = True
    twice.run(2 * H)
    assert once.signal().count is not None
    assert twice.signal().count == once.signal().count


def test_evidence_rows_hold_query_window_counts_and_verdict() -> None:
    day = Day().turns(0.1).run(2 * H)
    back = day.stepped_back
    assert back is not None
    item = back.evidence[0]
    figures = dict(item.counts)
    assert item.signal == FAILED_CALLS
    assert item.query == "success-rate of 11 pods"
    assert item.window_end - item.window_start == M
    assert figures["candidate events"] / figures["candidate requests"] == pytest.approx(0.1, abs=0.05)
    assert figures["baseline requests"] > 9 * figures["candidate requests"]
    assert figures["E"] >= 100
    assert item.verdict == "failing"


def test_every_hour_leaves_a_row_with_the_counts_of_both_cohorts() -> None:
    rows = [item for event in healthy_day().events("hourly-summary") for item in event.evidence]
    assert len(rows) >= 24
    assert all(dict(row.counts)["baseline requests"] > 0 for row in rows)
    assert all(row.window_end - row.window_start <= 62 * M for row in rows)
