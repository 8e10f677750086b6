"""Nodes: where pods can be placed, which of them are closed for new pods, and which stopped answering."""

from __future__ import annotations

from collections import Counter

from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import Json, name_of, stamp

_UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


class Nodes:
    """The cluster's nodes, `node-1` to `node-N`, and the addresses they give out."""

    def __init__(self, kernel: Kernel, count: int) -> None:
        self._kernel = kernel
        self._lost: set[str] = set()
        self._closed: set[str] = set()
        self._names: list[str] = []
        self._load: Counter[str] = Counter()
        self._pods_addressed = 0
        self._services_addressed = 0
        for _ in range(count):
            self.add()

    def add(self) -> str:
        """Add one node; return its name."""
        number = len(self._names) + 1
        name = f"node-{number}"
        self._names.append(name)
        metadata = {"name": name, "uid": self._kernel.new_uid(), "labels": {"kubernetes.io/hostname": name}}
        metadata |= {"creationTimestamp": stamp(self._kernel.now)}
        addresses = [{"type": "InternalIP", "address": self.address(name)}, {"type": "Hostname", "address": name}]
        capacity = {"cpu": "8", "memory": "32Gi", "pods": "110"}
        status = {"addresses": addresses, "capacity": capacity, "allocatable": capacity}
        status |= {"conditions": [self._ready_condition("True")], "nodeInfo": _node_info(name)}
        node: Json = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}
        self._kernel.storage.add("nodes", node, CONTROLLER, self._kernel.now)
        return name

    def choose(self) -> str:
        """Pick the open node with the fewest pods; empty when there is none."""
        open_nodes = [name for name in self._names if name not in self._lost and name not in self._closed]
        return min(open_nodes, key=lambda name: (self._load[name], name), default="")

    def placed(self, node: str, pods: int) -> None:
        """Count pods that came (or, negative, went)."""
        self._load[node] += pods

    def why_none(self) -> str:
        """The scheduler's words when no node is open."""
        closed, lost = len(self._closed - self._lost), len(self._lost)
        parts = [f"{closed} node(s) were unschedulable"] if closed else []
        parts += [f"{lost} node(s) had untolerated taint {{node.kubernetes.io/unreachable: }}"] if lost else []
        return f"0/{len(self._names)} nodes are available: {', '.join(parts) or 'no nodes'}."

    def address(self, node: str) -> str:
        """The node's own IP."""
        return f"192.168.0.{10 + self._names.index(node) + 1}"

    def new_pod_ip(self) -> str:
        """Give out the next pod IP; none is used twice (65,000 pods)."""
        self._pods_addressed += 1
        return f"10.244.{self._pods_addressed // 250 % 256}.{self._pods_addressed % 250 + 2}"

    def new_service_ip(self) -> str:
        """Give out the next cluster IP."""
        self._services_addressed += 1
        return f"10.96.{self._services_addressed // 250 % 256}.{self._services_addressed % 250 + 2}"

    def is_lost(self, node: str) -> bool:
        """Say whether the node has stopped answering."""
        return node in self._lost

    def close(self, node: str, *, closed: bool = True) -> None:
        """Cordon or uncordon. Raises ApiError 404."""
        found = self._kernel.storage.get("nodes", "", node)
        spec = {key: value for key, value in found["spec"].items() if key != "unschedulable"}
        spec |= {"unschedulable": True} if closed else {}
        self._kernel.storage.replace("nodes", {**found, "spec": spec}, CONTROLLER, self._kernel.now)

    def saw(self, node: Json) -> None:
        """Follow what the node's object says about new pods, whoever wrote it (`kubectl cordon` does)."""
        (self._closed.add if node["spec"].get("unschedulable") else self._closed.discard)(name_of(node))

    def lose(self, node: str, *, lost: bool = True) -> None:
        """Let a node stop answering (condition Ready Unknown, taint unreachable), or come back. Raises ApiError 404."""
        found = self._kernel.storage.get("nodes", "", node)
        (self._lost.add if lost else self._lost.discard)(node)
        spec = {key: value for key, value in found["spec"].items() if key != "taints"}
        spec |= {"taints": [_UNREACHABLE]} if lost else {}
        status = {**found["status"], "conditions": [self._ready_condition("Unknown" if lost else "True")]}
        self._kernel.storage.replace("nodes", {**found, "spec": spec, "status": status}, CONTROLLER, self._kernel.now)

    def _ready_condition(self, status: str) -> Json:
        reason = "KubeletReady" if status == "True" else "NodeStatusUnknown"
        at = stamp(self._kernel.now)
        condition = {"type": "Ready", "status": status, "reason": reason, "message": reason}
        return condition | {"lastHeartbeatTime": at, "lastTransitionTime": at}


def _node_info(name: str) -> Json:
    return {
        "architecture": "amd64", "bootID": name, "containerRuntimeVersion": "containerd://2.0.0", "kernelVersion": "6.1.0",
        "kubeProxyVersion": "", "kubeletVersion": "v1.32.0", "machineID": name, "operatingSystem": "linux",
        "osImage": "pretend", "systemUUID": name,
    }  # fmt: skip
