"""Jobs of one cluster: created once by name, looked at, brought to rest; and what else leads to a Deployment's pods.

Shapes from the batch/v1 and core/v1 references. A Job is brought to rest with `spec.suspend`, which deletes its pods and keeps the
object: its name stays taken, so that a request to create it that is still on its way finds it there (409) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Document, Request, failure
from rollout.core.errors import Conflict, Rejected, Unavailable
from rollout.ports import Clock
from rollout.ports_offline import JobPhase, JobSeen

MERGE = "application/merge-patch+json"
TAIL_LINES = 5_000
"""So many lines of a Job's log are read: a whole JUnit report, and whatever the script says at its end."""
NOT_FOUND = 404
STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
RIGHTS = (
    ("jobs", "batch", "get"),
    ("jobs", "batch", "create"),
    ("jobs", "batch", "patch"),
    ("pods", "", "list"),
    ("pods/log", "", "get"),
)


class KubernetesJobs:
    """The Jobs of one configured cluster, with connections of its own."""

    def __init__(self, settings: ClusterSettings, clock: Clock) -> None:
        self._settings = settings
        self._connection = Connection(settings, clock, sockets=4)

    def close(self) -> None:
        """Give back connections."""
        self._connection.close()

    def ensure(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        """Create it; one of that name that is there already is left as it is. Raises Unavailable, Rejected."""
        query = (("fieldManager", self._settings.field_manager),)
        request = Request("create", "jobs", namespace, group="batch", query=query, body=dict(manifest))
        try:
            self._connection.want(request)
        except Conflict:
            return  # it is there: asked for twice is asked for once

    def look(self, namespace: str, name: str) -> JobSeen | None:
        """Look at it, its newest pod and the tail of that pod's log; None when there is none of that name."""
        job = self._job(namespace, name)
        if job is None:
            return None
        pods = self._pods(namespace, name)
        return self._seen(namespace, job, pods)

    def _job(self, namespace: str, name: str) -> Document | None:
        request = Request("get", "jobs", namespace, name, group="batch")
        reply = self._connection.ask(request)
        if reply.status == NOT_FOUND:
            return None
        if not reply.ok:
            raise failure(self._settings.name, request, reply)
        return reply.document

    def _pods(self, namespace: str, job: str) -> list[Document]:
        query = (("labelSelector", f"job-name={job}"),)
        found = self._connection.want(Request("list", "pods", namespace, query=query))
        return sorted(found.get("items") or (), key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def _seen(self, namespace: str, job: Document, pods: list[Document]) -> JobSeen:
        status: Mapping[str, Any] = job.get("status") or {}
        true = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        start = _time(status.get("startTime"))
        if "Complete" not in true and "Failed" not in true:
            if (job.get("spec") or {}).get("suspend"):
                alive = [pod for pod in pods if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}]
                names = ", ".join(pod["metadata"]["name"] for pod in alive)
                return JobSeen(JobPhase.RUNNING if alive else JobPhase.HALTED, f"{names} ends" if alive else "", start)
            trouble = next(iter(_troubles(pods[-1])), "") if pods else _no_pod(status)
            return JobSeen(JobPhase.RUNNING, trouble, start, trouble=trouble)
        worker = _worker(job)
        log = self._log(namespace, pods[-1]["metadata"]["name"], worker) if pods else ""
        code, end = _end(pods[-1], worker) if pods else (None, "its pod is gone")
        ended = _time(status.get("completionTime")) or _time((true.get("Complete") or true["Failed"]).get("lastTransitionTime"))
        if "Complete" in true:
            return JobSeen(JobPhase.SUCCEEDED, "", start, ended, code, log=log)
        failed = true["Failed"]
        why = f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}".rstrip(": ")
        why += (f", exit code {code}" if code is not None else "") + (f"; {end}" if end else "")
        return JobSeen(JobPhase.FAILED, why, start, ended, code, log=log)

    def _log(self, namespace: str, pod: str, container: str) -> str:
        query = (("container", container), ("tailLines", str(TAIL_LINES)))
        try:
            return self._connection.text(Request("get", "pods", namespace, pod, subresource="log", query=query))
        except Rejected:
            return ""  # the pod is gone, or its container never began

    def halt(self, namespace: str, manifest: Mapping[str, Any]) -> JobSeen:
        """Suspend it, or create it suspended; say where it stands. Raises Unavailable, Rejected."""
        name = manifest["metadata"]["name"]
        job = self._job(namespace, name)
        if job is None:
            self.ensure(namespace, {**manifest, "spec": {**manifest["spec"], "suspend": True}})
            job = self._job(namespace, name)
        ended = any(
            c.get("status") == "True" and c["type"] in {"Complete", "Failed"}
            for c in ((job or {}).get("status") or {}).get("conditions") or ()
        )
        if job is not None and not ended and not (job.get("spec") or {}).get("suspend"):
            query = (("fieldManager", self._settings.field_manager),)
            body = {"spec": {"suspend": True}}
            self._connection.want(
                Request("patch", "jobs", namespace, name, group="batch", query=query, body=body, content_type=MERGE)
            )
        seen = self.look(namespace, name)
        if seen is None:
            raise Unavailable(self._connection.backend, f"Job {namespace}/{name} was taken away while it was brought to rest")
        return seen

    def may_create(self, namespace: str) -> str:
        """Say what our account may not do with Jobs in this namespace; empty when it may do all that is needed."""
        for resource, group, verb in RIGHTS:
            plain, _, sub = resource.partition("/")
            wanted = {"namespace": namespace, "verb": verb, "resource": plain, "group": group, "subresource": sub}
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
            }
            answer = self._connection.want(Request("create", "selfsubjectaccessreviews", group="authorization.k8s.io", body=body))
            if not (answer.get("status") or {}).get("allowed"):
                return f'our account may not {verb} {resource} in namespace "{namespace}"'
        return ""

    def service_names(self, namespace: str, deployment: str) -> Sequence[str]:
        """List the Services that lead to the pods of a Deployment."""
        return tuple(service["metadata"]["name"] for service in self._services(namespace, deployment))

    def service_addresses(self, namespace: str, deployment: str) -> Sequence[str]:
        """List the addresses of those Services, by which an upstream may name them."""
        found: list[str] = []
        for service in self._services(namespace, deployment):
            spec = service["spec"]
            balancer = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
            found += [*(spec.get("clusterIPs") or [spec.get("clusterIP")]), *(spec.get("externalIPs") or ())]
            found += [entry.get("ip") or entry.get("hostname") for entry in balancer]
        return tuple(address for address in found if address and address != "None")

    def _services(self, namespace: str, deployment: str) -> list[Document]:
        labels = self._deployment(namespace, deployment)["spec"]["template"]["metadata"].get("labels") or {}
        every = self._connection.want(Request("list", "services", namespace)).get("items") or ()
        return [service for service in every if _selects(service, labels)]

    def _deployment(self, namespace: str, name: str) -> Document:
        return self._connection.want(Request("get", "deployments", namespace, name, group="apps"))

    def unseen_ways(self, namespace: str, deployment: str) -> Sequence[str]:
        """List, in words, what a gateway does not see: other Services of the pods, node ports, CronJobs of the namespace."""
        return tuple(self._unseen(namespace, deployment))

    def _unseen(self, namespace: str, deployment: str) -> Iterator[str]:
        for service in self._services(namespace, deployment):
            name, spec = service["metadata"]["name"], service["spec"]
            kind = spec.get("type", "ClusterIP")
            ports = [str(port["nodePort"]) for port in spec.get("ports") or () if port.get("nodePort")]
            if ports:
                yield f"Service {name} ({kind}) answers on every node at port {', '.join(ports)}, past the gateway"
            else:
                yield f"Service {name}: callers inside the cluster reach it without the gateway"
        yield from _on_the_node(self._deployment(namespace, deployment))
        crons = self._connection.want(Request("list", "cronjobs", namespace, group="batch")).get("items") or ()
        for cron in crons:
            state = ", suspended" if cron["spec"].get("suspend") else ""
            yield f"CronJob {cron['metadata']['name']} ({cron['spec'].get('schedule', '?')}{state}) may need it"


def _on_the_node(deployment: Document) -> Iterator[str]:
    pod = deployment["spec"]["template"]["spec"]
    if pod.get("hostNetwork"):
        yield "the pods use their node's network: they answer at its addresses, past the gateway"
        return
    ports = [port["hostPort"] for container in pod.get("containers") or () for port in container.get("ports") or ()
             if port.get("hostPort")]  # fmt: skip
    if ports:
        yield f"the pods answer at port {', '.join(map(str, ports))} of their nodes (hostPort), past the gateway"


def _selects(service: Document, labels: Mapping[str, str]) -> bool:
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _troubles(pod: Document) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"{name} cannot be scheduled: {condition.get('message', condition.get('reason', ''))}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in STUCK:
            yield f"{name}: {waiting['reason']} {waiting.get('message', '')}".strip()


def _no_pod(status: Mapping[str, Any]) -> str:
    return (
        "" if status.get("active") or not status.get("startTime") else "the cluster has made no pod for it (a quota, an admission?)"
    )


def _worker(job: Document) -> str:
    """Name the container that does the work: the manifest's first. Others come by injection, and have a log of their own."""
    return str(job["spec"]["template"]["spec"]["containers"][0]["name"])


def _end(pod: Document, worker: str) -> tuple[int | None, str]:
    """Tell the worker's exit code, and what else ended it: an eviction, no memory left, an init container."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    statuses = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    ended = {one.get("name"): (one.get("state") or {}).get("terminated") for one in statuses}
    mine = ended.pop(worker, None)
    code = int(mine.get("exitCode", 0)) if mine else None
    if status.get("reason"):
        return code, f"{name}: {status['reason']} {status.get('message', '')}".strip()
    if mine and mine.get("reason") not in {None, "Error", "Completed"}:
        return code, f"{name}: {mine['reason']}"
    broken = next((f"{one} ended with {how['exitCode']}" for one, how in ended.items() if how and how.get("exitCode")), "")
    return code, f"{name}: {broken}" if broken and code is None else ""


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
