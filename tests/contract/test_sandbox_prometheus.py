"""The pretend Prometheus says what the traffic says, with Prometheus' own arithmetic, and refuses what it does not know."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.metrics_traffic import BUCKETS_MS
from rollout.sandbox.prometheus import FiringAlert
from rollout.sandbox.promql_eval import Evaluator
from rollout.sandbox.promql_functions import Vector
from rollout.sandbox.promql_series import Scrapes, Series
from rollout.sandbox.promql_syntax import parse
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import NAMESPACE, START, manifests

MINUTE = timedelta(minutes=1)
Answer = dict[str, float]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Half an hour of warm-up, then two canary pods that fail 5 % for an hour."""
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0), manifests()) as running:
        with running.using() as world:
            world.behaviours["web:2"] = Behaviour(error_rate=0.05, slow_rate=0.02)
            world.set_image(NAMESPACE, "web-canary", "app", "web:2")
            world.scale(NAMESPACE, "web-canary", 2)
        running.advance(60 * MINUTE)
        yield running


def raw(sandbox: Sandbox, query: str, **parameters: str) -> dict[str, Any]:
    answer = httpx.post(f"{sandbox.urls['prometheus']}/api/v1/query", data={"query": query, **parameters})
    return {"http": answer.status_code, **answer.json()}


def ask(sandbox: Sandbox, query: str, label: str = "pod", **parameters: str) -> Answer:
    answer = raw(sandbox, query, **parameters)
    assert answer["status"] == "success", answer
    assert answer["data"]["resultType"] == "vector"
    return {row["metric"].get(label, ""): float(row["value"][1]) for row in answer["data"]["result"]}


def pods(sandbox: Sandbox) -> list[Any]:
    return [pod["metadata"] | {"ip": pod["status"]["podIP"]} for pod in sandbox.world.objects("pods")]


def stamp(when: datetime) -> str:
    return str(when.timestamp())


def test_counters_read_at_both_ends_give_the_counts_of_the_traffic(sandbox: Sandbox) -> None:
    end = sandbox.world.now.replace(second=0)
    start = end - 5 * MINUTE
    for code, read in (("5..", "errors"), (".+", "requests")):
        query = f'sum by (pod) (http_requests_total{{namespace="{NAMESPACE}",code=~"{code}"}})'
        before, after = ask(sandbox, query, time=stamp(start)), ask(sandbox, query, time=stamp(end))
        for pod in pods(sandbox):
            counts = sandbox.world.traffic.counts(pod["uid"], start, end)
            assert after[pod["name"]] - before[pod["name"]] == getattr(counts, read)


def test_the_gateway_counts_the_same_requests_by_pod_ip(sandbox: Sandbox) -> None:
    own = ask(sandbox, 'sum by (pod) (http_requests_total{code="500"})')
    gateway = ask(sandbox, 'sum by (node) (apisix_http_status{route="web-svc",code=~"5.."})', "node")
    for pod in pods(sandbox):
        assert gateway[pod["ip"]] == own[pod["name"]]


def test_increase_is_close_to_the_counts(sandbox: Sandbox) -> None:
    end = sandbox.world.now.replace(second=0)
    grown = ask(sandbox, "sum by (pod) (increase(http_requests_total[5m]))", time=stamp(end))
    for pod in pods(sandbox):
        assert grown[pod["name"]] == pytest.approx(
            sandbox.world.traffic.counts(pod["uid"], end - 5 * MINUTE, end).requests, rel=0.05
        )


def test_a_ratio_of_vectors_is_the_error_rate(sandbox: Sandbox) -> None:
    query = 'sum by (pod) (rate(http_requests_total{code=~"5.."}[30m])) / sum by (pod) (rate(http_requests_total[30m])) * 100'
    for name, percent in ask(sandbox, query).items():
        assert percent == pytest.approx(5.0, rel=0.3) if "canary" in name else percent < 0.5


def test_quantiles_come_from_the_buckets(sandbox: Sandbox) -> None:
    query = 'histogram_quantile(0.5, sum by (le, node) (increase(apisix_http_latency_bucket{type="upstream"}[10m])))'
    for value in ask(sandbox, query, "node").values():
        assert 20 < value < 60
    slow = ask(sandbox, query.replace("0.5", "0.99"), "node")
    canary = next(pod["ip"] for pod in pods(sandbox) if "canary" in pod["name"])
    assert slow[canary] > 1_000
    assert (
        len(raw(sandbox, f'apisix_http_latency_bucket{{type="upstream",node="{canary}"}}')["data"]["result"]) == len(BUCKETS_MS) + 1
    )


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("up", 12),
        ('up{pod=~"web-canary-.*"}', 2),
        ('up{pod!~"web-canary-.*"}', 10),
        ('up{pod="none"}', 0),
        ("nothing_of_this_name", 0),
        ("up > 1", 0),
        ("up == bool 1", 12),
        ("count(up)", 1),
        ("topk(3, http_requests_total)", 3),
        ('up{app="web"} and on(pod) http_requests_total{code="500"} > 20', 2),
        ('up unless on(pod) up{pod=~"web-canary-.*"}', 10),
        ("absent(nothing_of_this_name)", 1),
        ("sum(nothing_of_this_name) or vector(0)", 1),
        ("last_over_time((sum by (pod) (http_requests_total))[1800s:30s])", 12),
        ("http_requests_total offset 2h", 0),
        ('sum by (pod) (http_requests_total) * on(pod) group_left(app) up{app="web"}', 12),
        ("avg without (code) (http_requests_total)", 12),
        ("max_over_time(up[5m])", 12),
    ],
)
def test_vectors(sandbox: Sandbox, query: str, size: int) -> None:
    answer = raw(sandbox, query)
    assert answer["status"] == "success", answer
    assert len(answer["data"]["result"]) == size


@pytest.mark.parametrize(
    ("query", "value"),
    [("1 + 2 * 3", "7"), ("-2 ^ 2", "-4"), ("2 ^ 3 ^ 2", "512"), ("(1 + 2) * 3", "9"), ("1 / 0", "+Inf"), ("0 / 0", "NaN"),
     ("3 > bool 2", "1"), ("scalar(up)", "NaN"), ("7 % 4", "3"), ("1h - 0 ", None)],
)  # fmt: skip
def test_scalars(sandbox: Sandbox, query: str, value: str | None) -> None:
    answer = raw(sandbox, query)
    if value is None:
        assert answer["http"] == 400
    else:
        assert (answer["data"]["resultType"], answer["data"]["result"][1]) == ("scalar", value)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "sum(",
        "up{",
        'up{pod=~"("}',
        "predict_linear(up[5m], 60)",
        "rate(up)",
        "up[5m]",
        "sum by pod (up)",
        "up $ up",
        '{pod=""}',
        "1 and 2",
    ],
)
def test_what_is_not_understood_is_bad_data(sandbox: Sandbox, query: str) -> None:
    answer = raw(sandbox, query)
    assert (answer["http"], answer["status"], answer["errorType"]) == (400, "error", "bad_data")


def test_many_to_many_is_an_execution_error(sandbox: Sandbox) -> None:
    answer = raw(sandbox, "http_requests_total / on(app) http_requests_total")
    assert (answer["http"], answer["errorType"]) == (422, "execution")


def test_a_pod_that_is_gone_goes_stale_and_the_gateway_remembers_it() -> None:
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0), manifests()) as sandbox:
        victim = pods(sandbox)[0]
        with sandbox.using() as world:
            world.delete_pod(NAMESPACE, victim["name"], force=True)
        sandbox.advance(MINUTE)
        assert ask(sandbox, f'up{{pod="{victim["name"]}"}}') == {}
        assert victim["ip"] in ask(sandbox, "sum by (node) (apisix_http_status)", "node")
        assert ask(sandbox, f'up{{pod="{victim["name"]}"}}', time=stamp(sandbox.world.now - 2 * MINUTE)) == {victim["name"]: 1.0}


def test_a_range_query_has_one_value_a_step(sandbox: Sandbox) -> None:
    end = sandbox.world.now
    parameters = {"query": "sum(rate(http_requests_total[5m]))", "start": stamp(end - 10 * MINUTE), "end": stamp(end), "step": "60"}
    answer = httpx.get(f"{sandbox.urls['prometheus']}/api/v1/query_range", params=parameters).json()
    assert answer["data"]["resultType"] == "matrix"
    assert len(answer["data"]["result"][0]["values"]) == 11
    assert float(answer["data"]["result"][0]["values"][5][1]) == pytest.approx(10, rel=0.1)


def test_alerts_warnings_and_the_servers_own_pages(sandbox: Sandbox) -> None:
    base = sandbox.urls["prometheus"]
    sandbox.prometheus.alerts.append(FiringAlert({"alertname": "HighErrors"}, START))
    (alert,) = httpx.get(f"{base}/api/v1/alerts").json()["data"]["alerts"]
    assert (alert["labels"]["alertname"], alert["state"], alert["activeAt"]) == ("HighErrors", "firing", "2026-03-02T08:00:00Z")
    sandbox.prometheus.warnings.append("a store is away")
    assert raw(sandbox, "up")["warnings"] == ["a store is away"]
    sandbox.prometheus.warnings.clear()
    assert httpx.get(f"{base}/-/ready").status_code == 200
    assert httpx.get(f"{base}/api/v1/status/buildinfo").json()["data"]["version"]
    assert httpx.get(f"{base}/none").status_code == 404


def _growth(samples: dict[float, float], query: str, at: float) -> Vector | float | str:
    series = Series({"x": "y"}, lambda when: samples[when], min(samples), max(samples) + 1)
    return Evaluator({"c": lambda: [series]}, Scrapes(10.0)).evaluate(parse(query), at)


def test_a_reset_of_a_counter_is_not_a_fall() -> None:
    samples = {0.0: 10.0, 10.0: 20.0, 20.0: 5.0, 30.0: 15.0}
    found = _growth(samples, "increase(c[31s])", 30.0)
    assert isinstance(found, list)
    assert found[0][1] == pytest.approx((10 + 5 + 10) * (30 + 1) / 30)


def test_growth_needs_two_samples_and_windows_are_open_on_the_left() -> None:
    samples = {0.0: 1.0, 10.0: 2.0, 20.0: 3.0}
    assert _growth(samples, "rate(c[10s])", 20.0) == []
    assert _growth(samples, "count_over_time(c[20s])", 20.0) == [({"x": "y"}, 2.0)]
    found = _growth(samples, "rate(c[20s])", 20.0)
    assert isinstance(found, list)
    assert not math.isnan(found[0][1])
