"""Last step: the canary goes to 0, and the rollout has succeeded."""

from __future__ import annotations

from datetime import timedelta

from rollout.core.actions import restore_pace, scale_canary
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.state import Ended, HoldKind, Retiring, State
from rollout.core.wording import listed, span

DEADLINE = timedelta(minutes=15)
POLL = timedelta(seconds=5)


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Scale to 0, wait until no canary pod serves, and say which line to commit."""
    del found
    step, view = state.step, scene.view
    assert isinstance(step, Retiring)  # noqa: S101 - chosen by type
    if view is None:
        return Move(state, "the cluster cannot be seen; retiring the canary waits")
    if state.paused is not None:
        return Move(state, f"retiring the canary waits: {waits[0].why}")
    pace = restore_pace(scene.execution, view.stable, step.snapshot) if view.stable is not None else None
    if pace is not None:
        return Move(state, "putting minReadySeconds back", forward=(pace,), wake_in=POLL)
    if view.canary is not None and view.canary.replicas > 0:
        return Move(
            state, f"scaling {view.canary.name} to 0", forward=(scale_canary(scene.execution, view.canary, 0),), wake_in=POLL
        )
    left = [pod.name for pod in view.pods if pod.deployment == view.target.canary and (pod.ready or pod.serving)]
    if left:
        late = state.deadline is not None and scene.now >= state.deadline
        why = f"{listed(left)} still serves after the canary was scaled to 0"
        holds = (Wait(HoldKind.OVERDUE, why, "A pod on a dead node has to be deleted by force."),) if late else ()
        return Move(state, f"waiting until {listed(left)} no longer serves", holds=holds, wake_in=POLL)
    lasted = span(scene.now - state.started_at)
    target, image = scene.execution.target, step.snapshot.new_image
    why = f"{target.stable} runs {image}, upgraded from {step.snapshot.old_image} in {lasted}; the canary is at 0"
    item = Tell(
        "succeeded",
        why,
        notice=NoticeKind.SUCCEEDED,
        title=f"{target}: succeeded",
        next_action=f"Commit to the manifests of both Deployments, container {target.container}:  image: {image}",
        facts=(("image", image), ("seconds", str(round((scene.now - state.started_at).total_seconds())))),
        post_on=target.stable,
    )
    return Move(enter(state, Ended(Outcome.SUCCEEDED, why, scene.now), scene.now, None), why, tells=(item,))
