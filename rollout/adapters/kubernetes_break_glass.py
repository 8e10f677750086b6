"""Stepping back by hand when the daemon is dead: with the operator's own kubeconfig, and without database or lease.

It writes what the daemon's retreat would write, under the same server-side tests, so a daemon that comes back finds the
tombstone and goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rollout.adapters.kubernetes import KubernetesCluster
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.core.cohorts import ANNOTATION_BY_HAND, ANNOTATION_ID, ANNOTATION_STOPPED, ANNOTATION_STOPPED_WHY, Deployment
from rollout.core.effects import FieldName, FieldTest, PatchDeployment
from rollout.core.errors import Conflict, Refused, Rejected, RolloutError
from rollout.core.history import Outcome
from rollout.core.state import Reason, Snapshot
from rollout.core.target import Target
from rollout.core.tombstone import inscribe
from rollout.ports import Clock

TIMEOUT = timedelta(seconds=15)
BY_HAND = Reason("stepped back by hand, without the daemon (abort --break-glass)", "break-glass", Outcome.ABORTED)


@dataclass(frozen=True, slots=True)
class SteppedBack:
    """What was done, in words for the person who did it. `complete` False: something is left for them, and `left` says what."""

    done: tuple[str, ...]
    left: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether nothing is left to do."""
        return not self.left


def step_back_now(
    settings: ClusterSettings,
    clock: Clock,
    target: Target,
    rollout: str | None = None,
    snapshot: Snapshot | None = None,
    reason: Reason = BY_HAND,
) -> SteppedBack:
    """Scale the canary to 0 with a tombstone; with a snapshot, put back on the stable what still is what we wrote.

    Without `rollout` the canary's own annotation says whose it is. Raises Unavailable, Rejected (the canary is another
    rollout's: Conflict), Refused (no canary in the target, or no credentials).
    """
    if not target.canary:
        raise Refused(f"{target} has no canary: there is nothing to step back from without the daemon")
    cluster = KubernetesCluster(settings, clock)
    try:
        canary = cluster.read_deployment(target.namespace, target.canary, timeout=TIMEOUT)
        if canary is None:
            raise Rejected(cluster.backend, f"there is no Deployment {target.namespace}/{target.canary}", code=404)
        owner = rollout or canary.annotations.get(ANNOTATION_ID) or "break-glass"
        done = [_stop_canary(cluster, target, canary, owner, asked=rollout is not None, reason=reason)]
        left: list[str] = []
        try:
            for line, finished in _stable(cluster, target, owner, snapshot):
                (done if finished else left).append(line)
        except RolloutError as error:  # the canary is at 0: say so, whatever became of the rest
            left.append(f"{target.stable} was left as it is: {error}")
        return SteppedBack(tuple(done), tuple(left))
    finally:
        cluster.close()


def _stable(cluster: KubernetesCluster, target: Target, owner: str, snapshot: Snapshot | None) -> list[tuple[str, bool]]:
    stable = cluster.read_deployment(target.namespace, target.stable, timeout=TIMEOUT)
    if stable is None:
        return [(f"there is no Deployment {target.namespace}/{target.stable}", False)]
    if snapshot is not None:
        return _restore(cluster, target, stable, owner, snapshot)
    if stable.rolled_out:
        return []
    undo = f"kubectl -n {target.namespace} rollout undo deployment/{target.stable}"
    return [(f"{target.stable} is rolling ({stable.updated} of {stable.replicas} updated), and was left alone: {undo}", False)]


def _stop_canary(cluster: KubernetesCluster, target: Target, canary: Deployment, owner: str, *, asked: bool, reason: Reason) -> str:
    was = canary.annotations.get(ANNOTATION_ID)
    if asked and was not in {None, owner}:
        raise Conflict(
            cluster.backend,
            f"{target.canary} belongs to rollout {was} now, not to {owner}; nothing was written. Abort {was} instead",
        )
    if canary.replicas == 0 and canary.annotations.get(ANNOTATION_STOPPED) == owner:
        return f"{target.canary}: is at 0 replicas and marked as stopped ({owner}) already"
    patch = PatchDeployment(
        target.cluster,
        target.namespace,
        target.canary,
        target.container,
        replicas=0,
        annotations=(
            (ANNOTATION_STOPPED, owner),
            (ANNOTATION_STOPPED_WHY, inscribe(reason)),
            (ANNOTATION_BY_HAND, inscribe(reason)),
        ),
        if_fields=(FieldTest(FieldName.ROLLOUT_ID, was),),
        why=f"step back by hand from {owner}",
    )
    cluster.apply(patch, timeout=TIMEOUT)
    return f"{target.canary}: {canary.replicas} -> 0 replicas, marked as stopped ({owner})"


def _restore(
    cluster: KubernetesCluster, target: Target, stable: Deployment, owner: str, snapshot: Snapshot
) -> list[tuple[str, bool]]:
    """Put image, pace and `paused` back, each only where it still is what promotion wrote. Lines, and whether each is done."""
    image = stable.images.get(target.container)
    if image == snapshot.old_image:
        return [(f"{target.stable}: runs {image} as before, nothing to put back", True)]
    if image != snapshot.new_image:
        undo = f"someone has written it since {snapshot.new_image}, so it was left alone: decide by hand"
        return [(f"{target.stable}: runs {image}; {undo}", False)]
    pace_is_ours = stable.min_ready_seconds == snapshot.new_min_ready_seconds
    tests = [FieldTest(FieldName.IMAGE, snapshot.new_image)]
    if pace_is_ours:
        tests.append(FieldTest(FieldName.MIN_READY_SECONDS, snapshot.new_min_ready_seconds))
    patch = PatchDeployment(
        target.cluster,
        target.namespace,
        target.stable,
        target.container,
        image=snapshot.old_image,
        paused=False,
        min_ready_seconds=snapshot.old_min_ready_seconds if pace_is_ours else None,
        annotations=((ANNOTATION_STOPPED, owner),),
        if_fields=tuple(tests),
        why=f"put {target.stable} back by hand",
    )
    try:
        cluster.apply(patch, timeout=TIMEOUT)
    except Conflict as error:
        return [(f"{target.stable} was left alone: {error}", False)]
    return [(f"{target.stable}: {snapshot.new_image} -> {snapshot.old_image}, every pod is replaced again", True)]
