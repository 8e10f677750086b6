"""Services: which pods are endpoints, as EndpointSlices for those who watch and as routes for the traffic."""

from __future__ import annotations

from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import (
    Json,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    selects,
    stamp,
    uid_of,
)
from rollout.sandbox.storage import Change, ChangeType
from rollout.sandbox.traffic import Traffic

SLICE_SIZE = 100


class Services:
    """The EndpointSlice controller."""

    def __init__(self, kernel: Kernel, traffic: Traffic) -> None:
        self._kernel = kernel
        self._traffic = traffic
        self._endpoints: dict[str, tuple[Json, Json]] = {}
        kernel.reconcilers["services"] = self.reconcile
        kernel.observe(self._saw)

    def _saw(self, change: Change) -> None:
        if change.resource == "services" and change.type is not ChangeType.DELETED:
            self._kernel.mark("services", change.namespace, change.name)
        if change.resource == "pods" and change.type is ChangeType.DELETED:
            self._endpoints.pop(uid_of(change.new), None)
        if change.resource == "pods" and changes_endpoints(change):
            for service in self._kernel.storage.objects("services", change.namespace):
                old = change.old or change.new
                selector = service["spec"].get("selector") or {}
                if selects(selector, labels_of(change.new)) or selects(selector, labels_of(old)):
                    self._kernel.mark("services", change.namespace, name_of(service))

    def reconcile(self, namespace: str, name: str) -> None:
        """Write the slices of one Service, and send the traffic to those that are ready."""
        service = self._kernel.storage.find("services", namespace, name)
        if service is None:
            self._traffic.endpoints_changed(f"{namespace}/{name}", (), self._kernel.now)
            return
        selector = service["spec"].get("selector") or {}
        listed = self._kernel.storage.objects("pods", namespace)
        pods = [pod for pod in listed if selects(selector, labels_of(pod)) and _has_address(pod)]
        endpoints = [self._endpoint(pod) for pod in pods]
        pieces = [endpoints[i : i + SLICE_SIZE] for i in range(0, len(endpoints), SLICE_SIZE)] or [[]]
        present = list(self._kernel.storage.children(uid_of(service), "endpointslices"))
        for index, piece in enumerate(pieces):
            if index >= len(present):
                self._create(service, piece)
            elif present[index]["endpoints"] != piece:
                generation = present[index]["metadata"]["generation"] + 1
                metadata = {**present[index]["metadata"], "generation": generation}
                changed = {**present[index], "metadata": metadata, "endpoints": piece}
                self._kernel.storage.replace("endpointslices", changed, CONTROLLER, self._kernel.now)
        for surplus in present[len(pieces) :]:
            self._kernel.storage.remove("endpointslices", namespace, name_of(surplus), CONTROLLER, self._kernel.now)
        ready = tuple(uid_of(pod) for pod, end in zip(pods, endpoints, strict=True) if end["conditions"]["ready"])
        self._traffic.endpoints_changed(f"{namespace}/{name}", ready, self._kernel.now)

    def _endpoint(self, pod: Json) -> Json:
        """Build a pod's endpoint, or find the one that was built from this very state."""
        known = self._endpoints.get(uid_of(pod))
        if known is None or known[0] is not pod:
            known = self._endpoints[uid_of(pod)] = (pod, _endpoint(pod))
        return known[1]

    def _create(self, service: Json, endpoints: list[Json]) -> None:
        name = name_of(service)
        labels = {**labels_of(service), "kubernetes.io/service-name": name}
        labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
        metadata = {
            "name": f"{name}-{self._kernel.suffix()}", "generateName": f"{name}-", "namespace": namespace_of(service),
            "uid": self._kernel.new_uid(), "creationTimestamp": stamp(self._kernel.now), "generation": 1, "labels": labels,
            "ownerReferences": [owner_reference(service)],
        }  # fmt: skip
        ports = [
            {"name": port.get("name", ""), "port": _target(port), "protocol": port.get("protocol", "TCP")}
            for port in service["spec"].get("ports") or ()
        ]
        made: Json = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
        made |= {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}
        self._kernel.storage.add("endpointslices", made, CONTROLLER, self._kernel.now)


def _target(port: Json) -> int:
    target = port.get("targetPort", port["port"])
    return target if isinstance(target, int) else int(port["port"])


def _has_address(pod: Json) -> bool:
    return bool(pod["status"].get("podIP")) and pod["status"].get("phase") not in {"Succeeded", "Failed"}


def is_ready(pod: Json) -> bool:
    """Read the Ready condition."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def _endpoint(pod: Json) -> Json:
    ready, leaving = is_ready(pod), "deletionTimestamp" in pod["metadata"]
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready and not leaving, "serving": ready, "terminating": leaving},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)},
    }


def changes_endpoints(change: Change) -> bool:
    """Say whether endpoints can look different after this change of a pod."""
    if change.old is None or change.type is ChangeType.DELETED:
        return True
    old, new = change.old, change.new
    if labels_of(old) != labels_of(new) or _has_address(old) != _has_address(new) or is_ready(old) != is_ready(new):
        return True
    return ("deletionTimestamp" in old["metadata"]) != ("deletionTimestamp" in new["metadata"])
