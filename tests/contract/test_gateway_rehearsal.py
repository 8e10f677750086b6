"""The rehearsal of a gate when something is in the way: it is told beforehand, and what was not tried does not count as tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core.decision import Execution
from rollout.core.gate import CONSUMER_RESTRICTION, GateConfig, GateTarget
from rollout.core.machine import begin
from rollout.core.observation import Task, TaskResult
from rollout.engine.offline_gate import GateTasks
from rollout.ports import Check
from rollout.sandbox.apisix import VIEWER_KEY
from rollout.sandbox.faults import Failing, Fault
from tests.contract.gateways import CLOSED, INSIDE, OUTSIDE, SHOP, World, restriction, world
from tests.core.test_offline import START, plan

SHOP_GATE = GateTarget(id="shop")


@pytest.fixture
def served() -> Iterator[World]:
    with world(timeout=timedelta(seconds=1)) as made:
        yield made


def checks(served: World, config: GateConfig = CLOSED) -> list[Check]:
    before = served.server.etcd.revision
    found = list(served.gateway.rehearse(SHOP_GATE, config, [OUTSIDE, INSIDE]))
    assert served.server.etcd.revision == before, "a rehearsal writes nothing"
    return found


def of(found: list[Check], name: str) -> list[str]:
    return [check.level for check in found if check.name == name]


def performed(served: World) -> TaskResult:
    made = plan(gate={"gateway": "edge", "route": {"id": "shop"}, "allow": ["127.0.0.1"], "message": CLOSED.message,
                      "probes": {"outside": [{"url": "/shop/1", "sourceAddress": "127.0.0.2"}]}})  # fmt: skip
    execution = Execution("orders-1a2b3c4d", made, ())
    return GateTasks({"edge": served.gateway}, served.clock).rehearse(
        execution, begin(execution, START), Task("r-1", "gate-rehearse")
    )


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.ERROR_500, Failing.UNAVAILABLE_503, Failing.HTML, Failing.CUT])
def test_an_admin_api_that_gives_no_good_answer_was_not_rehearsed(served: World, failing: Failing) -> None:
    served.server.faults.set("apisix", Fault(failing))
    assert [(check.name, check.level) for check in checks(served)] == [("gate", "warning")]
    assert not performed(served).ok


def test_a_rehearsal_that_passes_counts(served: World) -> None:
    result = performed(served)
    assert result.ok, result
    assert result.why.endswith("checks passed")


def test_a_key_that_may_only_read_is_refused_beforehand() -> None:
    with world(key=VIEWER_KEY) as served:
        assert of(checks(served), "gate permission") == ["refused"]
        assert not performed(served).ok


def test_a_wrong_key_is_refused_beforehand() -> None:
    with world(key="wrong") as served:
        assert [(check.name, check.level) for check in checks(served)] == [("gate", "refused")]


def test_a_write_that_is_not_answered_is_no_permission(served: World) -> None:
    served.server.faults.set("apisix", Fault(Failing.ERROR_500, method="PATCH"))
    assert of(checks(served), "gate permission") == ["warning"]


def test_ways_past_the_gate_that_cannot_be_looked_for_are_told(served: World) -> None:
    served.server.faults.set("apisix", Fault(Failing.ERROR_500, path="/upstreams"))
    (told,) = (check for check in checks(served) if check.name == "gate bypass")
    assert told.level == "warning"
    assert "could not be looked for" in told.message


@pytest.mark.parametrize(("flavour", "levels"), [("3.9", ["refused"]), ("3.13", [])])
def test_a_status_that_the_server_does_not_know_is_refused_beforehand(flavour: str, levels: list[str]) -> None:
    with world(flavour) as served:
        assert of(checks(served, replace(CLOSED, response_code=404)), "gate configuration") == levels


def test_a_consumer_gate_on_a_route_that_asks_nobodys_name_is_told(served: World) -> None:
    config = GateConfig(("qa",), CLOSED.message, CONSUMER_RESTRICTION)
    assert of(checks(served, config), "gate consumers") == ["warning"]


def test_a_gateway_that_turns_the_probes_away_already_is_told(served: World) -> None:
    served.put("routes/shop", {**SHOP, "plugins": restriction(whitelist=["192.0.2.1"])})
    found = [check for check in checks(served) if check.name == "gate probe"]
    assert [check.level for check in found] == ["warning", "warning"]
    assert "HTTP 403" in found[0].message


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.CUT])
def test_a_gateway_node_that_does_not_answer_is_told(served: World, failing: Failing) -> None:
    served.server.faults.set("gateway-1", Fault(failing))
    assert of(checks(served), "gate probe") == ["warning", "warning"]


def test_a_gate_that_is_closed_already_is_said_so(served: World) -> None:
    served.gateway.close_gate(served.gateway.find(SHOP_GATE, CLOSED.plugin).place, CLOSED)
    (closed, *_) = checks(served)
    assert (closed.name, closed.level) == ("gate", "refused")
    assert "closed already" in closed.message
    assert not performed(served).ok, "it would be found out when the gate is to be closed, in front of everybody"
