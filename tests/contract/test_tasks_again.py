"""Work that steps ask for: once per key, again where nobody answered, and never in a hot loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.decision import Execution
from rollout.core.errors import Unavailable
from rollout.core.observation import Task, TaskResult
from rollout.core.state import State
from rollout.engine.board import MOST_LOOKS, Board
from rollout.engine.tasks import AGAIN, Tasks
from rollout.engine.workers import Inline

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
TASK = Task("job-backup-1", "job")


class Bench:
    """Tasks with one performer that answers what it is told to; `asked` counts how often."""

    def __init__(self, *, away: bool) -> None:
        self.at = START
        self.away = away
        self.asked = 0
        self.execution: Any = Execution("orders-1", None, ())  # type: ignore[arg-type]  # no plan is looked at here
        self.tasks = Tasks({"job": self._perform}, Board(), Inline(), self, lambda _: None)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def _perform(self, execution: Execution, state: State, task: Task) -> TaskResult:
        del execution, state
        self.asked += 1
        if self.away:
            raise Unavailable("cluster", "does not answer")
        return TaskResult(task.key, self.at, "done", ok=True, why="done")

    def ask(self, after: timedelta = timedelta(), task: Task = TASK) -> int:
        self.at += after
        self.tasks.ask(self.execution, None, task)  # type: ignore[arg-type]  # no state is looked at here
        return self.asked


def test_an_answer_is_asked_for_once() -> None:
    bench = Bench(away=False)
    assert [bench.ask(), bench.ask(timedelta(hours=1))] == [1, 1]


def test_a_repeated_look_has_its_turn_again_when_the_clock_was_set_back_and_a_job_has_not() -> None:
    bench = Bench(away=False)
    look = Task(f"guard-{17:012d}", "job")
    assert [bench.ask(task=look), bench.ask(timedelta(seconds=3), look), bench.ask(-timedelta(minutes=10), look)] == [1, 1, 2]
    assert [bench.ask(), bench.ask(-timedelta(hours=1))] == [3, 3]


def test_what_did_not_answer_is_asked_again_after_a_pause() -> None:
    bench = Bench(away=True)
    assert [bench.ask(), bench.ask(), bench.ask(AGAIN)] == [1, 1, 2]


def test_a_clock_that_went_back_keeps_nobody_waiting() -> None:
    bench = Bench(away=True)
    assert [bench.ask(), bench.ask(-timedelta(hours=1))] == [1, 2]


class Waiting:
    """Workers that keep what they are given; nothing runs."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def spawn(self, pool: str, work: object) -> None:
        del pool
        self.given.append(work)

    def idle(self) -> bool:
        return not self.given

    def close(self, timeout: float) -> None:
        del timeout


def test_a_look_that_is_repeated_waits_for_the_one_before_and_other_work_does_not() -> None:
    workers, bench = Waiting(), Bench(away=False)
    tasks = Tasks({}, Board(), workers, bench, lambda _: None)
    for key in ("guard-000000000001", "guard-000000000002", "proof-000000000002", "job-backup-1", "job-backup-2"):
        tasks.ask(bench.execution, None, Task(key, "any"))  # type: ignore[arg-type]  # no state is looked at here
    assert len(workers.given) == 4


def test_of_a_look_that_is_repeated_only_the_newest_results_are_kept_and_of_other_work_every_one() -> None:
    board = Board()
    keys = [f"guard-{number:012d}" for number in range(1_000)] + [f"job-backup-{number}" for number in range(200)]
    for key in keys:
        board.put_result("orders-1", TaskResult(key, START, "done", ok=True, why="well"))
    kept = board.results("orders-1")
    guards = sorted(key for key in kept if key.startswith("guard"))
    assert MOST_LOOKS <= len(guards) <= 2 * MOST_LOOKS
    assert guards[-1] == "guard-000000000999"
    assert sum(key.startswith("job") for key in kept) == 200
