"""What was quiesced is undone before the gate is opened, whichever version serves then, and a failure of it is asked about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.commands import Command, Verb
from rollout.core.decision import Decision
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import Task
from rollout.core.seasons import without_effect
from rollout.core.state_offline import BackStage, ClosingGate, OpeningGate, RollingBack, TargetBefore, Undoing
from tests.core.test_offline import JOB, SAVED, START, Ladder, in_step, plan

BEFORE = TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0")
KEPT: dict[str, Any] = {"saved_gate": SAVED, "closed_at": START, "gate_proven": True, "before": (BEFORE,)}
NEW = {"orders": "orders:2.0"}
S = timedelta(seconds=1)


def hook(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - the plan's own values
    return {"name": name, "http": {"url": "http://queue/resume", "method": "POST"}, "pause": "1s", **more}


def made(*hooks: dict[str, Any]) -> Any:  # noqa: ANN401 - an offline plan
    return plan(quiesce={"hooks": [hook("drain")], "undo": list(hooks or (hook("fill"), hook("wake")))})


def undoing(step: Any = None, *hooks: dict[str, Any]) -> Ladder:  # noqa: ANN401 - as stored
    return in_step(step or Undoing(START, Outcome.SUCCEEDED, "tested", "the tests passed"), made=made(*hooks), **KEPT)


def asked(decision: Decision) -> list[Task]:
    return [task for task in decision.tasks if task.argument("list") == "undo"]


def fail(ladder: Ladder, times: int = 1) -> None:
    for _ in range(times):
        ladder.look(images=NEW, after=2 * S)
        (task,) = asked(ladder.look(images=NEW, after=2 * S))
        ladder.answer(task.key, ok=False)
        ladder.look(images=NEW)


def test_after_the_tests_every_undo_hook_runs_once_and_in_order_before_the_gate_is_opened() -> None:
    ladder = in_step(states.Testing(START, index=1), made=made(), **KEPT)
    ladder.look(images=NEW)
    assert ladder.at(Undoing)
    for index in ("0", "1"):
        ladder.look(images=NEW, after=S)
        looked = ladder.look(images=NEW, after=S)
        (task,) = asked(looked)
        assert (task.kind, task.argument("index")) == ("work", index)
        assert any(other.kind == "gate-guard" for other in looked.tasks), "the gate is guarded until it is opened"
        ladder.answer(task.key)
        ladder.look(images=NEW, after=S)
    ladder.look(images=NEW, after=S)
    assert ladder.at(OpeningGate)
    assert ladder.told == ["undoing", "undo-hook", "undo-hook", "opening"]


def test_on_the_way_back_they_run_too_when_the_old_version_has_passed_its_tests() -> None:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.TEST, index=1)
    ladder = in_step(step, made=made(hook("fill")), **KEPT)
    ladder.look()
    assert isinstance(ladder.state.step, Undoing)
    assert ladder.state.step.ends_as is Outcome.FAILED
    (task,) = asked(ladder.look(after=S))
    ladder.answer(task.key)
    ladder.look(after=S)
    ladder.look(after=S)
    assert ladder.at(OpeningGate)


def test_where_only_the_gate_was_written_nothing_was_quiesced_and_nothing_is_undone() -> None:
    ladder = in_step(ClosingGate(START), made=made(), saved_gate=SAVED, closed_at=START)
    ladder.look(Verb.ABORT)
    assert ladder.at(OpeningGate)


def test_a_plan_without_undo_hooks_opens_at_once() -> None:
    ladder = in_step(states.Testing(START, index=1), **KEPT)
    ladder.look(images=NEW)
    assert ladder.at(OpeningGate)


def test_an_undo_hook_is_tried_as_often_as_the_plan_says_and_then_a_person_is_asked_with_the_gate_closed() -> None:
    ladder = undoing(None, hook("fill", retries=1))
    fail(ladder, 2)
    looked = ladder.look(images=NEW, after=S)
    assert asked(looked) == []
    assert ladder.told.count("undo-failed") == 1
    (notice,) = [n for n in ladder.notices if n.kind is NoticeKind.NEEDS_PERSON]
    assert "undo hook fill failed: said so" in notice.why
    for answer in ("`rollout approve` tries it again", "`rollout open` opens without it", "`rollout rollback` goes back"):
        assert answer in notice.next_action
    assert any(task.kind == "gate-guard" for task in looked.tasks)


def test_approve_tries_the_failed_hook_again_as_a_run_of_its_own() -> None:
    ladder = undoing()
    first = asked(ladder.look(images=NEW))[0].key
    fail(ladder)
    ladder.look(Verb.APPROVE, images=NEW, after=60 * S)
    (again,) = asked(ladder.look(images=NEW, after=S))
    assert again.key != first
    assert again.argument("index") == "0"


def test_open_opens_without_the_hook_that_failed_and_says_who_wanted_it() -> None:
    ladder = undoing()
    fail(ladder)
    ladder.look(Verb.OPEN, images=NEW, after=S)
    assert isinstance(ladder.state.step, OpeningGate)
    assert "me opens it although undo hook fill failed" in ladder.state.step.why


def test_rollback_after_a_good_upgrade_goes_back_and_brings_the_hooks_job_to_rest_first() -> None:
    job = {"name": "fill", "job": {"manifest": JOB}}
    ladder = undoing(None, job)
    (task,) = asked(ladder.look(images=NEW))
    ladder.look(Verb.ROLLBACK, images=NEW, after=S)
    assert isinstance(ladder.state.step, RollingBack)
    halts = [t for t in ladder.look(images=NEW, after=S).tasks if t.kind == "job-halt"]
    assert [t.argument("job") for t in halts] == [f"undo-{task.argument('mark')}-0"]


def test_a_hook_that_still_runs_when_it_goes_back_is_brought_to_rest_before_what_it_did_is_undone() -> None:
    drains = plan(quiesce={"hooks": [{"name": "drain", "job": {"manifest": JOB}}], "undo": [hook("fill")]})
    ladder = in_step(states.Stopping(START), made=drains, **KEPT)
    (task,) = (one for one in ladder.look().tasks if one.argument("list") == "hooks")
    ladder.look(Verb.ABORT, after=S)
    halts = [t for t in ladder.look(after=S).tasks if t.kind == "job-halt"]
    assert [t.argument("job") for t in halts] == [f"hook-{task.argument('mark')}-0"]
    assert ladder.at(RollingBack)


@pytest.mark.parametrize("verb", [Verb.ROLLBACK, Verb.ABORT, Verb.CANCEL])
def test_on_the_way_back_there_is_nothing_further_to_go_back_to(verb: Verb) -> None:
    ladder = undoing(Undoing(START, Outcome.FAILED, "broken", "the old version runs"))
    fail(ladder)
    assert "is about to be opened" in without_effect(ladder.plan, ladder.state, Command(1, verb, "me", "", START))
    ladder.look(verb, after=S)
    assert ladder.at(Undoing)
    assert "not-possible" in ladder.told


def test_a_pause_holds_the_next_hook_and_not_the_guard() -> None:
    ladder = undoing()
    looked = ladder.look(Verb.PAUSE, images=NEW)
    assert asked(looked) == []
    assert any(task.kind == "gate-guard" for task in looked.tasks)
    assert asked(ladder.look(Verb.RESUME, images=NEW, after=S)) != []


def test_a_pause_that_comes_while_the_last_hook_runs_keeps_the_gate_closed() -> None:
    ladder = undoing(None, hook("fill"))
    (task,) = asked(ladder.look(images=NEW))
    ladder.look(Verb.PAUSE, images=NEW, after=S)
    ladder.answer(task.key)
    for _ in range(3):
        ladder.look(images=NEW, after=S)
    assert ladder.at(Undoing)
    ladder.look(Verb.RESUME, images=NEW, after=S)
    ladder.look(images=NEW, after=S)
    assert ladder.at(OpeningGate)


def undone(**shown: Any) -> Ladder:  # noqa: ANN401 - as `look` takes them
    """Every hook has run, and meanwhile something happened to the new version."""
    ladder = undoing(None, hook("fill"))
    (task,) = asked(ladder.look(images=NEW))
    ladder.answer(task.key)
    for _ in range(3):
        ladder.look(after=S, **shown)
    return ladder


def test_what_was_tested_must_still_run_when_the_last_hook_is_done() -> None:
    ladder = undone(images={"orders": "orders:9.9"})
    assert ladder.at(Undoing)
    ladder.look(images=NEW, after=S)
    assert ladder.at(OpeningGate)


def test_a_version_that_does_not_get_well_while_the_hooks_run_is_asked_about_with_the_gate_closed() -> None:
    ladder = undone(replicas=0, images=NEW)
    ladder.wait(ladder.plan.spec.start_deadline + 60 * 2 * S, replicas=0, images=NEW)
    notice = next(n for n in ladder.notices if n.kind is NoticeKind.NEEDS_PERSON and "orders has 0 replicas" in n.why)
    assert "`rollout open` opens it as it is" in notice.next_action
    ladder.look(Verb.OPEN, replicas=0, images=NEW, after=S)
    assert ladder.at(OpeningGate)


def test_undo_hooks_are_checked_as_all_other_work_of_the_plan_is() -> None:
    job = {"name": "fill", "job": {"manifest": JOB}}
    asking = hook("wake", http={"url": "http://queue/", "credential": "qa"})
    found = made(job, asking)
    assert "spec.quiesce.undo[0].job" in dict(found.jobs)
    assert "spec.quiesce.undo[1].http" in dict(found.requests)
