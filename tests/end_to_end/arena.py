"""Many targets in one pretend cluster, in real time, and daemons with real threads on it that can be killed and frozen.

A daemon here is an engine with its threads in this process. Every way out of it (database, cluster, chat) leads through its
`Gate`: frozen, each call stops where it is, as under SIGSTOP; killed, it never comes back, and nothing is given back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, cast

from rollout.adapters.clock import SystemClock
from rollout.core.cohorts import TargetView
from rollout.core.decision import Execution, Timing
from rollout.core.effects import PatchDeployment
from rollout.core.observation import Task, TaskResult
from rollout.core.plan import Plan, plan_of
from rollout.core.policy import Policy
from rollout.core.signals import Unreachable
from rollout.core.state import State
from rollout.core.target import Target
from rollout.engine.daemon import Daemon, Periods
from rollout.engine.engine import Engine, Setup
from rollout.engine.outbox import Outbox
from rollout.engine.tasks import Performer
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk
from rollout.engine.workers import Threads
from rollout.ports import Message, Notifier, SignalSource, Store, Unavailable
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.world import World
from rollout.store.reading import StoredCodec
from tests.simulation.pretend import WorldCluster

CLOCK = SystemClock()
OLD, GOOD = "nginx:1.27.3", "nginx:1.28.0"
QUICK = Behaviour(pull_after=timedelta(), ready_after=timedelta(seconds=0.1), stop_after=timedelta())
CRASHES = Behaviour(pull_after=timedelta(), ready_after=None, stop_after=timedelta(), crash_after=timedelta(seconds=0.05))
LAX = Policy(minimum_soak=timedelta(), minimum_interval=timedelta(), maximum_initial_share=1.0, maximum_share=1.0, maximum_step=2)
PER_NAMESPACE = 20
TICK = 0.02


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> float:
    """Wait for a condition; return the seconds it took, or fail in words."""
    began, pause = CLOCK.monotonic(), threading.Event()
    while not condition():
        assert CLOCK.monotonic() < began + seconds, f"not within {seconds:g} s: {what}"
        pause.wait(0.01)
    return CLOCK.monotonic() - began


class Gate:
    """Where calls of one daemon stop while it is frozen, and for ever once it was killed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.dead = False

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def kill(self) -> None:
        self.dead = True
        self._open.clear()

    def bury(self) -> None:
        """Let the threads of a killed daemon end."""
        if self.dead:
            self._open.set()

    def pass_by(self) -> None:
        self._open.wait()
        if self.dead:
            raise Unavailable("this process", "was killed")


class Gated:
    """Anything with methods, behind a gate: a call may stop before it begins and before its answer is seen."""

    def __init__(self, inner: object, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the inner one has
        method = getattr(self._inner, name)
        if not callable(method) or name in {"subscribe", "close"}:
            return method

        def gated(*arguments: object, **named: object) -> object:
            self._gate.pass_by()
            answer = method(*arguments, **named)
            self._gate.pass_by()
            return answer

        return gated


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the cluster performed."""

    at: float
    daemon: str
    rollout: str
    patch: PatchDeployment


class Chat:
    """A channel that remembers what it was sent."""

    name = "ops"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, message: Message) -> None:
        self.sent.append((message.rollout, message.notice.key))

    def close(self) -> None:
        return


class ArenaCluster(WorldCluster):
    """The pretend cluster for several threads; the watch of one daemon."""

    def __init__(self, arena: Arena, daemon: str, gate: Gate) -> None:
        with arena.lock:
            super().__init__(arena.world)
        self._arena, self._daemon, self._gate = arena, daemon, gate

    def follow(self, namespace: str) -> None:
        with self._arena.lock:
            super().follow(namespace)

    def view(self, target: Target) -> TargetView | Unreachable:
        if self._gate.dead:
            return Unreachable("this process was killed")
        with self._arena.lock:
            return super().view(target)

    def apply(self, patch: PatchDeployment, *, timeout: timedelta) -> None:
        self._gate.pass_by()
        with self._arena.lock:
            super().apply(patch, timeout=timeout)
            found = self.world.get("deployments", patch.namespace, patch.name)
            rollout = found["metadata"].get("annotations", {}).get("rollout/id", "")
            self._arena.writes.append(Write(CLOCK.monotonic(), self._daemon, rollout, patch))
        self._gate.pass_by()


class Arena:
    """The world, moved on by a thread as time passes. `lock` guards it."""

    def __init__(self, targets: int, stable: int = 2) -> None:
        self.lock = threading.RLock()
        self.world = World(CLOCK.now(), 7, record_events=False)
        self.world.behaviours.default = QUICK
        self.writes: list[Write] = []
        self.targets = [(f"web-{number // PER_NAMESPACE}", f"app-{number:04d}") for number in range(targets)]
        for namespace in sorted({namespace for namespace, _ in self.targets}):
            self.world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        self.world.load(manifest for target in self.targets for manifest in manifests(*target, stable))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arena")

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            until(self._all_ready, "every stable is ready")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(TICK):
            with self.lock:
                self.world.advance(CLOCK.now())

    def _all_ready(self) -> bool:
        with self.lock:
            stable = [self.world.get("deployments", namespace, name) for namespace, name in self.targets]
        return all(found["status"].get("readyReplicas", 0) == found["spec"]["replicas"] for found in stable)

    def behave(self, image: str, behaviour: Behaviour) -> None:
        with self.lock:
            self.world.behaviours[image] = behaviour

    def replicas(self, number: int) -> int:
        """Read what a canary is told to be."""
        namespace, name = self.targets[number]
        with self.lock:
            return int(self.world.get("deployments", namespace, f"{name}-canary")["spec"]["replicas"])

    def forward(self) -> Counter[tuple[object, ...]]:
        """Count the writes that went forward, by what they were for."""
        with self.lock:
            writes = list(self.writes)
        return Counter(
            (write.rollout, write.patch.name, write.patch.replicas, write.patch.image)
            for write in writes
            if write.patch.if_version is not None and (write.patch.replicas or write.patch.image)
        )

    def plan(self, number: int, image: str = GOOD, *, soak: str = "2s", most: int = 2) -> Plan:
        """Write a plan for one target."""
        namespace, name = self.targets[number]
        return plan_of({
            "apiVersion": "rollout/v1",
            "kind": "Canary",
            "metadata": {"name": name},
            "spec": {
                "target": {"namespace": namespace, "stable": name, "service": name, "container": "app"},
                "image": image,
                "replicas": {"every": "1s", "max": most},
                "soak": soak,
                "maxSoak": "20h",
                "initialShare": "60%",
                "maxShare": "75%",
                "startDeadline": "5m",
                "warmUp": "0s",
                "promotion": {"pace": "1s", "watch": "1s", "progressDeadline": "5m"},
            },
        })  # fmt: skip


def manifests(namespace: str, name: str, stable: int) -> Sequence[dict[str, Any]]:
    """Describe one target: two Deployments and their Service."""

    def deployment(suffix: str, role: str, replicas: int) -> dict[str, Any]:
        labels = {"app": name, "role": role}
        container = {"name": "app", "image": OLD, "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name + suffix, "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }

    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }
    return deployment("", "release", stable), deployment("-canary", "canary", 0), service


def preflight(execution: Execution, state: State, task: Task) -> TaskResult:
    """Pass."""
    del execution, state
    return TaskResult(task.key, CLOCK.now(), "done", ok=True, why="not asked here")


class Node:
    """One daemon. `sources` are backends by name; `performer` does the preflight."""

    def __init__(
        self,
        arena: Arena,
        name: str,
        store: Store,
        chat: Chat,
        *,
        lease: float = 3.0,
        sources: Mapping[str, SignalSource] | None = None,
        periods: Periods | None = None,
        performer: Performer = preflight,
    ) -> None:
        self.name, self.gate, self.workers = name, Gate(), Threads()
        self.store = store
        gated = cast("Store", Gated(store, self.gate))
        timing = Timing(timedelta(seconds=2), timedelta(seconds=60), timedelta(seconds=5))
        setup = Setup(name, LAX, timing, ("ops",), timedelta(seconds=lease))
        cluster = ArenaCluster(arena, name, self.gate)
        self.engine = Engine(setup, gated, {"default": cluster}, {"preflight": performer}, StoredCodec(gated), CLOCK, self.workers)
        self.upkeep = Upkeep(self.engine, sources or {})
        outbox = Outbox(gated, {"ops": cast("Notifier", Gated(chat, self.gate))}, CLOCK, self.workers)
        periods = periods or Periods(*(timedelta(seconds=span) for span in (lease / 4, 0.4, 0.4, 0.5, 0.3)))
        self.daemon = Daemon(self.engine, self.upkeep, outbox, periods)

    def __enter__(self) -> Self:
        self.daemon.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.bury()
        self.gate.thaw()
        self.daemon.stop()

    def owns(self) -> set[str]:
        """Name the rollouts in its memory."""
        return {active.execution.id for active in self.engine.actives()}

    @property
    def desk(self) -> Desk:
        """Where to submit."""
        return Desk(self.store, StoredCodec(self.store), CLOCK, LAX)
