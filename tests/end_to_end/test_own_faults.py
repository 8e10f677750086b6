"""The daemon's own faults: bugs in looking and reading, backends that hang, memory over a month."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from rollout.core.cohorts import TargetView
from rollout.core.decision import Execution, Timing
from rollout.core.history import Outcome
from rollout.core.observation import Task, TaskResult
from rollout.core.plan import plan_of
from rollout.core.signals import Answer, NoData, Question, Unreachable
from rollout.core.state import Retreating, State
from rollout.core.target import Target
from rollout.engine.engine import Engine, Setup
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk
from rollout.engine.workers import SIZES, Inline, Pool
from rollout.ports import Check, Clock, Message, PlanRow, SignalSource, Unavailable
from rollout.sandbox.world import World
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.end_to_end.arena import CLOCK, CRASHES, GOOD, LAX, QUICK, Arena, Chat, Node, manifests, preflight, until
from tests.simulation.pretend import START, WorldClock, WorldCluster


class Backend:
    """A signal source that does what it is told to when it is asked."""

    name = "prometheus"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hanging = threading.Event()
        self.going = threading.Event()
        self.error: Exception | None = None

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        self.hanging.set()
        self.going.wait()
        if self.error is not None:
            raise self.error
        return {question: Answer(question, NoData("nothing"), "", self.clock.now()) for question in questions}

    def check(self) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        return


class Blurred(WorldCluster):
    """Shows one Deployment in a way that no code expects."""

    blurred = ""

    def view(self, target: Target) -> TargetView | Unreachable:
        view = super().view(target)
        if target.stable == self.blurred and isinstance(view, TargetView):
            return replace(view, pods=cast("Any", None))
        return view


class Plain:
    """One engine without threads, in virtual time, on a few targets."""

    def __init__(self, count: int = 2, look_every: timedelta = timedelta(seconds=60)) -> None:
        self.world = World(START, 1, record_events=False)
        self.world.behaviours.default = QUICK
        for number in range(count):
            self.world.load(manifests("default", f"app-{number}", 2))
        self.world.advance_by(timedelta(minutes=1))
        self.clock = WorldClock(self.world)
        self.cluster = Blurred(self.world)
        self.store = MemoryStore(self.clock)
        codec = StoredCodec(self.store)
        timing = Timing(look_every, look_every * 2.5, timedelta(minutes=30))
        setup = Setup("d1", LAX, timing, ("ops",), timedelta(days=400))
        self.engine = Engine(setup, self.store, {"default": self.cluster}, {"preflight": preflight}, codec, self.clock, Inline())
        self.desk = Desk(self.store, codec, self.clock, LAX)

    def submit(self, number: int, soak: str = "1h") -> str:
        plan = {
            "apiVersion": "rollout/v1",
            "kind": "Canary",
            "metadata": {"name": f"app-{number}"},
            "spec": {
                "target": {"namespace": "default", "stable": f"app-{number}", "container": "app"},
                "image": GOOD,
                "replicas": {"every": "1m", "max": 1},
                "soak": soak,
                "maxSoak": "30d",
                "initialShare": "60%",
                "maxShare": "75%",
                "warmUp": "0s",
            },
        }
        return self.desk.submit(plan_of(plan), "", "ada").rollout.id

    def begin(self) -> None:
        upkeep = Upkeep(self.engine, {})
        upkeep.keep_lease()
        upkeep.claim()

    def run(self, span: timedelta) -> None:
        """Let time pass."""
        end = self.clock.now() + span
        while True:
            for rollout in self.engine.wakes.due(self.clock.now(), 100):
                self.engine.tick(rollout)
            if not self.engine.wakes.empty(self.clock.now()):
                continue
            times = [at for at in (self.engine.wakes.next_at(), self.world.next_due()) if at is not None]
            if min(times, default=end) >= end:
                self.world.advance(end)
                return
            self.world.advance(min(times))


def test_a_database_that_goes_away_while_a_plan_is_read_strands_no_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Plain()
    rollout = plain.submit(0)
    plan = plain.store.plan

    def away(name: str, plan_hash: str) -> PlanRow | None:
        raise Unavailable("database", "went away")

    monkeypatch.setattr(plain.store, "plan", away)
    plain.begin()
    assert plain.engine.active(rollout) is None
    assert plain.engine.undecodable == {}
    monkeypatch.setattr(plain.store, "plan", plan)
    plain.begin()
    assert plain.engine.active(rollout) is not None
    assert plain.engine.unread == {}


def test_a_look_that_raises_stops_no_other_rollout_and_that_canary_is_stepped_back() -> None:
    plain = Plain()
    broken, healthy = plain.submit(0), plain.submit(1)
    plain.begin()
    plain.run(timedelta(minutes=5))
    canary = plain.world.get("deployments", "default", "app-0-canary")
    assert canary["spec"]["replicas"] == 1
    plain.cluster.blurred = "app-0"
    plain.run(timedelta(minutes=5))
    assert plain.engine.bugs >= 6
    assert plain.world.get("deployments", "default", "app-0-canary")["spec"]["replicas"] == 0
    active = plain.engine.active(broken)
    assert active is not None
    assert isinstance(active.state.step, Retreating)
    plain.run(timedelta(hours=3))
    row = plain.store.rollout(healthy)
    assert row is not None
    assert row.outcome is Outcome.SUCCEEDED
    plain.cluster.blurred = ""
    plain.run(timedelta(minutes=5))
    row = plain.store.rollout(broken)
    assert row is not None
    assert (row.outcome, "internal error" in row.why) == (Outcome.FAILED, True)


def test_a_look_that_raises_for_hours_kills_nothing() -> None:
    plain = Plain(1)
    rollout = plain.submit(0)
    plain.begin()
    plain.cluster.blurred = "app-0"
    plain.run(timedelta(hours=5))
    assert plain.engine.bugs >= 6
    plain.cluster.blurred = ""
    plain.run(timedelta(hours=5))
    row = plain.store.rollout(rollout)
    assert row is not None
    assert row.outcome.at_rest


def test_an_end_that_is_seen_while_the_lease_is_uncertain_is_not_forgotten() -> None:
    """As an heir sees it that renews its lease just now: the canary is at 0 with a tombstone, so it ends at the first look."""
    plain = Plain(1)
    rollout = plain.submit(0)
    plain.begin()
    plain.run(timedelta(minutes=5))
    plain.engine.lease.lost()
    canary = plain.world.get("deployments", "default", "app-0-canary")
    stopped = {"metadata": {"annotations": {"rollout/stopped": rollout}}, "spec": {"replicas": 0}}
    plain.world.patch("deployments", "default", canary["metadata"]["name"], stopped, manager="somebody")
    plain.world.advance_by(timedelta(minutes=1))
    plain.run(timedelta(minutes=5))
    row = plain.store.rollout(rollout)
    assert row is not None
    assert row.outcome is Outcome.ACTIVE, "nothing is written without a lease"
    plain.engine.lease.renewed(plain.clock.monotonic())
    plain.run(timedelta(minutes=5))
    row = plain.store.rollout(rollout)
    assert row is not None
    assert row.outcome is Outcome.ABORTED


def test_memory_and_state_stay_flat_over_a_month() -> None:
    plain = Plain(1, look_every=timedelta(minutes=10))
    rollout = plain.submit(0, soak="29d")
    plain.begin()
    plain.run(timedelta(days=3))
    ours = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*/rollout/{part}/*") for part in ("engine", "core")]
    tracemalloc.start()
    try:
        plain.run(timedelta(days=2))
        before = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
        size = len((plain.store.rollout(rollout) or pytest.fail("gone")).state)
        plain.run(timedelta(days=23))
        after = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
    finally:
        tracemalloc.stop()
    row = plain.store.rollout(rollout)
    assert row is not None
    assert row.step == "soaking"
    assert len(row.state) < size * 1.1 + 100
    assert after < before + 64 * 1024, f"{before} bytes became {after}"


def _asking(arena: Arena, number: int) -> Any:  # noqa: ANN401 - a plan
    plan = arena.plan(number, soak="10h", most=1)
    document = {
        "apiVersion": "rollout/v1",
        "kind": "Canary",
        "metadata": {"name": plan.name},
        "spec": {
            "target": {"namespace": plan.target.namespace, "stable": plan.target.stable, "container": "app"},
            "image": GOOD,
            "replicas": {"every": "1s", "max": 1},
            "soak": "10h",
            "maxSoak": "20h",
            "initialShare": "60%",
            "maxShare": "75%",
            "warmUp": "0s",
            "signals": [{"preset": "apisix-5xx", "window": "10s", "delay": "0s"}],
        },
    }
    return plan_of(document)


class Hung:
    """Everything that can be waited for outside of the cluster, and never answers: preflights, the chat."""

    name = "ops"

    def __init__(self) -> None:
        self.going = threading.Event()
        self.waiting: set[str] = set()

    def preflight(self, execution: Execution, state: State, task: Task) -> TaskResult:
        if execution.target.stable >= "app-0004":
            self.waiting.add(execution.id)
            self.going.wait()
        return preflight(execution, state, task)

    def send(self, message: Message) -> None:
        self.waiting.add("chat")
        self.going.wait()

    def close(self) -> None:
        return


def test_pools_that_are_full_of_work_that_hangs_delay_no_step_back() -> None:
    hung, backend = Hung(), Backend(CLOCK)
    with ExitStack() as stack:
        arena = stack.enter_context(Arena(40))
        sources = {"prometheus": cast("SignalSource", backend)}
        node = Node(arena, "d1", MemoryStore(CLOCK), cast("Chat", hung), sources=sources, performer=hung.preflight)
        stack.enter_context(node)
        stack.callback(backend.going.set)
        stack.callback(hung.going.set)
        for number in range(4):
            node.desk.submit(_asking(arena, number), "", "ada")
        until(lambda: all(arena.replicas(number) for number in range(4)), "four have begun")
        for number in range(4, 40):
            node.desk.submit(_asking(arena, number), "", "ada")
        until(lambda: len(hung.waiting) >= SIZES[Pool.TASKS] + 1, "every thread for tasks hangs, and the chat")
        until(backend.hanging.is_set, "the backend hangs")
        arena.behave(GOOD, CRASHES)
        until(lambda: not any(arena.replicas(number) for number in range(4)), "all are at 0", 10)


@pytest.mark.parametrize("fault", ["hangs", "raises"])
def test_a_backend_that_hangs_or_answers_nonsense_delays_no_step_back(fault: str, tmp_path: Path) -> None:
    del tmp_path
    backend = Backend(CLOCK)
    if fault == "raises":
        backend.error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "nonsense")
        backend.going.set()
    with ExitStack() as stack:
        arena = stack.enter_context(Arena(4))
        store = MemoryStore(CLOCK)
        sources = {"prometheus": cast("SignalSource", backend)}
        node = stack.enter_context(Node(arena, "d1", store, Chat(), sources=sources))
        stack.callback(backend.going.set)
        for number in range(4):
            node.desk.submit(_asking(arena, number), "", "ada")
        until(lambda: all(arena.replicas(number) for number in range(4)), "all have begun")
        until(backend.hanging.is_set, "the backend is asked", 60)
        if fault == "raises":
            until(lambda: node.engine.bugs, "the nonsense was met")
        arena.behave(GOOD, CRASHES)
        assert until(lambda: not any(arena.replicas(number) for number in range(4)), "all are at 0") < 3.0
        assert node.daemon.alive()
