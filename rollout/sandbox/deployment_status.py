"""What the Deployment controller writes about a Deployment: numbers, and the conditions Available and Progressing.

The rules are those of kubernetes pkg/controller/deployment (progress.go, sync.go, util/deployment_util.go).
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from rollout.sandbox.kube_objects import Json, name_of, parse_stamp, stamp

REVISION = "deployment.kubernetes.io/revision"


def fenceposts(deployment: Json) -> tuple[int, int]:
    """Resolve maxSurge and maxUnavailable to numbers: surge rounds up, unavailable down, not both 0 (ResolveFenceposts)."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = deployment["spec"]["replicas"]
    surge = _absolute(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _absolute(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, (1 if surge == 0 and unavailable == 0 else unavailable)


def max_unavailable(deployment: Json) -> int:
    """Pods that may be missing: 0 for Recreate and for 0 replicas, never more than there are."""
    replicas = int(deployment["spec"]["replicas"])
    if recreates(deployment) or not replicas:
        return 0
    return min(fenceposts(deployment)[1], replicas)


def recreates(deployment: Json) -> bool:
    """Say whether the strategy is Recreate."""
    return (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"


def _absolute(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        return int(value)
    exact = int(value[:-1]) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


def condition_of(status: Json, type_: str) -> Json | None:
    """Find a condition by type."""
    return next((c for c in status.get("conditions") or () if c["type"] == type_), None)


def with_condition(status: Json, wanted: tuple[str, str, str, str], now: datetime) -> Json:
    """Set a condition (type, status, reason, message): unchanged when status and reason are the same already."""
    type_, value, reason, message = wanted
    old = condition_of(status, type_)
    if old is not None and old["status"] == value and old["reason"] == reason:
        return status
    moved = old["lastTransitionTime"] if old is not None and old["status"] == value else stamp(now)
    condition = {"type": type_, "status": value, "lastUpdateTime": stamp(now), "lastTransitionTime": moved}
    condition |= {"reason": reason, "message": message}
    others = [c for c in status.get("conditions") or () if c["type"] != type_]
    return {**status, "conditions": [*others, condition]}


def is_complete(deployment: Json, status: Json) -> bool:
    """Say whether everything is new and available (DeploymentComplete)."""
    replicas = deployment["spec"]["replicas"]
    same = all(status.get(key, 0) == replicas for key in ("updatedReplicas", "replicas", "availableReplicas"))
    return same and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]


def _has_progressed(old: Json, new: Json) -> bool:
    def old_pods(status: Json) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = any(new.get(key, 0) > old.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or old_pods(new) < old_pods(old)


def deadline(deployment: Json, status: Json) -> datetime | None:
    """Tell when the progress deadline passes if nothing moves; None when none runs."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    condition = condition_of(status, "Progressing")
    if seconds is None or condition is None or condition["reason"] in {"NewReplicaSetAvailable", "ProgressDeadlineExceeded"}:
        return None
    return parse_stamp(condition["lastUpdateTime"]) + timedelta(seconds=seconds)


def numbers(deployment: Json, sets: list[Json], newest: Json | None) -> Json:
    """Add up the status of all its ReplicaSets (calculateStatus)."""

    def total(key: str) -> int:
        return sum(int(rs["status"].get(key, 0)) for rs in sets)

    replicas, available = total("replicas"), total("availableReplicas")
    values = {
        "replicas": replicas, "updatedReplicas": newest["status"].get("replicas", 0) if newest else 0,
        "readyReplicas": total("readyReplicas"), "availableReplicas": available,
        "unavailableReplicas": max(sum(rs["spec"]["replicas"] for rs in sets) - available, 0),
    }  # fmt: skip
    status: Json = {key: value for key, value in values.items() if value}
    status["observedGeneration"] = deployment["metadata"]["generation"]
    status["conditions"] = deployment["status"].get("conditions") or []
    return status


def judged(deployment: Json, status: Json, newest: Json | None, now: datetime) -> Json:
    """Add the conditions to the numbers (syncRolloutStatus)."""
    if status.get("availableReplicas", 0) >= deployment["spec"]["replicas"] - max_unavailable(deployment):
        words = ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        words = ("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status = with_condition(status, words, now)
    if deployment["spec"].get("progressDeadlineSeconds") is None or deployment["spec"].get("paused"):
        return status
    current = condition_of(status, "Progressing")
    settled = current is not None and current["reason"] == "NewReplicaSetAvailable"
    if settled and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return status
    subject = f'ReplicaSet "{name_of(newest)}"' if newest is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        progress = ("Progressing", "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
        return with_condition(status, progress, now)
    if _has_progressed(deployment["status"], status):
        return _progressed(status, f"{subject} is progressing.", now)
    due = deadline(deployment, status)
    if due is not None and due <= now:
        late = ("Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")
        return with_condition(status, late, now)
    return status


def _progressed(status: Json, message: str, now: datetime) -> Json:
    """Renew the condition's update time, from which the deadline counts."""
    old = condition_of(status, "Progressing")
    others = [c for c in status.get("conditions") or () if c["type"] != "Progressing"]
    moved = old["lastTransitionTime"] if old is not None and old["status"] == "True" else stamp(now)
    condition = {"type": "Progressing", "status": "True", "lastUpdateTime": stamp(now), "lastTransitionTime": moved}
    return {**status, "conditions": [*others, {**condition, "reason": "ReplicaSetUpdated", "message": message}]}
