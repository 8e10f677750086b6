"""The status that a kubelet would publish for a pod, built as a whole from what is known of the pod's life."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from rollout.sandbox.kube_objects import Json, stamp


class Stage(StrEnum):
    """Where a pod is in its life."""

    UNSCHEDULED = "unscheduled"
    CREATING = "creating"
    WAITING = "waiting"  # blocked or backing off, see Life.waiting
    RUNNING = "running"
    EXITED = "exited"  # terminated, about to be restarted
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Exit:
    """One end of a container."""

    reason: str
    code: int
    started: datetime
    finished: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """One pod condition; `since` is its lastTransitionTime."""

    status: str
    since: datetime
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class Life:
    """What is known of one pod beyond its object. `turn` grows when plans change: what an older turn planned does not happen.

    `culprit` is the index of the container whose image governs the pod's behaviour; the other containers just run.
    """

    uid: str
    namespace: str
    name: str
    images: tuple[str, ...]
    created_at: datetime
    finite: bool
    turn: int = 0
    stage: Stage = Stage.UNSCHEDULED
    culprit: int = 0
    node: str = ""
    ip: str = ""
    host_ip: str = ""
    scheduled_at: datetime | None = None
    first_started_at: datetime | None = None
    started_at: datetime | None = None
    waiting: tuple[str, str] = ("ContainerCreating", "")
    exit: Exit | None = None
    crashes: int = 0
    forgiven: int = 0
    restarts: int = 0
    pulls_failed: int = 0
    ready: bool = False
    ready_since: datetime | None = None
    removal_planned: bool = False
    failure: tuple[str, str] = ("", "")
    conditions: dict[str, Condition] = field(default_factory=dict)

    def condition(self, type_: str, status: str, now: datetime, reason: str = "", message: str = "") -> None:
        """Set a condition; its time moves only when its status does."""
        old = self.conditions.get(type_)
        since = old.since if old is not None and old.status == status else now
        self.conditions[type_] = Condition(status, since, reason, message)


@lru_cache(1_024)
def image_id(image: str) -> str:
    """Say what a node reports for an image: the digest it was pulled by, or one derived from the string."""
    if "@sha256:" in image:
        return image
    repository = image.rsplit(":", 1)[0] if ":" in image.rsplit("/", 1)[-1] else image
    prefix = "" if "/" in repository and "." in repository.split("/", 1)[0] else "docker.io/"
    library = "library/" if prefix and "/" not in repository else ""
    return f"{prefix}{library}{repository}@sha256:{sha256(image.encode()).hexdigest()}"


def pod_status(life: Life, containers: list[Json]) -> Json:
    """Build `status`: phase, conditions, IPs, container statuses."""
    phase = {Stage.SUCCEEDED: "Succeeded", Stage.FAILED: "Failed"}.get(life.stage, "Pending")
    if phase == "Pending" and life.first_started_at is not None:
        phase = "Running"
    status: Json = {"phase": phase, "conditions": _conditions(life), "qosClass": "BestEffort"}
    if life.failure[0]:
        status |= {"reason": life.failure[0], "message": life.failure[1]}
    if life.scheduled_at is not None:
        status["startTime"] = stamp(life.scheduled_at)
        status |= {"hostIP": life.host_ip, "hostIPs": [{"ip": life.host_ip}]}
        status["containerStatuses"] = [_container(life, i, container) for i, container in enumerate(containers)]
    if life.ip:
        status |= {"podIP": life.ip, "podIPs": [{"ip": life.ip}]}
    return status


def _conditions(life: Life) -> list[Json]:
    listed = []
    for type_, condition in life.conditions.items():
        entry: Json = {"type": type_, "status": condition.status, "lastProbeTime": None}
        entry["lastTransitionTime"] = stamp(condition.since)
        if condition.reason:
            entry["reason"] = condition.reason
        if condition.message:
            entry["message"] = condition.message
        listed.append(entry)
    return listed


def _container(life: Life, index: int, container: Json) -> Json:
    image = container["image"]
    acts = index == life.culprit
    has_run = life.first_started_at is not None
    entry: Json = {
        "name": container["name"], "image": image, "imageID": image_id(image) if has_run else "",
        "restartCount": life.restarts if acts else 0, "ready": life.ready if acts else life.stage is Stage.RUNNING,
        "started": life.stage is Stage.RUNNING, "state": _state(life, acts=acts), "lastState": {},
    }  # fmt: skip
    if has_run:
        entry["containerID"] = f"containerd://{sha256(f'{life.uid}/{index}/{life.restarts}'.encode()).hexdigest()}"
    if acts and life.exit is not None and life.stage in {Stage.RUNNING, Stage.WAITING}:
        entry["lastState"] = {"terminated": _terminated(life.exit)}
    return entry


def _state(life: Life, *, acts: bool) -> Json:
    match life.stage:
        case Stage.RUNNING if life.started_at is not None:
            return {"running": {"startedAt": stamp(life.started_at)}}
        case Stage.EXITED | Stage.SUCCEEDED | Stage.FAILED if life.exit is not None and acts:
            return {"terminated": _terminated(life.exit)}
        case Stage.SUCCEEDED | Stage.FAILED:
            return {"terminated": {"reason": "Completed", "exitCode": 0}}
        case _ if not acts and life.started_at is not None:
            return {"running": {"startedAt": stamp(life.started_at)}}
        case _:
            reason, message = life.waiting if acts else ("ContainerCreating", "")
            return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _terminated(end: Exit) -> Json:
    times = {"startedAt": stamp(end.started), "finishedAt": stamp(end.finished)}
    return {"reason": end.reason, "exitCode": end.code, **times}
