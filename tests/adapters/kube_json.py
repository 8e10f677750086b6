"""Builders of Kubernetes objects as JSON, in the shape of the example manifests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rollout.core.target import Target

TARGET = Target("test", "shop", "nginx", "nginx", canary="nginx-canary", service="nginx-svc")
EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "kubernetes" / "example"

IMAGE_ID = "docker.io/library/nginx@sha256:" + "1" * 64

Json = dict[str, Any]


def example(name: str) -> Json:
    document: Json = yaml.safe_load((EXAMPLE / f"{name}.yaml").read_text(encoding="utf-8"))
    document["metadata"]["namespace"] = "shop"
    return document


def deployment(name: str = "nginx", *, version: str = "7", uid: str = "", replicas: int | None = None, **meta: object) -> Json:
    """A Deployment of the examples as the API shows it: rolled out."""
    document = example(name)
    document["metadata"] |= {"uid": uid or f"uid-{name}", "resourceVersion": version, "generation": 3, **meta}
    document["metadata"].setdefault("annotations", {"deployment.kubernetes.io/revision": "1"})
    if replicas is not None:
        document["spec"]["replicas"] = replicas
    n = document["spec"]["replicas"]
    document["status"] = {
        "observedGeneration": 3, "replicas": n, "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
    }  # fmt: skip
    return document


def container(document: Json, index: int = 0) -> Json:
    found: Json = document["spec"]["template"]["spec"]["containers"][index]
    return found


def replica_set(name: str, owner: str, *, version: str = "7") -> Json:
    return {
        "metadata": {
            "name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": version,
            "ownerReferences": [{"kind": "Deployment", "name": owner, "controller": True}],
        }
    }  # fmt: skip


def pod(
    name: str, owner: str, *, ip: str = "10.1.0.7", image: str = "nginx:1.27.3", version: str = "7", ready: bool = True
) -> Json:
    return {
        "metadata": {
            "name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": version,
            "creationTimestamp": "2026-11-22T12:00:00Z", "labels": {"app": "nginx", "pod-template-hash": owner.rpartition("-")[2]},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "controller": True}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "nginx", "image": image}]},
        "status": {
            "phase": "Running", "podIP": ip,
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-11-22T12:00:30Z"}
            ],
            "containerStatuses": [
                {"name": "nginx", "ready": ready, "restartCount": 0, "state": {"running": {}}, "imageID": IMAGE_ID}
            ],
        },
    }  # fmt: skip


def endpoint_slice(name: str, *endpoints: Mapping[str, Any], version: str = "7") -> Json:
    labels = {"kubernetes.io/service-name": "nginx-svc"}
    return {"metadata": {"name": name, "labels": labels, "resourceVersion": version}, "endpoints": list(endpoints)}


def endpoint(pod_name: str, ip: str = "10.1.0.7", **conditions: bool | None) -> Json:
    reference = {"kind": "Pod", "name": pod_name, "uid": f"uid-{pod_name}"}
    return {"addresses": [ip], "conditions": dict(conditions), "targetRef": reference}


def listed(*documents: Json, version: str = "100") -> Json:
    return {"kind": "List", "metadata": {"resourceVersion": version}, "items": [copy.deepcopy(d) for d in documents]}
