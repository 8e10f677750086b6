"""How long a bad version serves after the trouble can be seen: milliseconds until `replicas: 0` is stored in the API server.

    python -m tests.bench.step_back_bench [crashes] [errors at the gateway] [errors in traces]

The real daemon on the real servers of tests/peers; both moments are taken by an observer in this process. The figures stand in
step_back.md.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

from rollout.core.history import Outcome
from tests.end_to_end_real.agents import Agents
from tests.end_to_end_real.stage import CANARY, Stage, gateway
from tests.end_to_end_real.traffic import Traffic, wait_for_samples
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesApi, KubernetesControlPlane
from tests.peers.oap import OapServer
from tests.peers.postgresql import PostgreSql
from tests.peers.process import wait_until
from tests.peers.prometheus import Prometheus

Json = dict[str, Any]


class CrashLoops:
    """Notes when each pod of a namespace was first seen in CrashLoopBackOff."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._ending = threading.Event()
        self.at: list[float] = []
        self._known: set[str] = set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._follow, name="crash-loops")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()

    def _follow(self) -> None:
        version = self._api.get(self._path)["metadata"]["resourceVersion"]
        while not self._ending.is_set():
            query = {"watch": "1", "timeoutSeconds": "2", "resourceVersion": version}
            with self._api._client.stream("GET", self._path, params=query) as answer:
                for line in answer.iter_lines():
                    now, pod = time.perf_counter(), json.loads(line)["object"]
                    version = pod["metadata"]["resourceVersion"]
                    waiting = [c["state"].get("waiting", {}).get("reason") for c in pod["status"].get("containerStatuses", ())]
                    if "CrashLoopBackOff" in waiting and pod["metadata"]["uid"] not in self._known:
                        self._known.add(pod["metadata"]["uid"])
                        self.at.append(now)


def stopped_at(stage: Stage, number: int) -> float:
    """When the canary's `number`-th step back was seen."""
    stops = [write for write in stage.recorder.of(CANARY) if "rollout/stopped" in write.changes and write.new("replicas") == 0]
    return stops[number].at


def crashes(cluster: KubernetesControlPlane, database: PostgreSql, times: int) -> list[float]:
    """From CrashLoopBackOff to 0, one rollout after the other."""
    found = []
    with Stage(cluster, database) as stage, CrashLoops(stage.api, stage.namespace) as seen:
        stage.daemon()
        for number in range(times):
            rollout = stage.submit(stage.plan("nginx:1.29-crash-loop", description=f"attempt {number}"))
            row = stage.wait_for_end(rollout)
            assert row.outcome is Outcome.FAILED, row.why
            found.append((stopped_at(stage, number) - seen.at[number]) * 1000)
    return found


def first(condition: Callable[[], object]) -> float:
    """The moment at which a condition is first seen to hold."""
    wait_until(condition, 300, "visible trouble", every=0.02)
    return time.perf_counter()


def gateway_errors(cluster: KubernetesControlPlane, database: PostgreSql, times: int) -> list[float]:
    """From the first 5xx in Prometheus to 0; windows of 10 s that are asked 2 s after their end."""
    found = []
    with ExitStack() as stack:
        exporter = stack.enter_context(GatewayExporter())
        prometheus = stack.enter_context(Prometheus([exporter.target]))
        stage = stack.enter_context(Stage(cluster, database, backends=[gateway(prometheus.url)]))
        traffic = stack.enter_context(Traffic(stage.api, exporter, stage.namespace))
        wait_for_samples(prometheus, stage.namespace, 10)
        stage.daemon()
        for number in range(times):
            traffic.errors = {}
            signal = stage.errors_at_the_gateway
            spec = {"soak": "10m", "maxSoak": "30m", "description": f"attempt {number}", "replicas": {"max": 1, "every": "5s"}}
            rollout = stage.submit(stage.plan("nginx:1.29-errs", signals=[signal], **spec))
            stage.wait_for_step(rollout, "soaking")
            (pod,) = stage.pods("canary")
            counted = f'apisix_http_status{{route="{stage.namespace}",code="502",node="{pod["status"]["podIP"]}"}} > 0'
            wait_until(lambda r=rollout: stage.state(r).signals[0].seen_at is not None, 60, "a healthy window", every=0.2)  # type: ignore[misc]  # bound now
            traffic.errors = {"-errs": 0.6}
            visible = first(lambda query=counted: prometheus.query(query))  # type: ignore[misc]  # bound now
            stage.wait_for_end(rollout)
            found.append((stopped_at(stage, number) - visible) * 1000)
            exporter.forget(pod["status"]["podIP"])
    return found


def trace_errors(cluster: KubernetesControlPlane, database: PostgreSql, times: int) -> list[float]:
    """From the first error trace in OAP to 0; whole minutes that are asked 6 s after their end. All at once."""
    with ExitStack() as stack:
        oap = stack.enter_context(OapServer())
        backend = {"name": "skywalking", "type": "skywalking", "url": oap.url, "settle": "5s"}
        found: list[float] = []
        threads = []
        for number in range(times):
            stage = stack.enter_context(Stage(cluster, database, backends=[backend]))
            agents = stack.enter_context(Agents(stage.api, oap, stage.namespace, requests=4))
            agents.errors = {"-errs": 0.75}
            stage.daemon()
            wait_until(lambda a=agents: a.known(10), 90, "a whole minute of every pod", every=0.5)  # type: ignore[misc]  # bound now
            threads.append(threading.Thread(target=_one_trace, args=(stage, oap, found), name=f"traces-{number}"))
            threads[-1].start()
        for thread in threads:
            thread.join()
    return found


def _one_trace(stage: Stage, oap: OapServer, found: list[float]) -> None:
    signal = {"preset": "skywalking-traces", "window": "60s", "delay": "6s", "parameters": {"service": stage.namespace}}
    rollout = stage.submit(stage.plan("nginx:1.29-errs", signals=[signal], soak="10m", maxSoak="30m"))
    stage.wait_for_step(rollout, "soaking")
    (pod,) = stage.pods("canary")
    began = oap.now()
    visible = first(lambda: oap.error_traces(stage.namespace, pod["status"]["podIP"], began - 60_000, oap.now()))
    stage.wait_for_end(rollout, 250)
    found.append((stopped_at(stage, 0) - visible) * 1000)


def table(name: str, figures: Sequence[float]) -> str:
    """One line: how many, p50, p99, the worst."""
    ranked = sorted(figures)
    p50, p99 = (ranked[min(len(ranked) - 1, int(len(ranked) * part))] for part in (0.5, 0.99))
    return f"| {name} | {len(ranked)} | {p50:,.0f} | {p99:,.0f} | {ranked[-1]:,.0f} |"


def main(arguments: Sequence[str]) -> None:
    counts = [int(word) for word in arguments] + [100, 5, 3][len(arguments) :]
    names = ("a pod's CrashLoopBackOff in the API server", "a 5xx answer in Prometheus", "an error trace in OAP")
    print("| from | times | p50 ms | p99 ms | worst ms |\n|---|---|---|---|---|", flush=True)
    with KubernetesControlPlane() as cluster, PostgreSql() as database:
        for name, measure, times in zip(names, (crashes, gateway_errors, trace_errors), counts, strict=True):
            if times:
                print(table(name, measure(cluster, database, times)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
