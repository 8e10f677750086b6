"""Reasons to wait: since when they stand, what they cost, when people are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollout.core.commands import Command, Verb
from rollout.core.decision import Decision, Wait
from rollout.core.history import NoticeKind
from rollout.core.holds import RULES, credit_is_due, stop_the_clock
from rollout.core.machine import decide
from rollout.core.signals import Unreachable
from rollout.core.state import Certifying, Hold, HoldKind, Soaking, State
from tests.core.builders import canary_plan
from tests.core.scenes import NOW, H, M, question, seen, state, view

PLAIN = question(canary_plan())
SOAKING = state(Soaking(1, NOW - 2 * H, NOW - 2 * H, H, H, confirmed=True), deadline=NOW + 70 * H)
PAUSED = {"paused": True}


def look(before: State, at: datetime, *, paused: bool) -> Decision:
    return decide(PLAIN, before, seen(view(1, 10, stable_changed={"paused": paused})), (), at)


def test_every_kind_of_hold_has_a_rule() -> None:
    assert set(RULES) == set(HoldKind)


def test_a_foreign_pause_asks_a_person_at_once_and_again_after_a_day() -> None:
    first = look(SOAKING, NOW, paused=True)
    assert [notice.kind for notice in first.notices] == [NoticeKind.NEEDS_PERSON]
    second = look(first.state, NOW + M, paused=True)
    assert second.notices == ()
    third = look(replace(second.state, looked_at=NOW + 25 * H - M), NOW + 25 * H, paused=True)
    assert [notice.kind for notice in third.notices] == [NoticeKind.NEEDS_PERSON]


def test_a_hold_that_comes_and_goes_is_told_once_an_hour_and_recorded_each_time() -> None:
    first = look(SOAKING, NOW, paused=True)
    gone = look(first.state, NOW + M, paused=False)
    assert "hold-over" in {event.kind for event in gone.events}
    assert [(post.deployment, post.reason) for post in (*first.posts, *gone.posts)] == [
        ("nginx-canary", "Held"),
        ("nginx-canary", "HoldOver"),
    ]
    again = look(gone.state, NOW + 2 * M, paused=True)
    assert again.notices == ()
    assert "held" in {event.kind for event in again.events}


def test_whoever_was_called_hears_that_it_is_over_however_short_it_was_and_of_what_comes_next() -> None:
    called = look(SOAKING, NOW, paused=True)
    over = look(called.state, NOW + M, paused=False)
    assert [(notice.kind, notice.title) for notice in over.notices] == [(NoticeKind.RESUMED, "default/nginx: goes on")]

    again = look(over.state, NOW + 2 * M, paused=True)
    assert look(again.state, NOW + 3 * M, paused=False).notices == (), "nobody was called the second time"


def test_the_end_of_one_wait_names_the_other_that_still_stands() -> None:
    ann = (Command(1, Verb.PAUSE, "ann", "lunch", NOW), Command(2, Verb.RESUME, "ann", "", NOW + M))
    shown = seen(view(1, 10, stable_changed=PAUSED))
    both = decide(PLAIN, SOAKING, shown, ann[:1], NOW)
    one = decide(PLAIN, both.state, shown, ann[1:], NOW + M)
    (notice,) = one.notices
    assert notice.title == "default/nginx: no longer held, paused; it still waits"
    assert notice.next_action == "Still held: nginx is paused (spec.paused) by somebody else"


def test_what_goes_on_with_a_notice_of_its_own_owes_no_second_one() -> None:
    waiting = state(Certifying(1, NOW - M, 24 * H), holds=(Hold(HoldKind.APPROVAL, "why", NOW - M, told=True),),
                    told=(("approval", NOW - M),))  # fmt: skip
    asks = question(canary_plan(approvals={"beforePromotion": True}))
    approved = decide(asks, waiting, seen(view()), (Command(1, Verb.APPROVE, "ann", "", NOW),), NOW)
    assert [notice.kind for notice in approved.notices] == [NoticeKind.PROMOTING]


def test_a_short_silence_of_the_cluster_is_not_told() -> None:
    away = Unreachable("watches are not current")
    first = decide(PLAIN, SOAKING, seen(away), (), NOW)
    assert [hold.kind for hold in first.state.holds] == [HoldKind.CLUSTER_UNSEEN]
    assert first.notices == ()
    later = decide(PLAIN, replace(first.state, looked_at=NOW + 2 * M), seen(away), (), NOW + 3 * M)
    assert [notice.kind for notice in later.notices] == [NoticeKind.HELD]


def test_held_time_moves_the_deadline_and_earns_nothing() -> None:
    held = look(SOAKING, NOW, paused=True).state
    later = look(held, NOW + M, paused=True).state
    assert isinstance(later.step, Soaking)
    assert isinstance(held.step, Soaking)
    assert later.step.credited == held.step.credited
    assert held.deadline is not None
    assert later.deadline == held.deadline + M


@pytest.mark.parametrize("kind", [HoldKind.OVERDUE, HoldKind.NOT_READY, HoldKind.IDLE, HoldKind.EVIDENCE])
def test_what_the_version_itself_owes_does_not_stop_its_deadline(kind: HoldKind) -> None:
    assert not stop_the_clock(replace(SOAKING, holds=(Hold(kind, "why", NOW),)))


def test_one_hold_that_earns_nothing_is_enough_to_earn_nothing() -> None:
    assert credit_is_due((Wait(HoldKind.PAUSED, ""), Wait(HoldKind.FROZEN, "")))
    assert not credit_is_due((Wait(HoldKind.PAUSED, ""), Wait(HoldKind.BLIND, "")))


def test_a_rollout_that_steps_back_holds_nothing() -> None:
    shown = view(1, 10, canary_changed={"replicas": 0})
    decision = decide(PLAIN, replace(SOAKING, holds=(Hold(HoldKind.PAUSED, "", NOW - timedelta(hours=1)),)), seen(shown), (), NOW)
    assert decision.state.holds == ()
    assert decision.state.paused is None
