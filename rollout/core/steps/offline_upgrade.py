"""New images and the replicas back, target by target; every pod's image is looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions_offline import upgrade_target
from rollout.core.cohorts import Pod
from rollout.core.decision import Move, Scene, Wait
from rollout.core.offline_facts import POLL, before, plan_in, runs, stable_of, views
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import Upgrading
from rollout.core.steps import offline_decide, offline_ways
from rollout.core.wording import plural, span


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Make it so, confirm by looking, and go on to the next target."""
    plan, step, seen = plan_in(scene.execution), state.step, views(scene)
    assert isinstance(step, Upgrading)  # noqa: S101 - chosen by type
    if waits or seen is None:
        return Move(state, f"the upgrade waits: {waits[0].why if waits else 'the targets cannot be seen'}", wake_in=POLL)
    view = seen[step.index]
    found = before(state, view)
    stable, image = stable_of(view), plan.image_of(view.target)
    replicas = found.replicas if found is not None and plan.spec.stop else stable.replicas
    lacks = runs(view, image, replicas)
    if lacks and scene.now - step.since >= plan.spec.start_deadline:
        why = f"{view.target.stable} is not rolled out after {span(scene.now - step.since)}: {lacks}{_seen(view.pods)}"
        return offline_decide.ask(scene, state, why, "upgrade", 1)
    written = stable.images.get(view.target.container) == image and stable.replicas == replicas
    if stable.paused and not written:
        why = f"{stable.name} is paused (spec.paused) by somebody else: scaled up, it would start the old version"
        wait = Wait(HoldKind.FOREIGN_PAUSE, why, "Unpause it: `kubectl rollout resume`; the gate stays closed until then.")
        return Move(state, why, holds=(wait,), wake_in=POLL)
    if not written:
        patch = upgrade_target(scene.execution, view, image, replicas)
        return Move(state, patch.why, forward=(patch,), wake_in=POLL)
    if lacks:
        return Move(state, f"waiting: {lacks}", wake_in=POLL)
    why = f"{view.target.stable} runs {image} on {plural(replicas, 'pod')}, rolled out in {span(scene.now - step.since)}"
    item = offline_ways.done(scene, "upgraded", why, (("image", image), ("replicas", str(replicas))))
    if step.index + 1 < len(seen):
        state = replace(state, step=Upgrading(scene.now, step.index + 1))
    else:
        state = offline_ways.to_tests(scene, state)
    return Move(state, why, tells=(item,), wake_in=timedelta())


def _seen(pods: tuple[Pod, ...]) -> str:
    """Say what keeps pods from starting."""
    pending = [f"{pod.name} cannot be scheduled: {pod.unschedulable}" for pod in pods if pod.unschedulable]
    stuck = [f"{pod.name}: {c.waiting}" for pod in pods for c in pod.containers if c.waiting]
    words = (*pending, *stuck)
    return f"; {words[0]}" if words else ""
