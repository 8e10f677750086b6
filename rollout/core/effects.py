"""What is to be done to the world, as values: absolute targets, idempotent, confirmed by looking.

A forward effect carries `if_version`: the resourceVersion that the decision saw. The server performs it only on exactly that
object, so a write that lands late (after a compensating one, or after somebody else's) changes nothing. A backward effect
carries `if_fields` instead: it must get through status noise, and must never touch what belongs to another rollout or person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldName(StrEnum):
    """The fields of a Deployment that we write, and may test before we write."""

    IMAGE = "image"
    REPLICAS = "replicas"
    PAUSED = "paused"
    MIN_READY_SECONDS = "minReadySeconds"
    ROLLOUT_ID = "rollout/id"
    STOPPED = "rollout/stopped"


@dataclass(frozen=True, slots=True)
class FieldTest:
    """The server must find exactly this value (None: the field is absent), else nothing is written (Conflict)."""

    name: FieldName
    value: str | int | bool | None


@dataclass(frozen=True, slots=True)
class PatchDeployment:
    """Set the named fields of one Deployment in one request; None leaves a field alone.

    `annotations`: key and value, None removes. `container` must exist in the template (checked before writing an image).
    """

    cluster: str
    namespace: str
    name: str
    container: str
    image: str | None = None
    replicas: int | None = None
    paused: bool | None = None
    min_ready_seconds: int | None = None
    annotations: tuple[tuple[str, str | None], ...] = ()
    if_version: str | None = None
    if_fields: tuple[FieldTest, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class PostEvent:
    """A Kubernetes Event on a Deployment, so that `kubectl describe` tells the story. Best effort, never awaited.

    `type` is `Normal` or `Warning`; `reason` is UpperCamelCase; `message` under 1,024 characters.
    """

    cluster: str
    namespace: str
    deployment: str
    type: str
    reason: str
    message: str


Effect = PatchDeployment | PostEvent
