"""What the cluster shows of a target, slim, and how pods fall into cohorts.

A pod's place in a cohort follows from what it runs, not from what we remember having asked for: the candidate cohort is
every pod that runs the new image, the baseline every other pod of the stable Deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.target import Target

OURS = "rollout"
"""The field manager of every write of ours."""
ANNOTATION_ID = "rollout/id"
"""On a Deployment: the rollout that last wrote to it going forward."""
ANNOTATION_STOPPED = "rollout/stopped"
"""On the canary Deployment: the rollout that stepped back; while it stands, nothing forward of that rollout is performed."""
ANNOTATION_STOPPED_WHY = "rollout/stopped-why"
"""Beside it, in the same write: why (core/tombstone.py)."""
ANNOTATION_BY_HAND = "rollout/stopped-by-hand"
"""Who broke the glass, and why, in the words of the one before; only break-glass writes it, so that no daemon writes over it."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of one pod, from `status.containerStatuses` and the pod's spec.

    `image` is the string of the spec (what was asked for), `image_id` what the node runs (with digest, empty until started).
    `waiting` is `state.waiting.reason` (CrashLoopBackOff, ImagePullBackOff, ErrImagePull, CreateContainerConfigError, ...),
    `terminated` is `state.terminated.reason` or, when it runs again, `lastState.terminated.reason` (OOMKilled, Error, ...).
    """

    name: str
    image: str
    image_id: str = ""
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    terminated: str = ""
    exit_code: int | None = None
    terminated_at: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of the target.

    `deployment` is the name of the owning Deployment (through its ReplicaSet), `template_hash` its `pod-template-hash`.
    `ready` is the Ready condition, and False while terminating; `ready_since` its `lastTransitionTime`. `lost_readiness`: the
    cluster itself shows that it was ready before.
    `displaced` names why the pod was taken away by somebody else: Evicted, Preempted, NodeLost, NodeShutdown, DrainedBy...,
    else empty. `serving` is True when a ready, not terminating endpoint of the Service points at it.
    """

    name: str
    uid: str
    ip: str
    node: str
    deployment: str
    template_hash: str
    containers: tuple[Container, ...]
    created_at: datetime
    ready: bool = False
    ready_since: datetime | None = None
    phase: str = "Pending"
    deleting_since: datetime | None = None
    displaced: str = ""
    serving: bool = False
    unschedulable: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    lost_readiness: bool = False

    def container(self, name: str) -> Container | None:
        """Find a container by name; None when the pod has none of that name."""
        for one in self.containers:
            if one.name == name:
                return one
        return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """The fields of a Deployment that decisions read.

    `replicas` is `spec.replicas`; `status_replicas`, `updated`, `ready`, `available` come from the status.
    `images` maps container names of the template to image strings. `annotations` holds the Deployment's own annotations
    whose key starts with `rollout/`. `writers` maps `replicas`, `image` and `paused` to the field manager that owns them
    (from managedFields), empty when unknown. `progressing` is the reason of the Progressing condition
    (NewReplicaSetAvailable, ReplicaSetUpdated, ProgressDeadlineExceeded, DeploymentPaused, ...).
    `max_surge` and `max_unavailable` are absolute numbers, percentages already resolved against `replicas`.
    """

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    observed_generation: int
    replicas: int
    images: Mapping[str, str]
    status_replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    paused: bool = False
    min_ready_seconds: int = 0
    progress_deadline_seconds: int = 600
    progressing: str = ""
    strategy: str = "RollingUpdate"
    max_surge: int = 1
    max_unavailable: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    writers: Mapping[str, str] = field(default_factory=dict)

    @property
    def paused_by_us(self) -> bool:
        """Say whether it is paused by a write of ours, as the cluster knows it: one may be seen late, or land late."""
        return self.paused and self.writers.get("paused") == OURS

    @property
    def rolled_out(self) -> bool:
        """Say whether every pod is of the present template and available (the rule of `kubectl rollout status`)."""
        return (
            self.observed_generation >= self.generation
            and self.updated == self.replicas == self.status_replicas
            and self.available >= self.replicas
        )


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the watches show of one target now. `seen_at`: when the watches were last known to be current (UTC).

    `stable` or `canary` is None when the cluster has answered that there is no such Deployment.
    """

    target: Target
    seen_at: datetime
    stable: Deployment | None
    canary: Deployment | None
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Pods by what they run. Terminating pods are in neither `candidate` nor `baseline` once they serve nothing."""

    candidate: tuple[Pod, ...]
    baseline: tuple[Pod, ...]
    gone: tuple[Pod, ...] = ()
    """Candidate pods that have ended (phase Failed or Succeeded): an evicted pod stays as an object long after."""

    @property
    def share(self) -> float:
        """Candidate's part of the ready pods, 0.0 when none is ready; the traffic share by replica ratio."""
        ready = sum(p.ready for p in self.candidate)
        everybody = ready + sum(p.ready for p in self.baseline)
        return ready / everybody if everybody else 0.0


def cohorts(view: TargetView, new_image: str) -> Cohorts:
    """Sort the target's pods: candidate runs `new_image`, or belongs to the canary; baseline is the rest of the stable."""
    target = view.target
    candidate: list[Pod] = []
    baseline: list[Pod] = []
    gone: list[Pod] = []
    for pod in view.pods:
        container = pod.container(target.container)
        runs_new = container is not None and container.image == new_image
        ended = pod.phase in {"Failed", "Succeeded"}
        if (target.canary and pod.deployment == target.canary) or runs_new:
            (gone if ended else candidate).append(pod)
        elif pod.deployment == target.stable and not ended:
            baseline.append(pod)
    return Cohorts(tuple(candidate), tuple(baseline), tuple(gone))
