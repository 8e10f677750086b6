"""Traces that a pretended agent in every ready pod sends to SkyWalking."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Self

import httpx

from tests.end_to_end_real.traffic import Failing, ready_pods
from tests.peers.kubernetes import KubernetesApi
from tests.peers.oap import OapServer

EVERY = 1.0
BEFORE = 180_000


class Agents:
    """Sends `requests` a second for each ready pod of a namespace, to a service of the same name; instances are called by IP.

    A pod that is seen first has sent for three minutes, so that preflight finds a whole minute. `errors`: the share that
    fails, by what the pod's image ends with.
    """

    def __init__(self, api: KubernetesApi, oap: OapServer, namespace: str, requests: int = 20) -> None:
        self._api = api
        self._oap = oap
        self._namespace = namespace
        self._requests = requests
        self._ending = threading.Event()
        self._seen: set[str] = set()
        self._failing = Failing()
        self.errors: Mapping[str, float] = {}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="agents")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()

    def known(self, pods: int) -> bool:
        """Tell whether OAP has a whole minute of each of so many pods."""
        now = self._oap.now()
        minute = (now - 120_000, now - 120_000)
        counted = [self._oap.instance_metric("service_instance_cpm", self._namespace, ip, *minute) for ip in sorted(self._seen)]
        return len(counted) >= pods and all(values[0] for values in counted)

    def _run(self) -> None:
        while not self._ending.wait(EVERY):
            with contextlib.suppress(httpx.HTTPError, AssertionError):
                for ip, image in ready_pods(self._api, self._namespace):
                    self._send(ip, image)

    def _send(self, ip: str, image: str) -> None:
        now = self._oap.now()
        if ip not in self._seen:
            self._oap.report_instance(self._namespace, ip, language="java", ipv4s=ip)
            for past in range(now - BEFORE, now, 20_000):
                self._oap.push_requests(self._namespace, ip, past, 2)
            self._seen.add(ip)
        bad = self._failing.of(ip, image, self._requests, self.errors)
        self._oap.push_requests(self._namespace, ip, now, self._requests, errors=bad)
