"""Runs what steps ask for that needs the network and brings a result: once per key, again where the result was no answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from rollout.core.decision import Execution
from rollout.core.observation import Task, TaskResult
from rollout.core.offline_facts import DIGITS
from rollout.core.plan_offline import OfflinePlan
from rollout.core.state import State
from rollout.engine import events
from rollout.engine.board import Board
from rollout.engine.workers import Pool, Workers
from rollout.ports import Clock, Rejected, RolloutError, Unavailable

log = structlog.get_logger()

AGAIN = timedelta(seconds=2)
"""Something that did not answer, or a Job that still runs, is asked again no sooner: every result wakes its rollout, which asks."""

Performer = Callable[[Execution, State, Task], TaskResult]


class Tasks:
    """The performers by kind of task. A new kind of work is a performer and a line in wiring."""

    def __init__(
        self, performers: Mapping[str, Performer], board: Board, workers: Workers, clock: Clock, wake: Callable[[str], None]
    ) -> None:
        self._performers = performers
        self._board = board
        self._workers = workers
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()

    def ask(self, execution: Execution, state: State, task: Task) -> None:
        """Start the task unless it runs or has brought its answer; `unavailable` is none."""
        result = self._board.results(execution.id).get(task.key)
        if result is not None and (result.state != "unavailable" or self._just_asked(result)) and not self._of_the_future(result):
            return
        mark = (execution.id, task.key)
        with self._lock:
            if mark in self._running or self._repeats_a_running_one(execution.id, task.key):
                return
            self._running.add(mark)
        self._workers.spawn(_pool(execution, task), lambda: self._run(execution, state, task))

    def _repeats_a_running_one(self, rollout: str, key: str) -> bool:
        """Say whether an earlier look of the same kind still waits for its answer: a backend that hangs fills no pool."""
        stem = key.rpartition("-")[0]
        if not is_repeated(key):
            return False
        return any(other == rollout and running.rpartition("-")[0] == stem for other, running in self._running)

    def _of_the_future(self, result: TaskResult) -> bool:
        """Say whether a repeated look was answered before the clock was set back: its turn comes once more."""
        return is_repeated(result.key) and result.at > self._clock.now()

    def _just_asked(self, result: TaskResult) -> bool:
        return timedelta() <= self._clock.now() - result.at < AGAIN

    def _run(self, execution: Execution, state: State, task: Task) -> None:
        try:
            result = self._perform(execution, state, task)
        finally:
            with self._lock:
                self._running.discard((execution.id, task.key))
        write = log.debug if result.state == "unavailable" and not result.facts.get("trouble") else log.info
        write(events.TASK_DONE, rollout=execution.id, task=task.key, state=result.state, ok=result.ok, why=result.why)
        self._board.put_result(execution.id, result)
        self._wake(execution.id)

    def _perform(self, execution: Execution, state: State, task: Task) -> TaskResult:
        performer = self._performers.get(task.kind)
        if performer is None:
            why = f"this daemon has nobody for {task.kind!r}: its configuration lacks what the plan needs"
            return TaskResult(task.key, self._clock.now(), "done", ok=False, why=why)
        try:
            return performer(execution, state, task)
        except Unavailable as error:
            return TaskResult(task.key, self._clock.now(), "unavailable", ok=False, why=str(error))
        except Rejected as error:
            return TaskResult(task.key, self._clock.now(), "done", ok=False, why=str(error))
        except RolloutError as error:
            return TaskResult(task.key, self._clock.now(), "done", ok=False, why=str(error))
        except Exception as error:
            log.error(events.BUG, where="task", task=task.key, rollout=execution.id, exc_info=error)
            return TaskResult(task.key, self._clock.now(), "unavailable", ok=False, why=f"internal error: {type(error).__name__}")


def is_repeated(key: str) -> bool:
    """Say whether a task is a look that is repeated: its key ends in the number of a piece of time."""
    return len(key.rpartition("-")[2]) == DIGITS


def _pool(execution: Execution, task: Task) -> str:
    """Choose where a task waits for its turn: nothing that may take long stands before a gate."""
    if task.kind.startswith("gate-") and isinstance(execution.plan, OfflinePlan):
        return Pool.GATES.of(execution.plan.spec.gate.gateway)
    return Pool.WORK if task.kind == "work" else Pool.TASKS
