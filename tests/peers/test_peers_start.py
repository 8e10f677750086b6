"""Each real server starts, does what the contract suites need of it, and survives what they do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from tests.peers.alertmanager import Alertmanager
from tests.peers.elasticsearch import SearchServer, fluentd_record
from tests.peers.exporter import GatewayExporter
from tests.peers.mariadb import MariaDb
from tests.peers.oap import OapServer, agent
from tests.peers.oap.server import where_it_is_noon
from tests.peers.postgresql import PostgreSql
from tests.peers.process import Folder, NotReadyError, Server, free_port, wait_until
from tests.peers.prometheus import Prometheus

MINUTE = 60_000


@pytest.fixture
def posts() -> Iterator[tuple[str, list[bytes]]]:
    """A receiver of webhooks: its URL, and the bodies that came."""
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            del words

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Receiver) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        server.shutdown()
        thread.join()


def test_prometheus_scrapes_what_the_exporter_counts(prometheus_peer: Prometheus, exporter_peer: GatewayExporter) -> None:
    exporter_peer.serve("10.9.0.1", 7, code=503, route="start")

    wait_until(lambda: prometheus_peer.query('apisix_http_status{node="10.9.0.1"}'), 60, "the series of a pod")

    (sample,) = prometheus_peer.query('sum by (node, code) (apisix_http_status{route="start"})')
    assert sample["metric"] == {"node": "10.9.0.1", "code": "503"}
    assert sample["value"][1] == "7"
    quantile = prometheus_peer.query('histogram_quantile(0.99, apisix_http_latency_bucket{route="start",type="upstream"})')
    assert 10 < float(quantile[0]["value"][1]) <= 20


def test_prometheus_comes_back_with_its_samples_after_it_was_killed(
    prometheus_peer: Prometheus, exporter_peer: GatewayExporter
) -> None:
    exporter_peer.serve("10.9.0.2", 1)
    wait_until(lambda: prometheus_peer.query('apisix_http_status{node="10.9.0.2"}'), 60, "the series of a pod")

    prometheus_peer.restart()

    assert prometheus_peer.query('apisix_http_status{node="10.9.0.2"}[5m]')


def test_alertmanager_posts_a_firing_alert_to_our_webhook(alertmanager_peer: Alertmanager, posts: tuple[str, list[bytes]]) -> None:
    url, bodies = posts
    alertmanager_peer.post_to(url)

    alertmanager_peer.fire("TooManyErrors", {"pod": "shop-1"})

    # What an earlier test fired may be told first: this one's alert is waited for, not just any post.
    wait_until(lambda: any(b'"alertname":"TooManyErrors"' in body for body in list(bodies)), 60, "a post about our alert")
    assert "TooManyErrors" in {alert["labels"]["alertname"] for alert in alertmanager_peer.alerts()}
    alertmanager_peer.post_to(None)


def test_what_postgresql_committed_survives_a_power_cut(postgresql_peer: PostgreSql, postgresql_database: str) -> None:
    database = postgresql_database.rpartition("/")[2]
    postgresql_peer.execute("CREATE TABLE kept (n int)", database)
    postgresql_peer.execute("INSERT INTO kept VALUES (42)", database)

    postgresql_peer.kill()
    postgresql_peer.start()

    assert postgresql_peer.execute("SELECT n FROM kept", database) == "42"


def test_a_paused_postgresql_answers_nobody_until_it_is_resumed(postgresql_peer: PostgreSql) -> None:
    with psycopg.connect(postgresql_peer.conninfo()) as session:
        postgresql_peer.pause()
        try:
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                psycopg.connect(postgresql_peer.conninfo(), connect_timeout=2)
        finally:
            postgresql_peer.resume()
        row = session.execute("SELECT 1").fetchone()
    assert row == (1,)


def test_what_mariadb_committed_survives_a_power_cut(mariadb_peer: MariaDb) -> None:
    mariadb_peer.execute("CREATE TABLE kept (n int)")
    mariadb_peer.execute("INSERT INTO kept VALUES (42)")

    mariadb_peer.kill()
    mariadb_peer.start()

    assert mariadb_peer.execute("SELECT n FROM kept") == "42"


@pytest.mark.parametrize("hour", range(24))
def test_oap_has_no_midnight_during_the_tests(hour: int) -> None:
    now = datetime(2026, 11, 26, hour, 1, tzinfo=UTC)
    assert now.astimezone(where_it_is_noon(now)).hour == 12


def test_oap_makes_metrics_and_error_traces_of_pushed_segments(oap_peer: OapServer) -> None:
    now = oap_peer.now()
    minute = now - now % MINUTE - MINUTE
    oap_peer.report_instance("start-shop", "10.9.0.3", language="java", ipv4="10.9.0.3")

    oap_peer.push_requests("start-shop", "10.9.0.3", minute, 20, errors=2)

    def calls(metric: str) -> list[int | None]:
        return oap_peer.instance_metric(metric, "start-shop", "10.9.0.3", minute - MINUTE, minute)

    wait_until(lambda: calls("service_instance_cpm") == [None, 20], 60, "20 calls a minute")
    wait_until(lambda: calls("service_instance_sla") == [None, 9000], 60, "a success rate of 90 %")
    wait_until(lambda: len(oap_peer.error_traces("start-shop", "10.9.0.3", minute, now)) == 2, 60, "two error traces")
    found = oap_peer.error_traces("start-shop", "10.9.0.3", minute, now)
    assert {trace["isError"] for trace in found} == {True}


def test_oap_keeps_pushed_logs(oap_peer: OapServer) -> None:
    now = oap_peer.now()
    document = "query($c:LogQueryCondition){r:queryLogs(condition:$c){errorReason logs{content}}}"
    condition = {
        "serviceId": agent.service_id("log-shop"),
        "queryDuration": {**oap_peer.duration(now - MINUTE, now + MINUTE, "SECOND")},
        "tags": [{"key": "level", "value": "ERROR"}],
        "paging": {"pageNum": 1, "pageSize": 10},
    }

    oap_peer.push_logs(
        [agent.log("log-shop", "10.9.0.4", now, "boom"), agent.log("log-shop", "10.9.0.4", now, "fine", level="INFO")]
    )

    wait_until(lambda: oap_peer.graphql(document, c=condition)["r"]["logs"], 60, "the log line")
    assert [line["content"] for line in oap_peer.graphql(document, c=condition)["r"]["logs"]] == ["boom"]


@pytest.mark.parametrize("fixture", ["elasticsearch_peer", "elasticsearch6_peer", "opensearch_peer"])
def test_search_servers_find_a_pods_error_lines(fixture: str, request: pytest.FixtureRequest) -> None:
    server: SearchServer = request.getfixturevalue(fixture)
    at = "2026-11-22T13:00:00.123Z"
    server.index("start-2026.11.22", [fluentd_record("shop-1", "shop", at, f"{level} x") for level in ("ERROR", "INFO")])

    mine = [{"term": {"kubernetes.pod_name.keyword": "shop-1"}}, {"match_phrase": {"log": "ERROR"}}]

    assert server.count("start-*", {"bool": {"filter": mine}}) == 1
    total = server.request("POST", "/start-*/_search", {"query": {"match_all": {}}}).json()["hits"]["total"]
    assert total == (2 if server.make == "elasticsearch-6" else {"value": 2, "relation": "eq"})


def test_no_server_and_no_folder_outlives_a_killed_test_process(tmp_path: Path) -> None:
    script = (
        "from tests.peers.process import *\n"
        "folder = Folder('orphan')\n"
        "server = Server('orphan', ['sleep', '600'], folder.path)\n"
        "server.start()\n"
        "print(server.pid, folder.path, flush=True)\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as tests:
        assert tests.stdout is not None
        pid, _, folder = tests.stdout.readline().strip().partition(" ")

        os.kill(tests.pid, signal.SIGKILL)

        wait_until(lambda: not Path(f"/proc/{pid}").exists() and not Path(folder).exists(), 60, "the orphans gone")


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log() -> None:
    folder = Folder("failing")
    server = Server("failing", ["sh", "-c", "echo no such option; exit 3"], folder.path)
    server.start()
    try:
        with pytest.raises(NotReadyError, match=r"(?s)failing ended with 3.*no such option"):
            server.wait_for(lambda: False, 10)
    finally:
        server.kill()
        folder.remove()
