"""What the watches have brought of one namespace, and the view of one target composed from it.

Four kinds arrive on four streams in any order, so nothing is joined when it arrives: a pod is attributed to its Deployment
(through its ReplicaSet) and to its endpoint when somebody looks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from rollout.adapters import kubernetes_slim as slim
from rollout.adapters.kubernetes_slim import Document
from rollout.core.cohorts import Pod, TargetView
from rollout.core.target import Target

DEPLOYMENTS, REPLICA_SETS, PODS, ENDPOINTS = "deployments", "replicasets", "pods", "endpointslices"
KINDS = {DEPLOYMENTS: "apps", REPLICA_SETS: "apps", PODS: "", ENDPOINTS: "discovery.k8s.io"}
"""The plural names of what is watched, and their API groups."""


class _Groups:
    """Names by what they belong to, so that a look at one target costs what the target has, not what the namespace has."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def __getitem__(self, key: str) -> set[str]:
        return self._names.get(key, set())

    def move(self, name: str, old: str, new: str) -> None:
        """Take a name out of one group and into another; an empty key is no group."""
        if old != new and old in self._names:
            self._names[old].discard(name)
            if not self._names[old]:
                del self._names[old]
        if new:
            self._names.setdefault(new, set()).add(name)


class NamespaceMemory:
    """The slim objects of one namespace. Safe to use from several threads; no method does I/O.

    `replace` and `change` return the names of the Deployments about which something is different now.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deployments: dict[str, slim.DeploymentRecord] = {}
        self._replica_sets: dict[str, slim.ReplicaSetRecord] = {}
        self._pods: dict[str, slim.PodRecord] = {}
        self._endpoints: dict[str, slim.EndpointRecord] = {}
        self._pods_of = _Groups()
        self._sets_of = _Groups()
        self._slices_of = _Groups()
        self._seen: dict[str, tuple[slim.PodRecord, Pod]] = {}
        """Pods as last composed: most are the same at the next look."""

    def replace(self, kind: str, documents: Iterable[Document]) -> set[str]:
        """Take a whole list: what is not in it is gone."""
        present = {slim.name_of(document): document for document in documents}
        with self._lock:
            gone = set(self._table(kind)) - set(present)
            touched = set().union(*(self._forget(kind, name) for name in gone))
            return touched.union(*(self._keep(kind, document) for document in present.values()))

    def change(self, kind: str, event: str, document: Document) -> set[str]:
        """Take one watch event: `ADDED`, `MODIFIED` or `DELETED`."""
        with self._lock:
            return self._forget(kind, slim.name_of(document)) if event == "DELETED" else self._keep(kind, document)

    def deployment(self, name: str) -> slim.DeploymentRecord | None:
        """One Deployment as last seen."""
        with self._lock:
            return self._deployments.get(name)

    def view(self, target: Target, seen_at: datetime) -> TargetView:
        """Compose what is known of a target."""
        with self._lock:
            stable, canary = self._deployments.get(target.stable), self._deployments.get(target.canary)
            pods = tuple(sorted(self._target_pods(target), key=lambda pod: (pod.created_at, pod.name)))
        return TargetView(
            target=target,
            seen_at=seen_at,
            stable=stable.deployment if stable else None,
            canary=canary.deployment if canary else None,
            pods=pods,
        )

    def counts(self) -> Mapping[str, int]:
        """How many objects of each kind are kept."""
        with self._lock:
            return {kind: len(self._table(kind)) for kind in KINDS}

    def _table(self, kind: str) -> Mapping[str, object]:
        if kind == DEPLOYMENTS:
            return self._deployments
        if kind == REPLICA_SETS:
            return self._replica_sets
        return self._pods if kind == PODS else self._endpoints

    def _target_pods(self, target: Target) -> Iterator[Pod]:
        slices = [self._endpoints[name] for name in self._slices_of[target.service]]
        for deployment in {target.stable, target.canary}:
            for owner in self._sets_of[deployment]:
                for name in self._pods_of[owner]:
                    yield self._composed(self._pods[name], deployment, slices)

    def _composed(self, record: slim.PodRecord, deployment: str, slices: list[slim.EndpointRecord]) -> Pod:
        pod = record.pod
        serving = any((pod.name, pod.uid) in s.pods or pod.ip in s.addresses for s in slices)
        known, seen = self._seen.get(pod.name, (None, pod))
        if known is not record or seen.deployment != deployment or seen.serving is not serving:
            seen = replace(pod, deployment=deployment, serving=serving)
            self._seen[pod.name] = (record, seen)
        return seen

    def _keep(self, kind: str, document: Document) -> set[str]:
        name = slim.name_of(document)
        if kind == DEPLOYMENTS:
            self._deployments[name] = slim.deployment(document)
            return {name}
        if kind == REPLICA_SETS:
            return self._keep_replica_set(name, slim.replica_set(document))
        if kind == PODS:
            return self._keep_pod(name, slim.pod(document))
        new, old = slim.endpoints(document), self._endpoints.get(name)
        self._endpoints[name] = new
        self._slices_of.move(name, old.service if old else "", new.service)
        return self._behind(new, old)

    def _keep_replica_set(self, name: str, record: slim.ReplicaSetRecord) -> set[str]:
        old = self._replica_sets.get(name)
        self._replica_sets[name] = record
        self._sets_of.move(name, old.deployment if old else "", record.deployment)
        return {record.deployment} - {""} if old != record else set()

    def _keep_pod(self, name: str, record: slim.PodRecord) -> set[str]:
        old = self._pods.get(name)
        if old == record:
            return set()
        touched = self._deployment_of(old.replica_set) if old else set()
        self._pods_of.move(name, old.replica_set if old else "", record.replica_set)
        if record.replica_set:
            self._pods[name] = record
        else:  # a bare pod, or one of a Job or StatefulSet: no Deployment's
            self._pods.pop(name, None)
        return touched | self._deployment_of(record.replica_set)

    def _forget(self, kind: str, name: str) -> set[str]:
        if kind == DEPLOYMENTS:
            return {name} if self._deployments.pop(name, None) else set()
        if kind == REPLICA_SETS:
            gone = self._replica_sets.pop(name, None)
            self._sets_of.move(name, gone.deployment if gone else "", "")
            return {gone.deployment} - {""} if gone else set()
        if kind == ENDPOINTS:
            old = self._endpoints.pop(name, None)
            self._slices_of.move(name, old.service if old else "", "")
            return self._behind(None, old)
        pod = self._pods.pop(name, None)
        self._seen.pop(name, None)
        self._pods_of.move(name, pod.replica_set if pod else "", "")
        return self._deployment_of(pod.replica_set) if pod else set()

    def _deployment_of(self, replica_set: str) -> set[str]:
        owner = self._replica_sets.get(replica_set)
        return {owner.deployment} - {""} if owner else set()

    def _behind(self, new: slim.EndpointRecord | None, old: slim.EndpointRecord | None) -> set[str]:
        """The Deployments whose pods began or ceased to serve."""
        moved = (new.pods if new else frozenset()) ^ (old.pods if old else frozenset())
        records = [self._pods[name] for name, _ in moved if name in self._pods]
        addresses = (new.addresses if new else frozenset()) ^ (old.addresses if old else frozenset())
        if addresses:
            records += [record for record in self._pods.values() if record.pod.ip in addresses]
        return set().union(*(self._deployment_of(record.replica_set) for record in records))
