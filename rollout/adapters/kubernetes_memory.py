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
        self._pods_of: dict[str, set[str]] = {}

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
        slices = [e for e in self._endpoints.values() if target.service and e.service == target.service]
        for owner in self._replica_sets.values():
            if owner.deployment not in {target.stable, target.canary} - {""}:
                continue
            for name in self._pods_of.get(owner.name, ()):
                pod = self._pods[name].pod
                serving = any((pod.name, pod.uid) in s.pods or pod.ip in s.addresses for s in slices)
                yield replace(pod, deployment=owner.deployment, serving=serving)

    def _keep(self, kind: str, document: Document) -> set[str]:
        name = slim.name_of(document)
        if kind == DEPLOYMENTS:
            self._deployments[name] = slim.deployment(document)
            return {name}
        if kind == REPLICA_SETS:
            self._replica_sets[name] = found = slim.replica_set(document)
            return {found.deployment} - {""}
        if kind == PODS:
            return self._keep_pod(name, slim.pod(document))
        new, old = slim.endpoints(document), self._endpoints.get(name)
        self._endpoints[name] = new
        return self._behind(new, old)

    def _keep_pod(self, name: str, record: slim.PodRecord) -> set[str]:
        old = self._pods.get(name)
        if old == record:
            return set()
        touched = self._forget(PODS, name) if old and old.replica_set != record.replica_set else set()
        if not record.replica_set:
            return touched  # a bare pod, or one of a Job or StatefulSet: no Deployment's
        self._pods[name] = record
        self._pods_of.setdefault(record.replica_set, set()).add(name)
        return touched | self._deployment_of(record.replica_set)

    def _forget(self, kind: str, name: str) -> set[str]:
        if kind == DEPLOYMENTS:
            return {name} if self._deployments.pop(name, None) else set()
        if kind == REPLICA_SETS:
            gone = self._replica_sets.pop(name, None)
            return {gone.deployment} - {""} if gone else set()
        if kind == ENDPOINTS:
            return self._behind(None, self._endpoints.pop(name, None))
        pod = self._pods.pop(name, None)
        if pod is None:
            return set()
        siblings = self._pods_of[pod.replica_set]
        siblings.discard(name)
        if not siblings:
            del self._pods_of[pod.replica_set]
        return self._deployment_of(pod.replica_set)

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
