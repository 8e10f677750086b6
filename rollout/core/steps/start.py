"""The canary gets the new image and its first replica, and must become ready in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions import start_canary
from rollout.core.cohorts import ANNOTATION_ID
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.findings import Findings
from rollout.core.history import Outcome
from rollout.core.plan import CanaryPlan
from rollout.core.shares import Refusal, start_share
from rollout.core.state import HoldKind, Reason, Soaking, Starting, State
from rollout.core.steps import retreat
from rollout.core.wording import listed, span

POLL = timedelta(seconds=5)


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Make it so, confirm by looking, and go on when the pods are ready."""
    del found
    plan, view, step = scene.execution.plan, scene.view, state.step
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert isinstance(step, Starting)  # noqa: S101 - chosen by type
    if view is None or view.canary is None or view.stable is None:
        return Move(state, "the cluster cannot be seen; the start waits")
    canary, replicas = view.canary, plan.spec.replicas.initial
    started = (
        canary.annotations.get(ANNOTATION_ID) == scene.execution.id
        and canary.images.get(view.target.container) == scene.execution.image
        and canary.replicas > 0
    )
    if not started:
        return _make_it_so(scene, state, waits, replicas)
    state = replace(state, step=Starting(step.confirmed_at or scene.now))
    ready = [pod for pod in scene.cohorts.candidate if pod.ready]
    if len(ready) >= replicas:
        soaking = Soaking(size=replicas, since=scene.now, grown_at=scene.now, confirmed=True)
        names = listed(f"{pod.name} on {pod.node}" for pod in ready)
        item = Tell("soaking", f"{names} ready after {span(scene.now - state.entered_at)}; the soak begins",
                    facts=(("replicas", str(replicas)),), post_on=canary.name)  # fmt: skip
        return Move(enter(state, soaking, scene.now, plan.spec.max_soak), item.why, tells=(item,), wake_in=timedelta())
    if state.deadline is not None and scene.now >= state.deadline:
        why = f"{canary.name}: {len(ready)} of {replicas} pods ready after {span(plan.spec.start_deadline)}{_what_is_seen(scene)}"
        return retreat.begin(scene, state, Reason(why, "start-deadline", Outcome.FAILED))
    return Move(state, f"waiting for {canary.name} to be ready ({len(ready)} of {replicas}){_what_is_seen(scene)}", wake_in=POLL)


def _make_it_so(scene: Scene, state: State, waits: tuple[Wait, ...], replicas: int) -> Move:
    plan, view = scene.execution.plan, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert view is not None  # noqa: S101 - checked by the caller
    assert view.canary is not None  # noqa: S101 - as above
    assert view.stable is not None  # noqa: S101 - as above
    if state.deadline is not None and scene.now >= state.deadline:
        because = f": {scene.seen.write_trouble}" if scene.seen.write_trouble else ""
        why = f"{view.canary.name} could not be started within {span(plan.spec.start_deadline)}{because}"
        return retreat.begin(scene, state, Reason(why, "start-deadline", Outcome.FAILED))
    if waits:
        return Move(state, f"the start waits: {waits[0].why}")
    if view.canary.paused:
        why = f"{view.canary.name} is paused (spec.paused) by somebody else: it would start the version that it had before"
        return Move(state, why, holds=(Wait(HoldKind.FOREIGN_PAUSE, why, "Unpause it: `kubectl rollout resume`."),))
    share = start_share(plan, view.stable)
    if isinstance(share, Refusal):
        return Move(state, share.why, holds=(Wait(HoldKind.SHARE, share.why),))
    trouble = scene.seen.write_trouble
    words = f"starting {view.canary.name}" + (f"; it was not taken yet: {trouble}" if trouble else "")
    return Move(state, words, forward=(start_canary(scene.execution, view.canary, replicas),), wake_in=POLL)


def _what_is_seen(scene: Scene) -> str:
    pending = [pod for pod in scene.cohorts.candidate if pod.unschedulable]
    if pending:
        return f"; {pending[0].name} cannot be scheduled: {pending[0].unschedulable}"
    waiting = [c.waiting for pod in scene.cohorts.candidate for c in pod.containers if c.waiting]
    if waiting:
        return f"; {listed(sorted(set(waiting)))}"
    unready = [f"{pod.name} on {pod.node}" for pod in scene.cohorts.candidate if not pod.ready and pod.deleting_since is None]
    return f"; {listed(unready)} not ready: see its readiness probe" if unready else ""
