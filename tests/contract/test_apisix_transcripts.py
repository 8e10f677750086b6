"""The pretend APISIX against recordings of five real ones: status, shape, and every field, request by request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from rollout.sandbox.apisix import Request, Response, SandboxApisix
from tests.contract import apisix_transcripts as transcripts
from tests.contract.apisix_transcripts import Exchange

RECORDED_GATEWAY = "19080"
EXPORTER = ":19091"
ORDER = (
    "00-create", "01-list", "01-list-filter", "01-list-label-uri", "01-list-name-filter", "01-list-paging",
    "01-list-services", "02-get-one", "02-get-one-unknown", "03-before", "03-patch-add", "03-after-add",
    "03-patch-add-again", "03-patch-add-extend", "04-patch-delete", "04-after-delete", "04-patch-delete-absent",
    "04-patch-delete-last", "05-patch-subpath", "05-patch-subpath-create", "06-patch-unknown", "07-invalid-config",
    "08-auth", "09-malformed", "10-service-level", "11-global-rules", "12-two-plugins", "13-blacklist-response-code",
    "14-route-status-0", "16-misc", "17-get-then-put", "18-plugin-config", "25-ttl", "28-validate", "23-prometheus",
)  # fmt: skip
"""The recordings of 3.18.0 in an order in which each goes on where the one before ended."""
NOT_PRETENDED = ("/v1/", "/apisix/admin/configs/validate")
"""The control API, and a way to validate that only the newest version has: no client of ours asks them."""
COMPARED = {"2.15": "2.15.3", "3.2": "3.2.2", "3.9": "3.9.1", "3.13": "3.13.0", "3.18": "3.18.0"}

FOLDER = transcripts.folder()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="the recordings of real servers are not beside this checkout")


class Time:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 13, 16, tzinfo=UTC)


def upstream(_host: str, _port: int, request: Request) -> Response:
    shown = {"upstream": "up-a", "path": request.target, "xff": request.headers["x-forwarded-for"]}
    return Response(200, json.dumps({**shown, "xri": request.headers["x-real-ip"]}))


@pytest.fixture
def time() -> Time:
    return Time()


def sandbox(time: Time, flavour: str) -> SandboxApisix:
    server = SandboxApisix(lambda: time.now, flavour=flavour, backend=upstream)
    server.admin.admin_key = "lab-admin-key-0123456789abcdef"
    server.admin.viewer_key = "lab-viewer-key-0123456789abcdef"
    return server


def ask(server: SandboxApisix, exchange: Exchange) -> tuple[int, str, str]:
    port = exchange.headers.get("Host", "").rpartition(":")[2]
    to_gateway = port == RECORDED_GATEWAY or (not port and not exchange.target.startswith("/apisix/"))
    where = urlsplit(server.gateway_urls[0] if to_gateway else server.admin_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=5, source_address=(exchange.client, 0))
    headers = {name: value for name, value in exchange.headers.items() if name not in ("Host", "Content-Length")}
    try:
        connection.request(exchange.method, exchange.target, exchange.body.encode() or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def differences(exchange: Exchange, status: int, kind: str, text: str) -> Iterator[str]:
    if status != exchange.status:
        yield f"{exchange}: HTTP {status} instead of {exchange.status}"
    if exchange.content_type and kind.partition(";")[0] != exchange.content_type.partition(";")[0]:
        yield f"{exchange}: {kind} instead of {exchange.content_type}"
    wanted, got = transcripts.comparable(exchange.answer), transcripts.comparable(text)
    if exchange.target.rstrip("/").endswith("/ip-restriction") and exchange.method == "GET":
        wanted, got = (sorted(schema["properties"]) for schema in (wanted, got))
    if exchange.target.endswith("/plugins/list"):
        wanted, got = ("ip-restriction" in wanted), ("ip-restriction" in got)
    wanted = only_known(wanted, got)
    if wanted != got:
        yield f"{exchange}:\n  {got}\n  instead of\n  {wanted}"


def only_known(wanted: Any, got: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out of a recorded list what other recordings had put there, and the figure that counts it."""
    if not (isinstance(wanted, dict) and isinstance(got, dict) and isinstance(wanted.get("list"), list)):
        return {**wanted, "total": got["total"]} if isinstance(wanted, dict) and "total" in wanted and "total" in got else wanted
    known = {item["key"] for item in transcripts.items(got)}
    return {**wanted, "list": [item for item in wanted["list"] if item["key"] in known], "total": got["total"]}


def replay(server: SandboxApisix, exchange: Exchange, time: Time) -> list[str]:
    if any(part in exchange.target for part in NOT_PRETENDED) or exchange.headers.get("Host", "").endswith(EXPORTER):
        return []
    if exchange.notes.startswith("4 s later"):
        time.now += timedelta(seconds=4)
    return list(differences(exchange, *ask(server, exchange)))


def test_the_newest_flavour_answers_every_recorded_request_as_the_real_server_did(time: Time) -> None:
    assert FOLDER is not None
    wrong: list[str] = []
    asked = 0
    with sandbox(time, "3.18") as server:
        for name in ORDER:
            exchanges = transcripts.read(FOLDER / f"{name}.http")
            asked += len(exchanges)
            wrong += [f"{name}: {words}" for exchange in exchanges for words in replay(server, exchange, time)]
    assert asked > 150
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("flavour", COMPARED)
def test_each_flavour_answers_the_comparison_as_its_real_server_did(flavour: str, time: Time) -> None:
    assert FOLDER is not None
    exchanges = transcripts.read(FOLDER / f"30-compare-{COMPARED[flavour]}.http")
    with sandbox(time, flavour) as server:
        wrong = [words for exchange in exchanges for words in replay(server, exchange, time)]
    assert len(exchanges) > 45
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("flavour", "other"), [("3.18", "3.13"), ("3.13", "3.9"), ("3.9", "3.2"), ("3.2", "2.15")])
def test_no_flavour_passes_for_its_neighbour(flavour: str, other: str, time: Time) -> None:
    assert FOLDER is not None
    exchanges = transcripts.read(FOLDER / f"30-compare-{COMPARED[other]}.http")
    with sandbox(time, flavour) as server:
        assert any(replay(server, exchange, time) for exchange in exchanges)
