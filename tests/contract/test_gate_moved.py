"""A gate whose route is made anew under another id in the window: closed there too where there is no doubt, else told."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.core import offline_guard
from rollout.core.decision import Execution
from rollout.core.errors import Rejected
from rollout.core.gate import IP_RESTRICTION
from rollout.core.gate_probe import Vantage
from rollout.core.machine import begin
from rollout.core.observation import Task, TaskResult
from rollout.core.offline_facts import memory_of, remember
from rollout.core.state import State
from rollout.sandbox import shop
from rollout.sandbox.shop import put_route
from tests.contract.test_offline_checks import START, UPSTREAM, Premises, place

__all__ = ["place"]

OUTSIDE = Vantage("somebody", allowed=False, url="/orders/healthz", source_address="127.0.0.2")
THEIRS = {"blacklist": ["198.51.100.9"], "message": "go away"}
MOVED = {"plugins", "id", "create_time", "update_time"}


class Closed:
    """A gate that was closed and proven by the real performers."""

    def __init__(self, premises: Premises, route: dict[str, Any] | None = None) -> None:
        self.place = premises
        gate = {"route": route or {"name": shop.ROUTE}, "allow": ["127.0.0.1"], "message": "Orders are being upgraded",
                "probes": {"outside": [{"url": "/orders/healthz", "sourceAddress": "127.0.0.2"}]}}  # fmt: skip
        self.execution: Execution = premises.execution(gate=gate)
        self.state: State = begin(self.execution, START)
        read = self.perform("gate-read")
        self.state = remember(self.state, saved_gate=read.facts["saved"], gate_reach=read.facts["reach"])
        assert self.perform("gate-close").ok
        self.state = remember(self.state, closed_at=START, gate_proven=True)
        assert self.outside() == 403

    def perform(self, kind: str, *arguments: tuple[str, str]) -> TaskResult:
        return self.place.made[kind](self.execution, self.state, Task(kind, kind, arguments))

    def follow(self) -> TaskResult:
        """Let the guard look, and write down what it found, as the core does."""
        result = self.perform("gate-guard")
        if "successor" in result.facts:
            self.state = remember(self.state, successors=(*memory_of(self.state).successors, result.facts["successor"]))
        return result

    def outside(self) -> int:
        (result, *_) = self.place.parts.offline.gateways["apisix"].probe(OUTSIDE)
        return result.status

    def route(self, name: str) -> dict[str, Any]:
        found = self.place.sandbox.etcd.read("routes", name)
        assert found is not None
        return dict(found.value)

    def move(self, name: str, **more: Any) -> None:  # noqa: ANN401 - keys of a route
        """Delete the gate's route, and make it anew under another id."""
        anew = {key: value for key, value in self.route(shop.ROUTE).items() if key not in MOVED}
        self.place.sandbox.etcd.delete("routes", shop.ROUTE)
        put_route(self.place.sandbox, name, {**anew, **more})


@pytest.mark.parametrize("route", [{"name": shop.ROUTE}, {"id": shop.ROUTE}, {"uri": "/orders/*"}])
@pytest.mark.parametrize("before", [{}, {"plugins": {IP_RESTRICTION: THEIRS}}], ids=["nothing", "a list of its own"])
def test_a_gate_that_is_made_anew_under_another_id_is_closed_there_and_opened_as_it_was_found(
    place: Premises, route: dict[str, Any], before: dict[str, Any]
) -> None:
    gate = Closed(place, route)
    gate.move("anew", **before)
    assert gate.outside() == 200
    found = gate.follow()
    assert (found.ok, found.facts["gate"]) == (False, "moved")
    assert "routes/anew" in found.why
    assert gate.route("anew").get("plugins", {}).get(IP_RESTRICTION) == before.get("plugins", {}).get(IP_RESTRICTION), "saved first"

    closed = gate.follow()
    assert (closed.ok, closed.facts["gate"]) == (False, "followed")
    assert "took the place of the gate that is gone, and is closed now" in closed.why
    assert gate.outside() == 403
    assert gate.follow().ok

    assert gate.perform("gate-open").ok
    assert gate.perform("gate-verify", ("wanted", "open")).facts["proven"] == "yes"
    assert gate.perform("gate-watch").ok
    assert gate.route("anew").get("plugins", {}).get(IP_RESTRICTION) == before.get("plugins", {}).get(IP_RESTRICTION)


def test_who_makes_it_anew_a_second_time_as_it_was_has_opened_it_again(place: Premises) -> None:
    gate = Closed(place)
    gate.move("anew")
    opened = {key: value for key, value in gate.route("anew").items() if key not in MOVED}
    gate.follow()
    gate.follow()
    put_route(place.sandbox, "anew", opened)
    assert gate.outside() == 200
    again = gate.follow()
    assert not again.ok
    assert offline_guard.lets_in(again), "what came through must not be lost to a restore"


def test_whoever_copied_the_closed_route_gets_back_what_stood_there_before_it_was_closed(place: Premises) -> None:
    gate = Closed(place)
    gate.move("anew", plugins=gate.route(shop.ROUTE)["plugins"])
    assert gate.outside() == 403
    gate.follow()
    assert gate.follow().ok
    assert gate.perform("gate-open").ok
    assert IP_RESTRICTION not in gate.route("anew").get("plugins", {})
    assert gate.outside() == 200


def test_a_route_that_moves_twice_and_comes_home_is_closed_everywhere_and_opened_everywhere(place: Premises) -> None:
    gate = Closed(place)
    home = {key: value for key, value in gate.route(shop.ROUTE).items() if key not in MOVED}
    gate.move("anew")
    gate.follow()
    gate.follow()
    put_route(place.sandbox, shop.ROUTE, {**home, "priority": 7})
    assert gate.outside() == 200
    assert not gate.follow().ok
    assert gate.outside() == 403
    assert gate.perform("gate-open").ok
    for name in ("anew", shop.ROUTE):
        assert IP_RESTRICTION not in gate.route(name).get("plugins", {})


def test_a_route_that_is_made_anew_only_when_it_is_opened_needs_nothing_put_back(place: Premises) -> None:
    gate = Closed(place)
    gate.move("anew")
    assert gate.perform("gate-open").ok
    assert gate.perform("gate-verify", ("wanted", "open")).facts["proven"] == "yes"
    assert gate.outside() == 200


def test_two_routes_that_may_have_taken_the_gates_place_are_both_left_alone_and_named(place: Premises) -> None:
    gate = Closed(place)
    gate.move("one")
    put_route(place.sandbox, "two", {key: value for key, value in gate.route("one").items() if key not in MOVED})
    result = gate.follow()
    assert (result.ok, result.facts["gate"]) == (False, "open")
    assert "2 objects match" in result.why
    assert "one" in result.why
    assert "two" in result.why
    assert "somebody from outside was let through" in result.why
    advice = result.facts["advice"]
    assert "put ip-restriction with whitelist 127.0.0.1 and message 'Orders are being upgraded' on it, or delete it" in advice
    assert "is closed within ten seconds" in advice
    assert memory_of(gate.state).successors == ()


def test_a_route_that_answers_for_more_than_the_gates_is_left_alone_where_the_plan_names_an_id(place: Premises) -> None:
    gate = Closed(place, {"id": shop.ROUTE})
    gate.move("more", uri="", uris=["/orders/*", "/stock/*"])
    result = gate.follow()
    assert (result.ok, result.facts["gate"]) == (False, "open")
    assert "answers for other hosts or paths" in result.why
    assert IP_RESTRICTION not in gate.route("more").get("plugins", {})


def test_a_route_that_shared_its_paths_before_the_window_is_never_taken_for_the_gate(place: Premises) -> None:
    beside = {"uri": "/orders/*", "upstream": UPSTREAM, "priority": -1}
    put_route(place.sandbox, "beside", beside)
    gate = Closed(place, {"id": shop.ROUTE})
    place.sandbox.etcd.delete("routes", shop.ROUTE)
    result = gate.follow()
    assert "names it by its id" in result.why
    assert IP_RESTRICTION not in gate.route("beside").get("plugins", {})


def test_a_route_that_a_controller_made_anew_is_told_and_left_alone(place: Premises) -> None:
    gate = Closed(place)
    gate.move("anew", labels={"managed-by": "apisix-ingress-controller"})
    result = gate.follow()
    assert (result.ok, result.facts["gate"]) == (False, "open")
    assert "apisix-ingress-controller" in result.why
    assert IP_RESTRICTION not in gate.route("anew").get("plugins", {})


def test_a_gate_that_is_gone_lets_nobody_in_and_is_told_with_the_way_back(place: Premises) -> None:
    gate = Closed(place)
    place.sandbox.etcd.delete("routes", shop.ROUTE)
    result = gate.follow()
    assert (result.ok, result.facts["gate"]) == (False, "unknown")
    assert "As far as is known nothing lets outsiders in." in result.facts["advice"]
    with pytest.raises(Rejected, match="nothing is created in its place"):
        gate.perform("gate-open")
