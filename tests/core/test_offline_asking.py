"""The offline procedure by hand: what is told and asked, several targets, no stopping, and the end of a way back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rollout.core import state_offline
from rollout.core.commands import Verb
from rollout.core.history import NoticeKind, Outcome
from rollout.core.state import Ended, HoldKind
from rollout.core.state_offline import (
    Announcing,
    BackStage,
    Backup,
    ClosingGate,
    Deciding,
    OpeningGate,
    RollingBack,
    Stopping,
    TargetBefore,
    Upgrading,
    WatchingOpen,
)
from tests.core.test_offline import JOB, SAVED, START, Ladder, in_step, needed, plan


def test_a_gate_that_nobody_accepts_is_opened_again_at_the_last_moment() -> None:
    late = START + timedelta(hours=1, minutes=50)
    ladder = in_step(ClosingGate(START), now=late, saved_gate=SAVED, closed_at=START)
    ladder.look()
    assert ladder.at(OpeningGate)
    assert "stepping-back" in ladder.told


def test_a_hooks_job_that_cannot_start_is_told_at_once() -> None:
    hook = {"name": "drain", "job": {"manifest": JOB}}
    ladder = in_step(Stopping(START), made=plan(quiesce={"hooks": [hook]}), saved_gate=SAVED, closed_at=START)
    ladder.stuck(ladder.look().tasks, "work", "drain-x: ImagePullBackOff")
    decision = ladder.look(after=timedelta(seconds=5))
    assert ["hook drain cannot start: drain-x: ImagePullBackOff" in n.why for n in needed(decision)] == [True]


def test_a_tests_job_that_cannot_start_is_told_at_once() -> None:
    smoke = {"name": "smoke", "job": {"manifest": JOB, "deadline": "10m"}}
    ladder = in_step(state_offline.Testing(START), made=plan(tests=[smoke]), saved_gate=SAVED, closed_at=START)
    ladder.stuck(ladder.look().tasks, "work", "smoke-x cannot be scheduled: no node")
    decision = ladder.look(after=timedelta(seconds=5))
    assert ["test smoke cannot start: smoke-x cannot be scheduled" in n.why for n in needed(decision)] == [True]


def test_announcements_go_to_their_own_channels_and_nothing_else_does() -> None:
    ladder = in_step(Announcing(START), now=START - timedelta(minutes=20), made=plan(announce={"channels": ["customers"]}))
    cancelled = ladder.look(Verb.CANCEL)
    assert [n.channels for n in cancelled.notices if n.kind is NoticeKind.ANNOUNCEMENT] == [("customers",)]
    other = in_step(Deciding(START, "broken", "tests"), made=plan(announce={"channels": ["customers"]}), saved_gate=SAVED)
    assert [n.channels for n in needed(other.look())] == [()]


def test_without_stopping_the_upgrade_follows_the_closed_gate_and_the_way_back_needs_no_zero() -> None:
    rolling = {"stop": False, "schemaChange": False, "backup": None, "migrate": None, "restore": None}
    ladder = in_step(ClosingGate(START), made=plan(**rolling), saved_gate=SAVED, closed_at=START)
    task = next(t for t in ladder.look().tasks if t.kind == "gate-verify")
    ladder.answer(task.key, facts={"proven": "yes"})
    ladder.look()
    assert ladder.at(Upgrading)
    patch = ladder.look().forward[0]
    assert (patch.image, patch.replicas) == ("orders:2.0", 2)
    ladder.look(Verb.ROLLBACK)
    halted = ladder.look()
    assert ladder.at(RollingBack)
    assert [p.replicas for p in halted.forward] == [None]


def test_several_targets_are_upgraded_in_order_and_go_back_in_reverse() -> None:
    two = [{"namespace": "shop", "stable": name, "image": f"{name}:2.0"} for name in ("orders", "stock")]
    made = plan(target=None, image=None, targets=two)
    kept = tuple(TargetBefore(target.key, f"{target.stable}:1.0", 2, f"{target.stable}:2.0") for target in made.targets)
    ladder = in_step(Upgrading(START), made=made, saved_gate=SAVED, closed_at=START, before=kept)
    first = ladder.look(images={"orders": "orders:1.0", "stock": "stock:1.0"}, replicas=0)
    assert [(p.name, p.image) for p in first.forward] == [("orders", "orders:2.0")]
    ladder.look(images={"orders": "orders:2.0", "stock": "stock:1.0"})
    second = ladder.look(images={"orders": "orders:2.0", "stock": "stock:1.0"})
    assert [(p.name, p.image) for p in second.forward] == [("stock", "stock:2.0")]
    ladder.look(images={"orders": "orders:2.0", "stock": "stock:2.0"})
    assert ladder.at(state_offline.Testing)
    back = in_step(RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.START), made=made, saved_gate=SAVED,
                   before=kept)  # fmt: skip
    patch = back.look(images={"orders": "orders:2.0", "stock": "stock:2.0"}).forward[0]
    assert (patch.name, patch.image) == ("stock", "stock:1.0")


def test_a_restore_leaves_its_time_for_the_plans_to_come() -> None:
    backup = Backup("a.dump", 4096, "ab" * 32, START)
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.RESTORE)
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, touched=True, backup=backup)
    ladder.answer("job-restore-1", facts={"seconds": "754"})
    decision = ladder.look(replicas=0)
    (event,) = [e for e in decision.events if e.kind == "back-restore"]
    assert dict(event.facts)["seconds"] == "754"


def test_after_a_way_back_the_gate_is_watched_while_a_lost_write_may_still_close_it() -> None:
    step = OpeningGate(START, Outcome.FAILED, "the gate could not be closed")
    ladder = in_step(step, saved_gate=SAVED)
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-open").key)
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-verify").key, facts={"proven": "yes"})
    ladder.look()
    assert ladder.at(WatchingOpen)
    assert [t.kind for t in ladder.wait(timedelta(minutes=4)).tasks] == ["gate-watch"]
    ladder.wait(timedelta(minutes=2))
    assert ladder.at(WatchingOpen), "nobody has seen it open since"
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-watch").key)
    ladder.look()
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.FAILED


def _opened(ends_as: Outcome, *looks: str, **memory: Any) -> Ladder:  # noqa: ANN401 - as stored
    """The gate is opened and seen open by a daemon that has made these looks."""
    ladder = in_step(OpeningGate(START, ends_as, "broken"), saved_gate=SAVED, closed_at=START, **memory)
    for look in looks:
        ladder.answer(f"{look}-000000000001")
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-open").key)
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-verify").key, facts={"proven": "yes"})
    ladder.look()
    return ladder


def _watch(ladder: Ladder, minutes: int, facts: dict[str, str] | None = None) -> None:
    for _ in range(minutes):
        for task in ladder.look(after=timedelta(minutes=1), images={"orders": "orders:2.0"}).tasks:
            ladder.answer(task.key, ok=not facts, facts=facts)


def test_an_heir_looks_at_the_opened_gate_until_no_write_of_its_predecessor_can_land() -> None:
    ladder = _opened(Outcome.FAILED)
    assert ladder.at(WatchingOpen)
    _watch(ladder, 4)
    assert ladder.at(WatchingOpen)
    _watch(ladder, 2, {"reopened": "yes"})
    assert ladder.at(WatchingOpen), "it had been closed once more"
    _watch(ladder, 2)
    assert isinstance(ladder.state.step, Ended)


def test_an_heir_of_an_upgrade_looks_as_long_however_short_its_watch_is() -> None:
    short = {"made": plan(watch="0s")}
    ladder = _opened(Outcome.SUCCEEDED, "read", **short)
    _watch(ladder, 1)
    assert isinstance(ladder.state.step, Ended), "who has closed it knows what it sent"
    ladder = _opened(Outcome.SUCCEEDED, **short)
    _watch(ladder, 4)
    assert ladder.at(WatchingOpen)
    _watch(ladder, 3)
    assert isinstance(ladder.state.step, Ended)


def test_a_gate_that_nobody_can_see_open_is_told_and_not_ended_until_a_person_says_so() -> None:
    ladder = _opened(Outcome.FAILED)
    told = ladder.wait(timedelta(minutes=20))
    assert [hold.kind for hold in told.state.holds] == [HoldKind.GATE]
    assert ladder.at(WatchingOpen)
    ladder.look(Verb.APPROVE)
    assert isinstance(ladder.state.step, Ended)


def test_after_a_way_back_behind_a_gate_that_was_seen_closed_it_ends_at_once() -> None:
    ladder = in_step(OpeningGate(START, Outcome.FAILED, "broken"), saved_gate=SAVED, closed_at=START)
    ladder.answer("read-000000000001")
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-open").key)
    ladder.answer(next(t for t in ladder.look().tasks if t.kind == "gate-verify").key, facts={"proven": "yes"})
    ladder.look()
    assert isinstance(ladder.state.step, Ended)


def test_whoever_is_asked_behind_a_closed_gate_is_reminded_every_quarter_of_an_hour() -> None:
    ladder = in_step(Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, gate_proven=True, stopped_at=START)
    asked = [[n for n in needed(ladder.look(after=timedelta(minutes=1))) if n.why == "broken"] for _ in range(31)]
    assert [minute for minute, notices in enumerate(asked) if notices] == [0, 15, 30]


def test_an_approval_for_one_thing_is_none_for_the_next() -> None:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.RESTORE)
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, touched=True)
    ladder.look(Verb.APPROVE, replicas=0)
    ladder.look(replicas=0)
    assert isinstance(ladder.state.step, RollingBack)
    assert "no verified backup" in ladder.state.step.stuck


def test_what_does_not_come_to_rest_on_the_way_back_is_told_after_the_quiesce_deadline() -> None:
    kept: dict[str, Any] = {"saved_gate": SAVED, "closed_at": START, "touched": True, "gate_proven": True}
    ladder = in_step(RollingBack(START, "broken", "failed", Outcome.FAILED), **kept)
    early, late = (ladder.wait(timedelta(minutes=minutes)) for minutes in (9, 1))
    assert not [n for n in needed(early) if "the way back waits" in n.why]
    assert [n for n in needed(late) if "the way back waits for 10 m, the gate is closed" in n.why]


def test_the_deadline_for_stopping_begins_after_the_hooks() -> None:
    quiesce = {"hooks": [{"name": "drain", "job": {"manifest": JOB}}], "sessions": {"manifest": JOB}}
    ladder = in_step(Stopping(START), made=plan(quiesce=quiesce), saved_gate=SAVED, closed_at=START)
    (hook,) = (task for task in ladder.look(replicas=0).tasks if task.kind == "work")
    ladder.wait(timedelta(minutes=9), replicas=0)
    ladder.answer(hook.key)
    ladder.wait(timedelta(minutes=9), replicas=0)
    assert ladder.at(Stopping)
    ladder.wait(timedelta(minutes=2), replicas=0)
    assert ladder.at(Deciding)
