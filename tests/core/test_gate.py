"""What is written to a gate, and when it counts as closed or as it was: examples and properties, without any server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.gate import (
    CONSUMER_RESTRICTION,
    IP_RESTRICTION,
    ApisixVersion,
    GateConfig,
    GateObject,
    MergePatchNull,
    Nothing,
    Part,
    Place,
    PlaceKind,
    PutWhole,
    SavedGate,
    SubPathPatch,
    canonical,
    object_from_value,
)
from rollout.core.gate_plan import ENCRYPTED_PLUGINS, is_as_saved, is_closed, plan_close, plan_open
from rollout.sandbox.apisix_flavours import FLAVOURS, Flavour
from rollout.sandbox.apisix_schema import SchemaError, check, merge, with_defaults

ROUTE = Place(PlaceKind.ROUTE, "r1")
CONFIG = GateConfig(("10.1.0.0/16", "127.0.0.1"), "Back at 14:00")
NEWEST = ApisixVersion(3, 18)

Body = dict[str, Any]

addresses = st.sampled_from(["10.0.0.0/8", "127.0.0.1", "192.168.7.9", "2001:db8::/32", "::1", "172.16.0.0/12"])
lists = st.lists(addresses, min_size=1, max_size=4, unique=True)
metas = st.sampled_from(
    [{}, {"_meta": {"disable": True}}, {"_meta": {"disable": False}}, {"_meta": {"filter": [["arg_x", "==", "1"]]}}]
)
plugins = st.builds(
    lambda key, items, message, meta: {key: items, **({"message": message} if message else {}), **meta},
    st.sampled_from(["whitelist", "blacklist"]),
    lists,
    st.sampled_from(["", "office only", "Your IP address is not allowed"]),
    metas,
)
others = st.dictionaries(st.sampled_from(["prometheus", "cors", "openid-connect", "limit-count"]), st.just({"a": 1}), max_size=3)
bodies = st.builds(
    lambda own, beside: {"id": "r1", "uri": "/x", "plugins": {**beside, **({IP_RESTRICTION: own} if own else {})}},
    st.none() | plugins, others,
) | st.just({"id": "r1", "uri": "/x"})  # fmt: skip
configs = st.builds(GateConfig, st.tuples(addresses, addresses), st.sampled_from(["Back soon", "Wartung bis 14:00"]))
versions = st.sampled_from([None, *(ApisixVersion.parse(f"APISIX/{f.version}") for f in FLAVOURS.values())])
flavours = st.sampled_from(list(FLAVOURS.values()))


def seen(value: dict[str, Any], version: ApisixVersion | None = NEWEST) -> GateObject:
    return object_from_value(ROUTE, IP_RESTRICTION, value, version=version)


def perform(flavour: Flavour, value: dict[str, Any], write: object) -> dict[str, Any]:
    """Do what a server does with a write, defaults and refusals included; PATCH bodies as they go over the wire."""
    match write:
        case Nothing():
            return value
        case SubPathPatch(_, plugin, config):
            new = {**value, "plugins": {**(value.get("plugins") or {}), plugin: json.loads(config)}}
        case MergePatchNull(_, plugin):
            new = merge(flavour, value, {"plugins": {plugin: None}})
        case PutWhole(_, whole):
            new = json.loads(whole)
        case _:
            raise AssertionError(write)
    kept = {name: conf for name, conf in (new.get("plugins") or {}).items() if name == IP_RESTRICTION}
    check(flavour, "routes", {**new, "plugins": kept} if "plugins" in new else new)
    return with_defaults(flavour, "routes", new)


@given(bodies, configs, flavours)
def test_closing_always_ends_closed_and_never_touches_another_plugin(body: Body, config: GateConfig, flavour: Flavour) -> None:
    version = ApisixVersion.parse(f"APISIX/{flavour.version}")
    stored = with_defaults(flavour, "routes", body)
    closed = perform(flavour, stored, plan_close(seen(stored, version), config))
    assert is_closed(seen(closed, version), config)
    assert beside(closed) == beside(stored)


@given(bodies, configs, flavours)
def test_opening_always_ends_as_it_was_found(body: Body, config: GateConfig, flavour: Flavour) -> None:
    version = ApisixVersion.parse(f"APISIX/{flavour.version}")
    stored = with_defaults(flavour, "routes", body)
    saved = seen(stored, version).save()
    closed = perform(flavour, stored, plan_close(seen(stored, version), config))
    opened = perform(flavour, closed, plan_open(saved, seen(closed, version)))
    assert is_as_saved(seen(opened, version), saved)
    assert (opened.get("plugins") or {}) == (stored.get("plugins") or {})


@given(bodies, configs, versions)
def test_what_is_done_is_not_done_again(body: Body, config: GateConfig, version: ApisixVersion | None) -> None:
    closed = {**body, "plugins": {**(body.get("plugins") or {}), IP_RESTRICTION: config.desired()}}
    assert isinstance(plan_close(seen(closed, version), config), Nothing)
    assert isinstance(plan_open(seen(body, version).save(), seen(body, version)), Nothing)


@given(bodies, bodies, versions)
def test_a_null_is_only_sent_for_a_plugin_that_is_there(before: Body, now: Body, version: ApisixVersion | None) -> None:
    write = plan_open(seen(before, version).save(), seen(now, version))
    if isinstance(write, MergePatchNull):
        assert IP_RESTRICTION in now["plugins"]


@given(bodies, configs, versions)
def test_a_patch_is_never_sent_where_it_would_damage_secrets(body: Body, config: GateConfig, version: ApisixVersion | None) -> None:
    write = plan_close(seen(body, version), config)
    guarded = ENCRYPTED_PLUGINS & (body.get("plugins") or {}).keys()
    if guarded and (version is None or version.patch_damages_secrets):
        assert isinstance(write, (PutWhole, Nothing))
    else:
        assert not isinstance(write, PutWhole)


@given(bodies)
def test_what_is_saved_survives_being_stored(body: Body) -> None:
    saved = seen(body).save()
    assert SavedGate.from_json(saved.to_json()) == saved


@given(bodies, configs)
def test_a_gate_that_lets_others_through_never_counts_as_closed(body: Body, config: GateConfig) -> None:
    found = (body.get("plugins") or {}).get(IP_RESTRICTION, {})
    if is_closed(seen(body), config):
        assert sorted(set(found["whitelist"])) == sorted(set(config.allow))
        assert not found.get("_meta", {}).get("disable")
        assert "filter" not in found.get("_meta", {})


def beside(value: dict[str, Any]) -> dict[str, Any]:
    return {name: conf for name, conf in (value.get("plugins") or {}).items() if name != IP_RESTRICTION}


@pytest.mark.parametrize(
    ("change", "closed"),
    [
        ({}, True),
        ({"response_code": 403}, True),
        ({"whitelist": ["127.0.0.1", "10.1.0.0/16"]}, True),
        ({"_meta": {}}, True),
        ({"_meta": {"disable": False}}, True),
        ({"disable": False}, True),
        ({"_meta": {"disable": True}}, False),
        ({"disable": True}, False),
        ({"_meta": {"filter": [["arg_x", "==", "1"]]}}, False),
        ({"_meta": {"error_response": {"x": 1}}}, False),
        ({"message": "somebody else's words"}, False),
        ({"response_code": 404}, False),
        ({"whitelist": ["127.0.0.1", "10.1.0.0/16", "10.9.9.9"]}, False),
        ({"blacklist": ["10.9.9.9"]}, False),
    ],
)
def test_defaults_and_order_are_no_change_and_everything_else_is(change: dict[str, object], *, closed: bool) -> None:
    value = {"plugins": {IP_RESTRICTION: {**CONFIG.desired(), **change}}}
    assert is_closed(seen(value), CONFIG) is closed


def test_a_whole_put_leaves_out_the_stamps_and_keeps_everything_else() -> None:
    value = {"id": "r1", "uri": "/x", "create_time": 1, "update_time": 2, "plugins": {"openid-connect": {"client_secret": "s"}}}
    write = plan_close(seen(value, ApisixVersion(3, 13)), CONFIG)
    assert isinstance(write, PutWhole)
    assert json.loads(write.value) == {
        "id": "r1", "uri": "/x", "plugins": {"openid-connect": {"client_secret": "s"}, IP_RESTRICTION: CONFIG.desired()},
    }  # fmt: skip
    assert "client_secret" not in repr(write) + repr(seen(value))


@pytest.mark.parametrize("name", ["openid-connect", "ai-proxy", "ai-anything-new", "key-auth"])
@pytest.mark.parametrize(("version", "whole"), [("2.15.3", False), ("3.0.0", False), ("3.1.0", True), ("3.10.0", True),
                                                ("3.17.0", True), ("3.18.0", False), ("", True)])  # fmt: skip
def test_versions_that_encrypt_twice_are_written_whole(name: str, version: str, *, whole: bool) -> None:
    current = seen({"plugins": {name: {}}}, ApisixVersion.parse(f"APISIX/{version}"))
    assert isinstance(plan_close(current, CONFIG), PutWhole) is whole


def test_a_consumer_gate_names_consumers_and_its_own_words() -> None:
    config = GateConfig(("tester",), "Back at 14:00", CONSUMER_RESTRICTION, 503)
    current = object_from_value(ROUTE, CONSUMER_RESTRICTION, {"plugins": {"key-auth": {}}}, version=NEWEST)
    write = plan_close(current, config)
    assert isinstance(write, SubPathPatch)
    assert json.loads(write.config) == {
        "type": "consumer_name", "whitelist": ["tester"], "rejected_code": 503, "rejected_msg": "Back at 14:00",
    }  # fmt: skip
    stored = {"plugins": {CONSUMER_RESTRICTION: {"whitelist": ["tester"], "rejected_code": 503, "rejected_msg": "Back at 14:00"}}}
    assert is_closed(object_from_value(ROUTE, CONSUMER_RESTRICTION, stored), config)


def test_another_plugin_is_never_taken_for_the_gate() -> None:
    assert not is_closed(object_from_value(ROUTE, CONSUMER_RESTRICTION, {"plugins": {IP_RESTRICTION: CONFIG.desired()}}), CONFIG)


def test_a_gate_without_parts_is_not_closed() -> None:
    assert not is_closed(GateObject(ROUTE, IP_RESTRICTION, ()), CONFIG)


def test_a_kubernetes_item_that_is_switched_off_is_open_and_comes_back_switched_off() -> None:
    item = {"name": IP_RESTRICTION, "enable": False, "config": CONFIG.desired()}
    place = Place(PlaceKind.APISIX_ROUTE, "default/shop")
    found = GateObject(place, IP_RESTRICTION, (Part("all", canonical(item)),))
    assert not is_closed(found, CONFIG)
    assert not is_as_saved(GateObject(place, IP_RESTRICTION, (Part("all", canonical({**item, "enable": True})),)), found.save())
    assert is_as_saved(found, found.save())


@pytest.mark.parametrize(
    ("header", "version"),
    [("APISIX/3.18.0", ApisixVersion(3, 18)), ("APISIX/2.15.3", ApisixVersion(2, 15, 3)), ("APISIX", None), ("openresty", None)],
)
def test_a_version_is_read_from_the_server_header(header: str, version: ApisixVersion | None) -> None:
    assert ApisixVersion.parse(header) == version


def test_the_pretend_server_declines_the_null_that_hits_nothing() -> None:
    for flavour in FLAVOURS.values():
        for value in ({"uri": "/x"}, {"uri": "/x", "plugins": {}}):
            with pytest.raises(SchemaError, match="userdata: NULL"):
                perform(flavour, value, MergePatchNull(ROUTE, IP_RESTRICTION))
