"""The tasks of many rollouts at once, on real threads: what takes long, or hangs, never stands before a gate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rollout.adapters.clock import SystemClock
from rollout.core.decision import Execution
from rollout.core.machine import begin
from rollout.core.observation import Task, TaskResult
from rollout.core.state import State
from rollout.engine.board import Board
from rollout.engine.tasks import Tasks
from rollout.engine.workers import SIZES, Threads
from tests.contract.gateways import until
from tests.core.test_offline import START, plan

CLOCK = SystemClock()
MANY = 2 * max(SIZES.values())


class Hanging:
    """Performers of which some kinds do not come back before the test is over."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self._over = threading.Event()
        self.workers = Threads()
        self.board = Board()
        self.tasks = Tasks(
            dict.fromkeys(("work", "offline-preflight", "job", "gate-guard"), self._perform),
            self.board, self.workers, CLOCK, lambda _: None,
        )  # fmt: skip

    def _perform(self, execution: Execution, state: State, task: Task) -> TaskResult:
        if task.kind in self._kinds and not execution.id.startswith("mine"):
            self._over.wait(60)
        return TaskResult(task.key, CLOCK.now(), "done", ok=True, why="is well")

    def ask(self, rollout: str, kind: str, gateway: str = "apisix") -> None:
        gate = {"gateway": gateway, "route": {"id": "1"}, "allow": ["192.0.2.10"], "probes": {"outside": [{"url": "/"}]}}
        execution = Execution(rollout, plan(gate=gate), ())
        self.tasks.ask(execution, begin(execution, START), Task(kind, kind))

    def has_answered(self, rollout: str, kind: str) -> bool:
        result = self.board.results(rollout).get(kind)
        return result is not None and result.ok

    def end(self) -> None:
        self._over.set()
        self.workers.close(30)


@contextmanager
def hanging(*kinds: str) -> Iterator[Hanging]:
    made = Hanging(*kinds)
    try:
        yield made
    finally:
        made.end()


def test_a_gate_is_guarded_while_every_test_hook_and_check_of_others_hangs() -> None:
    with hanging("work", "offline-preflight", "job") as daemon:
        for number in range(MANY):
            for kind in ("work", "offline-preflight", "job"):
                daemon.ask(f"other-{number}", kind)
        daemon.ask("mine", "gate-guard")
        until(lambda: daemon.has_answered("mine", "gate-guard"))


def test_a_gateway_that_hangs_keeps_no_gate_of_another_one_waiting() -> None:
    with hanging("gate-guard") as daemon:
        for number in range(MANY):
            daemon.ask(f"other-{number}", "gate-guard", "hangs")
        daemon.ask("mine", "gate-guard", "well")
        until(lambda: daemon.has_answered("mine", "gate-guard"))


def test_a_test_that_takes_long_keeps_no_check_of_another_rollout_waiting() -> None:
    with hanging("work") as daemon:
        for number in range(MANY):
            daemon.ask(f"other-{number}", "work")
        daemon.ask("mine", "offline-preflight")
        until(lambda: daemon.has_answered("mine", "offline-preflight"))
