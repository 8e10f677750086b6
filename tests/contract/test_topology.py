"""Who calls whom, read by the real adapter from the pretend SkyWalking, old and new."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.skywalking import SkyWalkingSettings
from rollout.adapters.skywalking_topology import SkyWalkingTopology
from rollout.ports_offline import Call
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.skywalking import V8, V10
from rollout.sandbox.skywalking_fields import Flavour
from rollout.sandbox.skywalking_topology import Relation
from tests.peers.oap import OapServer
from tests.peers.process import wait_until

RELATIONS = [Relation("storefront", "orders", 412), Relation("orders", "payments", 98), Relation("payments", "bank", 7)]


def calls(flavour: Flavour, service: str, hops: int) -> set[Call]:
    options = SandboxOptions(start=datetime(2026, 11, 22, 9, tzinfo=UTC), speed=0.0)
    with Sandbox(SystemClock(), options) as sandbox:
        sandbox.skywalking.flavour = flavour
        sandbox.skywalking.relations += RELATIONS
        topology = SkyWalkingTopology("skywalking", SkyWalkingSettings(url=sandbox.urls["skywalking"]), sandbox.clock)
        try:
            return set(topology.calls(service, hops=hops))
        finally:
            topology.close()


@pytest.mark.parametrize("flavour", [V8, V10], ids=["8", "10"])
def test_one_hop_shows_callers_and_callees_with_their_rates(flavour: Flavour) -> None:
    found = {(call.caller, call.callee) for call in calls(flavour, "orders", 1)}
    assert found == {("storefront", "orders"), ("orders", "payments")}


def test_a_rate_is_calls_a_minute() -> None:
    assert Call("storefront", "orders", 412.0) in calls(V10, "orders", 1)


def test_two_hops_reach_the_callees_of_callees() -> None:
    assert ("payments", "bank") in {(call.caller, call.callee) for call in calls(V10, "orders", 2)}


def test_a_service_that_nobody_calls_has_no_calls() -> None:
    assert calls(V10, "unknown", 1) == set()


def test_a_real_oap_tells_the_same_of_what_its_agents_reported(oap_peer: OapServer) -> None:
    """Two hops around `orders`; the storefront's own traffic comes from `User`, who has no agent."""
    mark = oap_peer.now()
    storefront, orders, payments = (f"{name}-{mark}" for name in ("storefront", "orders", "payments"))
    minute = mark // 60_000 * 60_000 - 120_000
    for service, caller, count in ((storefront, None, 5), (orders, (storefront, "s-1"), 30), (payments, (orders, "o-1"), 10)):
        oap_peer.report_instance(service, "s-1" if caller is None else "o-1")
        oap_peer.push_requests(service, "s-1" if caller is None else "o-1", minute + 1000, count, caller=caller)
    topology = SkyWalkingTopology("oap", SkyWalkingSettings(url=oap_peer.url), SystemClock())
    try:
        wait_until(lambda: len(topology.calls(orders, hops=2)) == 3, 60, "the topology of what was pushed")
        near, wide = topology.calls(orders, hops=1), topology.calls(orders, hops=2)
        wait_until(lambda: all(call.per_minute for call in topology.calls(orders, hops=1)), 60, "the rates")
        rates = {(call.caller, call.callee): call.per_minute for call in topology.calls(orders, hops=1)}
        assert topology.calls(f"unknown-{mark}", hops=1) == ()
    finally:
        topology.close()
    assert {(call.caller, call.callee) for call in near} == {(storefront, orders), (orders, payments)}
    assert {(call.caller, call.callee) for call in wide} == {("User", storefront), (storefront, orders), (orders, payments)}
    assert rates == {(storefront, orders): 30.0, (orders, payments): 10.0}
