"""No step of a maintenance is a dead end: whatever the world is now, a person's word leads out, and says what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollout.core.commands import Verb
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import TaskResult
from rollout.core.state import Ended
from rollout.core.state_offline import BackStage, ClosingGate, OpeningGate, RollingBack, TargetBefore, WatchingOpen
from tests.core.test_offline import SAVED, START, Ladder, in_step, plan

BEFORE = TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0")
NEW = {"orders": "orders:2.0"}
M = timedelta(minutes=1)


def opening(ends_as: Outcome = Outcome.SUCCEEDED) -> Ladder:
    """The route is gone, so that the gate cannot be put back; people were asked after two minutes."""
    ladder = in_step(OpeningGate(START, ends_as, "tested"), saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    for _ in range(14):
        for task in ladder.look(after=timedelta(seconds=10), images=NEW).tasks:
            ladder.answer(task.key, ok=False)
    return ladder


def watching(**changed: Any) -> Ladder:  # noqa: ANN401 - any field
    """It is open, and no pod of the new version becomes ready."""
    step = replace(WatchingOpen(START, Outcome.SUCCEEDED, "tested"), **changed)
    return in_step(step, saved_gate=SAVED, closed_at=START, before=(BEFORE,))


def test_a_gate_that_cannot_be_put_back_because_its_route_is_gone_is_left_on_a_persons_word() -> None:
    ladder = opening()
    assert any(hold.kind.value == "gate" for hold in ladder.state.holds)
    decision = ladder.look(Verb.APPROVE, images=NEW)
    (left,) = [event for event in decision.events if event.kind == "gate-left"]
    assert ladder.at(WatchingOpen)
    assert "me" in left.why
    assert "said so" in left.why
    assert dict(left.facts)["saved"] == SAVED
    assert "gate-opened" not in ladder.told


def test_nobody_is_asked_for_that_word_before_the_gate_was_tried_for_a_while() -> None:
    ladder = in_step(OpeningGate(START, Outcome.SUCCEEDED, "tested"), saved_gate=SAVED, closed_at=START)
    ladder.look(Verb.APPROVE)
    for _ in range(3):
        ladder.look(after=timedelta(seconds=10))
    assert ladder.at(OpeningGate)


def test_a_gate_that_was_written_and_cannot_be_seen_since_asks_and_ends_on_a_persons_word() -> None:
    ladder = in_step(OpeningGate(START, Outcome.SUCCEEDED, "tested"), saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    (write,) = ladder.look(after=timedelta(seconds=10), images=NEW).tasks
    ladder.answer(write.key)
    for _ in range(14):
        for task in ladder.look(after=timedelta(seconds=10), images=NEW).tasks:
            ladder.results[task.key] = TaskResult(task.key, ladder.now, "unavailable", ok=False, why="the Admin API is away")
    assert ladder.at(OpeningGate)
    assert any("the Admin API is away" in n.why and "`rollout approve`" in n.next_action for n in ladder.notices)
    decision = ladder.look(Verb.APPROVE, images=NEW)
    (opened,) = [event for event in decision.events if event.kind == "gate-opened"]
    assert ladder.at(WatchingOpen)
    assert "nobody has seen it since" in opened.why
    assert dict(opened.facts)["proven"] == "unproven"


def test_a_broken_version_behind_an_open_gate_does_not_keep_its_hotfix_out() -> None:
    ladder = watching()
    for _ in range(10):
        ladder.look(after=M, replicas=0, images=NEW)
    assert ladder.at(WatchingOpen)
    assert "orders has 0 replicas" in ladder.state.holds[0].why
    assert any("`rollout abort`" in n.next_action for n in ladder.notices if n.kind is NoticeKind.HELD)
    decision = ladder.look(Verb.ABORT, replicas=0, images=NEW)
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.ABORTED
    assert decision.forward == decision.backward == ()
    assert "stays" in ladder.state.step.why


def test_a_watch_that_ends_early_still_waits_for_a_lost_write_that_may_close_the_gate() -> None:
    ladder = watching()
    ladder.state = replace(ladder.state, offline=replace(ladder.state.offline, closed_at=None))  # type: ignore[type-var]
    ladder.look(Verb.ABORT, images=NEW)
    assert ladder.at(WatchingOpen)
    ladder.wait(6 * M, images=NEW)
    ladder.look(Verb.ABORT, images=NEW)
    assert isinstance(ladder.state.step, Ended)


def test_an_old_version_that_does_not_come_up_can_be_left_to_a_person_with_the_gate_closed() -> None:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.START)
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    ladder.look(Verb.ABORT, replicas=2, images=NEW)
    assert ladder.at(RollingBack)
    for _ in range(12):
        ladder.look(after=M, replicas=2, images=NEW)
    ladder.look(Verb.ABORT, images=NEW)
    assert isinstance(ladder.state.step, Ended)
    assert "left-closed" in ladder.told
    assert "is to get" in ladder.state.step.why


def test_an_approval_that_comes_a_second_time_accepts_nothing_that_was_not_asked() -> None:
    ladder = in_step(ClosingGate(START), saved_gate=SAVED, closed_at=START)
    decision = ladder.look(Verb.APPROVE)
    ladder.answer(next(t.key for t in decision.tasks if t.kind == "gate-verify"), facts={"proven": "unproven"})
    ladder.look(after=timedelta(seconds=5))
    assert ladder.at(ClosingGate)
    assert ladder.state.approval is None


def test_cancel_does_not_try_a_stuck_way_back_again() -> None:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.RESTORE, stuck="the restore failed")
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, touched=True)
    ladder.look(Verb.CANCEL, replicas=0)
    assert isinstance(ladder.state.step, RollingBack)
    assert ladder.state.step.stuck
    assert "not-possible" in ladder.told


def test_a_window_is_not_extended_once_the_gate_is_open() -> None:
    ladder = watching()
    ladder.look(Verb.EXTEND, images=NEW)
    assert ladder.state.offline is not None
    assert ladder.state.offline.extended == timedelta()
    assert ladder.announced == 0
    assert "not-possible" in ladder.told


def test_a_target_that_is_gone_on_the_way_back_can_be_left_to_a_person() -> None:
    ladder = in_step(RollingBack(START, "broken", "failed", Outcome.FAILED), saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    for _ in range(12):
        ladder.look(after=M, gone=True)
    assert any("there is no Deployment" in hold.why or "cannot be seen" in hold.why for hold in ladder.state.holds)
    ladder.look(Verb.ABORT, gone=True)
    assert isinstance(ladder.state.step, Ended)
    assert "left-closed" in ladder.told


def test_a_short_watch_still_waits_for_a_lost_write_that_may_close_the_gate_again() -> None:
    ladder = in_step(WatchingOpen(START, Outcome.SUCCEEDED, "tested"), made=plan(watch="0s"), saved_gate=SAVED, closed_at=START)
    guard = f"guard-{int(START.timestamp()) // 10:012d}"
    ladder.results[guard] = TaskResult(guard, START, "unavailable", ok=False, why="timed out; the write may still land")
    for _ in range(4):
        ladder.look(after=M, images=NEW)
    assert ladder.at(WatchingOpen)
    for _ in range(3):
        for task in ladder.look(after=M, images=NEW).tasks:
            ladder.answer(task.key)
    assert isinstance(ladder.state.step, Ended)


def test_an_open_gate_that_somebody_keeps_changed_is_told_once_and_not_every_minute() -> None:
    ladder = in_step(WatchingOpen(START, Outcome.SUCCEEDED, "tested"), saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    for _ in range(20):
        for task in ladder.look(after=M, images=NEW).tasks:
            ladder.answer(task.key, ok=False)
    assert ladder.told.count("gate-watch") > 10, "history has every time"
    assert len([notice for notice in ladder.notices if notice.kind is NoticeKind.GATE]) == 1


def test_every_late_write_that_was_taken_back_is_told() -> None:
    ladder = in_step(WatchingOpen(START, Outcome.SUCCEEDED, "tested"), saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    for _ in range(3):
        for task in ladder.look(after=M, images=NEW).tasks:
            ladder.answer(task.key, ok=False, facts={"reopened": "yes"})
    ladder.look(after=M, images=NEW)
    assert len([notice for notice in ladder.notices if notice.kind is NoticeKind.GATE]) == 3
