"""What still runs when a maintenance goes back is at rest before the database is restored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.commands import Verb
from rollout.core.state_offline import BackStage, Backup, RollingBack, TargetBefore
from tests.core.test_offline import JOB, SAVED, START, Ladder, in_step, plan

BEFORE = TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0")
IN_A_JOB = [{"name": "smoke", "job": {"manifest": JOB, "deadline": "10m"}}]


def aborted(tests: Any, index: int = 0) -> Ladder:  # noqa: ANN401 - as a plan writes them
    """A person aborts while the tests of the new version run; the database has been migrated."""
    ladder = in_step(
        states.Testing(START, index=index, course=2), made=plan(tests=tests), saved_gate=SAVED, closed_at=START, gate_proven=True,
        migrations=1, backup=Backup("a", 1, "ab" * 32, START), before=(BEFORE,),
    )  # fmt: skip
    ladder.look(Verb.ABORT, images={"orders": "orders:2.0"})
    assert ladder.at(RollingBack)
    return ladder


def stage(ladder: Ladder) -> BackStage:
    assert isinstance(ladder.state.step, RollingBack)
    return ladder.state.step.stage


def halt(ladder: Ladder) -> list[str]:
    return [task.key for task in ladder.look(replicas=0, after=timedelta(seconds=5)).tasks if task.kind == "job-halt"]


def test_a_test_job_that_runs_is_brought_to_rest_before_the_database_is_restored() -> None:
    ladder = aborted(IN_A_JOB)
    asked = halt(ladder)
    assert set(asked) == {"halt-test-new2-0-1", "halt-migrate-1"}
    ladder.answer("halt-migrate-1")
    assert halt(ladder) == ["halt-test-new2-0-1"]
    assert stage(ladder) is BackStage.HALT
    ladder.answer("halt-test-new2-0-1")
    assert halt(ladder) == []


@pytest.mark.parametrize(
    ("tests", "index"),
    [([{"name": "health", "http": {"url": "http://shop/"}}], 0), (IN_A_JOB, 1)],
    ids=["an HTTP request", "all of them over"],
)
def test_where_no_test_job_runs_none_is_waited_for(tests: Any, index: int) -> None:  # noqa: ANN401 - as a plan writes them
    ladder = aborted(tests, index)
    assert halt(ladder) == ["halt-migrate-1"]
