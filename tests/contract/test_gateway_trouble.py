"""The unhappy half: keys, addresses, etcd away, etcd hanging, answers that are lost or not what they seem."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from rollout.adapters.apisix import ApisixGateway, ApisixSettings
from rollout.core.errors import Refused, Rejected, Unavailable
from rollout.core.gate import IP_RESTRICTION, GateTarget
from rollout.core.gate_plan import is_closed
from rollout.sandbox.apisix import ADMIN_KEY, VIEWER_KEY
from rollout.sandbox.faults import Failing, Fault, Faults
from rollout.sandbox.http import HttpServer, Request, Response, json_response
from tests.contract.gateways import CLOSED, FLAVOURS, INSIDE, OBJECTS, OUTSIDE, ROUTE, SHOP, TickingClock, World, until, world

SECRET = "s3cret-of-somebody-else"  # noqa: S105 - made up
OPENID = {"client_id": "shop", "client_secret": SECRET, "discovery": "https://id.example/.well-known"}
SHORT = timedelta(seconds=1)


@pytest.fixture(params=FLAVOURS)
def served(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as made:
        yield made


@pytest.fixture
def newest() -> Iterator[World]:
    with world(timeout=SHORT) as made:
        yield made


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_wrong_key_is_told_without_the_key(flavour: str) -> None:
    with world(flavour, key="entirely-wrong-key") as served:
        with pytest.raises(Rejected, match="HTTP 401") as told:
            served.gateway.find(GateTarget(id="shop"), IP_RESTRICTION)
        assert told.value.code == 401
        assert "entirely-wrong-key" not in str(told.value)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_key_that_may_only_read_is_told_when_it_writes(flavour: str) -> None:
    with world(flavour, key=VIEWER_KEY) as served:
        assert served.gateway.read(ROUTE, IP_RESTRICTION).name == "shop"
        with pytest.raises(Rejected, match="may only read"):
            served.gateway.close_gate(ROUTE, CLOSED)


def test_an_address_that_may_not_connect_is_told_as_such(newest: World) -> None:
    newest.server.admin._allow = ipaddress.ip_network("10.0.0.0/8")
    with pytest.raises(Rejected, match="allow_admin"):
        newest.gateway.read(ROUTE, IP_RESTRICTION)


def test_an_etcd_that_is_away_is_no_verdict_about_the_request(served: World) -> None:
    served.server.etcd.down = True
    with pytest.raises(Unavailable, match="has no healthy etcd"):
        served.gateway.close_gate(ROUTE, CLOSED)
    served.server.etcd.down = False
    assert is_closed(served.gateway.close_gate(ROUTE, CLOSED), CLOSED)


def test_the_data_plane_goes_on_as_it_was_while_etcd_is_away(served: World) -> None:
    served.gateway.close_gate(ROUTE, CLOSED)
    served.server.etcd.down = True
    assert (served.statuses(OUTSIDE), served.statuses(INSIDE)) == ([403], [200])


def test_an_outage_dressed_as_a_bad_request_is_an_outage() -> None:
    guarded = {**SHOP, "plugins": {"openid-connect": OPENID}}
    with world("3.13", objects=(*OBJECTS[:2], ("routes/shop", guarded))) as served:

        def look() -> None:
            """Our own look goes by."""

        def away() -> None:
            served.server.etcd.down = True

        served.server.etcd.before_read.extend((look, away))
        with pytest.raises(Unavailable, match="etcd") as told:
            served.gateway.close_gate(ROUTE, CLOSED)
        assert served.sent("PUT")
        assert told.value.maybe_done


def test_a_write_that_lands_late_is_found_by_looking_until_it_is_stable(newest: World) -> None:
    etcd = newest.server.etcd
    etcd.hold_writes()
    before = etcd.revision

    def wait(seconds: float) -> None:
        etcd.resume()
        until(lambda: etcd.revision > before)
        newest.clock.wait(seconds)

    newest.gateway._wait = wait
    assert is_closed(newest.gateway.close_gate(ROUTE, CLOSED), CLOSED)
    assert newest.statuses(OUTSIDE) == [403]


def test_a_write_that_does_not_land_is_unknown_and_lands_later(newest: World) -> None:
    newest.server.etcd.hold_writes()
    with pytest.raises(Unavailable, match="may still land") as told:
        newest.gateway.close_gate(ROUTE, CLOSED)
    assert told.value.maybe_done
    assert newest.statuses(OUTSIDE) == [200]
    newest.server.etcd.resume()
    assert is_closed(newest.gateway.close_gate(ROUTE, CLOSED), CLOSED)


def test_a_hanging_etcd_is_left_after_the_timeout_and_nothing_is_believed(newest: World) -> None:
    newest.server.etcd.hang()
    with pytest.raises(Unavailable, match="no answer within 1 s"):
        newest.gateway.close_gate(ROUTE, CLOSED)
    newest.server.etcd.resume()
    assert not is_closed(newest.gateway.read(ROUTE, IP_RESTRICTION), CLOSED)


def test_an_answer_that_breaks_off_is_looked_after(newest: World) -> None:
    newest.server.faults.set("apisix", Fault(Failing.CUT, method="PATCH"))
    with pytest.raises(Unavailable) as told:
        newest.gateway.close_gate(ROUTE, CLOSED)
    assert told.value.maybe_done


@pytest.mark.parametrize("failing", [Failing.HTML, Failing.ERROR_500, Failing.UNAVAILABLE_503, Failing.THROTTLED_429])
def test_what_a_proxy_says_is_never_taken_for_the_gateways_word(newest: World, failing: Failing) -> None:
    newest.server.faults.set("apisix", Fault(failing))
    with pytest.raises(Unavailable):
        newest.gateway.read(ROUTE, IP_RESTRICTION)


def test_the_gateways_own_port_is_not_taken_for_its_admin_api() -> None:
    with world() as served:
        elsewhere = served.gateway.admin
        elsewhere._backend._url = served.server.gateway_urls[0]
        with pytest.raises(Rejected, match="is this the Admin API"):
            served.gateway.read(ROUTE, IP_RESTRICTION)


def test_no_error_and_no_repr_shows_a_key_or_somebodys_secret() -> None:
    guarded = {**SHOP, "plugins": {"openid-connect": OPENID}}
    with world("3.13", objects=(*OBJECTS[:2], ("routes/shop", guarded))) as served:
        found = served.gateway.read(ROUTE, IP_RESTRICTION)
        served.server.faults.set("apisix", Fault(Failing.ERROR_500, method="PUT"))
        with pytest.raises(Unavailable) as told:
            served.gateway.close_gate(ROUTE, CLOSED)
        shown = f"{found!r} {found} {found.save()!r} {told.value} {served.gateway.admin.__dict__} {served.gateway._settings!r}"
        assert SECRET in found.value
        assert SECRET not in shown
        assert ADMIN_KEY not in str(told.value) + repr(served.gateway._settings)


def test_a_server_that_repeats_the_key_is_quoted_without_it() -> None:
    def echo(request: Request) -> Response:
        return json_response({"error_msg": f"no such token {request.headers['x-api-key']}", "req_body": SECRET}, 401)

    clock = TickingClock()
    with HttpServer("echo", echo, Faults(), clock.now) as server:
        settings = ApisixSettings(admin_url=server.url, api_key=SecretStr("the-key-itself"))
        gateway = ApisixGateway("edge", settings, clock)
        try:
            with pytest.raises(Rejected, match=r"no such token \*\*\*") as told:
                gateway.read(ROUTE, IP_RESTRICTION)
        finally:
            gateway.close()
    assert "the-key-itself" not in str(told.value)
    assert SECRET not in str(told.value)


def test_a_gateway_that_lags_is_seen_by_the_probe_and_not_by_reading(newest: World) -> None:
    newest.server.planes[0].freeze()
    newest.gateway.close_gate(ROUTE, CLOSED)
    assert newest.statuses(OUTSIDE) == [200]
    newest.server.planes[0].thaw()
    assert newest.statuses(OUTSIDE) == [403]


def test_a_gateway_without_an_admin_api_says_what_it_can_do() -> None:
    gateway = ApisixGateway("crd-only", ApisixSettings(), TickingClock())
    with pytest.raises(Refused, match="no admin_url"):
        gateway.find(GateTarget(id="shop"), IP_RESTRICTION)
    assert [check.level for check in gateway.check()] == ["ok"]
