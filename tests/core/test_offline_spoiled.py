"""Hands that reach in while the gate is closed: writers during a restore, a Job that is taken away, another word on the gate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.commands import Verb
from rollout.core.decision import Decision
from rollout.core.gate import Part, Place, PlaceKind, SavedGate
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import TaskResult
from rollout.core.state_offline import BackingUp, BackStage, Backup, ClosingGate, Deciding, Migrating, RollingBack, TargetBefore
from tests.core.test_offline import SAVED, START, Ladder, in_step, plan

BACKUP = Backup("a", 1, "ab" * 32, START)
S = timedelta(seconds=1)


def restoring() -> Ladder:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.RESTORE)
    return in_step(step, saved_gate=SAVED, closed_at=START, touched=True, backup=BACKUP)


def keys(decision: Decision, kind: str) -> list[str]:
    return [task.key for task in decision.tasks if task.kind == kind]


def test_a_restore_beside_which_writers_came_back_is_told_and_made_again() -> None:
    ladder = restoring()
    assert keys(ladder.look(replicas=0), "job") == ["job-restore-1"]
    stopped = ladder.look(replicas=2, after=5 * S)
    assert [patch.replicas for patch in stopped.forward] == [0]
    ladder.look(replicas=2, after=5 * S)
    assert ladder.told.count("disturbed") == 1
    ladder.answer("job-restore-1")
    ladder.look(replicas=0, after=5 * S)
    assert isinstance(ladder.state.step, RollingBack)
    assert (ladder.state.step.stage, ladder.state.step.attempt) == (BackStage.RESTORE, 2)
    assert keys(ladder.look(replicas=0, after=5 * S), "job-halt") == ["halt-restore-1"]
    ladder.answer("halt-restore-1")
    assert keys(ladder.look(replicas=0, after=5 * S), "job") == ["job-restore-2"]


def running(ladder: Ladder, key: str, facts: Mapping[str, str]) -> None:
    ladder.results[key] = TaskResult(key, ladder.now, "unavailable", ok=False, why="runs", facts=facts)


def test_a_migration_that_was_seen_to_run_is_never_begun_anew_under_its_name() -> None:
    ladder = in_step(
        Migrating(START), saved_gate=SAVED, closed_at=START, stopped_at=START, touched=True, backup=BACKUP, migrations=1
    )
    (first,) = (task for task in ladder.look(replicas=0).tasks if task.kind == "job")
    assert not first.argument("known")
    running(ladder, first.key, {"job": "orders-migrate-1"})
    assert ladder.look(replicas=0, after=5 * S).material
    (second,) = (task for task in ladder.look(replicas=0, after=5 * S).tasks if task.kind == "job")
    assert (second.key, second.argument("known")) == (first.key, "yes")


def test_an_earlier_backup_is_brought_to_rest_before_the_next_attempt() -> None:
    ladder = in_step(BackingUp(START, attempt=2), saved_gate=SAVED, closed_at=START, stopped_at=START)
    decision = ladder.look(replicas=0)
    assert keys(decision, "job-halt") == ["halt-backup-1"]
    assert keys(decision, "job") == []
    ladder.answer("halt-backup-1")
    assert keys(ladder.look(replicas=0, after=5 * S), "job") == ["job-backup-2"]


def test_a_gate_that_changed_after_it_was_saved_is_saved_anew_before_it_is_closed() -> None:
    ladder = in_step(ClosingGate(START), saved_gate=SAVED)
    (close,) = keys(ladder.look(), "gate-close")
    ladder.answer(close, ok=False, facts={"changed": "yes"})
    ladder.look(after=S)
    assert ladder.state.offline is not None
    assert ladder.state.offline.saved_gate == ""
    assert "gate-changed" in ladder.told
    assert keys(ladder.look(after=S), "gate-read") != []


@pytest.mark.parametrize(("gate", "title"), [("open", "was not closed"), ("unknown", "cannot be looked at")])
def test_a_gate_that_cannot_be_read_is_not_called_open(gate: str, title: str) -> None:
    ladder = in_step(Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, gate_proven=True, stopped_at=START)
    (guard,) = keys(ladder.look(), "gate-guard")
    ladder.answer(guard, ok=False, facts={"gate": gate})
    ladder.look(after=S)
    assert [n.title for n in ladder.notices if n.kind is NoticeKind.GATE] == [f"shop/orders: the closed gate {title}"]


SERVING: dict[str, Any] = {
    "saved_gate": SAVED, "closed_at": START, "gate_proven": True, "stopped_at": START, "touched": True, "backup": BACKUP,
    "before": (TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0"),),
}  # fmt: skip
NEW = {"orders": "orders:2.0"}


def breached(step: Any, gate: str, replicas: int = 2, **spec: Any) -> Ladder:  # noqa: ANN401 - as stored
    """The new version runs, or not, and the guard finds something."""
    ladder = in_step(step, made=plan(**spec), **SERVING)
    (guard,) = keys(ladder.look(replicas=replicas, images=NEW), "gate-guard")
    ladder.answer(guard, ok=False, facts={"gate": gate})
    return ladder


@pytest.mark.parametrize("gate", ["open", "moved", "followed"])
def test_what_outsiders_may_have_written_to_the_new_version_is_not_lost_to_a_restore_that_starts_by_itself(gate: str) -> None:
    test = {"name": "health", "http": {"url": "http://shop/"}, "retries": 0}
    ladder = breached(states.Testing(START), gate, onFailure="rollback", tests=[test])
    ladder.answer("test-new-1-0-1", ok=False)  # in the same look
    ladder.wait(timedelta(hours=2), images=NEW)
    assert ladder.at(Deciding)
    pages = [f"{n.why} {n.next_action}" for n in ladder.notices if n.kind is NoticeKind.NEEDS_PERSON]
    assert any("the gate let somebody in at 2026-11-22 09:00 UTC while the new version ran" in page for page in pages)
    ladder.look(Verb.ROLLBACK, images=NEW, after=S)
    ladder.look(replicas=0, images=NEW, after=S)
    assert ladder.at(RollingBack), "a person may"
    assert isinstance(ladder.state.step, RollingBack)
    assert ladder.state.step.stuck == ""


def test_a_breach_that_is_seen_only_on_the_way_back_stops_it_before_the_restore_until_a_person_says_go_on() -> None:
    ladder = breached(RollingBack(START, "broken", "failed", Outcome.FAILED), "open")
    ladder.look(images=NEW, after=S)
    fenced = ladder.look(replicas=0, images=NEW, after=S, fenced=True)
    assert isinstance(ladder.state.step, RollingBack)
    assert "may have written what the backup lacks" in ladder.state.step.stuck
    assert keys(fenced, "job") == []
    ladder.look(Verb.ROLLBACK, replicas=0, images=NEW, after=S, fenced=True)
    ladder.look(replicas=0, images=NEW, after=S, fenced=True)
    assert ladder.state.step.stage is BackStage.RESTORE


def test_a_breach_that_is_told_when_the_last_pod_is_just_gone_stops_it_too() -> None:
    ladder = breached(RollingBack(START, "broken", "failed", Outcome.FAILED), "open")
    fenced = ladder.look(replicas=0, images=NEW, after=S, fenced=True)
    assert keys(fenced, "job") == []
    assert isinstance(ladder.state.step, RollingBack)
    assert (ladder.state.step.stage, "may have written what the backup lacks" in ladder.state.step.stuck) == (BackStage.HALT, True)


def test_where_the_new_version_never_ran_an_open_gate_stops_no_way_back() -> None:
    ladder = breached(RollingBack(START, "the migration failed", "failed", Outcome.FAILED), "open", replicas=0)
    ladder.look(replicas=0, after=S, fenced=True)
    assert isinstance(ladder.state.step, RollingBack)
    assert ladder.state.step.stage is BackStage.RESTORE


@pytest.mark.parametrize(("gate", "replicas"), [("unknown", 2), ("followed", 0), ("open", 0)])
def test_where_nobody_can_have_reached_the_new_version_it_still_goes_back_by_itself(gate: str, replicas: int) -> None:
    ladder = breached(Deciding(START, "broken", "tests"), gate, replicas)
    ladder.wait(timedelta(hours=2), replicas=replicas, images={"orders": "orders:2.0"})
    assert ladder.at(RollingBack)


def test_what_took_the_gates_place_is_in_the_row_before_the_look_that_closes_it() -> None:
    moved = SavedGate(Place(PlaceKind.ROUTE, "anew"), "ip-restriction", (Part("", None),)).to_json()
    ladder = in_step(states.Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, gate_proven=True)
    for seconds, gate in ((1, "moved"), (11, "moved"), (11, "followed")):
        (guard,) = keys(ladder.look(after=seconds * S), "gate-guard")
        ladder.answer(guard, ok=False, facts={"gate": gate, "successor": moved} if gate == "moved" else {"gate": gate})
        ladder.look(after=S)
    assert ladder.state.offline is not None
    assert ladder.state.offline.successors == (moved,)
    assert ladder.state.offline.saved_gate == SAVED
    titles = [n.title for n in ladder.notices if n.kind is NoticeKind.GATE]
    assert titles == [
        "shop/orders: the closed gate was made anew elsewhere",
        "shop/orders: the gate is closed again, where it was made anew",
    ]


def test_the_notice_of_a_breach_says_what_its_look_advises() -> None:
    ladder = in_step(states.Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, gate_proven=True)
    (guard,) = keys(ladder.look(), "gate-guard")
    ladder.answer(guard, ok=False, facts={"gate": "open", "advice": "Delete route 7."})
    ladder.look(after=S)
    assert [n.next_action for n in ladder.notices if n.kind is NoticeKind.GATE] == ["Delete route 7."]


def test_whoever_finishes_by_hand_finds_in_history_what_stood_everywhere() -> None:
    step = states.RollingBack(START, "broken", "failed", Outcome.FAILED, stuck="the restore failed")
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, successors=("elsewhere",))
    ended = ladder.look(Verb.ABORT)
    (event,) = (event for event in ended.events if event.kind == "left-closed")
    assert dict(event.facts).items() >= {"saved": SAVED, "saved 2": "elsewhere"}.items()


def test_a_gate_that_anybody_may_pass_is_told_at_once_although_it_could_not_be_read_before() -> None:
    ladder = in_step(states.Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, gate_proven=True)
    for seconds, gate in ((1, "unknown"), (11, "open")):
        (guard,) = keys(ladder.look(after=seconds * S), "gate-guard")
        ladder.answer(guard, ok=False, facts={"gate": gate})
        ladder.look(after=S)
    assert len([n for n in ladder.notices if n.kind is NoticeKind.GATE]) == 2
