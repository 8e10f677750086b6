"""Where the suite of ports.Cluster finds a cluster: the sandbox, and a real control plane where there is one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Request
from rollout.core.target import Target
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.http import HttpServer
from rollout.sandbox.kube_api import KubeApi
from rollout.sandbox.kube_rights import Denial
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.world import World
from tests.adapters.api_stub import kubeconfig, until
from tests.peers.kubernetes import KubernetesControlPlane

CONFIG = Path(__file__).resolve().parents[2] / "config" / "kubernetes"
GROUPS = {"deployments": "apps"}
BEHAVIOURS = {
    "crash-loop": Behaviour(ready_after=None, crash_after=timedelta(seconds=1)),
    "oom": Behaviour(ready_after=None, oom_after=timedelta(seconds=1)),
    "no-pull": Behaviour(pull_error="not found"),
    "fails": Behaviour(completes_after=timedelta(seconds=1), exit_code=1),
    "stuck": Behaviour(stop_after=timedelta(hours=1)),
}
"""How the sandbox does what the real control plane's pretended kubelets do by the end of an image's tag."""
MERGE = "application/merge-patch+json"

Json = dict[str, Any]


class Trouble(Protocol):
    """What can happen to a cluster. `heal` ends `hang`; the others end by themselves."""

    def forbid(self, verb: str, resource: str) -> None:
        """Take a right away from the daemon's account."""
        ...

    def hang(self) -> None:
        """Answer nothing any more."""
        ...

    def heal(self) -> None: ...

    def image(self, behaviour: str) -> str:
        """Name an image whose pods behave so: one of BEHAVIOURS."""
        ...

    def cut(self) -> None:
        """Break every connection."""
        ...

    def expire(self) -> None:
        """Break every connection, and forget every version from before."""
        ...


@dataclass
class TestedCluster:
    """One cluster: `kubeconfig` is the daemon's account, `admin` may do everything."""

    name: str
    kubeconfig: Path
    admin: Connection
    trouble: Trouble
    namespace: str

    __test__ = False

    @property
    def target(self) -> Target:
        return Target("test", self.namespace, "nginx", "nginx", canary="nginx-canary", service="nginx-svc")

    def create(self, resource: str, document: Json) -> Json:
        namespace = "" if resource == "namespaces" else self.namespace
        group, query = GROUPS.get(resource, ""), (("fieldManager", "kubectl-create"),)
        return dict(self.admin.want(Request("create", resource, namespace, group=group, body=document, query=query)))

    def read(self, resource: str, name: str) -> Json:
        return dict(self.admin.want(Request("get", resource, self.namespace, name, GROUPS.get(resource, ""))))

    def change(self, resource: str, name: str, body: Json) -> Json:
        """Write as somebody else does, not as the daemon."""
        by = (("fieldManager", "somebody"),)
        request = Request(
            "patch", resource, self.namespace, name, GROUPS.get(resource, ""), query=by, body=body, content_type=MERGE
        )
        return dict(self.admin.want(request))

    def status(self, deployment: str) -> Json:
        return dict(self.read("deployments", deployment).get("status") or {})

    def furnish(self) -> None:
        """The example: two Deployments, one Service; wait until the stable is rolled out."""
        self.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        for name, resource in (("nginx", "deployments"), ("nginx-canary", "deployments"), ("nginx-svc", "services")):
            self.create(resource, example(name))
        until(lambda: self.status("nginx").get("availableReplicas") == 10)
        # Until its controller has seen it, what is written under the condition of a version may meet the controller's own write.
        until(lambda: self.status("nginx-canary").get("observedGeneration") == 1)


def example(name: str) -> Json:
    document: Json = yaml.safe_load((CONFIG / "example" / f"{name}.yaml").read_text(encoding="utf-8"))
    return document


class Sandboxed:
    """A sandbox of one backend, quick: a pod is ready after a third of a second."""

    def __init__(self, live: LiveWorld, api: KubeApi, server: HttpServer) -> None:
        self.live = live
        self.api = api
        self.server = server

    def forbid(self, verb: str, resource: str) -> None:
        self.api.rights.denials.append(Denial(verb, resource))

    def fail(self, fault: Fault) -> None:
        with self.live.using() as world:
            world.faults.set("kubernetes", fault)

    def hang(self) -> None:
        self.fail(Fault(Failing.HANG))

    def heal(self) -> None:
        with self.live.using() as world:
            world.faults.clear("kubernetes")

    def image(self, behaviour: str) -> str:
        name = f"nginx:2-{behaviour}"
        with self.live.using() as world:
            world.behaviours[name] = BEHAVIOURS[behaviour]
        return name

    def cut(self) -> None:
        self.server.hang_up()

    def expire(self) -> None:
        with self.live.using() as world:
            world.storage.version += 1  # somebody writes something else, so that every watch is behind
            world.storage.forget()
            self.cut()


@contextmanager
def sandbox_cluster(folder: Path) -> Iterator[tuple[TestedCluster, Sandboxed]]:
    clock = CompressedClock(SystemClock(), datetime(2026, 11, 22, 12, 0, tzinfo=UTC), speed=30.0)
    world = World(clock.now(), seed=7)
    live = LiveWorld(world, clock)
    api = KubeApi(live, SystemClock(), token="the-token")  # noqa: S106 - a pretend token
    with HttpServer("kubernetes", api.respond, world.faults, clock.now) as server:
        path = kubeconfig(folder, server.port)
        with closing(Connection(ClusterSettings(name="admin", kubeconfig=path), SystemClock())) as admin:
            live.start()
            try:
                trouble = Sandboxed(live, api, server)
                cluster = TestedCluster("sandbox", path, admin, trouble, "shop")
                cluster.furnish()
                yield cluster, trouble
            finally:
                live.stop()


class RealTrouble:
    """What the tests can do to the control plane of tests/peers."""

    def __init__(self, peer: KubernetesControlPlane, namespace: str) -> None:
        self.peer = peer
        self.namespace = namespace

    def forbid(self, verb: str, resource: str) -> None:
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/roles/rollout"
        rules = self.peer.api.get(path)["rules"]
        for rule in rules:
            if resource in rule["resources"]:
                rule["verbs"] = [one for one in rule["verbs"] if one != verb] or ["deletecollection"]
        self.peer.api.patch(path, {"rules": rules})

    def hang(self) -> None:
        self.peer.pause_api_server()

    def heal(self) -> None:
        self.peer.resume_api_server()

    def image(self, behaviour: str) -> str:
        return f"nginx:2-{behaviour}"

    def cut(self) -> None:
        self.peer.restart_api_server()

    def expire(self) -> None:
        self.peer.expire_watches()


@contextmanager
def real_cluster(peer: KubernetesControlPlane) -> Iterator[TestedCluster]:
    """A real control plane: the daemon's account is as config/kubernetes says, with exactly the rights of rbac.yaml."""
    namespace = f"shop-{uuid.uuid4().hex[:8]}"
    path = peer.kubeconfig_for("rollout", "rollout")
    with closing(Connection(ClusterSettings(name="admin", kubeconfig=peer.kubeconfig), SystemClock())) as admin:
        cluster = TestedCluster("kubernetes", path, admin, RealTrouble(peer, namespace), namespace)
        try:
            cluster.furnish()
            peer.kubeconfig_for("rollout", "rollout", CONFIG / "rbac.yaml", into=namespace)
            yield cluster
        finally:
            peer.api.delete(f"/api/v1/namespaces/{namespace}")


PLACES = ["sandbox", pytest.param("kubernetes", marks=[pytest.mark.peer("kubernetes"), pytest.mark.xdist_group("kubernetes")])]
"""Parameters of the suites: where the real control plane cannot run, its fixture skips or fails with the reason."""


@contextmanager
def furnished(request: pytest.FixtureRequest, folder: Path) -> Iterator[TestedCluster]:
    if request.param == "sandbox":
        with sandbox_cluster(folder) as (cluster, _):
            yield cluster
    else:
        with real_cluster(request.getfixturevalue("kubernetes_peer")) as cluster:
            yield cluster
