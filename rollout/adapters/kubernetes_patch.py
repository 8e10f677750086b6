"""How a PatchDeployment becomes one request, in both directions. Pure: no I/O.

Forward (`if_version`): a strategic merge patch that carries the resourceVersion; 409 when the object has changed.
Backward (`if_fields`): a JSON patch whose `test` operations hold exactly what must still be there; 422 when it does not.
Facts of the server that this rests on (gopkg.in/evanphx/json-patch.v4, `test` and `findObject`): testing a missing member for
null passes, provided that its parent exists; removing a missing member fails. And (apps/v1 types, omitempty) `paused: false`
and `minReadySeconds: 0` are never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.adapters.kubernetes_slim import DeploymentRecord, Document, deployment
from rollout.core.cohorts import ANNOTATION_STOPPED
from rollout.core.effects import FieldName, FieldTest, PatchDeployment

STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Value = str | int | bool | None
Operation = dict[str, Any]

_PATHS = {
    FieldName.REPLICAS: "/spec/replicas",
    FieldName.PAUSED: "/spec/paused",
    FieldName.MIN_READY_SECONDS: "/spec/minReadySeconds",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a JSON patch must know of the object's shape: where the container stands, which annotations there are.

    `index` None: there is no such container.
    """

    index: int | None
    annotated: bool = True
    annotations: frozenset[str] = frozenset()


USUAL = Layout(index=None)
"""What is assumed of a Deployment that was not seen yet: the controller has annotated it with its revision."""


def layout(record: DeploymentRecord, container: str) -> Layout:
    """Read the shape from what a watch or a read has shown."""
    names = list(record.deployment.images)
    index = names.index(container) if container in names else None
    return Layout(index, record.annotated, frozenset(record.deployment.annotations))


def backward(patch: PatchDeployment) -> bool:
    """Say whether this steps back: it tests fields, or puts up a tombstone. Such a patch has a pool of its own."""
    return bool(patch.if_fields) or any(key == ANNOTATION_STOPPED and value for key, value in patch.annotations)


def needs_container(patch: PatchDeployment) -> bool:
    """Say whether the patch writes or tests an image."""
    return patch.image is not None or any(test.name is FieldName.IMAGE for test in patch.if_fields)


def merge_patch(patch: PatchDeployment) -> Mapping[str, Any]:
    """Build the strategic merge patch: the named fields, and the version that was seen."""
    spec: dict[str, Any] = {}
    if patch.replicas is not None:
        spec["replicas"] = patch.replicas
    if patch.paused is not None:
        spec["paused"] = patch.paused
    if patch.min_ready_seconds is not None:
        spec["minReadySeconds"] = patch.min_ready_seconds
    if patch.image is not None:
        spec["template"] = {"spec": {"containers": [{"name": patch.container, "image": patch.image}]}}
    meta: dict[str, Any] = {}
    if patch.annotations:
        meta["annotations"] = dict(patch.annotations)
    if patch.if_version is not None:
        meta["resourceVersion"] = patch.if_version
    return {key: value for key, value in (("metadata", meta), ("spec", spec)) if value}


def json_patch(patch: PatchDeployment, shape: Layout) -> list[Operation]:
    """Build the JSON patch: first every test, then what is written. All of it is performed, or nothing."""
    tests: list[Operation] = []
    writes: list[Operation] = []
    if patch.if_version is not None:
        tests.append(_test("/metadata/resourceVersion", patch.if_version))
    if needs_container(patch):
        tests.append(_test(_container(shape, "name"), patch.container))
    if not shape.annotated:
        tests.append(_test("/metadata/annotations", None))
        if any(value is not None for _, value in patch.annotations):
            writes.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for test in patch.if_fields:
        path = _path(test.name, shape)
        if shape.annotated or not path.startswith("/metadata/annotations/"):
            tests.append(_test(path, _stored(test.name, test.value)))
        elif test.value is not None:
            tests.append(_test("/metadata/annotations", {}))  # cannot pass, and should not: there are no annotations
    writes += _writes(patch, shape)
    return tests + writes


def _writes(patch: PatchDeployment, shape: Layout) -> list[Operation]:
    values: dict[FieldName, Value] = {
        FieldName.REPLICAS: patch.replicas,
        FieldName.PAUSED: patch.paused,
        FieldName.MIN_READY_SECONDS: patch.min_ready_seconds,
        FieldName.IMAGE: patch.image,
    }
    writes = [
        {"op": "add", "path": _path(name, shape), "value": value} for name, value in values.items() if value is not None
    ]  # `add` of a member that exists replaces it (RFC 6902, 4.1)
    for key, value in patch.annotations:
        if value is not None:
            writes.append({"op": "add", "path": _annotation(key), "value": value})
        elif key in shape.annotations:
            writes.append({"op": "remove", "path": _annotation(key)})
    return writes


def found(test: FieldTest, document: Document, container: str) -> Value:
    """Look up what an object really has where a test expected something; None: absent."""
    slim = deployment(document).deployment
    match test.name:
        case FieldName.IMAGE:
            return slim.images.get(container)
        case FieldName.REPLICAS:
            return slim.replicas
        case FieldName.PAUSED:
            return slim.paused
        case FieldName.MIN_READY_SECONDS:
            return slim.min_ready_seconds
        case FieldName.ROLLOUT_ID | FieldName.STOPPED:
            return slim.annotations.get(test.name.value)


def differences(patch: PatchDeployment, document: Document) -> Sequence[str]:
    """Word every test of the patch that this object fails: `rollout/id is 'b', expected 'a'`."""
    wrong: list[str] = []
    version = deployment(document).deployment.resource_version
    if patch.if_version is not None and version != patch.if_version:
        wrong.append(f"resourceVersion is {version}, expected {patch.if_version}")
    for test in patch.if_fields:
        seen = found(test, document, patch.container)
        if _stored(test.name, seen) != _stored(test.name, test.value):
            wrong.append(f"{test.name.value} is {_words(seen)}, expected {_words(test.value)}")
    return wrong


def _words(value: Value) -> str:
    return "absent" if value is None else repr(value)


def _test(path: str, value: object) -> Operation:
    return {"op": "test", "path": path, "value": value}


def _stored(name: FieldName, value: Value) -> Value:
    """The value as the server keeps it: `paused: false` and `minReadySeconds: 0` are left out of what it stores."""
    return value or None if name in {FieldName.PAUSED, FieldName.MIN_READY_SECONDS} else value


def _path(name: FieldName, shape: Layout) -> str:
    if name is FieldName.IMAGE:
        return _container(shape, "image")
    return _PATHS.get(name) or _annotation(name.value)


def _container(shape: Layout, member: str) -> str:
    return f"/spec/template/spec/containers/{shape.index or 0}/{member}"


def _annotation(key: str) -> str:
    return "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")
