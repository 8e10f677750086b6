"""What customers and the person on call read of a maintenance: when in their own time, until when, what and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.core.commands import Verb
from rollout.core.history import Notice, NoticeKind, Outcome
from rollout.core.state import Ended
from rollout.core.state_offline import Announcing, ClosingGate, Deciding, RollingBack, WatchingOpen
from rollout.core.wording import local_moment
from tests.core.test_offline import SAVED, START, Ladder, in_step, plan

M = timedelta(minutes=1)
BERLIN = {"startAt": "2026-11-22 10:00", "timezone": "Europe/Berlin", "duration": "2h"}


def announced(ladder: Ladder) -> list[Notice]:
    return [notice for notice in ladder.notices if notice.kind is NoticeKind.ANNOUNCEMENT]


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "2026-10-25 00:30 UTC"),
        ("Europe/Berlin", "2026-10-25 02:30 CEST (00:30 UTC)"),
        ("America/Sao_Paulo", "2026-10-24 21:30 UTC-03:00 (2026-10-25 00:30 UTC)"),
        ("Asia/Kathmandu", "2026-10-25 06:15 UTC+05:45 (00:30 UTC)"),
    ],
)
def test_a_moment_is_told_in_the_plans_zone_and_in_utc(zone: str, words: str) -> None:
    assert local_moment(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), zone) == words


def test_the_hour_that_comes_twice_is_told_apart() -> None:
    first, second = (local_moment(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), "Europe/Berlin") for hour in (0, 1))
    assert (first, second) == ("2026-10-25 02:30 CEST (00:30 UTC)", "2026-10-25 02:30 CET (01:30 UTC)")


def test_an_announcement_says_when_in_the_plans_zone_what_and_why() -> None:
    made = plan(window=BERLIN, description="Orders get a new database.\nCall 12345 if that hurts.")
    ladder = Ladder(made, now=START - 70 * M)
    ladder.answer("preflight")
    ladder.answer("assess")
    for _ in range(3):
        ladder.look()
    (told,) = announced(ladder)
    assert "from 2026-11-22 10:00 CET (09:00 UTC) to 2026-11-22 12:00 CET (11:00 UTC) at most" in told.why
    assert told.evidence[0] == "Orders get a new database. Call 12345 if that hurts."
    assert told.next_action == "From then on requests are answered: Under maintenance, please try again later"


def test_announcements_after_an_extension_name_the_new_end() -> None:
    ladder = in_step(Announcing(START - timedelta(hours=2)), now=START - 5 * M)
    ladder.look(Verb.EXTEND)
    ladder.look(after=5 * M)
    for task in ladder.look(after=M).tasks:
        ladder.answer(task.key)
    ladder.look(after=M)
    assert ladder.at(ClosingGate)
    assert "2026-11-22 11:30 UTC" in announced(ladder)[-1].title


def late() -> Ladder:
    """The daemon was away from before the first announcement until five minutes after the start."""
    ladder = Ladder(now=START + 5 * M)
    ladder.state = replace(ladder.state, started_at=START - timedelta(days=4))
    ladder.answer("preflight")
    ladder.answer("assess")
    for _ in range(4):
        for task in ladder.look(after=timedelta(seconds=5)).tasks:
            ladder.answer(task.key)
    return ladder


def test_a_gate_of_which_nobody_was_told_is_announced_and_asked_about_before_it_is_closed() -> None:
    ladder = late()
    assert ladder.at(Announcing)
    assert [notice.title for notice in announced(ladder)] == ["shop/orders: out of service from now on"]
    assert any("nobody was told before its start" in hold.why for hold in ladder.state.holds)
    ladder.look(Verb.APPROVE)
    for _ in range(3):
        for task in ladder.look(after=timedelta(seconds=5)).tasks:
            ladder.answer(task.key)
    assert ladder.at(ClosingGate)


def test_a_plan_that_is_submitted_at_its_start_begins_with_the_announcement_of_its_beginning() -> None:
    ladder = Ladder(now=START + timedelta(seconds=30))
    ladder.answer("preflight")
    ladder.answer("assess")
    for _ in range(5):
        for task in ladder.look(after=timedelta(seconds=5)).tasks:
            ladder.answer(task.key)
    assert ladder.at(ClosingGate)
    assert [notice.title for notice in announced(ladder)] == ["shop/orders: out of service now, until 2026-11-22 11:00 UTC at most"]


def test_without_a_word_it_is_cancelled_when_the_grace_is_over() -> None:
    ladder = late()
    ladder.look(after=11 * M)
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.CANCELLED
    assert "nobody was told before its start" in ladder.state.step.why
    assert announced(ladder)[-1].title.endswith("is cancelled")


def test_a_plan_that_announces_nothing_begins_without_being_asked() -> None:
    ladder = Ladder(plan(announce={"offsets": []}))
    ladder.answer("preflight")
    ladder.answer("assess")
    for _ in range(4):
        for task in ladder.look(after=timedelta(seconds=5)).tasks:
            ladder.answer(task.key)
    assert ladder.at(ClosingGate)


def over(step: Any = None, **memory: Any) -> Ladder:  # noqa: ANN401 - any step, as stored
    """The window is over, and the gate is still closed: nothing may be undone by itself."""
    kept: dict[str, Any] = {"saved_gate": SAVED, "closed_at": START, "touched": True} | memory
    return in_step(step or Deciding(START, "broken", "tests"), now=START + 119 * M, **kept)


def test_who_was_told_an_end_is_told_once_when_it_is_not_kept() -> None:
    ladder = over()
    ladder.look()
    assert announced(ladder) == []
    for _ in range(3):
        ladder.look(after=M)
    (told,) = announced(ladder)
    assert told.title == "shop/orders: still out of service, longer than announced"
    assert "should have ended at 2026-11-22 11:00 UTC" in told.why


def test_a_window_that_was_extended_and_is_over_again_is_told_again() -> None:
    ladder = over()
    ladder.look(after=M)
    ladder.look(Verb.EXTEND, after=M)
    ladder.look(after=28 * M)
    assert [notice.title.partition(": ")[2].split(",")[0] for notice in announced(ladder)] == [
        "still out of service",
        "the window is 30m longer",
    ]
    ladder.look(after=2 * M)
    assert "still out of service" in announced(ladder)[-1].title
    assert len(announced(ladder)) == 3


def test_on_the_way_back_it_says_that_the_version_before_is_coming() -> None:
    ladder = over(RollingBack(START, "broken", "failed", Outcome.FAILED, stuck="the restore failed"))
    ladder.look(after=2 * M)
    assert "the version before is being brought back" in announced(ladder)[0].why


def test_an_open_gate_is_late_for_nobody() -> None:
    ladder = over(WatchingOpen(START, Outcome.SUCCEEDED, "tested"))
    ladder.look(after=5 * M, images={"orders": "orders:2.0"})
    assert announced(ladder) == []
