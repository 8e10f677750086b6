"""An observer at the API server that is not the daemon: every version of the two Deployments, and what each write changed.

It shares nothing with the product. Whose a write was follows from managedFields, which only the server writes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.peers.kubernetes import KubernetesApi
from tests.peers.process import wait_until

Json = dict[str, Any]
OURS = "rollout"
_OWNED = {
    "replicas": ("f:spec", "f:replicas"),
    "paused": ("f:spec", "f:paused"),
    "minReadySeconds": ("f:spec", "f:minReadySeconds"),
    "image": ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"nginx"}', "f:image"),
    "rollout/id": ("f:metadata", "f:annotations", "f:rollout/id"),
    "rollout/stopped": ("f:metadata", "f:annotations", "f:rollout/stopped"),
}


@dataclass(frozen=True)
class Write:
    """One write that changed what a rollout is about. `at`: seconds of time.perf_counter when it was seen."""

    at: float
    name: str
    by: str
    changes: dict[str, tuple[object, object]]
    status: Json

    def new(self, field: str) -> object:
        return self.changes[field][1] if field in self.changes else None


class Recorder:
    """Watches the Deployments of one namespace between `with` and its end."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._ending = threading.Event()
        self._last: dict[str, Json] = {}
        self._version = ""
        self.writes: list[Write] = []
        self.seen: list[tuple[float, Json]] = []

    def __enter__(self) -> Self:
        listed = self._api.get(self._path)
        self._version = listed["metadata"]["resourceVersion"]
        self._last = {found["metadata"]["name"]: found for found in listed["items"]}
        self._thread = threading.Thread(target=self._follow, name="recorder")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()

    def of(self, name: str, *, ours: bool = True) -> list[Write]:
        """The writes to one Deployment so far: ours, or those of others."""
        wait_until(self._is_current, 60, "the recorder has seen everything")
        return [write for write in self.writes if write.name == name and (write.by == OURS) is ours]

    def _is_current(self) -> bool:
        listed = self._api.get(self._path)["items"]
        known = {name: found["metadata"]["resourceVersion"] for name, found in self._last.items()}
        return all(known.get(found["metadata"]["name"]) == found["metadata"]["resourceVersion"] for found in listed)

    def _follow(self) -> None:
        while not self._ending.is_set():
            query = {"watch": "1", "resourceVersion": self._version, "timeoutSeconds": "2"}
            try:
                with self._api._client.stream("GET", self._path, params=query) as answer:
                    answer.raise_for_status()  # while it starts, the API server refuses watches (429) or everybody (403)
                    for line in answer.iter_lines():
                        self._take(json.loads(line))
            except (httpx.HTTPError, AssertionError, ValueError):
                self._ending.wait(0.2)

    def _start_over(self) -> None:
        """After a restart the API server does not know our version any more (410): what is there now is one more version."""
        listed = self._api.get(self._path)
        for found in listed["items"]:
            self._take({"type": "MODIFIED", "object": {"apiVersion": "apps/v1", "kind": "Deployment", **found}})
        self._version = listed["metadata"]["resourceVersion"]

    def _take(self, event: Json) -> None:
        if event["type"] == "ERROR":
            self._start_over()
        if event["type"] not in {"ADDED", "MODIFIED"}:
            return
        found, at = event["object"], time.perf_counter()
        name = found["metadata"]["name"]
        before = self._last.get(name)
        if before is not None and _age(found) <= _age(before):
            return  # an API server that has just come back may show again what was seen before: nobody wrote that anew
        self._version = found["metadata"]["resourceVersion"]
        self._last[name] = found
        self.seen.append((at, found))
        changes = {} if before is None else {key: pair for key, pair in _compared(before, found) if pair[0] != pair[1]}
        if changes:
            by = {_owner(found, key) or _owner(before or {}, key) for key in changes}
            self.writes.append(Write(at, name, ",".join(sorted(by)), changes, found.get("status", {})))


def _age(found: Json) -> int:
    """Each write, to whatever object, has a greater number than all before it."""
    return int(found["metadata"]["resourceVersion"])


def _compared(before: Json, after: Json) -> Iterator[tuple[str, tuple[object, object]]]:
    for key in _OWNED:
        yield key, (_value(before, key), _value(after, key))


def _value(found: Json, key: str) -> object:
    if key == "image":
        return found["spec"]["template"]["spec"]["containers"][0]["image"]
    if key.startswith("rollout/"):
        return found["metadata"].get("annotations", {}).get(key)
    return found["spec"].get(key)


def _owner(found: Json, key: str) -> str:
    for entry in found.get("metadata", {}).get("managedFields", ()):
        inside: Any = entry.get("fieldsV1", {})
        for part in _OWNED[key]:
            inside = inside.get(part) if isinstance(inside, dict) else None
        if inside is not None and not entry.get("subresource"):
            return str(entry["manager"])
    return ""
