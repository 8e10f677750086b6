"""What the API server adds to an object that was sent to it, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

from rollout.sandbox.kube_objects import Json, invalid, name_of, selects

_POD_SPEC = {
    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
    "schedulerName": "default-scheduler",
}  # fmt: skip
_CONTAINER = {
    "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
}  # fmt: skip
_DEPLOYMENT = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
_DEPLOYMENT_FIELDS = frozenset(
    {"replicas", "selector", "template", "strategy", "minReadySeconds", "revisionHistoryLimit", "paused", "progressDeadlineSeconds"}
)
"""What a DeploymentSpec has; anything else is dropped, as the real server does with a warning."""
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def completed(resource: str, obj: Json) -> Json:
    """Fill in defaults. The input may be shared: what changes is new."""
    spec = obj.get("spec") or {}
    match resource:
        case "pods":
            return {**obj, "spec": _pod_spec(spec), "status": obj.get("status") or {"phase": "Pending"}}
        case "deployments":
            return {**obj, "spec": _deployment_spec(spec), "status": obj.get("status") or {}}
        case "replicasets":
            return {**obj, "spec": {"replicas": 1, **spec}, "status": obj.get("status") or {"replicas": 0}}
        case "services":
            ports = [{"protocol": "TCP", "targetPort": port.get("port"), **port} for port in spec.get("ports") or ()]
            defaults = {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
            return {**obj, "spec": {**defaults, **spec, "ports": ports}, "status": obj.get("status") or {"loadBalancer": {}}}
        case "jobs":
            template = {**(spec.get("template") or {})}
            template["spec"] = _pod_spec({"restartPolicy": "Never", **(template.get("spec") or {})})
            job = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": False}
            return {**obj, "spec": {**job, **spec, "template": template}, "status": obj.get("status") or {}}
        case "namespaces":
            return {**obj, "spec": spec or {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        case _:
            return obj


def _pod_spec(spec: Json) -> Json:
    containers = [_container(container) for container in spec.get("containers") or ()]
    return {**_POD_SPEC, **spec, "containers": containers}


def _container(container: Json) -> Json:
    image = str(container.get("image", ""))
    floats = ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")
    policy = "Always" if floats and "@" not in image else "IfNotPresent"
    filled = {**_CONTAINER, "imagePullPolicy": policy, **container}
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        if filled.get(probe):
            filled[probe] = {**_PROBE, **filled[probe]}
    if filled.get("ports"):
        filled["ports"] = [{"protocol": "TCP", **port} for port in filled["ports"]]
    return filled


def _deployment_spec(spec: Json) -> Json:
    filled: Json = {**_DEPLOYMENT, **{key: value for key, value in spec.items() if key in _DEPLOYMENT_FIELDS}}
    strategy = {"type": "RollingUpdate", **(spec.get("strategy") or {})}
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = {"maxSurge": "25%", "maxUnavailable": "25%", **(strategy.get("rollingUpdate") or {})}
    filled["strategy"] = strategy
    template = spec.get("template") or {}
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if key != "creationTimestamp"}
    filled["template"] = {**template, "metadata": metadata, "spec": _pod_spec(template.get("spec") or {})}
    if not filled.get("paused"):
        filled.pop("paused", None)
    if not filled.get("minReadySeconds"):
        filled.pop("minReadySeconds", None)
    return filled


def check(resource: str, obj: Json, old: Json | None) -> None:
    """Refuse what the API server refuses. Raises ApiError 422."""
    causes: list[tuple[str, str]] = []
    spec = obj.get("spec") or {}
    if resource == "deployments":
        causes += _deployment_causes(spec, old)
    elif resource == "pods":
        causes += _container_causes(spec, "spec.containers")
    elif resource == "replicasets" and not _natural(spec.get("replicas", 1)):
        causes.append(("spec.replicas", _not_natural(spec.get("replicas"))))
    if causes:
        raise invalid(resource, name_of(obj), causes)


def _deployment_causes(spec: Json, old: Json | None) -> list[tuple[str, str]]:
    causes: list[tuple[str, str]] = [
        (f"spec.{field}", _not_natural(spec[field]))
        for field in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
        if field in spec and not _natural(spec[field])
    ]
    if not causes and spec.get("progressDeadlineSeconds", 600) <= spec.get("minReadySeconds", 0):
        seen = spec.get("progressDeadlineSeconds")
        causes.append(("spec.progressDeadlineSeconds", f"Invalid value: {seen}: must be greater than minReadySeconds"))
    template = spec.get("template") or {}
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(("spec.selector", "Required value"))
    if not selects(selector, labels):
        causes.append(
            (
                "spec.template.metadata.labels",
                f"Invalid value: {_compact(labels or None)}: `selector` does not match template `labels`",
            )
        )
    if old is not None and old["spec"]["selector"] != spec.get("selector"):
        causes.append(("spec.selector", f"Invalid value: {_compact(spec.get('selector'))}: field is immutable"))
    return causes + _container_causes(template.get("spec") or {}, "spec.template.spec.containers")


def _container_causes(spec: Json, path: str) -> list[tuple[str, str]]:
    containers = spec.get("containers") or []
    if not containers:
        return [(path, "Required value")]
    causes = [(f"{path}[{i}].image", "Required value") for i, c in enumerate(containers) if not c.get("image")]
    return causes + [(f"{path}[{i}].name", "Required value") for i, c in enumerate(containers) if not c.get("name")]


def _natural(value: Any) -> bool:  # noqa: ANN401 - as received
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _not_natural(value: Any) -> str:  # noqa: ANN401 - as received
    return f"Invalid value: {value}: must be greater than or equal to 0"


def _compact(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, separators=(",", ":"))
