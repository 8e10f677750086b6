"""Jobs: run pods to success, or to as many failures as `backoffLimit` lets."""

from __future__ import annotations

from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import Json, copied, name_of, namespace_of, owner_reference, stamp, uid_of
from rollout.sandbox.kubelet import Kubelet
from rollout.sandbox.replicasets import counts


class Jobs:
    """The Job controller, for Jobs with one completion at a time."""

    def __init__(self, kernel: Kernel, kubelet: Kubelet) -> None:
        self._kernel = kernel
        self._kubelet = kubelet
        kernel.reconcilers["jobs"] = self.reconcile

    def reconcile(self, namespace: str, name: str) -> None:
        """Start the next pod, or say how the Job ended."""
        job = self._kernel.storage.find("jobs", namespace, name)
        if job is None or any(c["type"] in {"Complete", "Failed"} for c in job["status"].get("conditions") or ()):
            return
        if job["spec"].get("suspend"):
            self._suspend(job)
            return
        phases = [pod["status"].get("phase") for pod in self._kernel.storage.children(uid_of(job), "pods")]
        succeeded, failed = phases.count("Succeeded"), phases.count("Failed")
        active = len(phases) - succeeded - failed
        done = succeeded >= job["spec"]["completions"]
        hopeless = failed > job["spec"]["backoffLimit"]
        if not done and not hopeless and not active:
            self._create_pod(job)
            active = 1
        now = stamp(self._kernel.now)
        status: Json = {"startTime": now if job["status"].get("conditions") else job["status"].get("startTime", now), "ready": 0}
        status |= {key: n for key, n in (("active", active), ("succeeded", succeeded), ("failed", failed)) if n}
        if done:
            status |= {"completionTime": now, "conditions": [_condition("Complete", "CompletionsReached", "", now)]}
        elif hopeless:
            words = "Job has reached the specified backoff limit"
            status |= {"conditions": [_condition("Failed", "BackoffLimitExceeded", words, now)]}
        if status != job["status"]:
            self._kernel.storage.replace("jobs", {**job, "status": status}, CONTROLLER, self._kernel.now)

    def _suspend(self, job: Json) -> None:
        """Delete its pods and start no other, as the real controller does; who goes on later has started then."""
        for pod in self._kernel.storage.children(uid_of(job), "pods"):
            if counts(pod):
                self._kubelet.delete(pod, CONTROLLER)
        now = stamp(self._kernel.now)
        status: Json = {"ready": 0, "conditions": [_condition("Suspended", "JobSuspended", "Job suspended", now)]}
        if [c["type"] for c in job["status"].get("conditions") or ()] != ["Suspended"]:
            self._kernel.storage.replace("jobs", {**job, "status": status}, CONTROLLER, self._kernel.now)

    def _create_pod(self, job: Json) -> None:
        template = copied(job["spec"]["template"])
        name = f"{name_of(job)}-{self._kernel.suffix()}"
        metadata = template.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), "batch.kubernetes.io/job-name": name_of(job), "job-name": name_of(job)}
        metadata |= {
            "name": name, "generateName": f"{name_of(job)}-", "namespace": namespace_of(job), "labels": labels,
            "uid": self._kernel.new_uid(), "creationTimestamp": stamp(self._kernel.now),
            "ownerReferences": [owner_reference(job)],
        }  # fmt: skip
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self._kernel.storage.add("pods", pod, CONTROLLER, self._kernel.now)
        self._kernel.event(job, "SuccessfulCreate", f"Created pod: {name}")


def _condition(type_: str, reason: str, message: str, now: str) -> Json:
    return {
        "type": type_, "status": "True", "reason": reason, "message": message, "lastProbeTime": now, "lastTransitionTime": now,
    }  # fmt: skip
