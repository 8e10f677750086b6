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
