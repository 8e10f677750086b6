"""Windows lie on a grid, are disjoint, and are asked when the backend has them whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rollout.core.windows import EPOCH, HISTORY, MOST_WINDOWS_AT_ONCE, OLDEST, due, floor, members, questions, warm_from
from tests.core.builders import canary_plan
from tests.core.scenes import NOW, H, M, parts, pod, view

SIGNAL = canary_plan(signals=["apisix-5xx"]).signals[0]
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda at: at.replace(tzinfo=NOW.tzinfo))  # noqa: DTZ001 - made aware at once


@given(now=moments, behind=st.timedeltas(timedelta(), timedelta(days=2)), ready=st.timedeltas(timedelta(), timedelta(days=2)))
def test_windows_are_on_the_grid_disjoint_whole_and_never_used_twice(now: datetime, behind: timedelta, ready: timedelta) -> None:
    used = floor(now - behind, SIGNAL.window)
    windows = due(SIGNAL, used, now - ready, now).windows
    assert len(windows) <= MOST_WINDOWS_AT_ONCE
    for window in windows:
        assert (window.start - EPOCH) % SIGNAL.window == timedelta()
        assert window.length == SIGNAL.window
        assert window.end + SIGNAL.delay <= now
        assert window.start >= used
        assert window.start >= now - ready
        assert now - window.end <= OLDEST
    assert all(a.end <= b.start for a, b in pairwise(windows))


def test_nothing_is_asked_while_no_candidate_is_warm() -> None:
    assert due(SIGNAL, None, None, NOW).windows == ()
    assert warm_from([pod(ready=False)], 3 * M) is None


def test_windows_that_are_too_old_are_given_up() -> None:
    assert due(SIGNAL, NOW - 5 * H, NOW - 9 * H, NOW).skipped_to is not None


def test_a_pod_belongs_to_a_window_only_when_it_was_warm_for_all_of_it() -> None:
    window = due(SIGNAL, None, NOW - 10 * M, NOW).windows[0]
    young = pod("young", at=window.start - 2 * M)
    assert members([young], window, 3 * M) == ()
    assert members([young], window, 2 * M) == (young,)


def test_a_restart_asks_the_very_same_questions_again() -> None:
    shown = parts(view(2, 10))
    asked = [questions([SIGNAL], {SIGNAL.name: NOW - 5 * M}, shown, "default", 3 * M, NOW) for _ in range(2)]
    assert asked[0] == asked[1]
    assert asked[0]
    assert {key.name for key in asked[0][0].pods} >= {"nginx-canary-0", "nginx-3"}


def test_young_stable_pods_are_warmed_up_as_well() -> None:
    shown = view(1, 10)
    young = replace(shown, pods=(*shown.pods, pod("nginx-young", deployment="nginx", at=NOW - 2 * M)))
    asked = questions([SIGNAL], {SIGNAL.name: NOW - 5 * M}, parts(young), "default", 3 * M, NOW)
    assert "nginx-young" not in {key.name for key in asked[-1].pods}


def test_counts_are_asked_about_a_pod_that_is_still_warming_up_and_gauges_are_not() -> None:
    gauge = canary_plan(signals=["apisix-latency"]).signals[0]
    shown = view(0, 10)
    fresh = replace(shown, pods=(*shown.pods, pod("nginx-canary-0", deployment="nginx-canary", at=NOW - 2 * M)))
    asked = questions([SIGNAL, gauge], {}, parts(fresh), "default", 3 * M, NOW)
    assert {question.signal for question in asked} == {SIGNAL.name}


def test_the_half_hour_before_the_rollout_is_asked_about_the_baseline_alone_and_only_where_cohorts_are_compared() -> None:
    limit = canary_plan(signals=[{"preset": "apisix-5xx", "limit": "5%"}]).signals[0]
    gauge = canary_plan(signals=["apisix-latency"]).signals[0]
    alone = parts(view(0, 10))
    asked = questions([SIGNAL], {}, alone, "default", 3 * M, NOW, NOW)
    assert asked[0].window.start == floor(NOW - HISTORY, SIGNAL.window)
    assert len(asked) == MOST_WINDOWS_AT_ONCE
    assert questions([limit, gauge], {}, alone, "default", 3 * M, NOW, NOW) == ()
    assert questions([SIGNAL], {}, alone, "default", 3 * M, NOW) == ()


def test_history_begins_where_a_pod_of_the_baseline_does_and_never_waits_for_windows_that_nobody_was_in() -> None:
    shown = replace(view(0, 10), pods=tuple(pod(f"nginx-{n}", deployment="nginx", at=NOW - 10 * M) for n in range(10)))
    asked = questions([SIGNAL], {}, parts(shown), "default", 3 * M, NOW, NOW)
    assert asked[0].window.start == NOW - 7 * M
    assert all(question.pods for question in asked)
    nobody = replace(shown, pods=())
    assert questions([SIGNAL], {}, parts(nobody), "default", 3 * M, NOW, NOW) == ()
