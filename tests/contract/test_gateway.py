"""Closing, opening and reading a gate, against five versions of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollout.core.errors import Conflict, Refused, Rejected
from rollout.core.gate import IP_RESTRICTION, GateConfig, GateTarget, Place, PlaceKind, SavedGate
from rollout.core.gate_plan import is_as_saved, is_closed
from rollout.core.gate_probe import Passage, passage
from tests.contract.gateways import CLOSED, FLAVOURS, INSIDE, MESSAGE, OBJECTS, OUTSIDE, ROUTE, SHOP, World, restriction, world

BARE = Place(PlaceKind.ROUTE, "bare")
SERVICE = Place(PlaceKind.SERVICE, "pay")
OPENID = {"client_id": "shop", "client_secret": "s3cret-of-somebody-else", "discovery": "https://id.example/.well-known"}
GUARDED = {**SHOP, "plugins": {"prometheus": {}, "openid-connect": OPENID}}


@pytest.fixture(params=FLAVOURS)
def served(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as made:
        yield made


def assert_written(status: int) -> None:
    assert status in (200, 201)


def plugins_of(served: World, path: str) -> Any:  # noqa: ANN401 - JSON
    return served.value(path).get("plugins", {})


def test_a_closed_gate_blocks_the_outside_and_serves_the_inside(served: World) -> None:
    saved = served.gateway.read(ROUTE, IP_RESTRICTION).save()
    closed = served.gateway.close_gate(ROUTE, CLOSED)
    assert is_closed(closed, CLOSED)
    (outside,) = served.gateway.probe(OUTSIDE)
    (inside,) = served.gateway.probe(INSIDE)
    assert passage(outside, CLOSED) is Passage.BLOCKED
    assert passage(inside, CLOSED) is Passage.SERVED
    served.gateway.open_gate(saved)
    assert served.statuses(OUTSIDE) == [200]


def test_other_plugins_survive_and_nothing_of_the_gate_is_left(served: World) -> None:
    before = plugins_of(served, "routes/shop")
    saved = served.gateway.read(ROUTE, IP_RESTRICTION).save()
    served.gateway.close_gate(ROUTE, CLOSED)
    assert plugins_of(served, "routes/shop").keys() == {"prometheus", IP_RESTRICTION}
    served.gateway.open_gate(saved)
    assert plugins_of(served, "routes/shop") == before


@pytest.mark.parametrize(
    "before",
    [
        {"blacklist": ["10.9.9.9"], "message": "blocked"},
        {"whitelist": ["10.0.0.0/8", "127.0.0.1"], "message": "office only"},
        {"whitelist": ["127.0.0.1"], "message": "old words", "_meta": {"disable": True}},
    ],
)
def test_what_stood_there_before_comes_back_exactly(served: World, before: dict[str, object]) -> None:
    served.put("routes/shop", {**SHOP, "plugins": {"prometheus": {}, **restriction(**before)}})
    kept = plugins_of(served, "routes/shop")
    saved = served.gateway.read(ROUTE, IP_RESTRICTION).save()
    closed = served.gateway.close_gate(ROUTE, CLOSED)
    assert is_closed(closed, CLOSED)
    opened = served.gateway.open_gate(SavedGate.from_json(saved.to_json()))
    assert is_as_saved(opened, saved)
    assert plugins_of(served, "routes/shop") == kept


@pytest.mark.parametrize("place", [BARE, SERVICE])
def test_objects_without_any_plugin_can_be_gated_and_opened_twice(served: World, place: Place) -> None:
    saved = served.gateway.read(place, IP_RESTRICTION).save()
    served.gateway.close_gate(place, CLOSED)
    served.gateway.open_gate(saved)
    served.forget_requests()
    served.gateway.open_gate(saved)
    assert not plugins_of(served, str(place))
    assert not served.sent("PATCH")


def test_closing_twice_writes_once(served: World) -> None:
    served.gateway.close_gate(ROUTE, CLOSED)
    served.forget_requests()
    served.gateway.close_gate(ROUTE, CLOSED)
    assert {request.method for request in served.server.admin.requests} == {"GET"}


def test_a_gate_that_somebody_opened_is_seen_and_closed_again(served: World) -> None:
    served.gateway.close_gate(ROUTE, CLOSED)
    served.ask("PATCH", "routes/shop", {"plugins": {IP_RESTRICTION: {"_meta": {"disable": True}}}})
    assert not is_closed(served.gateway.read(ROUTE, IP_RESTRICTION), CLOSED)
    served.gateway.close_gate(ROUTE, CLOSED)
    assert served.statuses(OUTSIDE) == [403]


def test_no_request_carries_what_must_never_be_sent(served: World) -> None:
    saved = served.gateway.read(ROUTE, IP_RESTRICTION).save()
    served.gateway.close_gate(ROUTE, CLOSED)
    served.gateway.open_gate(saved)
    for request in served.server.admin.requests:
        assert "if-match" not in request.headers
        assert "ttl" not in request.query
        assert request.body.replace(" ", "") != '{"plugins":{}}'


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_secrets_of_other_plugins_outlive_a_gate(flavour: str) -> None:
    with world(flavour, objects=(*OBJECTS[:2], ("routes/shop", GUARDED))) as served:
        saved = served.gateway.read(ROUTE, IP_RESTRICTION).save()
        served.gateway.close_gate(ROUTE, CLOSED)
        served.gateway.open_gate(saved)
        assert plugins_of(served, "routes/shop")["openid-connect"] == OPENID


def test_a_patch_would_have_destroyed_them_on_a_version_that_does() -> None:
    with world("3.13", objects=(*OBJECTS[:2], ("routes/shop", GUARDED))) as served:
        served.ask("PATCH", "routes/shop/plugins/ip-restriction", {"whitelist": ["127.0.0.1"]})
        assert plugins_of(served, "routes/shop")["openid-connect"]["client_secret"] != OPENID["client_secret"]


def test_a_lost_race_is_run_again_after_a_pause(served: World) -> None:
    def write(words: str) -> Callable[[], None]:
        return lambda: assert_written(served.put("routes/shop", {**SHOP, "desc": words}))

    served.server.etcd.before_commit.extend((write("one"), write("two")))
    closed = served.gateway.close_gate(ROUTE, CLOSED)
    assert is_closed(closed, CLOSED)
    assert served.clock.waits
    assert served.value("routes/shop")["desc"] == "two"


def test_somebody_who_never_stops_writing_is_named_in_the_end(served: World) -> None:
    def again() -> None:
        served.put("routes/shop", {**SHOP, "desc": "again"})
        served.server.etcd.before_commit.append(again)

    served.server.etcd.before_commit.append(again)
    with pytest.raises(Conflict, match="others kept writing"):
        served.gateway.close_gate(ROUTE, CLOSED)


def test_a_plugin_that_vanishes_before_the_null_is_as_wanted(served: World) -> None:
    saved = served.gateway.read(BARE, IP_RESTRICTION).save()
    served.gateway.close_gate(BARE, CLOSED)

    def look() -> None:
        """Our own look goes by; then somebody takes the plugin away, just before the server reads for our PATCH."""

    def take_away() -> None:
        served.put("routes/bare", {"uri": "/bare/*", "upstream_id": "shop"})

    served.server.etcd.before_read.extend((look, take_away))
    assert is_as_saved(served.gateway.open_gate(saved), saved)
    assert served.sent("PATCH")[-1].body == '{"plugins": {"ip-restriction": null}}'


def test_a_route_that_is_gone_is_told_and_not_created(served: World) -> None:
    served.ask("DELETE", "routes/shop")
    with pytest.raises(Rejected, match="no routes/shop") as told:
        served.gateway.close_gate(ROUTE, CLOSED)
    assert told.value.code == 404
    assert served.ask("GET", "routes/shop").status == 404


def test_the_answer_code_is_refused_where_the_server_would_ignore_it(served: World) -> None:
    found = served.gateway.find(GateTarget(id="shop"), IP_RESTRICTION)
    wanted = GateConfig(CLOSED.allow, MESSAGE, response_code=404)
    assert found.version is not None
    if found.version.knows_response_code:
        served.gateway.close_gate(ROUTE, wanted)
        assert served.statuses(OUTSIDE) == [404]
    else:
        with pytest.raises(Refused, match="still answers 403"):
            served.gateway.close_gate(ROUTE, wanted)


def test_the_old_shape_of_answers_is_understood_from_a_new_server() -> None:
    with world("3.18", v2_shapes=True) as served:
        saved = served.gateway.find(GateTarget(name="shop"), IP_RESTRICTION).save()
        served.gateway.close_gate(ROUTE, CLOSED)
        assert served.statuses(OUTSIDE) == [403]
        served.gateway.open_gate(saved)
        assert served.statuses(OUTSIDE) == [200]
