"""ReplicaSets: as many pods as asked for, no more, no fewer."""

from __future__ import annotations

from collections import Counter

from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import Json, copied, name_of, namespace_of, owner_reference, stamp, uid_of
from rollout.sandbox.kubelet import Kubelet, deletion_rank


class ReplicaSets:
    """The ReplicaSet controller (kubernetes pkg/controller/replicaset)."""

    def __init__(self, kernel: Kernel, kubelet: Kubelet) -> None:
        self._kernel = kernel
        self._kubelet = kubelet
        kernel.reconcilers["replicasets"] = self.reconcile

    def pods(self, replica_set: Json) -> list[Json]:
        """List its pods that count: neither ended nor terminating."""
        return [pod for pod in self._kernel.storage.children(uid_of(replica_set), "pods") if counts(pod)]

    def reconcile(self, namespace: str, name: str) -> None:
        """Create or delete pods until their number is right, and write the status."""
        replica_set = self._kernel.storage.find("replicasets", namespace, name)
        if replica_set is None:
            return
        pods = self.pods(replica_set)
        wanted = replica_set["spec"]["replicas"]
        if len(pods) < wanted:
            pods += [self._create_pod(replica_set) for _ in range(wanted - len(pods))]
        elif len(pods) > wanted:
            doomed = self._surplus(pods, len(pods) - wanted)
            for pod in doomed:
                self._kubelet.delete(pod, CONTROLLER)
                self._kernel.event(replica_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
            gone = {uid_of(pod) for pod in doomed}
            pods = [pod for pod in pods if uid_of(pod) not in gone]
        self._write_status(replica_set, pods)

    def _surplus(self, pods: list[Json], number: int) -> list[Json]:
        crowd = Counter(pod["spec"].get("nodeName", "") for pod in pods)
        lives = self._kubelet.lives

        def rank(pod: Json) -> tuple[float, ...]:
            node = pod["spec"].get("nodeName", "")
            return tuple(deletion_rank(lives.get(uid_of(pod)), pod, crowd[node], self._kernel.now))

        return sorted(pods, key=rank)[:number]

    def _create_pod(self, replica_set: Json) -> Json:
        template = replica_set["spec"]["template"]
        metadata = copied(template.get("metadata") or {})
        owner = name_of(replica_set)
        metadata |= {
            "name": f"{owner}-{self._kernel.suffix()}", "generateName": f"{owner}-", "namespace": namespace_of(replica_set),
            "uid": self._kernel.new_uid(), "creationTimestamp": stamp(self._kernel.now),
            "ownerReferences": [owner_reference(replica_set)],
        }  # fmt: skip
        pod: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}
        pod["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        created = self._kernel.storage.add("pods", pod, CONTROLLER, self._kernel.now)
        self._kernel.event(replica_set, "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return created

    def _write_status(self, replica_set: Json, pods: list[Json]) -> None:
        min_ready = int(replica_set["spec"].get("minReadySeconds", 0))
        ready = available = 0
        for pod in pods:
            at = self._kubelet.available_at(pod, min_ready)
            if at is None:
                continue
            ready += 1
            if at <= self._kernel.now:
                available += 1
            else:
                key = (namespace_of(replica_set), name_of(replica_set))
                self._kernel.call_at(at, lambda key=key: self._kernel.mark("replicasets", *key))  # type: ignore[misc]
        status: Json = {"replicas": len(pods), "observedGeneration": replica_set["metadata"]["generation"]}
        if pods:
            status |= {"fullyLabeledReplicas": len(pods)}
        status |= {"readyReplicas": ready} if ready else {}
        status |= {"availableReplicas": available} if available else {}
        if status != replica_set["status"]:
            self._kernel.storage.replace("replicasets", {**replica_set, "status": status}, CONTROLLER, self._kernel.now)


def counts(pod: Json) -> bool:
    """Say whether a pod counts for its ReplicaSet (controller.FilterActivePods)."""
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in {"Succeeded", "Failed"}
