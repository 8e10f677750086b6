"""An API server with any number of copies of one target that soaks, for benches: lists, watches, and the patches that come.

The documents are the pretend cluster's own, taken once and copied as text with names, uids and addresses of their own, so that
ten thousand targets cost this process little and the daemon under test everything that they would cost it.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from rollout.adapters.clock import SystemClock
from rollout.sandbox.http import Request, Response, json_response
from rollout.sandbox.world import World

KINDS = {"deployments": "apps/v1", "replicasets": "apps/v1", "pods": "v1", "endpointslices": "discovery.k8s.io/v1"}
PER_NAMESPACE = 100
MODEL, MODEL_NAMESPACE = "app-0", "default"
BOOKMARK_SECONDS = 5.0
_UID = re.compile(r'"uid":"([0-9a-f-]{28})[0-9a-f]{8}"')
_IP = re.compile(r"10\.244\.\d+\.(\d+)")
CLOCK = SystemClock()

Json = dict[str, Any]


def name(number: int) -> str:
    """Name a target."""
    return f"app-{number:05d}"


def namespace(number: int) -> str:
    """Say in which namespace a target is."""
    return f"web-{number // PER_NAMESPACE}"


def renamed(text: str, number: int) -> str:
    """Make the copy of a text that belongs to a target."""
    text = text.replace(f'"{MODEL_NAMESPACE}"', f'"{namespace(number)}"').replace(MODEL, name(number))
    text = _UID.sub(lambda found: f'"uid":"{found[1]}{number:08x}"', text)
    return _IP.sub(lambda found: f"10.{number // 250 % 250}.{number % 250}.{found[1]}", text)


class StubCluster:
    """Answers as `ports.Respond`; `patched` is when which canary was told to be 0."""

    def __init__(self, world: World, targets: int) -> None:
        self.targets = targets
        self.patched: dict[str, float] = {}
        self._lock = threading.Lock()
        self._version = 1_000_000
        self._watches: dict[tuple[str, str], list[queue.SimpleQueue[bytes]]] = defaultdict(list)
        models = {kind: [json.dumps(o, separators=(",", ":")) for o in world.objects(kind, MODEL_NAMESPACE)] for kind in KINDS}
        self._models = {kind: [text for text in texts if MODEL in text] for kind, texts in models.items()}

    def documents(self, kind: str, number: int) -> list[Json]:
        """Make a target's objects of a kind."""
        return [json.loads(renamed(text, number)) for text in self._models[kind]]

    def pods_of_canary(self, number: int) -> list[Json]:
        """Make its candidate pods."""
        return [pod for pod in self.documents("pods", number) if "-canary-" in pod["metadata"]["name"]]

    def change(self, kind: str, document: Json) -> None:
        """Let the watches tell of a changed object."""
        with self._lock:
            self._version += 1
            document["metadata"]["resourceVersion"] = str(self._version)
            line = json.dumps({"type": "MODIFIED", "object": document}, separators=(",", ":")).encode() + b"\n"
            for waiting in self._watches[document["metadata"]["namespace"], kind]:
                waiting.put(line)

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        parts = request.path.split("/namespaces/", 1)[-1].split("/")
        if request.path == "/version":
            return json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if len(parts) < 2 or parts[1] not in KINDS:
            return json_response({"kind": "Status", "code": 404, "message": "not served by this stub"}, 404)
        if request.method == "PATCH":
            return self._patch(parts[2])
        if request.one("watch"):
            return Response(stream=self._watch(parts[0], parts[1]))
        return self._list(parts[0], parts[1])

    def _list(self, place: str, kind: str) -> Response:
        first = int(place.removeprefix("web-")) * PER_NAMESPACE
        texts = [
            renamed(text, number)
            for number in range(first, min(first + PER_NAMESPACE, self.targets))
            for text in self._models[kind]
        ]
        head = f'{{"kind":"List","apiVersion":"{KINDS[kind]}","metadata":{{"resourceVersion":"{self._version}"}},"items":['
        return Response(body=(head + ",".join(texts) + "]}").encode())

    def _watch(self, place: str, kind: str) -> Iterator[bytes]:
        waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._lock:
            self._watches[place, kind].append(waiting)
        while True:
            try:
                yield waiting.get(timeout=BOOKMARK_SECONDS)
            except queue.Empty:
                mark = {"kind": "Bookmark", "apiVersion": KINDS[kind], "metadata": {"resourceVersion": str(self._version)}}
                yield json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n"

    def _patch(self, deployment: str) -> Response:
        number = int(deployment.removeprefix("app-").removesuffix("-canary"))
        self.patched.setdefault(deployment, CLOCK.monotonic())
        (document,) = (d for d in self.documents("deployments", number) if d["metadata"]["name"] == deployment)
        document["spec"]["replicas"] = 0
        rollout = document["metadata"]["annotations"]["rollout/id"]
        document["metadata"]["annotations"]["rollout/stopped"] = rollout
        self.change("deployments", document)
        return json_response(document)
