"""The pretend APISIX against recordings of five real ones: status, shape, and every field, request by request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from rollout.sandbox.apisix import Request, Response, SandboxApisix
from rollout.sandbox.metrics_traffic import TrafficMetrics
from rollout.sandbox.world import World
from tests.contract import apisix_transcripts as transcripts
from tests.contract.apisix_transcripts import Exchange
from tests.simulation.offline_tale import manifests

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


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    server: str
    api_version: str
    text: str


def ask(server: SandboxApisix, exchange: Exchange) -> Answer:
    port = exchange.headers.get("Host", "").rpartition(":")[2]
    to_gateway = port == RECORDED_GATEWAY or (not port and not exchange.target.startswith("/apisix/"))
    where = urlsplit(server.gateway_urls[0] if to_gateway else server.admin_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=5, source_address=(exchange.client, 0))
    headers = {name: value for name, value in exchange.headers.items() if name not in ("Host", "Content-Length")}
    try:
        connection.request(exchange.method, exchange.target, exchange.body.encode() or None, headers)
        answer = connection.getresponse()
        kind, name, version = (answer.headers.get(name, "") for name in ("Content-Type", "Server", "X-API-VERSION"))
        return Answer(answer.status, kind, name, version, answer.read().decode())
    finally:
        connection.close()


def differences(exchange: Exchange, answer: Answer) -> Iterator[str]:
    if answer.status != exchange.status:
        yield f"{exchange}: HTTP {answer.status} instead of {exchange.status}"
    if exchange.content_type and answer.content_type.partition(";")[0] != exchange.content_type.partition(";")[0]:
        yield f"{exchange}: {answer.content_type} instead of {exchange.content_type}"
    if exchange.server and answer.server != exchange.server:
        yield f"{exchange}: {answer.server!r} serves instead of {exchange.server!r}"
    if answer.api_version != exchange.api_version:
        yield f"{exchange}: X-API-VERSION {answer.api_version!r} instead of {exchange.api_version!r}"
    wanted, got = transcripts.comparable(exchange.answer), transcripts.comparable(answer.text)
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


def not_pretended(exchange: Exchange) -> bool:
    return any(part in exchange.target for part in NOT_PRETENDED) or exchange.headers.get("Host", "").endswith(EXPORTER)


def replay(server: SandboxApisix, exchange: Exchange, time: Time) -> list[str]:
    if not_pretended(exchange):
        return []
    if exchange.notes.startswith("4 s later"):
        time.now += timedelta(seconds=4)
    return list(differences(exchange, ask(server, exchange)))


def test_the_newest_flavour_answers_every_recorded_request_as_the_real_server_did(time: Time) -> None:
    assert FOLDER is not None
    wrong: list[str] = []
    asked: list[Exchange] = []
    with sandbox(time, "3.18") as server:
        for name in ORDER:
            exchanges = transcripts.read(FOLDER / f"{name}.http")
            asked += exchanges
            wrong += [f"{name}: {words}" for exchange in exchanges for words in replay(server, exchange, time)]
    assert len(asked) > 150
    assert sum(map(not_pretended, asked)) < 15, "what no client of ours asks is a small part"
    assert not wrong, "\n".join(wrong)


def test_every_recording_is_used() -> None:
    assert FOLDER is not None
    used = {f"{name}.http" for name in ORDER} | {f"30-compare-{version}.http" for version in COMPARED.values()}
    used |= {f"30-metrics-{version}.txt" for version in COMPARED.values()}
    assert {path.name for path in FOLDER.iterdir()} - used == {"20-latency.txt", "30-compare.txt"}, (
        "times, and a table of the others"
    )


METRICS = ("apisix_http_status", "apisix_http_latency_bucket", "apisix_http_latency_count", "apisix_http_latency_sum")


@pytest.mark.parametrize("version", COMPARED.values())
def test_the_gateways_metrics_have_the_labels_and_buckets_that_every_version_gives(version: str) -> None:
    """The pretend Prometheus gives no label that a gateway does not, all that our questions use, and the same buckets."""
    assert FOLDER is not None
    families = TrafficMetrics(_busy_world()).families()
    for metric in METRICS:
        recorded = transcripts.series(FOLDER / f"30-metrics-{version}.txt", metric)
        pretended = [dict(series.labels) for series in families[metric]()]
        assert pretended, metric
        given = set().union(*pretended) - SCRAPED
        assert given <= set().union(*recorded), metric
        assert {"route", "service", "node"} <= given, metric
        if "latency" in metric:
            assert {labels["type"] for labels in pretended} <= {labels["type"] for labels in recorded}
            assert {labels.get("le") for labels in pretended} == {labels.get("le") for labels in recorded}
        else:
            assert {labels["code"][0] for labels in recorded} >= {"2", "4"}
        assert {"", "127.0.0.1"} <= {labels["node"] for labels in recorded}, "its own answers have no node"


SCRAPED = {"instance", "job", "namespace", "pod", "app"}
"""Labels that Prometheus itself adds."""


def _busy_world() -> World:
    world = World(datetime(2026, 11, 22, 12, tzinfo=UTC), 7, record_events=False)
    world.load(manifests())
    world.advance_by(timedelta(minutes=5))
    return world


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
