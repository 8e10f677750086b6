"""The store behind the pretend Admin API, with the ways in which a real etcd fails: down, hanging, losing a race."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
DOWN = "has no healthy etcd endpoint available"
RACE_LOST = "value changed before overwritten"


class EtcdError(Exception):
    """What the Admin API answers 503 with."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object. `expires` is a Unix time, 0 for never."""

    value: Json
    created: int
    modified: int
    expires: float = 0.0


class Etcd:
    """Objects by (resource, id), one revision for all of them, compare-and-swap. Safe to share between threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._revision = 10
        self._flowing = threading.Event()
        self._flowing.set()
        self._committing = threading.Event()
        self._committing.set()
        self.down = False
        self.before_commit: list[Callable[[], None]] = []
        """Called one a PATCH, between its read and its write; whoever writes there wins the race."""
        self.before_read: list[Callable[[], None]] = []
        """Called one a read of a single object, before it."""

    @property
    def revision(self) -> int:
        """Grows with every change."""
        with self._lock:
            return self._revision

    def hang(self) -> None:
        """Answer nothing any more, but lose nothing either: what waits is performed after `resume` (a stopped process)."""
        self._flowing.clear()

    def hold_writes(self) -> None:
        """Answer reads, but let writes wait until `resume`: they land late."""
        self._committing.clear()

    def resume(self) -> None:
        """Go on, beginning with what has waited."""
        self._flowing.set()
        self._committing.set()

    def read(self, resource: str, ident: str) -> Entry | None:
        """Read one object. Raises EtcdError."""
        if self.before_read:
            self.before_read.pop(0)()
        self._reachable()
        with self._lock:
            return self._living(resource, ident)

    def listed(self, resource: str) -> list[tuple[str, Entry]]:
        """List a resource in the order of its keys. Raises EtcdError."""
        self._reachable()
        return self.snapshot(resource)

    def snapshot(self, resource: str) -> list[tuple[str, Entry]]:
        """List what gateways hold in memory, whether etcd is there or not."""
        with self._lock:
            idents = sorted(ident for kind, ident in self._entries if kind == resource)
            found = [(ident, self._living(resource, ident)) for ident in idents]
        return [(ident, entry) for ident, entry in found if entry is not None]

    def write(self, resource: str, ident: str, value: Json, *, seen: int | None = None, expires: float = 0.0) -> Entry:
        """Store a copy; with `seen` only if the object still has that revision. Raises EtcdError."""
        if seen is not None and self.before_commit:
            self.before_commit.pop(0)()
        self._committing.wait()
        self._reachable()
        with self._lock:
            old = self._living(resource, ident)
            if seen is not None and (old is None or old.modified != seen):
                raise EtcdError(RACE_LOST)
            self._revision += 1
            entry = Entry(copy.deepcopy(value), old.created if old else self._revision, self._revision, expires)
            self._entries[resource, ident] = entry
        return entry

    def delete(self, resource: str, ident: str) -> bool:
        """Delete; False when there was nothing. Raises EtcdError."""
        self._reachable()
        with self._lock:
            gone = self._entries.pop((resource, ident), None)
            self._revision += 1
        return gone is not None

    def next_id(self) -> str:
        """Draw an id as a POST without one gets: the revision, 20 digits."""
        with self._lock:
            return f"{self._revision:020d}"

    def _reachable(self) -> None:
        self._flowing.wait()
        if self.down:
            raise EtcdError(DOWN)

    def _living(self, resource: str, ident: str) -> Entry | None:
        entry = self._entries.get((resource, ident))
        if entry is not None and entry.expires and self._now() >= entry.expires:
            del self._entries[resource, ident]
            return None
        return copy.deepcopy(entry)
