"""What the sources of evidence cost per poll: requests, KiB sent and seconds of CPU, for 1, 100 and 1,000 rollouts of 11 pods.

    python -m tests.bench.signal_bench

Each backend is a stub on loopback that answers at once, so the figures are the adapter's own. Elasticsearch and SkyWalking include
the first look at what is served there, which is repeated once an hour.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.signals import Counts, PodKey, Question, Window
from rollout.ports import Clock, SignalSource
from tests.adapters.stub import HandClock, Say, Script, Seen, stub

NOW = datetime(2026, 11, 22, 13, 10, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(minutes=5), NOW - timedelta(minutes=4))
PODS = 11
LONG = timedelta(minutes=1)


def prometheus(seen: Seen) -> Say:
    names = re.findall(r'=~"([^"]*)"', seen.form["query"])[0].replace("[.]", ".").split("|")
    result = [{"metric": {"node": name, "instance": "gateway-1"}, "value": [0, "5"]} for name in names]
    return Say(body={"status": "success", "data": {"resultType": "vector", "result": result}})


def elasticsearch(seen: Seen) -> Say:
    if seen.path.endswith("_field_caps"):
        exact: dict[str, object] = {f"kubernetes.{name}.keyword": {"keyword": {}} for name in ("pod_name", "namespace_name")}
        return Say(body={"fields": {**exact, "log": {"text": {}}}})
    responses = []
    for line in seen.body.decode().splitlines()[1::2]:
        asked = json.loads(line)["aggs"]["pods"]["filters"]["filters"]
        buckets = {key: {"doc_count": 9, "errors": {"doc_count": 1}} for key in asked}
        responses.append({"_shards": {"total": 5, "failed": 0}, "aggregations": {"pods": {"buckets": buckets}}})
    return Say(body={"responses": responses})


def skywalking(seen: Seen) -> Say:
    document = json.loads(seen.body)
    text, variables = document["query"], document.get("variables") or {}
    if "getTimeInfo" in text:
        told = {"timezone": "+0000", "currentTimestamp": round(NOW.timestamp() * 1000)}
        return Say(body={"data": {"version": "10.4.0", "getTimeInfo": told}})
    if text.startswith("{"):
        return Say(body={"data": {"hasQueryTracesV2Support": False, "supportQueryLogsByKeywords": True}})
    return Say(body={"data": {alias: _field(name, arguments, variables) for alias, name, arguments in _calls(text)}})


def _calls(text: str) -> list[tuple[str, str, str]]:
    return re.findall(r"(a\d+):(\w+)\(([^)]*)\)", text)


def _field(name: str, arguments: str, variables: Mapping[str, str]) -> object:
    match name:
        case "listInstances":
            found = re.search(r"serviceId:\$(v\d+)", arguments)
            service = variables[found[1]] if found else ""
            number = int(base64.b64decode(service[:-2]).decode().removeprefix("svc-"))
            return [{"id": f"{service}_{n}", "name": address(number, n), "attributes": []} for n in range(PODS)]
        case "execExpression":
            return {"type": "TIME_SERIES_VALUES", "error": None, "results": [{"values": [{"value": "9000"}]}]}
        case _:
            return {"traces": []}


def address(rollout: int, pod: int) -> str:
    return f"10.{rollout // 250}.{rollout % 250}.{pod}"


def questions(ask: str, rollouts: int) -> list[Question]:
    return [
        Question(
            "s", "b", ask, (("service", f"svc-{number}"),) if ask in {"error-traces", "success-rate"} else (),
            tuple(PodKey("prod", f"app-{number}-{n}", f"u{number}-{n}", address(number, n)) for n in range(PODS)), WINDOW,
        )
        for number in range(rollouts)
    ]  # fmt: skip


def made(kind: str, url: str, clock: Clock | None = None) -> SignalSource:
    clock = clock or HandClock(NOW)
    match kind:
        case "prometheus":
            return PrometheusSource("b", PrometheusSettings(url=url, timeout=LONG), clock)
        case "elasticsearch":
            return ElasticsearchSource("b", ElasticsearchSettings(url=url, timeout=LONG), clock)
        case _:
            return SkyWalkingSource("b", SkyWalkingSettings(url=url, timeout=LONG), clock)


def main(cpu: Callable[[], float] = time.thread_time) -> None:
    kinds: list[tuple[str, Script, str]] = [
        ("prometheus", prometheus, "5xx"),
        ("elasticsearch", elasticsearch, "error-logs"),
        ("skywalking", skywalking, "error-traces"),
        ("skywalking", skywalking, "success-rate"),
    ]
    print(f"{'backend':14} {'ask':13} {'rollouts':>8} {'requests':>9} {'KiB':>7} {'CPU s':>7}")
    for kind, script, ask in kinds:
        for rollouts in (1, 100, 1_000):
            with stub(script) as server:
                source = made(kind, server.url)
                asked = questions(ask, rollouts)
                before = cpu()
                answers = source.read(asked)
                spent = cpu() - before
                source.close()
                sent = sum(len(seen.body) for seen in server.seen) / 1024
            assert all(isinstance(answer.reading, Counts) for answer in answers.values())
            print(f"{kind:14} {ask:13} {rollouts:8} {len(server.seen):9} {sent:7.0f} {spent:7.2f}")


if __name__ == "__main__":
    main()
