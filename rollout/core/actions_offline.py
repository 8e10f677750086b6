"""The few writes of an offline upgrade to a Deployment, worded once.

Each is made only on exactly the object that was seen. The way back begins with a write of its own (the tombstone), also where
nothing else is to be changed: whatever was sent before it, and is still on its way, was meant for an older object and cannot land.
"""

from __future__ import annotations

from rollout.core.cohorts import ANNOTATION_ID, ANNOTATION_STOPPED, TargetView
from rollout.core.decision import Execution
from rollout.core.effects import PatchDeployment
from rollout.core.offline_facts import stable_of
from rollout.core.wording import plural


def _patch(execution: Execution, view: TargetView, why: str, *, image: str | None = None, replicas: int | None = None,
           paused: bool | None = None, annotations: tuple[tuple[str, str | None], ...] = ()) -> PatchDeployment:  # fmt: skip
    target, stable = view.target, stable_of(view)
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        image=image,
        replicas=replicas,
        paused=paused,
        annotations=((ANNOTATION_ID, execution.id), *annotations),
        if_version=stable.resource_version,
        why=why,
    )


def stop_target(execution: Execution, view: TargetView) -> PatchDeployment:
    """Take a target to 0 on the way there; an older rollout's tombstone goes."""
    return _patch(execution, view, f"stop {view.target.stable}", replicas=0, annotations=((ANNOTATION_STOPPED, None),))


def upgrade_target(execution: Execution, view: TargetView, image: str, replicas: int) -> PatchDeployment:
    """Give a target its new image and its replicas back, in one write."""
    why = f"{view.target.stable} gets {image} with {plural(replicas, 'replica')}"
    return _patch(execution, view, why, image=image, replicas=replicas, annotations=((ANNOTATION_STOPPED, None),))


def fence_target(execution: Execution, view: TargetView, *, down: bool) -> PatchDeployment:
    """Begin the way back: the tombstone, and to 0 where no pod may run."""
    why = f"way back: {view.target.stable}" + (" to 0" if down else " is fenced")
    stopped = ((ANNOTATION_STOPPED, execution.id),)
    return _patch(execution, view, why, replicas=0 if down else None, annotations=stopped)


def return_target(execution: Execution, view: TargetView, image: str, replicas: int) -> PatchDeployment:
    """Give a target its old image and its replicas back, in one write; the tombstone stays. One that is paused goes on."""
    why = f"way back: {view.target.stable} gets {image} with {plural(replicas, 'replica')}"
    paused = False if stable_of(view).paused else None
    stopped = ((ANNOTATION_STOPPED, execution.id),)
    return _patch(execution, view, why, image=image, replicas=replicas, paused=paused, annotations=stopped)
