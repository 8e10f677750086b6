"""What a pretended cluster might forgive: Job templates and custom objects on a real Kubernetes API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from rollout.adapters.apisix_crd import CustomGates
from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.kubernetes_custom import KubernetesObjects
from rollout.core.errors import Conflict, Rejected
from rollout.core.gate import IP_RESTRICTION, Place, PlaceKind
from rollout.core.gate_plan import is_as_saved, is_closed
from rollout.core.job_template import rendered
from tests.contract.gateways import CLOSED
from tests.contract.test_gateway_custom import ROUTE
from tests.jobs.templates import NAMES, template
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.process import wait_until

Json = dict[str, Any]
PLACE = Place(PlaceKind.APISIX_ROUTE, "")
RULES: tuple[Json, ...] = (
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "gate"},
     "rules": [{"apiGroups": ["apisix.apache.org"], "resources": ["apisixroutes"], "verbs": ["get", "patch"]}]},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "gate"},
     "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gate"},
     "subjects": [{"kind": "ServiceAccount", "name": "daemon"}]},
)  # fmt: skip
DEFINITION: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "apisixroutes.apisix.apache.org"},
    "spec": {
        "group": "apisix.apache.org", "scope": "Namespaced", "names": {"plural": "apisixroutes", "kind": "ApisixRoute"},
        "versions": [{"name": "v2", "served": True, "storage": True, "subresources": {"status": {}},
                      "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_accepted_to_the_last_field(kubernetes_peer: KubernetesControlPlane, name: str) -> None:
    manifest = rendered(template(name), {"DATABASE": "orders", "SECRET": "db", "VOLUME": "backups", "IMAGE": "postgres:17"})
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    answer = kubernetes_peer.api.request("POST", "/apis/batch/v1/namespaces/default/jobs", json=manifest, params=strict)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def objects(kubernetes_peer: KubernetesControlPlane) -> Iterator[tuple[KubernetesObjects, Place]]:
    namespace = f"gate-{uuid4().hex[:8]}"
    with ExitStack() as stack:
        stack.callback(kubernetes_peer.api.delete, f"/api/v1/namespaces/{namespace}")
        kubeconfig = kubernetes_peer.kubeconfig_for("daemon", namespace, *RULES)
        kubernetes_peer.api.apply(DEFINITION)
        path = f"/apis/apisix.apache.org/v2/namespaces/{namespace}/apisixroutes"
        wait_until(lambda: kubernetes_peer.api.exists(path), 60, "the new resource")
        kubernetes_peer.api.create(path, {**ROUTE, "metadata": {"name": "shop", "namespace": namespace}})
        made = KubernetesObjects(ClusterSettings(name="real", kubeconfig=kubeconfig), SystemClock())
        stack.callback(made.close)
        yield made, Place(PlaceKind.APISIX_ROUTE, f"{namespace}/shop")


def test_a_gate_is_written_and_taken_back_with_the_rights_to_get_and_patch(objects: tuple[KubernetesObjects, Place]) -> None:
    custom, place = objects
    gates = CustomGates("edge", custom)
    before = gates.get(place, IP_RESTRICTION)
    gates.close_gate(place, CLOSED)
    closed = gates.get(place, IP_RESTRICTION)
    assert is_closed(closed, CLOSED)
    assert closed.revision != before.revision
    gates.open_gate(before.save())
    opened = gates.get(place, IP_RESTRICTION)
    assert is_as_saved(opened, before.save())
    namespace, _, name = place.id.partition("/")
    assert custom.get("apisix.apache.org", "v2", namespace, "apisixroutes", name)["spec"] == ROUTE["spec"]


def test_a_write_on_an_old_version_is_a_conflict_and_changes_nothing(objects: tuple[KubernetesObjects, Place]) -> None:
    custom, place = objects
    namespace, _, name = place.id.partition("/")
    where = ("apisix.apache.org", "v2", namespace, "apisixroutes", name)
    old = str(custom.get(*where)["metadata"]["resourceVersion"])
    custom.patch_spec(*where, {"http": []}, old)
    with pytest.raises(Conflict):
        custom.patch_spec(*where, ROUTE["spec"], old)
    assert custom.get(*where)["spec"] == {"http": []}


def test_what_is_not_permitted_or_not_there_is_rejected(objects: tuple[KubernetesObjects, Place]) -> None:
    custom, place = objects
    namespace = place.id.partition("/")[0]
    with pytest.raises(Rejected, match="404"):
        custom.get("apisix.apache.org", "v2", namespace, "apisixroutes", "nope")
    with pytest.raises(Rejected, match="403"):
        custom.get("apisix.apache.org", "v2", namespace, "apisixpluginconfigs", "shared")
