"""Of a Job that failed, history keeps what somebody needs who has to find out why: its output's tail, exit code and duration."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.history import Outcome
from rollout.core.state_offline import BackingUp, BackStage, Backup, Migrating, RollingBack, Stopping
from tests.core.test_offline import JOB, SAVED, START, in_step, plan

FACTS = {"job": "orders-x-1", "exit_code": "3", "seconds": "41", "log": "disk full"}
BACKUP = Backup("a", 1, "ab" * 32, START)
RESTORE = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.RESTORE)


@pytest.mark.parametrize(
    ("step", "key", "kind"),
    [
        (BackingUp(START), "job-backup-1", "failed-behind-the-gate"),
        (Migrating(START), "job-migrate-1", "failed-behind-the-gate"),
        (RESTORE, "job-restore-1", "stuck"),
    ],
)
def test_a_failed_job_leaves_its_output_in_history(step: Any, key: str, kind: str) -> None:  # noqa: ANN401 - any step
    ladder = in_step(step, saved_gate=SAVED, closed_at=START, stopped_at=START, touched=True, backup=BACKUP)
    ladder.answer(key, ok=False, facts=FACTS)
    (event,) = [event for event in ladder.look(replicas=0).events if event.kind == kind]
    assert FACTS.items() <= dict(event.facts).items()


def test_a_backup_that_is_done_leaves_its_artifact_duration_exit_code_and_output_in_history() -> None:
    facts = {
        "job": "orders-x-1",
        "exit_code": "0",
        "seconds": "90",
        "log": "dumped",
        "artifact": "a.dump",
        "size": "4096",
        "sha256": "ab" * 32,
    }
    ladder = in_step(BackingUp(START), saved_gate=SAVED, closed_at=START, stopped_at=START)
    ladder.answer("job-backup-1", facts=facts)
    (event,) = [event for event in ladder.look(replicas=0).events if event.kind == "backed-up"]
    assert facts.items() <= dict(event.facts).items()


def test_where_the_plan_goes_back_at_once_the_output_is_kept_too() -> None:
    ladder = in_step(BackingUp(START), made=plan(onFailure="rollback"), saved_gate=SAVED, closed_at=START, stopped_at=START,
                     before=(states.TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0"),))  # fmt: skip
    ladder.answer("job-backup-1", ok=False, facts=FACTS)
    (event,) = [event for event in ladder.look(replicas=0).events if event.kind == "stepping-back"]
    assert FACTS.items() <= dict(event.facts).items()


def test_a_failed_hook_leaves_its_output_where_people_are_asked() -> None:
    hook = {"name": "drain", "job": {"manifest": JOB}}
    ladder = in_step(Stopping(START), made=plan(quiesce={"hooks": [hook]}), saved_gate=SAVED, closed_at=START)
    (task,) = (task for task in ladder.look().tasks if task.kind == "work")
    ladder.answer(task.key, ok=False, facts=FACTS)
    (event,) = [event for event in ladder.look().events if event.kind == "failed-behind-the-gate"]
    assert FACTS.items() <= dict(event.facts).items()
