"""A small picture of a cluster for tests of the core: a stable Deployment, a canary, and their pods, as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from rollout.core.cohorts import Cohorts, Container, Deployment, Pod, TargetView, cohorts
from rollout.core.decision import Execution, Timing
from rollout.core.machine import Question
from rollout.core.observation import Observation, TaskResult
from rollout.core.plan import CanaryPlan
from rollout.core.policy import Policy
from rollout.core.state import State
from tests.core.builders import canary_plan

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
H, M, S = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
OLD, NEW = "nginx:1.0", "nginx:2.0"
ID = "nginx-12345678"


def container(**changed: Any) -> Container:  # noqa: ANN401 - any field
    return replace(Container("nginx", NEW, image_id="sha256:1", ready=True), **changed)


def pod(name: str = "nginx-canary-1", *, deployment: str = "nginx-canary", ready: bool = True, at: datetime = NOW - H,
        seen: Container | None = None, **changed: Any) -> Pod:  # noqa: ANN401 - any field  # fmt: skip
    """A pod that has run for an hour; `seen` is its one container."""
    image = NEW if deployment == "nginx-canary" else OLD
    one = seen or container(image=image, ready=ready)
    made = Pod(name, f"uid-{name}", f"10.0.0.{crc32(name.encode()) % 250}", "node-1", deployment, "h", (one,), at, ready=ready,
               ready_since=at if ready else None, phase="Running", serving=ready)  # fmt: skip
    return replace(made, **changed)


def stable_pods(count: int = 10, **changed: Any) -> tuple[Pod, ...]:  # noqa: ANN401 - any field
    return tuple(pod(f"nginx-{number}", deployment="nginx", **changed) for number in range(count))


def deployment(name: str, replicas: int, image: str, **changed: Any) -> Deployment:  # noqa: ANN401 - any field
    made = Deployment(name, "default", f"uid-{name}", "7", 1, 1, replicas, {"nginx": image}, replicas, replicas, replicas, replicas)
    return replace(made, **changed)


def view(canary: int = 1, stable: int = 10, *, pods: tuple[Pod, ...] | None = None, canary_changed: dict[str, Any] | None = None,
         stable_changed: dict[str, Any] | None = None) -> TargetView:  # fmt: skip
    """Everything is well: `canary` new pods beside `stable` old ones."""
    mine = tuple(pod(f"nginx-canary-{number}") for number in range(canary))
    return TargetView(
        canary_plan().target,
        NOW,
        replace(deployment("nginx", stable, OLD), **(stable_changed or {})),
        replace(deployment("nginx-canary", canary, NEW, annotations={"rollout/id": ID}), **(canary_changed or {})),
        (*mine, *stable_pods(stable)) if pods is None else pods,
    )


def parts(seen: TargetView) -> Cohorts:
    return cohorts(seen, NEW)


def question(plan: CanaryPlan | None = None, timing: Timing | None = None, policy: Policy | None = None) -> Question:
    made = plan or canary_plan()
    return Question(Execution(ID, made, made.signals), policy or Policy(), timing or Timing())


def checked() -> dict[str, TaskResult]:
    return {"preflight": TaskResult("preflight", NOW, "done", ok=True, why="ok")}


def seen(shown: Any, **changed: Any) -> Observation:  # noqa: ANN401 - a view or Unreachable; any field
    return replace(Observation(shown, (), checked()), **changed)


def state(step: Any, **changed: Any) -> State:  # noqa: ANN401 - any step and field
    return replace(State(step, NOW - H, NOW - 2 * H, stable_image=OLD, looked_at=NOW - M, saved_at=NOW - M), **changed)
