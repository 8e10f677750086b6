"""What reaches a pod and what does not: precedence of plugins, several nodes, proxies, consumers, and traffic all the while."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit

import pytest

from rollout.core.gate import CONSUMER_RESTRICTION, IP_RESTRICTION, GateConfig, GateTarget, Place, PlaceKind
from rollout.core.gate_probe import Passage, Vantage, passage, proves
from rollout.sandbox.apisix import SandboxApisix
from tests.contract.gateways import (
    CLOSED,
    FLAVOURS,
    INSIDE,
    MESSAGE,
    OBJECTS,
    OUTSIDE,
    ROUTE,
    SHOP,
    TickingClock,
    World,
    until,
    world,
)

BLOCK = {"whitelist": ["127.0.0.1"], "message": MESSAGE}
PAY = Vantage("outside", allowed=False, url="/pay/1", source_address="127.0.0.2")
SERVICE = Place(PlaceKind.SERVICE, "pay")
CONSUMERS: tuple[tuple[str, dict[str, object]], ...] = (
    ("consumers/tester", {"username": "tester", "plugins": {"key-auth": {"key": "tester-key"}}}),
    ("consumers/robot", {"username": "robot", "plugins": {"key-auth": {"key": "robot-key"}}}),
)
KEYS = {"tester": {"apikey": "tester-key"}, "robot": {"apikey": "robot-key"}}


@pytest.fixture(params=FLAVOURS)
def served(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as made:
        yield made


class Crowd:
    """Clients from one address who never stop asking, over connections that stay open."""

    def __init__(self, url: str, source: str, path: str, count: int = 3) -> None:
        self.statuses: list[int] = []
        self._stop = threading.Event()
        self._where = urlsplit(url)
        self._source = source
        self._path = path
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(str(self._where.hostname), self._where.port, source_address=(self._source, 0))
        try:
            while not self._stop.is_set():
                connection.request("GET", self._path)
                answer = connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
        finally:
            connection.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_outside_request_reaches_a_pod_between_closed_and_open(flavour: str) -> None:
    with world(flavour) as served:
        (url,) = served.server.gateway_urls
        with Crowd(url, "127.0.0.2", "/shop/1") as crowd:
            until(lambda: 200 in crowd.statuses)
            saved = served.gateway.find(GateTarget(id="shop"), IP_RESTRICTION).save()
            served.gateway.close_gate(ROUTE, CLOSED)
            seen = len(crowd.statuses)
            until(lambda: len(crowd.statuses) > seen + 3)  # what was in flight when it closed has been answered
            served.reached.clear()
            seen = len(crowd.statuses)
            assert served.statuses(INSIDE) == [200]
            until(lambda: len(crowd.statuses) > seen + 30)
            assert {client for _, client in served.reached} == {"127.0.0.1"}
            assert set(crowd.statuses[seen:]) == {403}
            served.gateway.open_gate(saved)
            until(lambda: crowd.statuses[-1] == 200)
        assert {client for _, client in served.reached} == {"127.0.0.1", "127.0.0.2"}


def test_a_plugin_of_the_route_replaces_the_services_and_the_gate_says_so(served: World) -> None:
    served.gateway.close_gate(SERVICE, CLOSED)
    assert served.statuses(PAY) == [403]
    served.put("routes/pay", {"name": "pay", "uri": "/pay/*", "service_id": "pay",
                              "plugins": {IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}})  # fmt: skip
    assert served.statuses(PAY) == [200]
    assert "route pay (pay): routes/pay has its own" in served.gateway.bypasses(served.gateway.read(SERVICE, IP_RESTRICTION))[0]


def test_a_switched_off_plugin_of_the_route_switches_the_services_off(served: World) -> None:
    served.gateway.close_gate(SERVICE, CLOSED)
    served.put("routes/pay", {"name": "pay", "uri": "/pay/*", "service_id": "pay",
                              "plugins": {IP_RESTRICTION: {**BLOCK, "_meta": {"disable": True}}}})  # fmt: skip
    assert served.statuses(PAY) == [200]
    assert "switches the gate off" in served.gateway.bypasses(served.gateway.read(SERVICE, IP_RESTRICTION))[0]


def test_a_plugin_config_gates_every_route_that_names_it(served: World) -> None:
    place = Place(PlaceKind.PLUGIN_CONFIG, "shared")
    served.put("plugin_configs/shared", {"plugins": {"prometheus": {}}})
    served.put("routes/pay", {"name": "pay", "uri": "/pay/*", "service_id": "pay", "plugin_config_id": "shared"})
    saved = served.gateway.read(place, IP_RESTRICTION).save()
    served.gateway.close_gate(place, CLOSED)
    assert served.statuses(PAY) == [403]
    served.gateway.open_gate(saved)
    assert served.statuses(PAY) == [200]


def test_a_global_rule_keeps_out_besides_the_gate(served: World) -> None:
    served.put("global_rules/1", {"plugins": {IP_RESTRICTION: {"whitelist": ["127.0.0.2"], "message": "whole gateway"}}})
    served.gateway.close_gate(ROUTE, CLOSED)
    (inside,) = served.gateway.probe(INSIDE)
    assert passage(inside, CLOSED) is Passage.FORBIDDEN
    assert not proves(inside, CLOSED, closed=True)


def test_a_clone_of_higher_priority_passes_the_gate_and_is_named(served: World) -> None:
    served.put("routes/clone", {**SHOP, "name": "canary-shop", "priority": 10})
    served.gateway.close_gate(ROUTE, CLOSED)
    (outside,) = served.gateway.probe(OUTSIDE)
    assert not proves(outside, CLOSED, closed=True)
    ways = served.gateway.bypasses(served.gateway.read(ROUTE, IP_RESTRICTION))
    assert any("clone (canary-shop)" in way and "a higher priority" in way for way in ways)


def test_every_node_is_asked_and_one_that_lags_is_seen() -> None:
    with world(nodes=3) as served:
        served.server.planes[1].freeze()
        served.gateway.close_gate(ROUTE, CLOSED)
        results = served.gateway.probe(OUTSIDE)
        assert [result.status for result in results] == [403, 200, 403]
        assert [proves(result, CLOSED, closed=True) for result in results] == [True, False, True]
        assert [result.node for result in results] == list(served.server.gateway_urls)


def test_a_node_without_configuration_proves_nothing() -> None:
    with world() as served:
        served.server.planes[0].forget()
        (outside,) = served.gateway.probe(OUTSIDE)
        assert passage(outside, CLOSED) is Passage.NO_ROUTE
        assert not proves(outside, CLOSED, closed=True)


def test_an_address_of_nobody_here_is_told_as_such() -> None:
    with world() as served:
        (result,) = served.gateway.probe(Vantage("far", allowed=False, url="/shop/1", source_address="198.51.100.7"))
        assert (result.status, result.error) == (0, "198.51.100.7 is no address of this machine")
        (result,) = served.gateway.probe(Vantage("nowhere", allowed=False, url="http://127.0.0.1:1/"))
        assert result.error == "no connection"
        (result,) = served.gateway.probe(Vantage("keyless", allowed=False, url="/shop/1", credential="nobody"))
        assert "no credential is called 'nobody'" in result.error


def test_a_full_address_is_asked_instead_of_the_nodes() -> None:
    with world(nodes=2) as served:
        url = served.server.gateway_urls[1] + "/shop/1"
        (result,) = served.gateway.probe(Vantage("balancer", allowed=False, url=url, host="shop.example"))
        assert (result.status, result.node) == (200, served.server.gateway_urls[1])


def test_behind_a_proxy_the_forwarded_address_counts_only_where_it_is_trusted(served: World) -> None:
    real_ip = {"source": "http_x_forwarded_for", "trusted_addresses": ["127.0.0.2"], "recursive": True}
    tester = Vantage("proxied", allowed=True, url="/shop/1", source_address="127.0.0.2", forwarded_for="127.0.0.1, 127.0.0.2")
    liar = Vantage("liar", allowed=False, url="/shop/1", source_address="127.0.0.3", forwarded_for="127.0.0.1")
    served.gateway.close_gate(ROUTE, CLOSED)
    assert served.statuses(tester) == [403]
    served.ask("PATCH", "routes/shop", {"plugins": {"real-ip": real_ip}})
    assert (served.statuses(tester), served.statuses(liar)) == ([200], [403])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_consumer_gate_lets_the_named_through_and_tells_the_others(flavour: str) -> None:
    guarded = {**SHOP, "plugins": {"prometheus": {}, "key-auth": {}}}
    config = GateConfig(("tester",), MESSAGE, CONSUMER_RESTRICTION, 503)
    with world(flavour, objects=(*OBJECTS[:2], ("routes/shop", guarded), *CONSUMERS), credentials=KEYS) as served:
        saved = served.gateway.find(GateTarget(id="shop"), CONSUMER_RESTRICTION).save()
        served.gateway.close_gate(ROUTE, config)
        seen = {
            name: passage(served.gateway.probe(Vantage(name, allowed=name == "tester", url="/shop/1", credential=name))[0], config)
            for name in ("tester", "robot", "")
        }
        assert seen == {"tester": Passage.SERVED, "robot": Passage.BLOCKED, "": Passage.BLOCKED}
        served.gateway.open_gate(saved)
        (robot,) = served.gateway.probe(Vantage("robot", allowed=False, url="/shop/1", credential="robot"))
        assert robot.status == 200


def test_a_consumers_own_plugin_passes_the_gate_and_is_named(served: World) -> None:
    served.put("routes/shop", {**SHOP, "plugins": {"key-auth": {}}})
    served.put("consumers/robot", {"username": "robot", "plugins": {"key-auth": {"key": "robot-key"},
                                                                    IP_RESTRICTION: {"blacklist": ["10.9.9.9"]}}})  # fmt: skip
    closed = served.gateway.close_gate(ROUTE, CLOSED)
    where = urlsplit(served.server.gateway_urls[0])
    connection = http.client.HTTPConnection(str(where.hostname), where.port, source_address=("127.0.0.2", 0))
    try:
        connection.request("GET", "/shop/1", headers={"apikey": "robot-key"})
        assert connection.getresponse().status == 200
    finally:
        connection.close()
    assert "consumer robot has its own" in served.gateway.bypasses(closed)[0]


def test_routes_are_found_by_the_pods_they_lead_to(served: World) -> None:
    assert {reach.id for reach in served.gateway.routes_reaching(["10.1.2.4"])} == {"shop", "bare", "pay"}
    assert {reach.id for reach in served.gateway.routes_reaching([], ["pay"])} == {"pay"}


def test_a_rehearsal_tells_everything_and_changes_nothing(served: World) -> None:
    revision = served.server.etcd.revision
    checks = served.gateway.rehearse(GateTarget(id="shop"), CLOSED, [OUTSIDE, INSIDE])
    levels = {(check.name, check.level) for check in checks}
    assert levels == {("gate", "ok"), ("gate permission", "ok"), ("gate bypass", "warning"), ("gate probe", "ok")}
    assert served.server.etcd.revision == revision
    assert not [request for request in served.sent("PATCH") if "rehearsal" not in request.path]


def test_a_rehearsal_ends_where_there_is_nothing_to_rehearse(served: World) -> None:
    assert [(check.name, check.level) for check in served.gateway.rehearse(GateTarget(id="nope"), CLOSED)] == [("gate", "refused")]
    served.server.etcd.down = True
    assert [check.level for check in served.gateway.rehearse(GateTarget(id="shop"), CLOSED)] == ["warning"]


def test_doctor_is_told_the_version_and_whether_the_key_may_write(served: World) -> None:
    first, second = served.gateway.check()
    assert f"APISIX {served.server.flavour.version} at {served.server.admin_url}" in first.message
    assert (first.level, second.level) == ("ok", "ok")
    served.server.admin.admin_key = "changed"
    assert [check.level for check in served.gateway.check()] == ["refused"]


def test_a_pretend_pod_may_be_a_real_listener() -> None:
    clock = TickingClock()
    with SandboxApisix(clock.now) as inner, SandboxApisix(clock.now) as outer:
        node = inner.gateway_urls[0].removeprefix("http://")
        outer.etcd.write("routes", "r", {"id": "r", "uri": "/*", "upstream": {"nodes": {node: 1}}})
        where = urlsplit(outer.gateway_urls[0])
        connection = http.client.HTTPConnection(str(where.hostname), where.port)
        try:
            connection.request("GET", "/any")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (404, b'{"error_msg": "404 Route Not Found"}')
            outer.etcd.write("routes", "r", {"id": "r", "uri": "/*", "upstream": {"nodes": {"127.0.0.1:1": 1}}})
            connection.request("GET", "/any")
            assert connection.getresponse().status == 502
        finally:
            connection.close()
