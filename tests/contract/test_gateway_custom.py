"""Gates on routes that an ingress controller owns: through a pretend Kubernetes API, down to the pretend data plane."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.kubernetes_custom import KubernetesObjects
from rollout.core.errors import Conflict, Refused, Rejected
from rollout.core.gate import IP_RESTRICTION, GateObject, GateTarget, Part, Place, PlaceKind, SavedGate
from rollout.core.gate_plan import grown, is_as_saved, is_closed
from rollout.core.gate_probe import Vantage
from rollout.sandbox.apisix_controller import IngressController
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.faults import Faults
from rollout.sandbox.http import HttpServer
from rollout.sandbox.kube_api import KubeApi
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.world import World as Kube
from tests.contract.gateways import CLOSED, World, world

TARGET = GateTarget(PlaceKind.APISIX_ROUTE, namespace="shop", name="shop")
SHARED = GateTarget(PlaceKind.APISIX_PLUGIN_CONFIG, namespace="shop", name="shared")
ROUTE: dict[str, Any] = {
    "apiVersion": "apisix.apache.org/v2",
    "kind": "ApisixRoute",
    "metadata": {"name": "shop", "namespace": "shop"},
    "spec": {
        "http": [
            {"name": "all", "match": {"paths": ["/shop/*"]}, "backends": [{"serviceName": "shop", "servicePort": 80}]},
            {
                "name": "pay",
                "match": {"paths": ["/pay/*"]},
                "backends": [{"serviceName": "shop", "servicePort": 80}],
                "plugins": [
                    {"name": "cors", "enable": True},
                    {"name": IP_RESTRICTION, "enable": True, "config": {"blacklist": ["10.9.9.9"]}, "secretRef": ""},
                ],
            },
        ]
    },
}
CONFIG: dict[str, Any] = {
    "apiVersion": "apisix.apache.org/v2",
    "kind": "ApisixPluginConfig",
    "metadata": {"name": "shared", "namespace": "shop"},
    "spec": {"plugins": [{"name": "cors", "enable": True}]},
}
OUT = {"allowed": False, "source_address": "127.0.0.2"}


@dataclass
class Clustered:
    served: World
    cluster: LiveWorld
    controller: IngressController

    def sync(self) -> None:
        with self.cluster.using() as kube:
            self.controller.sync(kube.objects("apisixroutes"), kube.objects("apisixpluginconfigs"))

    def spec(self, resource: str = "apisixroutes", name: str = "shop") -> Any:  # noqa: ANN401 - JSON
        with self.cluster.using() as kube:
            found = kube.find(resource, "shop", name)
        assert found is not None
        return found["spec"]

    def status(self, path: str) -> int:
        (result,) = self.served.gateway.probe(Vantage("outside", url=path, **OUT))  # type: ignore[arg-type]
        return result.status

    def change(self, spec: dict[str, Any]) -> None:
        with self.cluster.using() as kube:
            kube.patch("apisixroutes", "shop", "shop", {"spec": spec}, content_type="application/merge-patch+json")


@contextlib.contextmanager
def pretend_cluster(folder: Path) -> Iterator[tuple[LiveWorld, Path]]:
    """A Kubernetes API with one ApisixRoute and one ApisixPluginConfig in it, and a kubeconfig for it."""
    clock = CompressedClock(SystemClock(), datetime(2026, 11, 22, 12, tzinfo=UTC), speed=1.0)
    kube = Kube(clock.now(), seed=7)
    kube.load([ROUTE, CONFIG])
    live = LiveWorld(kube, clock)
    api = KubeApi(live, SystemClock(), token="the-token")  # noqa: S106 - a pretend token
    with HttpServer("kubernetes", api.respond, Faults(), clock.now) as server:
        config = folder / "kubeconfig"
        entry = {"name": "pretended"}
        context = {"cluster": "pretended", "user": "pretended"}
        config.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{**entry, "cluster": {"server": server.url}}],
                    "users": [{**entry, "user": {"token": "the-token"}}],
                    "contexts": [{**entry, "context": context}],
                    "current-context": "pretended",
                }
            ),
            encoding="utf-8",
        )
        live.start()
        try:
            yield live, config
        finally:
            live.stop()


@pytest.fixture
def clustered(tmp_path: Path) -> Iterator[Clustered]:
    with pretend_cluster(tmp_path) as (live, config):
        objects = KubernetesObjects(ClusterSettings(name="test", kubeconfig=config), SystemClock())
        try:
            with world(custom=objects, objects=()) as served:
                controller = IngressController(served.server.etcd, lambda *_: {"10.1.2.3:80": 1})
                made = Clustered(served, live, controller)
                made.sync()
                yield made
        finally:
            objects.close()


def test_every_rule_is_gated_and_comes_back_exactly(clustered: Clustered) -> None:
    before = clustered.spec()
    gateway = clustered.served.gateway
    saved = gateway.find(TARGET, IP_RESTRICTION).save()
    closed = gateway.close_gate(saved.place, CLOSED)
    clustered.sync()
    assert is_closed(closed, CLOSED)
    assert (clustered.status("/shop/1"), clustered.status("/pay/1")) == (403, 403)
    opened = gateway.open_gate(SavedGate.from_json(saved.to_json()))
    clustered.sync()
    assert is_as_saved(opened, saved)
    assert clustered.spec() == before
    assert (clustered.status("/shop/1"), clustered.status("/pay/1")) == (200, 200)


def test_one_rule_can_be_gated_alone(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    found = gateway.find(GateTarget(PlaceKind.APISIX_ROUTE, namespace="shop", name="shop", rule="pay"), IP_RESTRICTION)
    gateway.close_gate(found.place, CLOSED, rule="pay")
    clustered.sync()
    assert (clustered.status("/shop/1"), clustered.status("/pay/1")) == (200, 403)
    gateway.open_gate(found.save())
    assert clustered.spec() == ROUTE["spec"]


def test_a_plugin_config_is_gated_for_every_route_that_names_it(clustered: Clustered) -> None:
    clustered.change({"http": [{**rule, "plugin_config_name": "shared"} for rule in ROUTE["spec"]["http"]]})
    gateway = clustered.served.gateway
    saved = gateway.find(SHARED, IP_RESTRICTION).save()
    gateway.close_gate(saved.place, CLOSED)
    clustered.sync()
    # The rule with a plugin of its own passes the shared one.
    assert (clustered.status("/shop/1"), clustered.status("/pay/1")) == (403, 200)
    gateway.open_gate(saved)
    clustered.sync()
    assert clustered.status("/shop/1") == 200
    assert clustered.spec("apisixpluginconfigs", "shared") == CONFIG["spec"]


def test_a_direct_change_would_have_been_undone_and_is_refused(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    with pytest.raises(Refused, match=r"ApisixRoute shop/shop.*via: ApisixRoute"):
        gateway.find(GateTarget(name="shop_shop_all"), IP_RESTRICTION)


def test_a_conflict_is_run_again_on_what_is_there_now(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    custom = gateway._custom
    assert custom is not None
    plain = custom._objects.patch_spec
    meddled: list[Any] = []

    def meddle(*words: Any) -> None:  # noqa: ANN401 - the protocol's own
        if not meddled:
            meddled.append(words)
            clustered.change({"http": [ROUTE["spec"]["http"][0]]})
        plain(*words)

    custom._objects.patch_spec = meddle  # type: ignore[method-assign, assignment]
    closed = gateway.close_gate(Place(PlaceKind.APISIX_ROUTE, "shop/shop"), CLOSED)
    assert meddled
    assert is_closed(closed, CLOSED)
    assert [rule["name"] for rule in clustered.spec()["http"]] == ["all"]


def test_somebody_who_always_writes_first_is_told(clustered: Clustered) -> None:
    custom = clustered.served.gateway._custom
    assert custom is not None

    def always(*_: Any) -> None:  # noqa: ANN401 - the protocol's own
        raise Conflict("kubernetes test", "409")

    custom._objects.patch_spec = always  # type: ignore[method-assign, assignment]
    with pytest.raises(Conflict, match="others kept writing"):
        clustered.served.gateway.close_gate(Place(PlaceKind.APISIX_ROUTE, "shop/shop"), CLOSED)


def test_a_rule_that_is_not_there_and_a_plugin_listed_twice_are_refused(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    with pytest.raises(Refused, match=r"no rule 'nope'; it has: all, pay"):
        gateway.find(GateTarget(PlaceKind.APISIX_ROUTE, namespace="shop", name="shop", rule="nope"), IP_RESTRICTION)
    item = {"name": IP_RESTRICTION, "config": {"blacklist": ["10.0.0.1"]}}
    clustered.change({"http": [{**ROUTE["spec"]["http"][0], "plugins": [item, item]}]})
    with pytest.raises(Refused, match="listed 2 times"):
        gateway.find(TARGET, IP_RESTRICTION)


def test_an_object_that_is_not_there_is_rejected(clustered: Clustered) -> None:
    with pytest.raises(Rejected, match="404"):
        clustered.served.gateway.find(GateTarget(PlaceKind.APISIX_ROUTE, namespace="shop", name="nope"), IP_RESTRICTION)


def test_what_the_controller_declines_is_told_in_its_words(clustered: Clustered) -> None:
    with clustered.cluster.using() as kube:
        found = kube.find("apisixroutes", "shop", "shop")
        assert found is not None
        condition = {"type": "Accepted", "status": "False", "message": "unknown plugin [ip-restriction]"}
        condition["observedGeneration"] = found["metadata"].get("generation")
        kube.storage.replace("apisixroutes", {**found, "status": {"conditions": [condition]}}, "apisix", kube.now)
    with pytest.raises(Rejected, match=r"does not apply it \(unknown plugin"):
        clustered.served.gateway.find(TARGET, IP_RESTRICTION)


def test_the_ways_round_are_those_of_the_routes_that_were_made(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    found = gateway.find(TARGET, IP_RESTRICTION)
    assert gateway.bypasses(found) == ()
    clustered.served.put("routes/clone", {"uri": "/shop/*", "priority": 5, "upstream": {"nodes": {"10.9.9.9:80": 1}}})
    assert "a higher priority" in gateway.bypasses(found)[0]
    unmade = GateObject(Place(PlaceKind.APISIX_ROUTE, "shop/other"), IP_RESTRICTION, (Part("all", None),))
    assert "has made no route" in gateway.bypasses(unmade)[0]


def test_gitops_marks_are_told_in_the_rehearsal(clustered: Clustered) -> None:
    with clustered.cluster.using() as kube:
        labels = {"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}}
        kube.patch("apisixroutes", "shop", "shop", labels, content_type="application/merge-patch+json")
    checks = clustered.served.gateway.rehearse(TARGET, CLOSED)
    assert [check.message for check in checks if check.name == "gate owner"] == [
        "ApisixRoute/shop/shop is also written by argocd.argoproj.io (shop)"
    ]


def test_a_rule_that_came_while_the_gate_was_closed_is_open_afterwards_too(clustered: Clustered) -> None:
    gateway = clustered.served.gateway
    saved = gateway.find(TARGET, IP_RESTRICTION).save()
    gateway.close_gate(saved.place, CLOSED)
    new = {"name": "new", "match": {"paths": ["/new/*"]}, "backends": [{"serviceName": "shop", "servicePort": 80}]}
    clustered.change({"http": [*clustered.spec()["http"], new]})
    gateway.close_gate(saved.place, CLOSED)
    clustered.sync()
    assert clustered.status("/new/1") == 403
    found = gateway.read(saved.place, IP_RESTRICTION)
    assert not is_as_saved(found, grown(saved, found, CLOSED))
    gateway.open_gate(grown(saved, found, CLOSED))
    clustered.sync()
    assert clustered.status("/new/1") == 200
    assert clustered.spec()["http"][:2] == ROUTE["spec"]["http"]
