"""Probes of a gate when the gateway hangs, drips, breaks off or answers nonsense: a result in words each time, never a proof."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from rollout.adapters.apisix_admin import ApisixSettings
from rollout.adapters.apisix_probe import BODY_SHOWN, Prober
from rollout.adapters.clock import SystemClock
from rollout.adapters.credentials import CredentialSettings, HttpCredentials
from rollout.core.gate_probe import Passage, ProbeResult, Vantage, passage, proves
from rollout.sandbox.faults import Faults
from rollout.sandbox.http import HttpServer, Request, Response
from tests.adapters.stub import Say, closed_port, endless, stub
from tests.contract.gateways import CLOSED, MESSAGE

CLOCK = SystemClock()
OUTSIDE = Vantage("outside", allowed=False, url="/shop", source_address="127.0.0.2")
INSIDE = replace(OUTSIDE, name="inside", allowed=True, source_address="")


def probe(url: str, vantage: Vantage = OUTSIDE, seconds: float = 5) -> ProbeResult:
    (result,) = Prober(ApisixSettings(nodes=(url,), timeout=timedelta(seconds=seconds)), CLOCK).probe(vantage)
    return result


def answered(say: Say, vantage: Vantage = OUTSIDE, seconds: float = 5) -> ProbeResult:
    with stub(say) as server:
        return probe(server.url, vantage, seconds)


def proves_nothing(result: ProbeResult) -> bool:
    other = replace(result, vantage=INSIDE)
    return not any(proves(r, CLOSED, closed=closed) for r in (result, other) for closed in (True, False))


def test_the_fixed_answer_from_outside_proves_that_it_is_closed() -> None:
    result = answered(Say(403, {"message": MESSAGE}))
    assert passage(result, CLOSED) is Passage.BLOCKED
    assert proves(result, CLOSED, closed=True)
    assert not proves(result, CLOSED, closed=False)


def test_a_gateway_that_hangs_proves_nothing() -> None:
    result = answered(Say(hang=True), seconds=1)
    assert result.error == "no answer within 1 s"
    assert proves_nothing(result)


def test_a_gateway_that_drips_is_left_in_time() -> None:
    stopping = threading.Event()

    def drip() -> Iterator[bytes]:
        while not stopping.wait(0.1):
            yield b"x"

    def respond(request: Request) -> Response:
        return Response(200, stream=drip())

    with HttpServer("gateway", respond, Faults(), CLOCK.now) as server:
        began = CLOCK.monotonic()
        result = probe(server.url, seconds=1)
        took = CLOCK.monotonic() - began
        stopping.set()
    assert "no whole answer within 1 s" in result.error
    assert took < BODY_SHOWN * 0.1 / 2, "it was read to the end of what is judged"
    assert proves_nothing(result)


def test_an_answer_that_breaks_off_proves_nothing() -> None:
    result = answered(Say(403, {"message": MESSAGE}, cut_at=5))
    assert "RemoteProtocolError" in result.error
    assert proves_nothing(result)


def test_a_gateway_that_is_away_proves_nothing() -> None:
    result = probe(f"http://127.0.0.1:{closed_port()}")
    assert result.error == "no connection"
    assert proves_nothing(result)


@pytest.mark.parametrize("body", ["", "<html>403 Forbidden</html>", '{"message": "go away"}', '{"message": 7}', "[1]", "\x00\xff"])
def test_a_403_that_is_not_the_gates_proves_nothing(body: str) -> None:
    assert proves_nothing(answered(Say(403, body)))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_behind_the_gate_never_proves_that_it_serves(status: int) -> None:
    result = answered(Say(status, "boom"), INSIDE)
    assert not proves(result, CLOSED, closed=False) or status == 500
    assert not proves(answered(Say(status, "boom")), CLOSED, closed=True)


def test_of_a_huge_answer_only_the_beginning_is_read() -> None:
    result = answered(Say(200, b"x" * 50_000_000))
    assert (result.status, len(result.body)) == (200, BODY_SHOWN)


def packed(body: bytes, encoding: str = "gzip") -> Say:
    return Say(403, body, headers={"Content-Encoding": encoding})


BOMB = gzip.compress(b"\0" * (200 << 20))


def test_an_answer_that_unpacks_without_end_costs_no_memory() -> None:
    tracemalloc.start()
    try:
        result = answered(packed(BOMB))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert len(result.body) == BODY_SHOWN
    assert proves_nothing(result)


def test_a_packed_answer_proves_as_much_as_a_plain_one() -> None:
    result = answered(packed(gzip.compress(f'{{"message": "{MESSAGE}"}}'.encode())))
    assert proves(result, CLOSED, closed=True)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(gzip.compress(BOMB), "gzip, gzip"), (b"plain", "gzip"), (gzip.compress(b"cut")[:-1], "gzip"), (b"x", "br")],
    ids=["twice", "plain", "cut", "brotli"],  # what gzip writes has the time in it, and every process must know the same tests
)
def test_an_answer_that_is_not_packed_as_it_should_be_is_no_fixed_answer(body: bytes, encoding: str) -> None:
    result = answered(packed(body, encoding))
    assert (result.status, result.body) == (403, "")
    assert proves_nothing(result)


def test_who_is_served_what_nobody_can_unpack_was_let_through() -> None:
    result = answered(Say(200, b"plain", headers={"Content-Encoding": "gzip"}))
    assert passage(result, CLOSED).let_through


def test_a_gateway_whose_headers_never_end_is_left_in_time() -> None:
    with endless(b"HTTP/1.1 200 OK\r\nX-Long: ") as url:
        result = probe(url, seconds=1)
    assert result.error == "no answer within 1 s"
    assert proves_nothing(result)


def test_bytes_that_are_no_text_are_shown_as_well_as_they_can_be() -> None:
    assert answered(Say(200, b"\xff\xfeok", content_type="text/plain; charset=nonsense")).body.endswith("ok")


@pytest.mark.parametrize(
    "vantage", [replace(OUTSIDE, host="Ω.example"), replace(OUTSIDE, forwarded_for="Ω"), replace(OUTSIDE, url="http://[::1/")]
)
def test_what_cannot_be_sent_is_a_result_in_words(vantage: Vantage) -> None:
    result = answered(Say(200), vantage)
    assert result.error
    assert proves_nothing(result)


def test_a_probe_shows_no_credential() -> None:
    settings = ApisixSettings(nodes=(f"http://127.0.0.1:{closed_port()}",), credentials={"qa": {"apikey": SecretStr("hunter2-Ω")}})
    (result,) = Prober(settings, CLOCK).probe(replace(OUTSIDE, credential="qa"))
    assert "hunter2" not in f"{result!r}"
    (result,) = Prober(settings, CLOCK).probe(replace(OUTSIDE, credential="nobody"))
    assert "no credential is called" in result.error


def test_a_probe_may_show_one_of_the_daemons_credentials_and_only_to_its_hosts() -> None:
    known = HttpCredentials({"qa": CredentialSettings(hosts=("127.0.0.1",), header="apikey", value=SecretStr("hunter2"))})
    with stub(Say(200, "served")) as server:
        prober = Prober(ApisixSettings(nodes=(server.url,)), CLOCK, known)
        (result,) = prober.probe(replace(INSIDE, credential="qa"))
        assert (result.status, server.seen[0].headers["apikey"]) == (200, "hunter2")
        (result,) = prober.probe(replace(INSIDE, credential="qa", url=server.url.replace("127.0.0.1", "localhost")))
        assert "credential 'qa' is not meant for localhost" in result.error
        assert len(server.seen) == 1


def test_no_node_and_no_whole_address_is_told() -> None:
    (result,) = Prober(ApisixSettings(), CLOCK).probe(OUTSIDE)
    assert "no gateway node is configured" in result.error
