"""Where the pretend cluster keeps its objects, with versions, a bounded log for watches, and observers.

The log is bounded like the real server's watch cache, so that a watcher who was away too long is told 410 and has to list
again. Observers see every change at the moment it happens: the simulation's invariants and the recorder hang there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollout.sandbox.kube_objects import (
    KINDS,
    ApiError,
    Json,
    already_exists,
    controller_of,
    name_of,
    namespace_of,
    not_found,
    with_metadata,
)

Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""


class ChangeType(StrEnum):
    """The words of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """One write as it was performed. `old` is None for ADDED; `new` is the last state, with its new version, for DELETED.

    `resource` is the plural (`deployments`), `manager` the field manager who wrote (`kubectl-set`, `rollout`,
    `kube-controller-manager`, ...), `at` the world's time.
    """

    type: ChangeType
    resource: str
    old: Json | None
    new: Json
    manager: str
    at: datetime
    version: int

    @property
    def namespace(self) -> str:
        """Namespace of the object."""
        return namespace_of(self.new)

    @property
    def name(self) -> str:
        """Name of the object."""
        return name_of(self.new)


class Storage:
    """All objects by kind. `log_length` is how many changes of each kind a watch can go back."""

    def __init__(self, log_length: int = 2_000) -> None:
        self.version = 1
        self.observers: list[Callable[[Change], None]] = []
        self._tables: dict[str, dict[Key, Json]] = {kind.plural: {} for kind in KINDS}
        self._by_namespace: dict[str, dict[str, dict[str, Json]]] = {kind.plural: {} for kind in KINDS}
        self._logs: dict[str, deque[Change]] = {kind.plural: deque(maxlen=log_length) for kind in KINDS}
        self._forgotten: dict[str, int] = {kind.plural: 0 for kind in KINDS}
        self._children: dict[str, dict[tuple[str, str, str], None]] = {}

    def find(self, resource: str, namespace: str, name: str) -> Json | None:
        """Look an object up; None when there is none."""
        return self._tables[resource].get((namespace, name))

    def get(self, resource: str, namespace: str, name: str) -> Json:
        """Look an object up. Raises ApiError 404."""
        found = self._tables[resource].get((namespace, name))
        if found is None:
            raise not_found(resource, name)
        return found

    def objects(self, resource: str, namespace: str | None = None) -> list[Json]:
        """Every object of a kind (of one namespace), in order of namespace and name."""
        if namespace is None:
            table = self._tables[resource]
            return [table[key] for key in sorted(table)]
        names = self._by_namespace[resource].get(namespace, {})
        return [names[name] for name in sorted(names)]

    def children(self, owner_uid: str, resource: str) -> Iterator[Json]:
        """Objects of a kind whose controller is this owner, in order of creation."""
        for kind, namespace, name in tuple(self._children.get(owner_uid, ())):
            if kind == resource:
                yield self._tables[kind][namespace, name]

    def add(self, resource: str, obj: Json, manager: str, at: datetime) -> Json:
        """Store a new object, complete but for its version. Raises ApiError 409."""
        key = (namespace_of(obj), name_of(obj))
        if key in self._tables[resource]:
            raise already_exists(resource, key[1])
        stored = self._stamped(obj)
        self._keep(resource, key, stored)
        owner = controller_of(stored)
        if owner is not None:
            self._children.setdefault(owner["uid"], {})[resource, *key] = None
        self._record(Change(ChangeType.ADDED, resource, None, stored, manager, at, self.version))
        return stored

    def replace(self, resource: str, obj: Json, manager: str, at: datetime) -> Json:
        """Store a new state of an object. The caller has checked that it may. Raises ApiError 404."""
        key = (namespace_of(obj), name_of(obj))
        old = self.get(resource, *key)
        stored = self._stamped(obj)
        self._keep(resource, key, stored)
        self._record(Change(ChangeType.MODIFIED, resource, old, stored, manager, at, self.version))
        return stored

    def remove(self, resource: str, namespace: str, name: str, manager: str, at: datetime) -> Json:
        """Take an object away at once; return its last state. Raises ApiError 404."""
        old = self.get(resource, namespace, name)
        del self._tables[resource][namespace, name]
        del self._by_namespace[resource][namespace][name]
        owner = controller_of(old)
        siblings = self._children.get(owner["uid"]) if owner is not None else None
        if owner is not None and siblings is not None:
            siblings.pop((resource, namespace, name), None)
            if not siblings:
                del self._children[owner["uid"]]
        last = self._stamped(old)
        self._record(Change(ChangeType.DELETED, resource, old, last, manager, at, self.version))
        return last

    def since(self, resource: str, version: int) -> list[Change]:
        """Every change of a kind after a version, oldest first. Raises ApiError 410 when the log no longer reaches back."""
        if version < self._forgotten[resource]:
            raise ApiError(410, "Expired", f"too old resource version: {version} ({self._forgotten[resource]})")
        found: list[Change] = []
        for change in reversed(self._logs[resource]):
            if change.version <= version:
                break
            found.append(change)
        found.reverse()
        return found

    def forget(self, resources: Iterable[str] | None = None) -> None:
        """Drop the log, as a restarted API server does: every older watch is answered 410."""
        for resource in resources or list(self._logs):
            self._logs[resource].clear()
            self._forgotten[resource] = self.version

    def _stamped(self, obj: Json) -> Json:
        self.version += 1
        return with_metadata(obj, resourceVersion=str(self.version))

    def _keep(self, resource: str, key: Key, obj: Json) -> None:
        self._tables[resource][key] = obj
        self._by_namespace[resource].setdefault(key[0], {})[key[1]] = obj

    def _record(self, change: Change) -> None:
        log = self._logs[change.resource]
        if len(log) == log.maxlen:
            self._forgotten[change.resource] = log[0].version
        log.append(change)
        for observer in self.observers:
            observer(change)
