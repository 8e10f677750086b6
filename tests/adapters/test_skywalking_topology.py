"""The topology's client against answers that no healthy OAP gives: told, or answered in part; no call is ever invented."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.skywalking import SkyWalkingSettings
from rollout.adapters.skywalking_graphql import service_id
from rollout.adapters.skywalking_topology import SkyWalkingTopology
from rollout.core.errors import Rejected, Unavailable
from rollout.ports_offline import Call
from tests.adapters.stub import Say, Script, Seen, closed_port, stub

ALIAS = re.compile(r"(\w+): *(?:getServiceTopology|execExpression|readMetricsValues)")
SHOP, ORDERS = service_id("shop"), service_id("orders")
GRAPH = {"nodes": [{"id": SHOP, "name": "shop"}, {"id": ORDERS, "name": "orders"}],
         "calls": [{"id": "x", "source": SHOP, "target": ORDERS}]}  # fmt: skip
CPM = {"type": "TIME_SERIES_VALUES", "error": None, "results": [{"values": [{"value": "10"}, {"value": None}, {"value": "20"}]}]}


def oap(topology: object = GRAPH, often: object = CPM, version: str = "10.1.0") -> Script:
    """Answer as an OAP with these parts in its answers."""

    def answer(seen: Seen) -> Say:
        asked: Any = seen.json
        text = asked["query"]
        if "getTimeInfo" in text:
            now = datetime.now(UTC)  # noqa: TID251 - the server's own clock
            info = {"timezone": "+0000", "currentTimestamp": int(now.timestamp() * 1000)}
            return Say(body={"data": {"version": version, "getTimeInfo": info}})
        if "supportQueryLogsByKeywords" in text:
            return Say(body={"data": {"supportQueryLogsByKeywords": True}})
        part = topology if "getServiceTopology" in text else often
        if isinstance(part, Say):
            return part
        return Say(body={"data": dict.fromkeys(ALIAS.findall(text), part)})

    return answer


def calls(script: Script | Say, hops: int = 1, timeout: timedelta = timedelta(seconds=5)) -> set[Call]:
    with stub(script) as server:
        return ask(server.url, hops, timeout)


def ask(url: str, hops: int = 1, timeout: timedelta = timedelta(seconds=5)) -> set[Call]:
    topology = SkyWalkingTopology("sw", SkyWalkingSettings(url=url, timeout=timeout), SystemClock())
    try:
        return set(topology.calls("orders", hops=hops))
    finally:
        topology.close()


def test_calls_and_their_rate_are_read() -> None:
    assert calls(oap()) == {Call("shop", "orders", 15.0)}


def test_a_rate_that_cannot_be_read_leaves_the_call() -> None:
    for often in (
        None,
        {"results": "many"},
        {"error": "no such metric", "results": []},
        Say(500, "boom"),
        Say(cut_at=3, body="{" * 99),
    ):
        assert calls(oap(often=often)) == {Call("shop", "orders", None)}


@pytest.mark.parametrize("say", [
    Say(500, "Internal Server Error"), Say(503, ""), Say(body="<html>sign in</html>", content_type="text/html"), Say(body="[1, 2"),
    Say(body={"data": None, "errors": [{"message": "boom"}]}), Say(body='{"data": {"a0": ' + "1" * 50, cut_at=20), Say(401, ""),
])  # fmt: skip
def test_an_oap_that_gives_no_good_answer_is_told_and_no_call_is_invented(say: Say) -> None:
    with pytest.raises((Unavailable, Rejected)):
        calls(say)
    with pytest.raises((Unavailable, Rejected)):
        calls(oap(topology=say))


def test_an_oap_that_hangs_is_unavailable_in_time() -> None:
    with pytest.raises(Unavailable):
        calls(Say(hang=True), timeout=timedelta(seconds=1))


def test_an_oap_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        ask(f"http://127.0.0.1:{closed_port()}")


@pytest.mark.parametrize("topology", [
    {"nodes": [{}], "calls": [{}]}, {"nodes": "all", "calls": 7}, {"nodes": [None], "calls": [None, "x"]}, [], "none",
    {"nodes": [{"id": 1, "name": "x"}]}, {"calls": [{"source": None, "target": None}]},
])  # fmt: skip
def test_a_topology_of_another_shape_is_told(topology: object) -> None:
    with pytest.raises(Unavailable, match="another shape"):
        calls(oap(topology=topology))


@pytest.mark.parametrize("topology", [{"nodes": None, "calls": None}, {}, {"nodes": [], "calls": []}])
def test_a_topology_without_anybody_has_no_calls(topology: object) -> None:
    assert calls(oap(topology=topology)) == set()


def test_a_wide_circle_in_a_dense_topology_is_bounded() -> None:
    names = [f"s{n}" for n in range(400)]
    nodes = [{"id": service_id(name), "name": name} for name in names]
    graph = {"nodes": nodes, "calls": [{"source": service_id(name), "target": ORDERS} for name in names]}
    with stub(oap(topology=graph, often=None)) as server:
        assert len(ask(server.url, hops=5)) == 400
        asked = sum(str(seen.json).count("getServiceTopology") for seen in server.seen)
    assert asked <= 1 + 4 * 50
