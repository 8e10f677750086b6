"""One Kubernetes cluster: ports.Cluster over the real API.

Three pools of connections that share nothing: watches and lists; writes forward, events and preflight; the path that steps
back. A slow answer to one never delays another.
"""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from rollout.adapters import kubernetes_patch as patches
from rollout.adapters import kubernetes_slim as slim
from rollout.adapters.breaker import Breaker
from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Document, Request, failure
from rollout.adapters.kubernetes_memory import DEPLOYMENTS, ENDPOINTS, KINDS, PODS, REPLICA_SETS, NamespaceMemory
from rollout.adapters.kubernetes_preflight import preflight
from rollout.adapters.kubernetes_watch import Heard, Watch, listing
from rollout.core.cohorts import Deployment, TargetView
from rollout.core.effects import PatchDeployment, PostEvent
from rollout.core.errors import Conflict, Rejected, Unavailable
from rollout.core.target import Target
from rollout.ports import Check, Clock, Unreachable

__all__ = ["ClusterSettings", "KubernetesCluster"]

NOT_FOUND, UNPROCESSABLE = 404, 422
EVENT_MESSAGE = 1024
"""Characters; the API refuses longer messages."""
JOIN_SECONDS = 5.0
REFUSES = frozenset({401, 403})
SKEW = timedelta(seconds=30)
REST, LONGEST_REST = timedelta(seconds=5), timedelta(seconds=15)
"""How long the forward path leaves an API alone that failed three times in a row. The path that steps back never does."""

log = logging.getLogger(__name__)


class _Namespace:
    """The watches of one namespace and what they have brought."""

    def __init__(self, memory: NamespaceMemory, watches: Mapping[str, Watch]) -> None:
        self.memory = memory
        self.watches = watches


class KubernetesCluster:
    """Implements ports.Cluster. Raises Refused at construction when the credentials cannot be used."""

    def __init__(self, settings: ClusterSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._watching = Connection(settings, clock, sockets=1024)
        self._forward = Connection(settings, clock)
        self._breaker = Breaker(self._forward.backend, clock, rest=REST, longest=LONGEST_REST)
        self._backward = Connection(settings, clock)
        self._namespaces: dict[str, _Namespace] = {}
        self._subscribers: list[Callable[[str, str], None]] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """The cluster's name in the daemon's configuration."""
        return self._settings.name

    @property
    def backend(self) -> str:
        """How errors name this cluster."""
        return self._forward.backend

    def follow(self, namespace: str) -> None:
        """Start the watches of a namespace (idempotent, returns at once)."""
        with self._lock:
            if namespace in self._namespaces or self._closed:
                return
            memory = NamespaceMemory()
            watches = {kind: self._watch(namespace, kind, memory) for kind in KINDS}
            self._namespaces[namespace] = _Namespace(memory, watches)
        for watch in watches.values():
            watch.start()

    def subscribe(self, changed: Callable[[str, str], None]) -> None:
        """Call `changed(namespace, deployment)` from the watch that saw it. It must return quickly and not raise."""
        with self._lock:
            self._subscribers.append(changed)

    def view(self, target: Target) -> TargetView | Unreachable:
        """Read memory. Unreachable when a watch that the target needs is older than `stale_after`, with since when and why."""
        with self._lock:
            followed = self._namespaces.get(target.namespace)
        if followed is None:
            return Unreachable(f"{self.backend}: namespace {target.namespace} is not followed")
        needed = (DEPLOYMENTS, REPLICA_SETS, PODS, *((ENDPOINTS,) if target.service else ()))
        now, oldest = self._clock.monotonic(), 0.0
        for kind in needed:
            heard = followed.watches[kind].heard
            age = float("inf") if heard.at is None else now - heard.at
            if age > self._settings.stale_after.total_seconds():
                return Unreachable(self._blind(target.namespace, kind, heard, age))
            oldest = max(oldest, age)
        return followed.memory.view(target, self._clock.now() - timedelta(seconds=oldest))

    def look(self, target: Target, *, timeout: timedelta) -> TargetView:
        """Ask the API now, past the watches. Raises Unavailable, Rejected."""
        with self._breaker.attempt():
            return self._look(target, self._clock.monotonic() + timeout.total_seconds())

    def read_deployment(self, namespace: str, name: str, *, timeout: timedelta) -> Deployment | None:
        """Ask for one Deployment now; None when there is none. Raises Unavailable, Rejected."""
        document = self._deployment(namespace, name, self._backward, timeout)
        return None if document is None else slim.deployment(document).deployment

    def apply(self, patch: PatchDeployment, *, timeout: timedelta) -> None:
        """Write the named fields of one Deployment. Raises Unavailable (with maybe_done), Rejected, Conflict."""
        deadline = self._clock.monotonic() + timeout.total_seconds()
        if patches.backward(patch):
            self._apply(patch, self._backward, deadline)
            return
        with self._breaker.attempt():
            self._apply(patch, self._forward, deadline)

    def post_event(self, event: PostEvent, *, timeout: timedelta) -> None:
        """Write a core/v1 Event, so that `kubectl describe` tells the story. Raises Unavailable, Rejected."""
        with self._breaker.attempt():
            self._post(event, self._clock.monotonic() + timeout.total_seconds())

    def preflight(self, target: Target, image: str) -> Sequence[Check]:
        """Ask everything about a canary on this target that the cluster can tell. Raises Unavailable."""
        with self._breaker.attempt():
            return preflight(self._forward, target, image)

    def check(self) -> Sequence[Check]:
        """Tell for doctor: reachable, which version, and whether its clock agrees with ours."""
        name, where = f"cluster {self.name}", self._forward.server
        try:
            reply = self._forward.ask(Request("get", "version", version=""))
        except Unavailable as error:
            return [Check(name, "refused", str(error), "check the network, the kubeconfig and the context")]
        if not reply.ok:
            remedy = "check the credentials" if reply.status in REFUSES else "look at the API server: it answers, but not this"
            return [Check(name, "refused", str(failure(self.name, Request("get", "version"), reply)), remedy)]
        skew = abs(reply.at - self._clock.now()) if reply.at else timedelta(0)
        version = reply.document.get("gitVersion", "of unknown version")
        if skew > SKEW:
            message = f"{where}, {version}: its clock is {skew.total_seconds():.0f} s away from ours"
            return [Check(name, "warning", message, "let both machines follow NTP: windows and times are compared")]
        return [Check(name, "ok", f"{where}, {version}; its clock agrees with ours")]

    def close(self) -> None:
        """Stop the watches and give back every connection."""
        with self._lock:
            self._closed = True
            watches = [watch for followed in self._namespaces.values() for watch in followed.watches.values()]
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.join(JOIN_SECONDS)
        for connection in (self._watching, self._forward, self._backward):
            connection.close()

    def _apply(self, patch: PatchDeployment, connection: Connection, deadline: float) -> None:
        shape = self._shape(patch, connection, deadline)
        if not patch.if_fields:
            body: object = patches.merge_patch(patch)
            connection.want(self._patch_request(patch, patches.STRATEGIC, body), timeout=self._left(deadline))
            return
        for attempt in range(2):
            request = self._patch_request(patch, patches.JSON_PATCH, patches.json_patch(patch, shape))
            reply = connection.ask(request, timeout=self._left(deadline))
            if reply.ok:
                return
            if reply.status != UNPROCESSABLE:
                raise failure(self.name, request, reply)
            seen = self._after_refusal(patch, connection, deadline)
            if seen == shape:
                raise failure(self.name, request, reply)
            if attempt or seen is None:
                break
            shape = seen
        raise Conflict(self.backend, f"{patch.namespace}/{patch.name} changed while it was patched ({patch.why}); look again")

    def _look(self, target: Target, deadline: float) -> TargetView:
        memory, asked_at = NamespaceMemory(), self._clock.now()
        found = [
            document
            for name in (target.stable, target.canary)
            if name and (document := self._deployment(target.namespace, name, self._forward, self._left(deadline))) is not None
        ]
        memory.replace(DEPLOYMENTS, found)
        ours = slim.common_selector(found)
        selectors = {REPLICA_SETS: ours, PODS: ours, ENDPOINTS: f"kubernetes.io/service-name={target.service}"}
        for kind in (REPLICA_SETS, PODS, *((ENDPOINTS,) if target.service else ())):
            query = (("labelSelector", selectors[kind]),) if selectors[kind] else ()
            request = replace(_request(kind, target.namespace), query=query)
            memory.replace(kind, listing(self._forward, request, self._left(deadline))[0])
        return memory.view(target, asked_at)

    def _post(self, event: PostEvent, deadline: float) -> None:
        uid = self._uid(event.namespace, event.deployment, deadline)
        at = self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": event.namespace,
            "name": event.deployment,
            "uid": uid,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{event.deployment[:200]}.{uuid.uuid4().hex[:16]}", "namespace": event.namespace},
            "involvedObject": about,
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:EVENT_MESSAGE],
            "source": {"component": "rollout"},
            "reportingComponent": "rollout",
            "reportingInstance": socket.gethostname()[:128],
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        self._forward.want(Request("create", "events", event.namespace, body=body), timeout=self._left(deadline))

    def _watch(self, namespace: str, kind: str, memory: NamespaceMemory) -> Watch:
        def replaced(documents: list[Document]) -> None:
            self._tell(namespace, memory.replace(kind, documents))

        def changed(event: str, document: Document) -> None:
            self._tell(namespace, memory.change(kind, event, document))

        return Watch(self._watching, self._settings, self._clock, _request(kind, namespace), replaced, changed)

    def _tell(self, namespace: str, deployments: set[str]) -> None:
        with self._lock:
            subscribers = tuple(self._subscribers)
        for deployment in sorted(deployments):
            for changed in subscribers:
                changed(namespace, deployment)

    def _blind(self, namespace: str, kind: str, heard: Heard, age: float) -> str:
        since = "not seen yet" if heard.at is None else f"not current for {age:.0f} s"
        return f"{self.backend}: {kind} of namespace {namespace} {since}: {heard.why or 'the API server is silent'}"

    def _left(self, deadline: float) -> timedelta:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise Unavailable(self.backend, "no answer within the time that was given")
        return timedelta(seconds=left)

    def _known(self, namespace: str, name: str) -> slim.DeploymentRecord | None:
        with self._lock:
            followed = self._namespaces.get(namespace)
        return followed.memory.deployment(name) if followed else None

    def _deployment(self, namespace: str, name: str, connection: Connection, timeout: timedelta) -> Document | None:
        request = replace(_request(DEPLOYMENTS, namespace), name=name)
        reply = connection.ask(request, timeout=timeout)
        if reply.status == NOT_FOUND:
            return None
        if not reply.ok:
            raise failure(self.name, request, reply)
        return reply.document

    def _shape(self, patch: PatchDeployment, connection: Connection, deadline: float) -> patches.Layout:
        """The object's shape from memory, or by a read where an image is concerned. Raises Rejected: no such container."""
        record = self._known(patch.namespace, patch.name)
        shape = patches.layout(record, patch.container) if record else patches.USUAL
        if not patches.needs_container(patch) or shape.index is not None:
            return shape
        document = self._deployment(patch.namespace, patch.name, connection, self._left(deadline))
        where = f"{patch.namespace}/{patch.name}"
        if document is None:
            raise Rejected(self.backend, f"there is no Deployment {where}; nothing was written", code=NOT_FOUND)
        fresh = slim.deployment(document)
        if patch.container not in fresh.deployment.images:
            there = ", ".join(fresh.deployment.images) or "none"
            raise Rejected(
                self.backend, f"{where} has no container {patch.container!r} (its containers: {there}); nothing was written"
            )
        return patches.layout(fresh, patch.container)

    def _after_refusal(self, patch: PatchDeployment, connection: Connection, deadline: float) -> patches.Layout | None:
        """After a 422: raise Conflict that names the failed tests, or tell the shape that the object really has."""
        where = f"{patch.namespace}/{patch.name}"
        try:
            document = self._deployment(patch.namespace, patch.name, connection, self._left(deadline))
        except (Unavailable, Rejected):
            return None
        if document is None:
            raise Rejected(self.backend, f"there is no Deployment {where}; nothing was written", code=NOT_FOUND)
        if wrong := patches.differences(patch, document):
            raise Conflict(self.backend, f"{where}: {'; '.join(wrong)}; nothing was written ({patch.why})", code=UNPROCESSABLE)
        return patches.layout(slim.deployment(document), patch.container)

    def _patch_request(self, patch: PatchDeployment, content_type: str, body: object) -> Request:
        return replace(
            _request(DEPLOYMENTS, patch.namespace),
            verb="patch",
            name=patch.name,
            query=(("fieldManager", self._settings.field_manager),),
            body=body,
            content_type=content_type,
        )

    def _uid(self, namespace: str, name: str, deadline: float) -> str:
        record = self._known(namespace, name)
        if record is not None:
            return record.deployment.uid
        document = self._deployment(namespace, name, self._forward, self._left(deadline))
        if document is None:
            raise Rejected(self.backend, f"there is no Deployment {namespace}/{name} to write an Event on", code=NOT_FOUND)
        return slim.deployment(document).deployment.uid


def _request(kind: str, namespace: str) -> Request:
    return Request("get", kind, namespace, group=KINDS[kind])
