"""Finding exactly the object that is meant, and refusing everything that is nearly it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.core.errors import Refused
from rollout.core.gate import IP_RESTRICTION, GateTarget, Place, PlaceKind
from tests.contract.gateways import CLOSED, FLAVOURS, OBJECTS, World, world

MORE: tuple[tuple[str, dict[str, object]], ...] = (
    ("routes/shop-v2", {"name": "shop-v2", "uri": "/shop2/*", "upstream_id": "shop", "labels": {"team": "shop", "env": "prod"}}),
    ("routes/dotted", {"name": "a.b+c (d)", "uri": "/dotted/*", "upstream_id": "shop"}),
    ("routes/undotted", {"name": "aXb+c (d)", "uri": "/undotted/*", "upstream_id": "shop"}),
    ("routes/twin-1", {"name": "twin", "uri": "/twin/*", "upstream_id": "shop", "labels": {"team": "twins"}}),
    ("routes/twin-2", {"name": "twin", "uri": "/twin2/*", "upstream_id": "shop", "labels": {"team": "twins"}}),
    ("routes/hosted", {"name": "hosted", "uris": ["/a", "/b"], "hosts": ["shop.example"], "upstream_id": "shop"}),
    ("services/named", {"name": "hosts-service", "hosts": ["pay.example"], "upstream_id": "shop"}),
    ("routes/by-service", {"name": "by-service", "uri": "/a", "service_id": "named"}),
    ("plugin_configs/shared", {"desc": "shared", "plugins": {"prometheus": {}}, "labels": {"use": "shared"}}),
    ("routes/owned-1", {"name": "default_shop_all", "uri": "/o1", "upstream_id": "shop",
                        "labels": {"managed-by": "apisix-ingress-controller"}}),
    ("routes/owned-2", {"name": "default_pay_all", "uri": "/o2", "upstream_id": "shop",
                        "desc": "Created by apisix-ingress-controller, DO NOT modify it manually"}),
    ("routes/owned-3", {"name": "default_pay_v2", "uri": "/o3", "upstream_id": "shop",
                        "labels": {"k8s/kind": "ApisixRoute", "k8s/namespace": "default", "k8s/name": "pay"}}),
)  # fmt: skip


@pytest.fixture(scope="module", params=FLAVOURS)
def served(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param, objects=(*OBJECTS, *MORE)) as made:
        yield made


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (GateTarget(id="shop"), "shop"),
        (GateTarget(name="shop"), "shop"),
        (GateTarget(name="a.b+c (d)"), "dotted"),
        (GateTarget(label="env=prod"), "shop-v2"),
        (GateTarget(uri="/shop/*"), "shop"),
        (GateTarget(host="shop.example"), "hosted"),
        (GateTarget(host="shop.example", uri="/b"), "hosted"),
        (GateTarget(host="pay.example", uri="/a"), "by-service"),
        (GateTarget(PlaceKind.SERVICE, name="pay-service"), "pay"),
        (GateTarget(PlaceKind.SERVICE, host="pay.example"), "named"),
        (GateTarget(PlaceKind.PLUGIN_CONFIG, id="shared"), "shared"),
        (GateTarget(PlaceKind.PLUGIN_CONFIG, label="use=shared"), "shared"),
    ],
    ids=str,
)
def test_an_object_is_found_by_what_the_plan_says(served: World, target: GateTarget, found: str) -> None:
    assert served.gateway.find(target, IP_RESTRICTION).place.id == found


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (GateTarget(id="nope"), "nothing is created"),
        (GateTarget(name="sho"), "no routes with name sho"),
        (GateTarget(name="nil"), "no routes with name nil"),
        (GateTarget(name="["), "no routes"),
        (GateTarget(name="twin"), r"2 objects match .*twin-1.*twin-2"),
        (GateTarget(label="team=twins"), "2 objects"),
        (GateTarget(label="team=nobody"), "no routes"),
        (GateTarget(host="shop.example", uri="/c"), "no routes"),
        (GateTarget(), "exactly one of"),
        (GateTarget(id="shop", name="shop"), "exactly one of"),
        (GateTarget(id="../services/pay"), "is no id"),
        (GateTarget(label="team"), "key=value"),
        (GateTarget(PlaceKind.SERVICE, uri="/a"), "no uri"),
        (GateTarget(name="shop", rule="all"), "via: ApisixRoute"),
        (GateTarget(PlaceKind.APISIX_ROUTE, namespace="default", name="shop"), "knows no cluster"),
    ],
    ids=str,
)
def test_whatever_is_not_exactly_one_object_is_refused(served: World, target: GateTarget, words: str) -> None:
    with pytest.raises(Refused, match=words):
        served.gateway.find(target, IP_RESTRICTION)


@pytest.mark.parametrize("ident", ["owned-1", "owned-2", "owned-3"])
def test_a_controllers_route_is_refused_with_the_way_round(served: World, ident: str) -> None:
    with pytest.raises(Refused, match=r"apisix-ingress-controller.*via: ApisixRoute"):
        served.gateway.find(GateTarget(id=ident), IP_RESTRICTION)
    with pytest.raises(Refused, match="would undo a change"):
        served.gateway.close_gate(Place(PlaceKind.ROUTE, ident), CLOSED)
