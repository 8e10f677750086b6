"""The pretend Prometheus and a real one, given the same samples and asked the same: where they disagree the sandbox is wrong."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.prometheus import SCRAPE_SECONDS
from rollout.sandbox.promql_series import LOOKBACK
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import NAMESPACE, START, manifests
from tests.peers.process import Folder, Server, free_port, on_path

pytestmark = [
    pytest.mark.peer("prometheus"),
    pytest.mark.skipif(shutil.which("prometheus") is None or shutil.which("promtool") is None, reason="prometheus is not on PATH"),
]
WARM_UP = timedelta(minutes=40)
METRICS = ("http_requests_total", "apisix_http_status", "apisix_http_latency_bucket", "up")
QUERIES = (
    "http_requests_total",
    'http_requests_total{code="500"}',
    'http_requests_total{pod=~"web-canary.*",code!~"2.."}',
    "sum by (pod) (http_requests_total)",
    "sum by (pod) (increase(http_requests_total[5m]))",
    "sum by (pod) (rate(http_requests_total[61s]))",
    "increase(http_requests_total[15s])",
    "increase(http_requests_total[31s])",
    "increase(http_requests_total[20m])",
    "rate(http_requests_total[5m] offset 7m)",
    "sum without (code, pod) (http_requests_total)",
    'sum by (pod) (rate(http_requests_total{code=~"5.."}[10m])) / sum by (pod) (rate(http_requests_total[10m]))',
    '100 * sum(rate(http_requests_total{code="500"}[5m])) / sum(rate(http_requests_total[5m])) > 0.01',
    'histogram_quantile(0.95, sum by (le, node) (increase(apisix_http_latency_bucket{type="upstream"}[5m])))',
    'histogram_quantile(0.5, sum by (le) (rate(apisix_http_latency_bucket{type="request"}[5m])))',
    "last_over_time((sum by (node) (apisix_http_status))[1800s:30s])",
    "max_over_time(http_requests_total[2m])",
    "avg_over_time(http_requests_total[2m])",
    "count_over_time(up[1m])",
    "count(up)",
    "avg(http_requests_total)",
    "stddev(http_requests_total)",
    "topk(2, http_requests_total)",
    "absent(nothing)",
    'absent(nothing{a="b"})',
    "sum(nothing) or vector(0)",
    "up == bool 1",
    "up > 1",
    'http_requests_total and on(pod) http_requests_total{code="500"} > 3',
    'up unless on(pod) up{pod=~"web-canary.*"}',
    'sum by (pod) (http_requests_total) * on(pod) group_left(app) up{app="web"}',
    'http_requests_total{code="500"} / ignoring(code) http_requests_total{code="200"}',
    "http_requests_total % 7",
    "-http_requests_total ^ 2",
    "clamp_min(http_requests_total, 20)",
    "scalar(sum(up)) + 1",
    "1 / 0",
    "time() - 5",
    "vector(1) / 0",
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0), manifests()) as running:
        with running.using() as world:
            world.behaviours["web:2"] = Behaviour(error_rate=0.05, slow_rate=0.1)
            world.set_image(NAMESPACE, "web-canary", "app", "web:2")
            world.scale(NAMESPACE, "web-canary", 1)
        running.advance(WARM_UP)
        yield running


def exposition(sandbox: Sandbox) -> str:
    """Every sample so far in OpenMetrics text."""
    end = sandbox.world.now.timestamp()
    lines: list[str] = []
    for metric in METRICS:
        lines.append(f"# TYPE {metric} unknown")
        for series in sandbox.prometheus.families[metric]():
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(series.labels.items()))
            for number in range(math.ceil(series.since / SCRAPE_SECONDS), math.floor(end / SCRAPE_SECONDS) + 1):
                at = number * SCRAPE_SECONDS
                lines.append(f"{metric}{{{labels}}} {series.value(at)} {at}")
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def real(sandbox: Sandbox) -> Iterator[str]:
    folder = Folder("promql")
    try:
        (folder.path / "samples").write_text(exposition(sandbox), encoding="utf-8")
        (folder.path / "config.yml").write_text("global: {}\n", encoding="utf-8")
        tsdb = folder.path / "tsdb"
        build = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder.path / "samples"), str(tsdb)]
        subprocess.run(build, check=True, capture_output=True, timeout=60)
        url = f"http://127.0.0.1:{(port := free_port())}"
        server = Server(
            "prometheus",
            [on_path("prometheus") or "prometheus", f"--config.file={folder.path}/config.yml", f"--storage.tsdb.path={tsdb}",
             f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y"],
            folder.path,
        )  # fmt: skip
        server.start()
        try:
            server.wait_for(lambda: answers(url))
            yield url
        finally:
            server.kill()
    finally:
        folder.remove()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.HTTPError:
        return False


def asked(url: str, query: str, at: float) -> dict[str, float] | float:
    found = httpx.post(f"{url}/api/v1/query", data={"query": query, "time": str(at)}).json()
    assert found["status"] == "success", found
    if found["data"]["resultType"] == "scalar":
        return float(found["data"]["result"][1])
    return {str(sorted(row["metric"].items())): float(row["value"][1]) for row in found["data"]["result"]}


@pytest.mark.parametrize("query", QUERIES)
def test_both_answer_alike(sandbox: Sandbox, real: str, query: str) -> None:
    end = sandbox.world.now.timestamp()
    # Between the scrapes and away from the beginning of the series: before version 3 a window included the sample on its left
    # edge, and a counter that begins within the window was extrapolated further back.
    for at in (end - 15 * 60 + 3.3, end - 10 * 60 - 4.0, end - 1.0, end + LOOKBACK - 21.0):
        ours, theirs = asked(sandbox.urls["prometheus"], query, at), asked(real, query, at)
        if isinstance(theirs, float):
            assert ours == pytest.approx(theirs, nan_ok=True)
            continue
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys()
        assert [ours[key] for key in theirs] == pytest.approx(list(theirs.values()), rel=1e-9, nan_ok=True)
