"""Who gets past a gate, and which routes lead to a service, from the gateway's configuration alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.core.gate import IP_RESTRICTION, GateObject, Place, PlaceKind, object_from_value
from rollout.core.gate_view import GatewayView, besides, bypasses, governing, owner_of, routes_reaching, service_nodes

UPSTREAMS = (
    {"id": "shop", "nodes": {"10.1.2.3:80": 1, "10.1.2.4:80": 1}},
    {"id": "other", "nodes": [{"host": "10.9.9.9", "port": 80, "weight": 1}]},
    {"id": "dns", "nodes": {"shop.prod.svc.cluster.local:8080": 1}},
    {"id": "found", "service_name": "prod/shop:http", "discovery_type": "kubernetes"},
    {"id": "six", "nodes": {"[2001:db8::7]:80": 1}},
)
BLOCK = {"whitelist": ["127.0.0.1"]}


def view(*routes: dict[str, Any], **more: Any) -> GatewayView:  # noqa: ANN401 - any field of the view
    return GatewayView(routes=routes, upstreams=UPSTREAMS, **more)


def route(ident: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a route
    return {"id": ident, "uri": "/shop/*", "upstream_id": "shop", **more}


def gate_on(ident: str = "r1", kind: PlaceKind = PlaceKind.ROUTE) -> GateObject:
    return object_from_value(Place(kind, ident), IP_RESTRICTION, {"plugins": {IP_RESTRICTION: BLOCK}})


GATED = route("r1", name="shop", plugins={IP_RESTRICTION: BLOCK})


def test_a_lonely_route_has_no_way_round() -> None:
    assert bypasses(view(GATED), gate_on()) == ()


@pytest.mark.parametrize(
    ("clone", "words"),
    [
        (route("clone", name="flagger-shop", priority=10), "a higher priority"),
        (route("clone"), "the same priority"),
        (route("clone", uri="/shop/checkout"), "answers for the same host and path"),
        (route("clone", uri="/*", upstream_id="other", priority=1), "a higher priority"),
        (route("clone", uri="/elsewhere"), "leads to the same pods"),
        (route("clone", uri="/e", upstream_id=None, upstream={"nodes": {"10.1.2.4:8080": 1}}), "leads to the same pods"),
        (route("clone", uri="/e", upstream_id="other", plugins={"traffic-split": {"rules": [
            {"weighted_upstreams": [{"upstream_id": "shop", "weight": 5}, {"weight": 5}]}]}}), "leads to the same pods"),
        (route("clone", priority=1, plugins={IP_RESTRICTION: {**BLOCK, "_meta": {"disable": True}}}), "ungated"),
    ],
)  # fmt: skip
def test_another_route_to_the_same_pods_is_named(clone: dict[str, Any], words: str) -> None:
    found = bypasses(view(GATED, clone), gate_on())
    assert len(found) == 1
    assert words in found[0]
    assert "clone" in found[0]


@pytest.mark.parametrize(
    "other",
    [
        route("off", status=0, priority=9),
        route("o", upstream_id="other", uri="/other"),
        route("o", upstream_id="other", host="a.example", priority=1),
        route("o", upstream_id="other", methods=["POST"], priority=1),
    ],
)
def test_routes_that_lead_elsewhere_are_not_named(other: dict[str, Any]) -> None:
    gated = {**GATED, "host": "b.example", "methods": ["GET"]}
    assert bypasses(view(gated, other), gate_on()) == ()


def test_a_gate_on_a_service_is_passed_by_a_route_with_its_own_plugin() -> None:
    services = ({"id": "pay", "upstream_id": "shop", "plugins": {IP_RESTRICTION: BLOCK}},)
    own = {"id": "r2", "uri": "/pay/*", "service_id": "pay", "plugins": {IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}}
    off = {"id": "r3", "uri": "/off", "service_id": "pay", "plugins": {IP_RESTRICTION: {**BLOCK, "_meta": {"disable": True}}}}
    plain = {"id": "r4", "uri": "/plain", "service_id": "pay", "plugins": {}}
    found = bypasses(view(own, off, plain, services=services), gate_on("pay", PlaceKind.SERVICE))
    assert len(found) == 2
    assert "route r2" in found[0]
    assert "switches the gate off" in found[1]


def test_a_plugin_config_governs_unless_the_route_has_the_plugin_itself() -> None:
    shared = ({"id": "pc", "plugins": {IP_RESTRICTION: BLOCK}},)
    services = ({"id": "pay", "upstream_id": "shop", "plugins": {IP_RESTRICTION: BLOCK}},)
    by_config = {"id": "r2", "uri": "/a", "service_id": "pay", "plugin_config_id": "pc"}
    seen = view(by_config, services=services, plugin_configs=shared)
    assert governing(seen, by_config, IP_RESTRICTION) == Place(PlaceKind.PLUGIN_CONFIG, "pc")
    assert bypasses(seen, gate_on("pc", PlaceKind.PLUGIN_CONFIG)) == ()
    assert "plugin_configs/pc has its own" in bypasses(seen, gate_on("pay", PlaceKind.SERVICE))[0]


def test_a_consumer_with_the_plugin_passes_only_where_consumers_are_known() -> None:
    consumers = ({"username": "robot", "plugins": {"key-auth": {}, IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}},)
    groups = ({"id": "vip", "plugins": {IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}},)
    assert bypasses(view(GATED, consumers=consumers, consumer_groups=groups), gate_on()) == ()
    known = {**GATED, "plugins": {**GATED["plugins"], "key-auth": {}}}
    found = bypasses(view(known, consumers=consumers, consumer_groups=groups), gate_on())
    assert found == (
        "consumer robot has its own ip-restriction, which replaces the gate's for it",
        "consumer group vip has its own ip-restriction, which replaces the gate's for it",
    )
    rules = ({"id": "1", "plugins": {"key-auth": {}}},)
    assert len(bypasses(view(GATED, consumers=consumers, global_rules=rules), gate_on())) == 1


def test_a_stream_route_to_the_same_pods_is_named() -> None:
    found = bypasses(view(GATED, stream_routes=({"id": "s1", "server_port": 9100, "upstream_id": "shop"},)), gate_on())
    assert found == ("stream route s1 leads to the same pods on port 9100",)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        (("10.1.2.4",), {"r1", "by-service", "split"}),
        (("10.1.2.4:80",), {"r1", "by-service", "split"}),
        (("10.9.9.9",), {"split"}),
        (service_nodes("prod", "shop"), {"by-dns", "by-discovery"}),
        (("2001:db8::7",), {"by-six"}),
        (("10.7.7.7",), set()),
    ],
)
def test_routes_are_found_by_where_they_lead(nodes: tuple[str, ...], found: set[str]) -> None:
    split = {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream_id": "shop"}]}]}}
    seen = view(
        GATED, {"id": "by-service", "uri": "/pay", "service_id": "pay"}, route("split", upstream_id="other", plugins=split),
        route("by-dns", upstream_id="dns"), route("by-discovery", upstream_id="found"), route("by-six", upstream_id="six"),
        services=({"id": "pay", "upstream_id": "shop", "hosts": ["pay.example"]},),
    )  # fmt: skip
    assert {reach.id for reach in routes_reaching(seen, nodes)} == found


def test_what_reaches_says_how() -> None:
    services = ({"id": "pay", "name": "pay", "upstream_id": "shop", "hosts": ["pay.example"]},)
    seen = view({"id": "r9", "name": "pay-get", "uri": "/pay", "service_id": "pay", "status": 0}, services=services)
    (reach,) = routes_reaching(seen, ("10.1.2.3",))
    assert (reach.hosts, reach.uris, reach.through, reach.enabled) == (
        ("pay.example",),
        ("/pay",),
        "service pay, upstream shop",
        False,
    )
    assert [found.through for found in routes_reaching(seen, (), ("pay",))] == ["service pay"]
    assert str(reach) == "route r9 (pay-get) pay.example, /pay by service pay, upstream shop"


@pytest.mark.parametrize(
    ("value", "owner"),
    [
        ({"desc": "Created by apisix-ingress-controller, DO NOT modify it manually"}, "apisix-ingress-controller"),
        ({"labels": {"managed-by": "apisix-ingress-controller"}}, "apisix-ingress-controller"),
        ({"labels": {"manager-by": "apisix-ingress-controller"}}, "apisix-ingress-controller"),
        ({"labels": {"k8s/kind": "ApisixRoute", "k8s/namespace": "prod", "k8s/name": "shop"}},
         "apisix-ingress-controller (ApisixRoute prod/shop)"),
        ({"labels": {"managed-by": "me"}, "desc": "made by hand"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_controllers_marks_are_known(value: dict[str, Any], owner: str) -> None:
    assert owner_of(value) == owner


def test_a_global_rule_of_the_same_kind_is_said_to_run_besides_the_gate() -> None:
    rules = ({"id": "all", "plugins": {IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}},)
    (words,) = besides(view(GATED, global_rules=rules), gate_on())
    assert "global rule all" in words
    assert "must pass both" in words


def test_a_global_rule_that_is_switched_off_is_not_named() -> None:
    rules = ({"id": "all", "plugins": {IP_RESTRICTION: {"blacklist": ["10.9.9.9"], "_meta": {"disable": True}}}},)
    assert besides(view(GATED, global_rules=rules), gate_on()) == ()


def test_what_the_gate_takes_the_place_of_is_named_and_what_stands_above_it_is_not() -> None:
    services = ({"id": "pay", "upstream_id": "shop", "plugins": {IP_RESTRICTION: {"whitelist": ["10.0.0.0/8"]}}},)
    under = {"id": "r1", "uri": "/pay/*", "service_id": "pay", "plugins": {IP_RESTRICTION: BLOCK}}
    (words,) = besides(view(under, services=services), gate_on())
    assert words == "services/pay has its own ip-restriction, which does not act on route r1 while the gate is closed"
    assert besides(view(under, services=services), gate_on("pay", PlaceKind.SERVICE)) == ()


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"source": "http_x_forwarded_for"}, True),
        ({"source": "arg_realip"}, True),
        ({"source": "http_x_forwarded_for", "trusted_addresses": ["10.0.0.0/8"]}, False),
        ({"source": "http_x_forwarded_for", "trusted_addresses": ["0.0.0.0/0"]}, True),
        ({"source": "http_x_forwarded_for", "_meta": {"disable": True}}, False),
        ({"source": "remote_addr"}, False),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_client_that_may_name_its_own_address_passes_the_gate(conf: dict[str, Any], said: bool, everywhere: bool) -> None:  # noqa: FBT001 - parameters of a test
    route_ = GATED if everywhere else {**GATED, "plugins": {**GATED["plugins"], "real-ip": conf}}
    rules = ({"id": "all", "plugins": {"real-ip": conf}},) if everywhere else ()
    found = [words for words in bypasses(view(route_, global_rules=rules), gate_on()) if "names its own address" in words]
    assert bool(found) is said


def test_a_gate_for_consumers_asks_for_no_address() -> None:
    plugins = {"consumer-restriction": {"whitelist": ["tester"]}, "real-ip": {"source": "http_x_forwarded_for"}}
    gate = replace(gate_on(), plugin="consumer-restriction")
    assert not [words for words in bypasses(view({**GATED, "plugins": plugins}), gate) if "address" in words]
