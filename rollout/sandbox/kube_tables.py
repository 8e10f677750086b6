"""The columns that `kubectl get` shows (meta.k8s.io/v1 Table), built by the server as the real one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from rollout.sandbox.kube_objects import Json, name_of, parse_stamp

Row = Callable[[Json, str], Sequence[object]]


def age(created: str | None, now: datetime) -> str:
    """Shorten a span as kubectl does (duration.HumanDuration, coarse)."""
    if not created:
        return "<unknown>"
    seconds = max(int((now - parse_stamp(created)).total_seconds()), 0)
    for limit, unit, word in ((120, 1, "s"), (7_200, 60, "m"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds // unit}{word}"
    return f"{seconds // 86_400}d"


def _deployment(obj: Json, old: str) -> Sequence[object]:
    status = obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 0)}"
    containers = obj["spec"]["template"]["spec"]["containers"]
    wide = [",".join(c["name"] for c in containers), ",".join(c["image"] for c in containers), _selector(obj)]
    return [name_of(obj), ready, status.get("updatedReplicas", 0), status.get("availableReplicas", 0), old, *wide]


def _replica_set(obj: Json, old: str) -> Sequence[object]:
    status = obj.get("status") or {}
    return [name_of(obj), obj["spec"].get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0), old]


def _pod(obj: Json, old: str) -> Sequence[object]:
    statuses = obj["status"].get("containerStatuses") or []
    ready = f"{sum(s['ready'] for s in statuses)}/{len(obj['spec']['containers'])}"
    word = obj["status"].get("reason") or obj["status"].get("phase", "Pending")
    for status in statuses:
        state = status["state"]
        word = (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason") or word
    if "deletionTimestamp" in obj["metadata"]:
        word = "Terminating"
    restarts = sum(status["restartCount"] for status in statuses)
    where = [obj["status"].get("podIP") or "<none>", obj["spec"].get("nodeName") or "<none>"]
    return [name_of(obj), ready, word, restarts, old, *where]


def _service(obj: Json, old: str) -> Sequence[object]:
    spec = obj["spec"]
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or ()) or "<none>"
    return [name_of(obj), spec.get("type", "ClusterIP"), spec.get("clusterIP") or "None", "<none>", ports, old]


def _slice(obj: Json, old: str) -> Sequence[object]:
    ends = ",".join(end["addresses"][0] for end in obj.get("endpoints") or ()) or "<unset>"
    ports = ",".join(str(port["port"]) for port in obj.get("ports") or ()) or "<unset>"
    return [name_of(obj), obj.get("addressType", ""), ports, ends, old]


def _event(obj: Json, old: str) -> Sequence[object]:
    about = obj.get("involvedObject") or {}
    subject = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    return [old, obj.get("type", ""), obj.get("reason", ""), subject, obj.get("message", "")]


def _node(obj: Json, old: str) -> Sequence[object]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    words = ["Ready" if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) else "NotReady"]
    words += ["SchedulingDisabled"] if obj["spec"].get("unschedulable") else []
    return [name_of(obj), ",".join(words), "<none>", old, obj["status"]["nodeInfo"]["kubeletVersion"]]


def _job(obj: Json, old: str) -> Sequence[object]:
    status = obj.get("status") or {}
    word = next((c["type"] for c in status.get("conditions") or ()), "Running")
    return [name_of(obj), word, f"{status.get('succeeded', 0)}/{obj['spec'].get('completions', 1)}", old]


def _autoscaler(obj: Json, old: str) -> Sequence[object]:
    spec = obj["spec"]
    target = f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}"
    return [name_of(obj), target, spec.get("minReplicas", 1), spec.get("maxReplicas", 0), old]


def _plain(obj: Json, old: str) -> Sequence[object]:
    return [name_of(obj), old]


def _selector(obj: Json) -> str:
    return ",".join(f"{key}={value}" for key, value in obj["spec"]["selector"].get("matchLabels", {}).items())


_TABLES: Mapping[str, tuple[str, Row]] = {
    "deployments": ("Name Ready Up-to-date Available Age *Containers *Images *Selector", _deployment),
    "replicasets": ("Name Desired Current Ready Age", _replica_set),
    "pods": ("Name Ready Status Restarts Age *IP *Node", _pod),
    "services": ("Name Type Cluster-IP External-IP Port(s) Age", _service),
    "endpointslices": ("Name AddressType Ports Endpoints Age", _slice),
    "events": ("Last_Seen Type Reason Object Message", _event),
    "nodes": ("Name Status Roles Age Version", _node),
    "jobs": ("Name Status Completions Age", _job),
    "horizontalpodautoscalers": ("Name Reference MinPods MaxPods Age", _autoscaler),
}


def table(resource: str, objects: Sequence[Json], metadata: Json, now: datetime) -> Json:
    """Render objects as rows; columns marked with a star are shown with `-o wide` only."""
    columns, row = _TABLES.get(resource, ("Name Age", _plain))
    heads = [_column(word) for word in columns.split()]
    rows = []
    for obj in objects:
        seen = obj.get("lastTimestamp") if resource == "events" else obj["metadata"].get("creationTimestamp")
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
        rows.append({"cells": list(row(obj, age(seen, now))), "object": partial})
    kind = {"kind": "Table", "apiVersion": "meta.k8s.io/v1"}
    return {**kind, "metadata": metadata, "columnDefinitions": heads, "rows": rows}


def _column(word: str) -> Json:
    name = word.lstrip("*").replace("_", " ")
    type_ = "integer" if name in {"Up-to-date", "Available", "Restarts", "Desired", "Current"} else "string"
    form = "name" if name == "Name" else ""
    return {"name": name, "type": type_, "format": form, "description": name, "priority": int(word.startswith("*"))}
