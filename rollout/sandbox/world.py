"""A small, deterministic pretend cluster: objects, controllers, pods, traffic and hands that reach in.

No thread and no clock of its own: `advance(to)` moves everything. Every write, whoever made it, is seen by `observers` at
the moment it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from rollout.sandbox.behaviour import Behaviours
from rollout.sandbox.defaults import check, completed
from rollout.sandbox.deployments import Deployments
from rollout.sandbox.faults import Faults
from rollout.sandbox.field_owners import with_owners
from rollout.sandbox.jobs import Jobs
from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import (
    BY_KIND,
    BY_PLURAL,
    ApiError,
    Json,
    conflict,
    controller_of,
    copied,
    name_of,
    namespace_of,
    not_found,
    stamp,
    uid_of,
    with_metadata,
)
from rollout.sandbox.kubelet import Kubelet
from rollout.sandbox.nodes import Nodes
from rollout.sandbox.patches import MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from rollout.sandbox.replicasets import ReplicaSets
from rollout.sandbox.services import Services, changes_endpoints
from rollout.sandbox.storage import Change, ChangeType, Storage
from rollout.sandbox.traffic import Traffic

NODE_LOST_EVICTION = timedelta(minutes=5)
_KEPT = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_GENERATIONS = frozenset({"deployments", "replicasets", "horizontalpodautoscalers", "jobs", "cronjobs", "apisixroutes"})


class World:
    """One pretend cluster. Objects that it returns are shared: read them, never change them."""

    def __init__(
        self,
        start: datetime,
        seed: int = 0,
        *,
        nodes: int = 3,
        requests_per_minute: float = 600.0,
        record_events: bool = True,
    ) -> None:
        self._kernel = Kernel(start, seed, record_events=record_events)
        self.faults = Faults()
        self.behaviours = Behaviours(lambda: self._kernel.now)
        self.traffic = Traffic(self.behaviours, seed, requests_per_minute=requests_per_minute)
        self._nodes = Nodes(self._kernel, nodes)
        self.kubelet = Kubelet(self._kernel, self._nodes, self.behaviours, self.traffic)
        self._services = Services(self._kernel, self.traffic)
        self._replicasets = ReplicaSets(self._kernel, self.kubelet)
        self._deployments = Deployments(self._kernel)
        self._jobs = Jobs(self._kernel, self.kubelet)
        self._kernel.observe(self._wake_controllers)
        for name in ("default", "kube-system"):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, manager="kube-apiserver")

    @property
    def now(self) -> datetime:
        """The world's time."""
        return self._kernel.now

    @property
    def storage(self) -> Storage:
        """The objects, for whoever serves watches."""
        return self._kernel.storage

    @property
    def observers(self) -> list[Callable[[Change], None]]:
        """Functions that are called at every change, in the world's thread; append yours."""
        return self._kernel.storage.observers

    def advance(self, to: datetime) -> None:
        """Let everything happen that is due by then (controllers also act at the present moment). Never goes back."""
        self._kernel.advance(to)

    def advance_by(self, span: timedelta) -> None:
        """`advance` by a span."""
        self._kernel.advance(self.now + span)

    def next_due(self) -> datetime | None:
        """When the next thing happens of itself; None when nothing is planned."""
        return self._kernel.next_due()

    # -- the API's verbs ------------------------------------------------------------------------------------------------

    def get(self, resource: str, namespace: str, name: str) -> Json:
        """Look an object up by plural, namespace (empty for cluster-wide kinds) and name. Raises ApiError 404."""
        return self.storage.get(resource, namespace, name)

    def find(self, resource: str, namespace: str, name: str) -> Json | None:
        """Look an object up; None when there is none."""
        return self.storage.find(resource, namespace, name)

    def objects(self, resource: str, namespace: str | None = None) -> list[Json]:
        """Every object of a kind, of one namespace or all."""
        return self.storage.objects(resource, namespace)

    def load(self, manifests: Iterable[Json], manager: str = "kubectl-client-side-apply") -> None:
        """Create objects from manifests, with the namespaces they name."""
        for manifest in manifests:
            namespace = manifest["metadata"].get("namespace", "default")
            if BY_KIND[manifest["kind"]].namespaced and self.find("namespaces", "", namespace) is None:
                self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, manager=manager)
            self.create(manifest, manager=manager)

    def create(self, obj: Json, *, manager: str = "kubectl-create", namespace: str = "", dry_run: bool = False) -> Json:
        """Create an object; a dry run only says what it would be. Raises ApiError 400, 404 (namespace), 409, 422."""
        kind = BY_KIND.get(str(obj.get("kind")))
        if kind is None:
            raise ApiError(400, "BadRequest", f'no kind "{obj.get("kind")}" is registered for version "{obj.get("apiVersion")}"')
        obj = copied(obj)
        metadata = obj.setdefault("metadata", {})
        if kind.namespaced:
            metadata["namespace"] = namespace or metadata.get("namespace") or "default"
            if self.find("namespaces", "", metadata["namespace"]) is None:
                raise not_found("namespaces", metadata["namespace"])
        if "name" not in metadata:
            metadata["name"] = f"{metadata.get('generateName', '')}{self._kernel.suffix()}"
        metadata |= {"uid": self._kernel.new_uid(), "creationTimestamp": stamp(self.now)}
        metadata |= {"generation": 1} if kind.plural in _GENERATIONS else {}
        if kind.plural == "services":
            obj["spec"] = {"clusterIP": self._nodes.new_service_ip(), **(obj.get("spec") or {})}
        obj = completed(kind.plural, {"apiVersion": kind.api_version, "kind": kind.kind, **obj})
        check(kind.plural, obj, None)
        obj = with_owners(None, obj, manager, self.now)
        return obj if dry_run else self.storage.add(kind.plural, obj, manager, self.now)

    def replace(self, resource: str, obj: Json, *, manager: str, subresource: str = "", dry_run: bool = False) -> Json:
        """PUT. With `metadata.resourceVersion` only onto exactly that version. Raises ApiError 404, 409, 422."""
        old = self.get(resource, namespace_of(obj), name_of(obj))
        return self._write(resource, old, copied(obj), manager, subresource, dry_run=dry_run)

    def patch(
        self,
        resource: str,
        namespace: str,
        name: str,
        patch: Any,  # noqa: ANN401 - JSON as received
        *,
        content_type: str = STRATEGIC_PATCH,
        manager: str = "kubectl-patch",
        subresource: str = "",
        operation: str = "Update",
        dry_run: bool = False,
    ) -> Json:
        """PATCH in one of three languages (patches.py). Raises ApiError 400, 404, 409 (resourceVersion), 415, 422."""
        old = self.get(resource, namespace, name)
        new = apply_patch(old, patch, content_type)
        return self._write(resource, old, new, manager, subresource, operation=operation, dry_run=dry_run)

    def patched(self, obj: Json, patch: Any, content_type: str) -> Json:  # noqa: ANN401 - JSON as received
        """Say what a patch would make of an object, storing nothing. Raises ApiError 400, 415, 422."""
        return apply_patch(obj, patch, content_type)

    def delete(
        self, resource: str, namespace: str, name: str, *, manager: str, grace_seconds: float | None = None, orphan: bool = False
    ) -> Json:
        """DELETE; what it owns goes too (in the background) unless orphaned. Raises ApiError 404."""
        obj = self.get(resource, namespace, name)
        if resource == "pods":
            return self.kubelet.delete(obj, manager, grace_seconds=grace_seconds)
        gone = self.storage.remove(resource, namespace, name, manager, self.now)
        for kind in ("replicasets", "jobs", "pods", "endpointslices"):
            for child in list(self.storage.children(uid_of(obj), kind)):
                if orphan:
                    self.storage.replace(kind, with_metadata(child, ownerReferences=None), CONTROLLER, self.now)
                else:
                    self.delete(kind, namespace_of(child), name_of(child), manager=CONTROLLER)
        return gone

    def _write(
        self,
        resource: str,
        old: Json,
        new: Json,
        manager: str,
        subresource: str,
        *,
        operation: str = "Update",
        dry_run: bool = False,
    ) -> Json:
        asked = new["metadata"].get("resourceVersion")
        if asked and asked != old["metadata"]["resourceVersion"]:
            raise conflict(BY_PLURAL[resource].plural, name_of(old))
        kept = {key: old["metadata"][key] for key in _KEPT if key in old["metadata"]}
        new = {**new, "apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": {**new["metadata"], **kept}}
        if subresource == "status":
            new = {**old, "status": new.get("status") or {}, "metadata": old["metadata"]}
        elif "status" in old:
            new = {**new, "status": old["status"]}
        if subresource != "status":
            new = completed(resource, new)
            check(resource, new, old)
        if new == old:
            return old
        if resource in _GENERATIONS:
            step = 1 if new.get("spec") != old.get("spec") else 0
            new = with_metadata(new, generation=old["metadata"].get("generation", 1) + step)
        if subresource != "status":
            new = with_owners(old, new, manager, self.now, subresource, operation)
        return new if dry_run else self.storage.replace(resource, new, manager, self.now)

    def scale_of(self, resource: str, namespace: str, name: str) -> Json:
        """Read the `scale` subresource (autoscaling/v1 Scale)."""
        obj = self.get(resource, namespace, name)
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        metadata = {key: obj["metadata"][key] for key in kept}
        selector = ",".join(f"{k}={v}" for k, v in sorted(obj["spec"]["selector"].get("matchLabels", {}).items()))
        status = {"replicas": obj["status"].get("replicas", 0), "selector": selector}
        spec = {"replicas": obj["spec"]["replicas"]}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}

    def write_scale(self, resource: str, scale: Json, *, manager: str) -> Json:
        """Write the `scale` subresource; return it as it is then. Raises ApiError 404, 409, 422."""
        old = self.get(resource, namespace_of(scale), name_of(scale))
        version = scale["metadata"].get("resourceVersion")
        spec = {**old["spec"], "replicas": (scale.get("spec") or {}).get("replicas", 0)}
        new = with_metadata({**old, "spec": spec}, resourceVersion=version)
        self._write(resource, old, new, manager, "scale")
        return self.scale_of(resource, namespace_of(scale), name_of(scale))

    # -- human hands ----------------------------------------------------------------------------------------------------

    def set_image(self, namespace: str, deployment: str, container: str, image: str, manager: str = "kubectl-set") -> Json:
        """`kubectl set image deployment/NAME CONTAINER=IMAGE`."""
        spec = {"template": {"spec": {"containers": [{"name": container, "image": image}]}}}
        return self.patch("deployments", namespace, deployment, {"spec": spec}, manager=manager)

    def scale(self, namespace: str, deployment: str, replicas: int, manager: str = "kubectl") -> Json:
        """`kubectl scale deployment/NAME --replicas=N`."""
        metadata = {"namespace": namespace, "name": deployment}
        return self.write_scale("deployments", {"metadata": metadata, "spec": {"replicas": replicas}}, manager=manager)

    def annotate(
        self, namespace: str, deployment: str, annotations: dict[str, str | None], manager: str = "kubectl-annotate"
    ) -> Json:
        """`kubectl annotate deployment/NAME`; None removes."""
        patch = {"metadata": {"annotations": annotations}}
        return self.patch("deployments", namespace, deployment, patch, content_type=MERGE_PATCH, manager=manager)

    def delete_pod(self, namespace: str, name: str, manager: str = "kubectl", *, force: bool = False) -> Json:
        """`kubectl delete pod NAME [--force --grace-period=0]`."""
        return self.delete("pods", namespace, name, manager=manager, grace_seconds=0.0 if force else None)

    def evict(self, namespace: str, name: str, manager: str = "kubectl") -> None:
        """Take a pod away through the eviction API, as drain and autoscalers do."""
        pod = self.get("pods", namespace, name)
        self.kubelet.disrupt(pod, "EvictionByEvictionAPI", "Eviction API: evicting")
        self.kubelet.delete(self.get("pods", namespace, name), manager)

    def preempt(self, namespace: str, name: str) -> None:
        """Take a pod away for a more important one."""
        pod = self.get("pods", namespace, name)
        self.kubelet.disrupt(pod, "PreemptionByScheduler", "preempting to accommodate a higher priority pod")
        self.kubelet.delete(self.get("pods", namespace, name), "kube-scheduler")

    def evict_for_pressure(self, namespace: str, name: str) -> None:
        """End a pod as a kubelet short of memory does: it stays as Failed/Evicted, and is replaced."""
        pod = self.get("pods", namespace, name)
        self.kubelet.evict_for_pressure(pod, "The node was low on resource: memory.")

    def cordon(self, node: str, *, closed: bool = True) -> None:
        """`kubectl cordon` (or uncordon)."""
        self._nodes.close(node, closed=closed)

    def drain(self, node: str) -> None:
        """`kubectl drain NODE`: cordon it and evict every pod on it."""
        self.cordon(node)
        for pod in self.objects("pods"):
            if pod["spec"].get("nodeName") == node and "deletionTimestamp" not in pod["metadata"]:
                self.evict(namespace_of(pod), name_of(pod))

    def lose_node(self, node: str) -> None:
        """Let a node die: its pods turn unready now, are deleted after 5 min, and then stay Terminating."""
        self._nodes.lose(node)
        self.kubelet.node_lost(node)
        self._kernel.call_at(self.now + NODE_LOST_EVICTION, lambda: self._evict_lost(node))

    def restore_node(self, node: str) -> None:
        """Let a lost node come back."""
        self._nodes.lose(node, lost=False)
        self.kubelet.node_back(node)

    def _evict_lost(self, node: str) -> None:
        if not self._nodes.is_lost(node):
            return
        for pod in self.objects("pods"):
            if pod["spec"].get("nodeName") == node and "deletionTimestamp" not in pod["metadata"]:
                words = "Taint manager: deleting due to NoExecute taint"
                self.kubelet.disrupt(pod, "DeletionByTaintManager", words)
                self.kubelet.delete(self.get("pods", namespace_of(pod), name_of(pod)), CONTROLLER)

    # -- controllers ----------------------------------------------------------------------------------------------------

    def _wake_controllers(self, change: Change) -> None:
        deleted = change.type is ChangeType.DELETED
        match change.resource:
            case "deployments" | "jobs" if not deleted:
                self._kernel.mark(change.resource, change.namespace, change.name)
            case "replicasets":
                if not deleted:
                    self._kernel.mark("replicasets", change.namespace, change.name)
                self._mark_owner(change.new, "Deployment", "deployments")
            case "pods" if changes_endpoints(change) or _phase(change.old) != _phase(change.new):
                self._mark_owner(change.new, "ReplicaSet", "replicasets")
                self._mark_owner(change.new, "Job", "jobs")
                owner = controller_of(change.new)
                if deleted and owner is not None:
                    replica_set = self.find("replicasets", change.namespace, owner["name"])
                    if replica_set is not None:
                        self._mark_owner(replica_set, "Deployment", "deployments")
            case "nodes":
                self._nodes.saw(change.new)
                self.kubelet.retry_unscheduled()

    def _mark_owner(self, obj: Json, kind: str, resource: str) -> None:
        owner = controller_of(obj)
        if owner is not None and owner["kind"] == kind:
            self._kernel.mark(resource, namespace_of(obj), owner["name"])


def _phase(pod: Json | None) -> str:
    return str(pod["status"].get("phase")) if pod is not None else ""
