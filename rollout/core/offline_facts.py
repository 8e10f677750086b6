"""What the steps of the offline procedure ask of a scene: the plan, every target, the times, and results by kind of task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.cohorts import ANNOTATION_STOPPED, Deployment, Pod, TargetView
from rollout.core.decision import Execution, Move, Scene
from rollout.core.gate import SavedGate
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.plan_offline import OfflinePlan
from rollout.core.state import State
from rollout.core.state_offline import OfflineMemory, TargetBefore
from rollout.core.wording import local_moment, plural

POLL = timedelta(seconds=5)
DIGITS = 12
"""Of the number that ends the key of a look that is repeated."""
GONE = frozenset({"Succeeded", "Failed"})


def plan_in(execution: Execution) -> OfflinePlan:
    """Give the plan as what it is."""
    assert isinstance(execution.plan, OfflinePlan)  # noqa: S101 - procedures.py chose the offline procedure by the plan's type
    return execution.plan


def memory_of(state: State) -> OfflineMemory:
    """Give what is kept across the steps."""
    return state.offline or OfflineMemory()


def remember(state: State, **changes: Any) -> State:  # noqa: ANN401 - fields of OfflineMemory, checked by `replace`
    """Keep something across the steps."""
    return replace(state, offline=replace(memory_of(state), **changes))


def views(scene: Scene) -> tuple[TargetView, ...] | None:
    """Every target in the plan's order; None while one of them cannot be seen."""
    every = (scene.seen.view, *scene.seen.others)
    seen = tuple(view for view in every if isinstance(view, TargetView) and view.stable is not None)
    return seen if len(seen) == len(plan_in(scene.execution).targets) else None


def stable_of(view: TargetView) -> Deployment:
    """Give the Deployment of a target that was seen."""
    assert view.stable is not None  # noqa: S101 - `views` has looked
    return view.stable


def pods_of(view: TargetView) -> tuple[Pod, ...]:
    """List the target's pods that run, start or terminate."""
    return tuple(pod for pod in view.pods if pod.deployment == view.target.stable and pod.phase not in GONE)


def writers(seen: Iterable[TargetView]) -> str:
    """Say what keeps the targets from being stopped; empty when each is at 0 and no pod is left."""
    for view in seen:
        stable = view.stable
        left = pods_of(view)
        if stable is None:
            return f"{view.target.stable} is not there"
        if stable.replicas:
            return f"{stable.name} has {plural(stable.replicas, 'replica')}"
        if left or stable.status_replicas or stable.observed_generation < stable.generation:
            return f"{left[0].name if left else stable.name} is not gone yet"
    return ""


def runs(view: TargetView, image: str, replicas: int) -> str:
    """Say what a target still lacks to run `image` with `replicas`; empty when every pod was seen to."""
    stable, container = stable_of(view), view.target.container
    if stable.images.get(container) != image or stable.replicas != replicas:
        return f"{stable.name} is to get {image} with {plural(replicas, 'replica')}"
    if not stable.rolled_out:
        return f"{stable.name}: {stable.available} of {stable.replicas} available"
    for pod in pods_of(view):
        found = pod.container(container)
        if found is None or found.image != image:
            return f"{pod.name} runs {found.image if found is not None else 'something else'}, not {image}"
    ready = sum(pod.ready for pod in pods_of(view))
    return "" if ready >= replicas else f"{stable.name}: {ready} of {replicas} pods ready"


def serves(view: TargetView, image: str) -> str:
    """Say what a target lacks to serve `image` with the pods that it has now: how many is an autoscaler's business, none is not."""
    stable = stable_of(view)
    return runs(view, image, stable.replicas) if stable.replicas else f"{stable.name} has 0 replicas"


def fenced(scene: Scene, view: TargetView) -> bool:
    """Say whether our tombstone stands: nothing that we sent before can land any more."""
    return stable_of(view).annotations.get(ANNOTATION_STOPPED) == scene.execution.id


def before(state: State, view: TargetView) -> TargetBefore | None:
    """How a target was found before the first write."""
    return next((one for one in memory_of(state).before if one.target == view.target.key), None)


def latest_rollback(scene: Scene, state: State) -> datetime:
    """The last moment at which a rollback still fits."""
    plan = plan_in(scene.execution)
    return plan.latest_rollback_start(scene.execution.earlier_restore, extended=memory_of(state).extended)


def window_end(scene: Scene, state: State) -> datetime:
    """The window's end, with what a person has added."""
    return plan_in(scene.execution).spec.window.ends_at + memory_of(state).extended


def when(scene: Scene, at: datetime) -> str:
    """Word a moment in the zone in which the plan was written, for those who are told of it."""
    return local_moment(at, plan_in(scene.execution).spec.window.timezone)


def repeated(scene: Scene, kind: str, every: timedelta, arguments: tuple[tuple[str, str], ...] = (), name: str = "") -> Task:
    """Word a look that is repeated: its key names a piece of time, so that it needs nothing stored."""
    number = int(scene.now.timestamp() // every.total_seconds())
    return Task(f"{name or kind}-{number:0{DIGITS}d}", kind, arguments)


def newest(scene: Scene, name: str, since: datetime) -> TaskResult | None:
    """Find the newest answer of a repeated look that was given since then, and not before the clock was set back."""
    found = [r for r in _looks(scene, name, since) if r.state == "done"]
    return max(found, key=lambda result: (result.at, result.key), default=None)


def _looks(scene: Scene, name: str, since: datetime) -> list[TaskResult]:
    return [r for key, r in scene.seen.tasks.items() if key.rpartition("-")[0] == name and since <= r.at <= scene.now]


def trouble(scene: Scene, name: str, since: datetime) -> str:
    """Say why a repeated look brings nothing, from its newest attempt; empty when there is none."""
    found = _looks(scene, name, since)
    last = max(found, key=lambda result: (result.at, result.key), default=None)
    return last.why if last is not None and (last.state != "done" or not last.ok) else ""


def words(lines: Iterable[Line], *levels: str) -> tuple[str, ...]:
    """Word a result's lines, of some levels or all."""
    return tuple(
        f"{line.name}: {line.message}" + (f"; {line.remedy}" if line.remedy else "")
        for line in lines
        if not levels or line.level in levels
    )


def saved_gate(state: State) -> SavedGate | None:
    """What stood on the gate before the first write; None before it was read."""
    text = memory_of(state).saved_gate
    return SavedGate.from_json(text) if text else None


def saved_gates(state: State) -> tuple[SavedGate, ...]:
    """What stood on the gate and on everything that took its place, the gate's own first; empty before it was read."""
    memory = memory_of(state)
    return tuple(SavedGate.from_json(text) for text in (memory.saved_gate, *memory.successors) if text)


def saved_facts(state: State) -> tuple[tuple[str, str], ...]:
    """The same for history, so that people can put it back by hand."""
    memory = memory_of(state)
    return ("saved", memory.saved_gate), *((f"saved {n}", text) for n, text in enumerate(memory.successors, 2))


def waiting(state: State, why: str, *tasks: Task, wake_in: timedelta = POLL) -> Move:
    """Go on waiting, with the work that is asked for."""
    return Move(state, why, tasks=tasks, wake_in=wake_in)
