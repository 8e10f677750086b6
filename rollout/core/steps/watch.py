"""The bake: everything is new, and is watched for a while against what the stable was before."""

from __future__ import annotations

from dataclasses import replace

from rollout.core.actions import restore_pace
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.evidence import evidence_of
from rollout.core.findings import Findings
from rollout.core.holds import credit_is_due
from rollout.core.plan_canary import CanaryPlan
from rollout.core.state import HoldKind, Retiring, State, Watching
from rollout.core.steps import hands
from rollout.core.steps.promote import POLL
from rollout.core.steps.retire import DEADLINE
from rollout.core.wording import span


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Put the pace back, credit what was seen healthy, and retire the canary when it was enough."""
    plan, step, view = scene.execution.plan, state.step, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert isinstance(step, Watching)  # noqa: S101 - chosen by type
    if view is None or view.stable is None:
        return Move(state, "the cluster cannot be seen; nothing is credited")
    resized = hands.answer(scene, state, step, view.canary) if view.canary is not None else None
    if resized is not None:
        return resized
    patch = restore_pace(scene.execution, view.stable, step.snapshot)
    if patch is not None and not waits:
        return Move(state, "putting minReadySeconds back", forward=(patch,), wake_in=POLL)
    if found.signals.healthy and credit_is_due(waits) and view.stable.available >= view.stable.replicas:
        step = replace(step, credited=step.credited + scene.gap)
        state = replace(state, step=step)
    watch = plan.spec.promotion.watch
    left = watch - step.credited
    if left.total_seconds() <= 0 and not waits:
        why = f"watched {span(step.credited)} after the last pod, all well"
        item = Tell("watched", why, evidence=evidence_of(state.signals))
        return Move(enter(state, Retiring(step.snapshot, scene.now), scene.now, DEADLINE), why, tells=(item,))
    words = f"watched {span(step.credited)} of {span(watch)}"
    if state.deadline is not None and scene.now >= state.deadline and state.approval is None:
        why = f"the watch has lasted {span(scene.now - step.since)}, {span(step.credited)} of it seen healthy"
        action = "`rollout approve` ends it, `rollout abort` rolls back; otherwise it goes on."
        return Move(state, why, holds=(Wait(HoldKind.OVERDUE, why, action),))
    if state.deadline is not None and scene.now >= state.deadline and state.approval is not None:
        item = Tell("watched", f"the watch was ended by {state.approval.actor}", actor=state.approval.actor)
        return Move(enter(state, Retiring(step.snapshot, scene.now), scene.now, DEADLINE), item.why, tells=(item,))
    return Move(state, f"{words}; held: {waits[0].why}" if waits else words, wake_in=left if left.total_seconds() > 0 else None)
