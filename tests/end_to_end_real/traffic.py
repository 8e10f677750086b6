"""Requests that a pretended gateway counts at every ready pod, so that Prometheus has something to say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Self

import httpx

from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesApi
from tests.peers.process import wait_until
from tests.peers.prometheus import Prometheus

EVERY = 0.5


class Failing:
    """Which requests fail: a share by what an image ends with, dealt out evenly, so that one in a hundred is one in a hundred."""

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}

    def of(self, pod: str, image: str, requests: int, shares: Mapping[str, float]) -> int:
        """How many of a pod's next requests fail."""
        share = next((share for end, share in shares.items() if image.endswith(end)), 0.0)
        owed = self._owed.get(pod, 0.0) + requests * share
        self._owed[pod] = owed - int(owed)
        return int(owed)


class Traffic:
    """Serves `requests` twice a second at each ready pod of a namespace, under a route of the same name.

    `errors`: the share of them that fails, by what the pod's image ends with.
    """

    def __init__(self, api: KubernetesApi, exporter: GatewayExporter, namespace: str, requests: int = 20) -> None:
        self._api = api
        self._exporter = exporter
        self._namespace = namespace
        self._requests = requests
        self._ending = threading.Event()
        self._nodes: set[str] = set()
        self._pods: list[tuple[str, str]] = []
        self._failing = Failing()
        self.errors: Mapping[str, float] = {}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()
        for node in self._nodes:
            self._exporter.forget(node)

    def _run(self) -> None:
        while not self._ending.wait(EVERY):
            with contextlib.suppress(httpx.HTTPError, AssertionError):
                self._pods = ready_pods(self._api, self._namespace)
            for ip, image in self._pods:
                bad = self._failing.of(ip, image, self._requests, self.errors)
                self._nodes.add(ip)
                self._exporter.serve(ip, self._requests - bad, route=self._namespace)
                # Also when none fails: a counter that is there from the start.
                self._exporter.serve(ip, bad, code=502, route=self._namespace)


def ready_pods(api: KubernetesApi, namespace: str) -> list[tuple[str, str]]:
    """IP and image of every ready pod."""
    found = []
    for pod in api.items(f"/api/v1/namespaces/{namespace}/pods"):
        conditions = pod["status"].get("conditions", [])
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if ready and "deletionTimestamp" not in pod["metadata"]:
            found.append((pod["status"]["podIP"], pod["spec"]["containers"][0]["image"]))
    return found


def wait_for_samples(prometheus: Prometheus, route: str, pods: int) -> None:
    """Wait until Prometheus knows a whole window (10 s, asked 2 s later) of so many pods, as preflight wants it."""
    wanted = f'count(apisix_http_status{{route="{route}",code="200"}} offset 22s)'

    def known() -> bool:
        found = prometheus.query(wanted)
        return bool(found) and int(found[0]["value"][1]) >= pods

    wait_until(known, 60, f"a window of samples about {pods} pods of {route}", every=0.25)
