"""The stable gets the new image and rolls one pod at a time; each is judged before the next.

Kubernetes does the rolling (maxUnavailable 1, maxSurge 1, minReadySeconds as the pace). Holding it means `spec.paused`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions import pause_stable, promote_stable
from rollout.core.cohorts import Deployment
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.plan_canary import CanaryPlan
from rollout.core.state import HoldKind, Promoting, Reason, State, Watching
from rollout.core.steps import hands, retreat
from rollout.core.wording import listed, span

POLL = timedelta(seconds=5)
ROLLS_ON = frozenset(
    {HoldKind.IDLE, HoldKind.WARMING, HoldKind.NOT_READY, HoldKind.FOREIGN_PAUSE, HoldKind.EVIDENCE, HoldKind.UNSAVED}
)
"""What does not pause the Deployment: pods that have just started have seen little traffic."""


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Write the image once, then watch it roll: pause while something holds, step back when it does not progress."""
    del found
    step, view = state.step, scene.view
    assert isinstance(step, Promoting)  # noqa: S101 - chosen by type
    if view is None or view.stable is None:
        return Move(state, "the cluster cannot be seen; the promotion rolls on by Kubernetes' own rules")
    stable = view.stable
    blocking = tuple(wait for wait in waits if wait.kind not in ROLLS_ON)
    image = stable.images.get(view.target.container)
    if image != step.snapshot.new_image:
        return _write(scene, state, step, stable, blocking)
    if step.confirmed_at is None:
        step = replace(step, confirmed_at=scene.now)
        state = replace(state, step=step)
    failed = _failed(scene, state, stable)
    if failed is not None:
        return retreat.begin(scene, state, failed)
    return (
        (hands.answer(scene, state, step, view.canary) if view.canary is not None else None)
        or _done(scene, state, step, stable)
        or _pause(scene, state, step, stable, blocking)
        or _progress(scene, state, step, stable, blocking)
    )


def _write(scene: Scene, state: State, step: Promoting, stable: Deployment, blocking: tuple[Wait, ...]) -> Move:
    because = f": {scene.seen.write_trouble}" if scene.seen.write_trouble else ""
    if state.deadline is not None and scene.now >= state.deadline:
        return retreat.begin(
            scene,
            state,
            Reason(f"{stable.name} could not be given the new image in time{because}", "promotion-deadline", Outcome.FAILED),
        )
    if blocking:
        return Move(state, f"the promotion waits: {blocking[0].why}")
    if stable.paused:  # told as a hold; what somebody else paused is not ours to start
        return Move(state, f"the promotion waits: {stable.name} is paused (spec.paused) by somebody else")
    patch = promote_stable(scene.execution, stable, step.snapshot)
    return Move(state, f"giving {stable.name} the new image", forward=(patch,), wake_in=POLL)


def _failed(scene: Scene, state: State, stable: Deployment) -> Reason | None:
    if stable.progressing == "ProgressDeadlineExceeded" and stable.observed_generation >= stable.generation and not stable.paused:
        return Reason(f"{stable.name}: Kubernetes gave up: ProgressDeadlineExceeded", "progress-deadline", Outcome.FAILED)
    if state.deadline is not None and scene.now >= state.deadline:
        plan = scene.execution.plan
        limit = span(plan.spec.promotion.progress_deadline) if isinstance(plan, CanaryPlan) else "its time"
        why = f"{stable.name}: no further pod of the new version became available within {limit}{_unready(scene)}"
        return Reason(why, "promotion-deadline", Outcome.FAILED)
    return None


def _unready(scene: Scene) -> str:
    names = [pod.name for pod in scene.cohorts.candidate if not pod.ready and pod.deleting_since is None]
    return f"; not ready: {listed(names)}" if names else ""


def _pause(scene: Scene, state: State, step: Promoting, stable: Deployment, blocking: tuple[Wait, ...]) -> Move | None:
    """Keep `spec.paused` as the holds want it; a pause of somebody else is left alone."""
    if blocking and not stable.paused:
        state = replace(state, step=replace(step, paused_by_us=True))
        why = f"promotion held: {blocking[0].why}"
        return Move(state, why, forward=(pause_stable(scene.execution, stable, paused=True),), wake_in=POLL)
    if not blocking and _held_by_us(step, stable):
        patch = pause_stable(scene.execution, stable, paused=False)
        return Move(state, "the promotion goes on", forward=(patch,), wake_in=POLL)
    if not blocking and not stable.paused and step.paused_by_us:
        return Move(replace(state, step=replace(step, paused_by_us=False)), "the promotion goes on", wake_in=timedelta())
    return None


def _held_by_us(step: Promoting, stable: Deployment) -> bool:
    return stable.paused and (step.paused_by_us or stable.paused_by_us)


def _done(scene: Scene, state: State, step: Promoting, stable: Deployment) -> Move | None:
    # One that is Terminating on a dead node is nobody's any more: it gets no request, and its object stays for ever.
    old = [pod.name for pod in scene.cohorts.baseline if pod.ready or pod.serving or pod.deleting_since is None]
    if not stable.rolled_out or old:
        return None
    if _held_by_us(step, stable):  # a hold that came with the last pod: nobody is to find it paused afterwards
        patch = pause_stable(scene.execution, stable, paused=False)
        return Move(state, "every pod is new; the hold on the promotion is taken away", forward=(patch,), wake_in=POLL)
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    watch = plan.spec.promotion.watch
    why = f"every one of {stable.replicas} pods runs {step.snapshot.new_image} after {span(scene.now - step.since)}"
    item = Tell(
        "promoted",
        why,
        notice=NoticeKind.PROMOTED,
        title=f"{scene.execution.target}: promoted",
        next_action=f"It is watched for {span(watch)} more; trouble still puts the old image back.",
        facts=(("pods", str(stable.replicas)),),
        post_on=stable.name,
    )
    watching = Watching(step.size, step.snapshot, scene.now)
    state = replace(state, approval=None)  # it was for the promotion; the end of the watch is another question
    return Move(enter(state, watching, scene.now, watch * 4 + timedelta(hours=1)), why, tells=(item,), wake_in=timedelta())


def _progress(scene: Scene, state: State, step: Promoting, stable: Deployment, blocking: tuple[Wait, ...]) -> Move:
    plan, target = scene.execution.plan, scene.execution.target
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    new = [pod for pod in scene.cohorts.candidate if pod.deployment == target.stable and pod.ready]
    tells: tuple[Tell, ...] = ()
    if len(new) > step.updated:
        names = listed(f"{pod.name} on {pod.node}" for pod in new[-(len(new) - step.updated) :])
        tells = (
            Tell(
                "pod-updated",
                f"{len(new)} of {stable.replicas} pods run the new version: {names}",
                facts=(("updated", str(len(new))),),
            ),
        )
        state = replace(state, step=replace(step, updated=len(new)), deadline=scene.now + plan.spec.promotion.progress_deadline)
    words = f"{len(new)} of {stable.replicas} pods run the new version"
    if blocking:
        words += f"; held: {blocking[0].why}"
    return Move(state, words, tells=tells, wake_in=POLL)
