"""Where the suite of ports.Cluster finds a cluster: the sandbox, and a real control plane where there is one."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import yaml

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Request
from rollout.core.target import Target
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.faults import Fault
from rollout.sandbox.http import HttpServer
from rollout.sandbox.kube_api import KubeApi
from rollout.sandbox.kube_rights import Denial
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.world import World
from tests.adapters.api_stub import kubeconfig, until

CONFIG = Path(__file__).resolve().parents[2] / "config" / "kubernetes"
GROUPS = {"deployments": "apps", "roles": "rbac.authorization.k8s.io", "rolebindings": "rbac.authorization.k8s.io"}
MERGE = "application/merge-patch+json"

Json = dict[str, Any]


class Forbid(Protocol):
    def __call__(self, verb: str, resource: str) -> None: ...


@dataclass
class TestedCluster:
    """One cluster: `kubeconfig` is the daemon's account, `admin` may do everything."""

    name: str
    kubeconfig: Path
    admin: Connection
    forbid: Forbid
    namespace: str = field(default_factory=lambda: f"shop-{uuid.uuid4().hex[:8]}")

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

    def furnish(self) -> None:
        """The example: two Deployments, one Service; wait until the stable is rolled out."""
        self.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        for name, resource in (("nginx", "deployments"), ("nginx-canary", "deployments"), ("nginx-svc", "services")):
            self.create(resource, example(name))
        until(lambda: self.read("deployments", "nginx").get("status", {}).get("availableReplicas") == 10, 60)


def example(name: str) -> Json:
    document: Json = yaml.safe_load((CONFIG / "example" / f"{name}.yaml").read_text(encoding="utf-8"))
    return document


@dataclass
class Sandboxed:
    """A sandbox of one backend, quick: a pod is ready after a third of a second."""

    world: World
    live: LiveWorld
    api: KubeApi
    server: HttpServer

    def fail(self, fault: Fault | None) -> None:
        with self.live.using() as world:
            if fault is None:
                world.faults.clear("kubernetes")
            else:
                world.faults.set("kubernetes", fault)


@contextmanager
def sandboxed() -> Iterator[Sandboxed]:
    clock = CompressedClock(SystemClock(), datetime(2026, 11, 22, 12, 0, tzinfo=UTC), speed=30.0)
    world = World(clock.now(), seed=7)
    live = LiveWorld(world, clock)
    api = KubeApi(live, SystemClock(), token="the-token")  # noqa: S106 - a pretend token
    with HttpServer("kubernetes", api.respond, world.faults, clock.now) as server:
        live.start()
        try:
            yield Sandboxed(world, live, api, server)
        finally:
            live.stop()


@contextmanager
def sandbox_cluster(folder: Path) -> Iterator[tuple[TestedCluster, Sandboxed]]:
    with sandboxed() as sandbox:
        path = kubeconfig(folder, sandbox.server.port)
        admin = Connection(ClusterSettings(name="admin", kubeconfig=path), SystemClock())

        def forbid(verb: str, resource: str) -> None:
            sandbox.api.rights.denials.append(Denial(verb, resource))

        try:
            yield TestedCluster("sandbox", path, admin, forbid), sandbox
        finally:
            admin.close()


@contextmanager
def real_cluster(folder: Path, admin_kubeconfig: Path) -> Iterator[TestedCluster]:
    """A real control plane: the daemon is a ServiceAccount with exactly config/kubernetes/rbac.yaml, in a namespace of its own."""
    admin = Connection(ClusterSettings(name="admin", kubeconfig=admin_kubeconfig), SystemClock())
    path = folder / "daemon"

    def forbid(verb: str, resource: str) -> None:
        rules = cluster.read("roles", "rollout")["rules"]
        for rule in rules:
            if resource in rule["resources"]:
                rule["verbs"] = [one for one in rule["verbs"] if one != verb] or ["deletecollection"]
        cluster.change("roles", "rollout", {"rules": rules})

    cluster = TestedCluster("kubernetes", path, admin, forbid)
    try:
        cluster.furnish()
        path.write_text(json.dumps(_account(cluster, admin_kubeconfig)), encoding="utf-8")
        yield cluster
    finally:
        admin.ask(Request("delete", "namespaces", name=cluster.namespace))
        admin.close()


def _account(cluster: TestedCluster, admin_kubeconfig: Path) -> Json:
    """Create the ServiceAccount and its Role; return a kubeconfig with a token of it."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "rollout"}}
    cluster.create("serviceaccounts", account)
    role, binding = yaml.safe_load_all((CONFIG / "rbac.yaml").read_text(encoding="utf-8"))
    binding["subjects"][0]["namespace"] = cluster.namespace
    cluster.create("roles", role)
    cluster.create("rolebindings", binding)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = Request("create", "serviceaccounts", cluster.namespace, "rollout", subresource="token", body=review)
    answer = cluster.admin.want(token)
    config: Json = yaml.safe_load(admin_kubeconfig.read_text(encoding="utf-8"))
    for one in config["clusters"]:
        authority = one["cluster"].pop("certificate-authority", None)
        if authority:
            content = (admin_kubeconfig.parent / authority).read_bytes()
            one["cluster"]["certificate-authority-data"] = base64.b64encode(content).decode()
    config["users"] = [{"name": one["name"], "user": {"token": answer["status"]["token"]}} for one in config["users"]]
    return config
