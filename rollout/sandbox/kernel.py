"""The pretend cluster's time: a heap of things that will happen, and controllers that are woken by changes.

No thread and no clock: time moves only when `advance` says so, and everything due happens in order. That makes days cheap
and runs repeatable from a seed.
"""

from __future__ import annotations

import heapq
import random
import string
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from rollout.sandbox.kube_objects import Json, name_of, namespace_of, stamp, uid_of
from rollout.sandbox.storage import Change, Storage

CONTROLLER = "kube-controller-manager"
KUBELET = "kubelet"
SCHEDULER = "kube-scheduler"

_ALPHABET = "".join(c for c in string.ascii_lowercase + string.digits if c not in "aeiou013l")
_EVENT_LIMIT = 1_000

Reconcile = Callable[[str, str], None]


class Kernel:
    """Time, randomness, storage and the work queue that the controllers share."""

    def __init__(self, start: datetime, seed: int, *, record_events: bool = True) -> None:
        self.now = start
        self.storage = Storage()
        self.random = random.Random(seed)
        self.reconcilers: dict[str, Reconcile] = {}
        self._record_events = record_events
        self._heap: list[tuple[datetime, int, Callable[[], None]]] = []
        self._sequence = 0
        self._dirty: dict[tuple[str, str, str], None] = {}
        self._told: dict[tuple[str, str, str], str] = {}
        self._event_names: dict[str, None] = {}

    def call_at(self, when: datetime, action: Callable[[], None]) -> None:
        """Do something when time gets there."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when, self.now), self._sequence, action))

    def call_in(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a number of seconds."""
        self.call_at(self.now + timedelta(seconds=seconds), action)

    def mark(self, resource: str, namespace: str, name: str) -> None:
        """Wake the controller of an object, once, before time moves on."""
        self._dirty[resource, namespace, name] = None

    def next_due(self) -> datetime | None:
        """Tell when the next thing happens: now while controllers have work, None when nothing is planned at all."""
        if self._dirty:
            return self.now
        return self._heap[0][0] if self._heap else None

    def advance(self, to: datetime) -> None:
        """Let everything happen that is due by then. Time never goes back.

        Controllers look when everything of one instant has happened, as real ones see several changes at once.
        """
        while True:
            self._settle()
            if not self._heap or self._heap[0][0] > to:
                break
            self.now = max(self.now, self._heap[0][0])
            while self._heap and self._heap[0][0] <= self.now:
                heapq.heappop(self._heap)[2]()
        self.now = max(self.now, to)

    def _settle(self) -> None:
        while self._dirty:
            key = next(iter(self._dirty))
            del self._dirty[key]
            resource, namespace, name = key
            self.reconcilers[resource](namespace, name)

    def new_uid(self) -> str:
        """Draw a uid."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        """Draw the random end of a generated name, from the letters that Kubernetes uses."""
        return "".join(self.random.choices(_ALPHABET, k=length))

    def observe(self, observer: Callable[[Change], None]) -> None:
        """Call a function at every change."""
        self.storage.observers.append(observer)

    def event(self, about: Json, reason: str, message: str, *, type_: str = "Normal", source: str = CONTROLLER) -> None:
        """Record a Kubernetes Event, counted up when it was recorded before. Only the newest thousand are kept."""
        if not self._record_events:
            return
        key = (uid_of(about), reason, message)
        namespace = namespace_of(about) or "default"
        known = self.storage.find("events", namespace, self._told[key]) if key in self._told else None
        if known is not None:
            again = {**known, "count": known["count"] + 1, "lastTimestamp": stamp(self.now)}
            self.storage.replace("events", again, source, self.now)
            return
        self._sequence += 1
        name = f"{name_of(about)}.{self._sequence:016x}"
        self._told[key] = name
        self.storage.add("events", self._new_event(about, name, (type_, reason, message, source)), source, self.now)
        self._event_names[f"{namespace}/{name}"] = None
        while len(self._event_names) > _EVENT_LIMIT:
            oldest = next(iter(self._event_names))
            del self._event_names[oldest]
            where, what = oldest.split("/")
            if self.storage.find("events", where, what) is not None:
                self.storage.remove("events", where, what, CONTROLLER, self.now)
            self._told = dict(list(self._told.items())[-_EVENT_LIMIT:])

    def _new_event(self, about: Json, name: str, words: tuple[str, str, str, str]) -> Json:
        type_, reason, message, source = words
        namespace = namespace_of(about)
        involved = {
            "kind": about["kind"], "namespace": namespace, "name": name_of(about), "uid": uid_of(about),
            "apiVersion": about["apiVersion"], "resourceVersion": about["metadata"].get("resourceVersion", ""),
        }  # fmt: skip
        metadata = {"name": name, "namespace": namespace or "default", "uid": self.new_uid()}
        metadata["creationTimestamp"] = stamp(self.now)
        return {
            "apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": involved, "type": type_,
            "reason": reason, "message": message, "count": 1, "source": {"component": source},
            "firstTimestamp": stamp(self.now), "lastTimestamp": stamp(self.now), "reportingComponent": source,
            "reportingInstance": "",
        }  # fmt: skip
