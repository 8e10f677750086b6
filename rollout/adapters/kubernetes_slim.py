"""What is kept of a Kubernetes object: the few fields that decisions read, as the words of the core.

A pod is about 10 KB as JSON and 1 KB here. Every reader forgives missing fields, because the API leaves out what is empty.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.cohorts import Container, Deployment, Pod

Document = Mapping[str, Any]

OWN_ANNOTATIONS = "rollout/"
EPOCH = datetime.fromtimestamp(0, UTC)
MESSAGE = 300
"""Characters kept of a container's or scheduler's message: what a notice shows."""

_DISPLACED_STATUS = {
    "Evicted": "Evicted",
    "NodeLost": "NodeLost",
    "NodeShutdown": "NodeShutdown",
    "Shutdown": "NodeShutdown",
    "Terminated": "NodeShutdown",  # graceful node shutdown since Kubernetes 1.22
    "NodeAffinity": "NodeAffinity",
    "Preempting": "Preempted",
    "Preempted": "Preempted",
}
_DISRUPTED = {
    "PreemptionByScheduler": "Preempted",
    "EvictionByEvictionAPI": "DrainedByEviction",
    "DeletionByTaintManager": "DrainedByTaint",
    "DeletionByPodGC": "NodeLost",
    "TerminationByKubelet": "EvictedByNode",
}
_STARTING = {"", "ContainerCreating", "PodInitializing"}


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A Deployment, and whether it carries any annotation at all (a JSON patch must know)."""

    deployment: Deployment
    annotated: bool


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A pod whose Deployment and endpoint are not looked up yet, and the name of the ReplicaSet that owns it."""

    pod: Pod
    replica_set: str


@dataclass(frozen=True, slots=True)
class ReplicaSetRecord:
    """A ReplicaSet: all that matters is whose it is."""

    name: str
    deployment: str


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """One EndpointSlice: the pods (by name and uid) and bare addresses that are ready and not terminating."""

    name: str
    service: str
    pods: frozenset[tuple[str, str]]
    addresses: frozenset[str]


def name_of(document: Document) -> str:
    """`metadata.name`."""
    return str(_map(document, "metadata").get("name", ""))


def moment(text: object) -> datetime | None:
    """Read an RFC 3339 time, `2026-11-22T13:00:00Z`; None for anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def _map(document: Document, *path: str) -> Document:
    """Walk down; an empty mapping wherever the path ends early (missing, null, or something else)."""
    here: Any = document
    for key in path:
        here = here.get(key) if isinstance(here, (dict, Mapping)) else None
    return here if isinstance(here, (dict, Mapping)) else {}


def _list(document: Document, *path: str) -> list[Document]:
    value = _map(document, *path[:-1]).get(path[-1])
    return [item for item in value if isinstance(item, (dict, Mapping))] if isinstance(value, list) else []


def _number(document: Document, key: str, missing: int = 0) -> int:
    value = document.get(key)
    return value if isinstance(value, int) else missing


def _owner(document: Document, kind: str) -> str:
    owners = _list(document, "metadata", "ownerReferences")
    return next((sys.intern(str(o.get("name", ""))) for o in owners if o.get("kind") == kind and o.get("controller", True)), "")


def bound(value: object, replicas: int, *, up: bool) -> int:
    """Resolve `maxSurge` (rounded up) or `maxUnavailable` (rounded down): a number, or a percentage of the replicas."""
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit() else "25%"
    exact = replicas * int(text[:-1]) / 100
    return math.ceil(exact) if up else math.floor(exact)


def writers(document: Document) -> Mapping[str, str]:
    """Who last wrote `replicas`, `paused` and `image` (and `image/<container>` for each), from `metadata.managedFields`.

    The subresource `scale` counts for replicas. Of several owners the latest is named.
    """
    latest: dict[str, tuple[str, str]] = {}
    for entry in _list(document, "metadata", "managedFields"):
        who = (str(entry.get("time", "")), sys.intern(str(entry.get("manager", "?"))))
        for written in _written(_map(entry, "fieldsV1", "f:spec")):
            latest[written] = max(latest.get(written, ("", "")), who)
    return {written: who for written, (_, who) in latest.items()}


def _written(spec: Document) -> Iterator[str]:
    yield from (name for name in ("replicas", "paused") if f"f:{name}" in spec)
    for key, fields in _map(spec, "f:template", "f:spec", "f:containers").items():
        if isinstance(fields, Mapping) and "f:image" in fields and '"name":"' in key:
            yield "image"
            yield "image/" + key.split('"name":"', 1)[1].split('"', 1)[0]


def deployment(document: Document) -> DeploymentRecord:
    """Keep of a Deployment what decisions read."""
    meta, spec, status = (_map(document, part) for part in ("metadata", "spec", "status"))
    replicas = _number(spec, "replicas", 1)
    rolling = _map(spec, "strategy", "rollingUpdate")
    surge = bound(rolling.get("maxSurge"), replicas, up=True)
    unavailable = bound(rolling.get("maxUnavailable"), replicas, up=False)
    annotations = _map(meta, "annotations")
    conditions = {str(c.get("type")): c for c in _list(status, "conditions")}
    slim = Deployment(
        name=str(meta.get("name", "")),
        namespace=sys.intern(str(meta.get("namespace", ""))),
        uid=str(meta.get("uid", "")),
        resource_version=str(meta.get("resourceVersion", "")),
        generation=_number(meta, "generation"),
        observed_generation=_number(status, "observedGeneration"),
        replicas=replicas,
        images={str(c.get("name", "")): str(c.get("image", "")) for c in _list(spec, "template", "spec", "containers")},
        status_replicas=_number(status, "replicas"),
        updated=_number(status, "updatedReplicas"),
        ready=_number(status, "readyReplicas"),
        available=_number(status, "availableReplicas"),
        paused=spec.get("paused") is True,
        min_ready_seconds=_number(spec, "minReadySeconds"),
        progress_deadline_seconds=_number(spec, "progressDeadlineSeconds", 600),
        progressing=str(conditions.get("Progressing", {}).get("reason", "")),
        strategy=str(_map(spec, "strategy").get("type") or "RollingUpdate"),
        max_surge=surge,
        max_unavailable=unavailable if surge or unavailable else 1,  # the controller's own rule: never both 0
        annotations={k: str(v) for k, v in annotations.items() if k.startswith(OWN_ANNOTATIONS)},
        writers=writers(document),
    )
    return DeploymentRecord(slim, annotated=bool(annotations))


def common_selector(deployments: Sequence[Document]) -> str:
    """The labels that all these Deployments select by, as a query; empty where they have none in common."""
    selectors = [set(_map(document, "spec", "selector", "matchLabels").items()) for document in deployments]
    common = set.intersection(*selectors) if selectors else set()
    return ",".join(f"{key}={value}" for key, value in sorted(common))


def replica_set(document: Document) -> ReplicaSetRecord:
    """Keep of a ReplicaSet its owner."""
    return ReplicaSetRecord(name_of(document), _owner(document, "Deployment"))


def pod(document: Document) -> PodRecord:
    """Keep of a pod what decisions read; its Deployment and endpoint are looked up later."""
    meta, spec, status = (_map(document, part) for part in ("metadata", "spec", "status"))
    conditions = {str(c.get("type")): c for c in _list(status, "conditions")}
    ready = conditions.get("Ready", {})
    labels = {sys.intern(str(k)): sys.intern(str(v)) for k, v in _map(meta, "labels").items()}
    deleting = _deleting_since(meta)
    slim = Pod(
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        ip=str(status.get("podIP") or ""),
        node=sys.intern(str(spec.get("nodeName") or "")),
        deployment="",
        template_hash=labels.get("pod-template-hash", ""),
        containers=tuple(_containers(spec, status)),
        created_at=moment(meta.get("creationTimestamp")) or EPOCH,
        ready=ready.get("status") == "True" and deleting is None,
        ready_since=moment(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        phase=sys.intern(str(status.get("phase") or "Pending")),
        deleting_since=deleting,
        displaced=displaced(status),
        unschedulable=_unschedulable(conditions.get("PodScheduled", {})),
        labels=labels,
        lost_readiness=_lost_readiness(ready, conditions.get("Initialized", {})),
    )
    return PodRecord(slim, _owner(document, "ReplicaSet"))


def _lost_readiness(ready: Document, initialized: Document) -> bool:
    """Say whether a pod that is not ready was so before: its Ready condition turned after it was initialized, so it was True then.

    A condition's time moves with its status alone (kubelet, updateLastTransitionTime), and Ready is False from the first status
    on. Both times are the kubelet's: no clocks are compared.
    """
    if ready.get("status") == "True" or initialized.get("status") != "True":
        return False
    turned, begun = moment(ready.get("lastTransitionTime")), moment(initialized.get("lastTransitionTime"))
    return turned is not None and begun is not None and turned > begun


def displaced(status: Document) -> str:
    """Name who took the pod away, empty when nobody did: eviction, preemption, drain, a node lost or shut down."""
    for condition in _list(status, "conditions"):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = str(condition.get("reason", ""))
            return _DISRUPTED.get(reason, reason or "Disrupted")
    reason = str(status.get("reason", ""))
    if reason.startswith("OutOf"):  # OutOfcpu, OutOfmemory, OutOfpods: the node had promised the room to somebody else
        return reason
    return _DISPLACED_STATUS.get(reason, "")


def _deleting_since(meta: Document) -> datetime | None:
    """`deletionTimestamp` is when the grace period ends; the deletion began that much earlier."""
    ends = moment(meta.get("deletionTimestamp"))
    return None if ends is None else ends - timedelta(seconds=_number(meta, "deletionGracePeriodSeconds"))


def _unschedulable(condition: Document) -> str:
    if condition.get("status") != "False":
        return ""
    return str(condition.get("message") or condition.get("reason") or "not scheduled")[:MESSAGE]


def _containers(spec: Document, status: Document) -> Iterator[Container]:
    """The pod's containers, and any init container that is in trouble: a pod that hangs there never becomes ready."""
    yield from _states(_list(spec, "containers"), _list(status, "containerStatuses"))
    for container in _states(_list(spec, "initContainers"), _list(status, "initContainerStatuses")):
        if container.waiting not in _STARTING or container.exit_code not in {None, 0}:
            yield container


def _states(specs: list[Document], statuses: list[Document]) -> Iterator[Container]:
    by_name = {str(s.get("name")): s for s in statuses}
    for asked in specs:
        name = sys.intern(str(asked.get("name", "")))
        seen = by_name.get(name, {})
        waiting = _map(seen, "state", "waiting")
        ended = _map(seen, "state", "terminated") or _map(seen, "lastState", "terminated")
        code = ended.get("exitCode")
        yield Container(
            name=name,
            image=sys.intern(str(asked.get("image", ""))),
            image_id=sys.intern(str(seen.get("imageID") or "")),
            ready=seen.get("ready") is True,
            restarts=_number(seen, "restartCount"),
            waiting=str(waiting.get("reason", "")),
            terminated=str(ended.get("reason", "")),
            exit_code=code if isinstance(code, int) else None,
            terminated_at=moment(ended.get("finishedAt")),
            message=str(waiting.get("message") or ended.get("message") or "")[:MESSAGE],
        )


def endpoints(document: Document) -> EndpointRecord:
    """Keep of an EndpointSlice who serves. Unset `ready` means true, unset `terminating` false (the API's own words)."""
    pods: set[tuple[str, str]] = set()
    addresses: set[str] = set()
    for endpoint in _list(document, "endpoints"):
        conditions = _map(endpoint, "conditions")
        if conditions.get("ready") is False or conditions.get("terminating") is True:
            continue
        behind = _map(endpoint, "targetRef")
        if behind.get("kind") == "Pod":
            pods.add((str(behind.get("name", "")), str(behind.get("uid", ""))))
        else:
            addresses.update(str(a) for a in endpoint.get("addresses") or ())
    service = str(_map(document, "metadata", "labels").get("kubernetes.io/service-name", ""))
    return EndpointRecord(name_of(document), service, frozenset(pods), frozenset(addresses))
