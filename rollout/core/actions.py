"""The few writes that a canary needs, worded once: what they set, and what must be true for the server to perform them."""

from __future__ import annotations

from rollout.core.cohorts import ANNOTATION_BY_HAND, ANNOTATION_ID, ANNOTATION_STOPPED, ANNOTATION_STOPPED_WHY, Deployment
from rollout.core.decision import Execution
from rollout.core.effects import FieldName, FieldTest, PatchDeployment
from rollout.core.state import Reason, Snapshot
from rollout.core.tombstone import inscribe
from rollout.core.wording import plural


def start_canary(execution: Execution, canary: Deployment, replicas: int) -> PatchDeployment:
    """Give the canary the new image and its first replicas; take away an older rollout's tombstone."""
    target = execution.target
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.canary,
        target.container,
        image=execution.image,
        replicas=replicas,
        annotations=(
            (ANNOTATION_ID, execution.id),
            (ANNOTATION_BY_HAND, None),
            (ANNOTATION_STOPPED, None),
            (ANNOTATION_STOPPED_WHY, None),
        ),
        if_version=canary.resource_version,
        why=f"start the canary with {execution.image}, {plural(replicas, 'replica')}",
    )


def scale_canary(execution: Execution, canary: Deployment, replicas: int) -> PatchDeployment:
    """Set the canary's replicas, on exactly the object that was seen."""
    target = execution.target
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.canary,
        target.container,
        replicas=replicas,
        annotations=((ANNOTATION_ID, execution.id),),
        if_version=canary.resource_version,
        why=f"scale the canary to {replicas}",
    )


def stop_canary(execution: Execution, canary: Deployment | None, reason: Reason) -> PatchDeployment | None:
    """Take the canary to 0 with a tombstone, if it is ours; None where it is another rollout's or already done.

    Where the canary carries our id (or cannot be seen) the server tests just that. Where it never got it, the tombstone is put
    on exactly the object seen: whatever we may have sent before can then no longer land.
    """
    if canary is not None and canary.annotations.get(ANNOTATION_STOPPED) == execution.id and canary.replicas == 0:
        return None
    target = execution.target
    why = "step back: canary to 0"
    tombstone = ((ANNOTATION_STOPPED, execution.id), (ANNOTATION_STOPPED_WHY, inscribe(reason)))
    where = (target.cluster, target.namespace, target.canary)
    ours = (FieldTest(FieldName.ROLLOUT_ID, execution.id),)
    if canary is None:
        return PatchDeployment(*where, target.container, replicas=0, annotations=tombstone, if_fields=ours, why=why)
    owner = canary.annotations.get(ANNOTATION_ID, "")
    if owner == execution.id:
        return PatchDeployment(*where, target.container, replicas=0, annotations=tombstone, if_fields=ours, why=why)
    runs_ours = canary.images.get(target.container) == execution.image
    if canary.replicas > 0 and (owner or not runs_ours):
        return None
    return PatchDeployment(
        *where,
        target.container,
        replicas=0,
        annotations=(*tombstone, (ANNOTATION_ID, execution.id)),
        if_version=canary.resource_version,
        why=why,
    )


def promote_stable(execution: Execution, stable: Deployment, snapshot: Snapshot) -> PatchDeployment:
    """Give the stable the new image, paced by minReadySeconds."""
    target = execution.target
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        image=snapshot.new_image,
        min_ready_seconds=snapshot.new_min_ready_seconds,
        paused=False,
        annotations=((ANNOTATION_ID, execution.id), (ANNOTATION_STOPPED, None)),
        if_version=stable.resource_version,
        why=f"promote: {target.stable} gets {snapshot.new_image}",
    )


def pause_stable(execution: Execution, stable: Deployment, *, paused: bool) -> PatchDeployment:
    """Hold or continue the rolling of the stable."""
    target = execution.target
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        paused=paused,
        if_version=stable.resource_version,
        why=f"{'hold' if paused else 'continue'} the promotion",
    )


def restore_pace(execution: Execution, stable: Deployment, snapshot: Snapshot) -> PatchDeployment | None:
    """Put minReadySeconds back after promotion, where it still is what we wrote."""
    target = execution.target
    changed = snapshot.old_min_ready_seconds != snapshot.new_min_ready_seconds
    if not changed or stable.min_ready_seconds != snapshot.new_min_ready_seconds:
        return None
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        min_ready_seconds=snapshot.old_min_ready_seconds,
        if_version=stable.resource_version,
        why="put minReadySeconds back",
    )


def restore_stable(execution: Execution, stable: Deployment, snapshot: Snapshot) -> PatchDeployment | None:
    """Put back what promotion wrote, only where it still is what we wrote; None where nothing of ours is left.

    The server tests the same values again, so that a hotfix that arrives in between is not overwritten. Unpauses in the same
    request: a Deployment that we held must roll back. The tombstone goes on the stable too, even where the new image has not
    arrived there: a promotion that is still on its way was meant for the object before it, and can then no longer land.
    """
    target = execution.target
    image = stable.images.get(target.container)
    ours = image == snapshot.new_image != snapshot.old_image
    pace_ours = stable.min_ready_seconds == snapshot.new_min_ready_seconds != snapshot.old_min_ready_seconds
    fenced = stable.annotations.get(ANNOTATION_STOPPED) == execution.id
    written = stable.annotations.get(ANNOTATION_ID) == execution.id
    pace_ours = pace_ours and (ours or written)
    if (fenced and not ours and not pace_ours) or (not ours and image != snapshot.old_image):
        return None
    tests = [FieldTest(FieldName.ROLLOUT_ID, execution.id)]
    if ours:
        tests.append(FieldTest(FieldName.IMAGE, snapshot.new_image))
    if pace_ours:
        tests.append(FieldTest(FieldName.MIN_READY_SECONDS, snapshot.new_min_ready_seconds))
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        image=snapshot.old_image if ours else None,
        min_ready_seconds=snapshot.old_min_ready_seconds if pace_ours else None,
        paused=False if ours else None,
        annotations=((ANNOTATION_STOPPED, execution.id),),
        if_version=None if written else stable.resource_version,
        if_fields=tuple(tests) if written else (),
        why=f"step back: {target.stable} returns to {snapshot.old_image}",
    )


def restore_unseen(execution: Execution, snapshot: Snapshot) -> PatchDeployment | None:
    """Put the old image back while the watches are not current; the server refuses it where anything is not what we wrote."""
    target = execution.target
    if snapshot.new_image == snapshot.old_image:
        return None
    paced = snapshot.new_min_ready_seconds != snapshot.old_min_ready_seconds
    tests = [FieldTest(FieldName.ROLLOUT_ID, execution.id), FieldTest(FieldName.IMAGE, snapshot.new_image)]
    if paced:
        tests.append(FieldTest(FieldName.MIN_READY_SECONDS, snapshot.new_min_ready_seconds))
    return PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        image=snapshot.old_image,
        min_ready_seconds=snapshot.old_min_ready_seconds if paced else None,
        paused=False,
        annotations=((ANNOTATION_STOPPED, execution.id),),
        if_fields=tuple(tests),
        why=f"step back: {target.stable} returns to {snapshot.old_image}",
    )
