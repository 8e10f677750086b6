"""Watches a cluster's Deployments from outside, over HTTP, and holds every write of ours against the procedure.

It knows nothing of the daemon, its database or its words: only what the API server shows, and who owns which field by
`managedFields`. What it finds wrong is a sentence in `violations`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rollout.adapters.clock import SystemClock

STOPPED, OURS = "rollout/stopped", "rollout/id"
PATH = "/apis/apps/v1/namespaces/default/deployments"
LATE = timedelta(milliseconds=700)
"""How much closer two writes may look from here than they were decided: the first may have been seen late."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Procedure:
    """What is promised: the shortest time between two more replicas, the shares, the step; and who we are."""

    every: timedelta
    initial_share: float = 0.10
    max_share: float = 0.25
    step: int = 1
    stable: str = "nginx"
    canary: str = "nginx-canary"
    manager: str = "rollout"


class Recorder:
    """Runs in a thread of its own as a context manager; `url` is the API server's."""

    def __init__(self, url: str, procedure: Procedure, token: str = "sandbox") -> None:  # noqa: S107 - it protects nothing
        self.violations: list[str] = []
        self.writes: list[str] = []
        self._procedure = procedure
        self._place = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clock = SystemClock()
        self._last: dict[str, Json] = {}
        self._grown: tuple[str, float] | None = None
        self._retired: set[str] = set()
        self._promoted_from: dict[str, str] = {}
        self._socket: socket.socket | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listed.wait(60):
            self.__exit__(None, None, None)
            raise AssertionError("the recorder cannot list Deployments")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # gone already
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def wait_for(self, what: str, seconds: float = 100.0) -> None:
        """Wait until a write with these words was seen."""
        with self._changed:
            found = self._changed.wait_for(lambda: any(what in write for write in self.writes), seconds)
        assert found, f"no write with {what!r} within {seconds} s; seen: {self.writes}"

    def wait_for_violation(self, seconds: float = 10.0) -> str:
        """Wait until something was wrong; return what."""
        with self._changed:
            self._changed.wait_for(lambda: self.violations, seconds)
        return " | ".join(self.violations)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch(self._list())
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                self._stopping.wait(0.1)

    def _list(self) -> str:
        with contextlib.closing(http.client.HTTPConnection(self._place, timeout=10)) as connection:
            connection.request("GET", PATH, headers=self._headers)
            with contextlib.closing(connection.getresponse()) as response:
                document = json.load(response)
        for item in document["items"]:
            self._saw(item)
        self._listed.set()
        return str(document["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(self._place, timeout=60)) as connection:
            connection.request("GET", f"{PATH}?watch=1&resourceVersion={version}", headers=self._headers)
            self._socket = connection.sock
            with contextlib.closing(connection.getresponse()) as response:  # it holds the socket as well
                while line := response.readline():
                    event = json.loads(line)
                    if event["type"] in {"ADDED", "MODIFIED"}:
                        self._saw(event["object"])

    def _saw(self, new: Json) -> None:
        name = new["metadata"]["name"]
        old, self._last[name] = self._last.get(name), new
        stopped = _annotation(new, STOPPED)
        if old is not None and name in {self._procedure.canary, self._procedure.stable}:
            with self._changed:
                self._compare(name, old, new)
                self._changed.notify_all()
        if stopped:
            self._retired.add(stopped)

    def _compare(self, name: str, old: Json, new: Json) -> None:
        before, after = old["spec"]["replicas"], new["spec"]["replicas"]
        if before != after:
            manager = _owner_of_replicas(new)
            self.writes.append(f"{name} {before} -> {after} by {manager}")
            if manager == self._procedure.manager:
                self._scaled(name, before, after, new)
        if _image(old) != _image(new):
            manager = _owner_of_image(new)
            self.writes.append(f"{name} {_image(old)} -> {_image(new)} by {manager}")
            if manager == self._procedure.manager:
                self._changed_image(name, _image(old), _image(new), new)

    def _scaled(self, name: str, before: int, after: int, new: Json) -> None:
        rules, wrong = self._procedure, self.violations
        if name == rules.stable:
            wrong.append(f"{name} was scaled from {before} to {after}: that is not ours to do")
        if name != rules.canary or after < before:
            return
        rollout, now = _annotation(new, OURS), self._clock.monotonic()
        if rollout in self._retired:
            wrong.append(f"{name} went from {before} to {after} after the tombstone of {rollout}")
        if after - before > rules.step:
            wrong.append(f"{name} went from {before} to {after}: more than {rules.step} at once")
        if self._grown is not None and self._grown[0] == rollout:
            since = timedelta(seconds=now - self._grown[1])
            if since < rules.every - LATE:
                wrong.append(f"{name} went from {before} to {after} {since} after the last one; {rules.every} is the least")
        self._grown = (rollout, now)
        ready = self._last[rules.stable]["status"].get("readyReplicas", 0)
        most = rules.initial_share if not before else rules.max_share
        share = after / (after + ready)
        if share > most:
            wrong.append(f"{name} at {after} beside {ready} ready is a share of {share:.3f}, {most} is allowed")

    def _changed_image(self, name: str, before: str, after: str, new: Json) -> None:
        rollout = _annotation(new, OURS)
        if name == self._procedure.stable and after == self._promoted_from.get(rollout):
            return
        self._promoted_from.setdefault(rollout, before)
        if rollout in self._retired:
            self.violations.append(f"{name} got {after} after the tombstone of {rollout}")


def _annotation(obj: Json, key: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(key, ""))


def _image(obj: Json) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


def _owner_of_replicas(obj: Json) -> str:
    return _owner(obj, ("f:spec", "f:replicas"))


def _owner_of_image(obj: Json) -> str:
    name = obj["spec"]["template"]["spec"]["containers"][0]["name"]
    key = f'k:{{"name":"{name}"}}'
    return _owner(obj, ("f:spec", "f:template", "f:spec", "f:containers", key, "f:image"))


def _owner(obj: Json, path: tuple[str, ...]) -> str:
    for entry in obj["metadata"].get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        for key in path:
            fields = fields.get(key) if isinstance(fields, dict) else None
        if fields is not None:
            return str(entry["manager"])
    return ""
