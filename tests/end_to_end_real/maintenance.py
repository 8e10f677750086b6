"""What an offline upgrade on a real control plane needs around it: a gateway before the pods, and Jobs that print something."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from rollout.adapters.clock import SystemClock
from rollout.sandbox.apisix import ADMIN_KEY, Request, Response, SandboxApisix
from tests.end_to_end_real.stage import NEW, STABLE, Stage
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql

Json = dict[str, Any]
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
CLOCK = SystemClock()
ARTIFACT = {"id": "shop-17.dump", "size": 4096, "sha256": "ab" * 32}
PRINTS = {
    "backup": ("backing up", f"rollout-artifact: {json.dumps(ARTIFACT)}"),
    "sessions": ("app from 10.0.0.9", "0"),
    "smoke": ('<testsuite><testcase classname="shop" name="orders"/><testcase classname="shop" name="cart"/></testsuite>',),
}
"""What a Job's container prints, by the name of its image."""


class Maintenance:
    """A stage with a pretended gateway before its real pods. `outside`: when a client from outside was served, by which image."""

    def __init__(self, cluster: KubernetesControlPlane, database: PostgreSql, *, replicas: int = 3) -> None:
        self._cluster = cluster
        self.apisix = SandboxApisix(CLOCK.now, backend=self._answer, discover=self._discover)
        gateway = {"name": "apisix", "type": "apisix", "adminUrl": self.apisix.admin_url, "apiKey": ADMIN_KEY,
                   "nodes": list(self.apisix.gateway_urls)}  # fmt: skip
        self.stage = Stage(cluster, database, replicas=replicas, gateways=[gateway])
        self.outside: list[tuple[datetime, datetime, str]] = []
        self._stack = ExitStack()
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.apisix)
            stack.enter_context(self.stage)
            upstream = {
                "type": "roundrobin",
                "discovery_type": "kubernetes",
                "service_name": f"{self.stage.namespace}/nginx-svc:80",
            }
            self.admin("PUT", "routes/shop", {"name": "shop", "uri": "/shop/*", "upstream": upstream})
            for work in (self._print, self._ask_from_outside):
                thread = threading.Thread(target=work, name=work.__name__)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._stopping.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    # -- the world around --------------------------------------------------------------------------------------------------

    def _ready_pods(self) -> dict[str, str]:
        """Images of the pods that would get requests, by address."""
        found = {}
        for pod in self.stage.pods("release"):
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))
            if ready:
                found[pod["status"]["podIP"]] = pod["spec"]["containers"][0]["image"]
        return found

    def _discover(self, service: str) -> list[tuple[str, int]]:
        return [(address, 80) for address in sorted(self._ready_pods())]

    def _answer(self, host: str, port: int, request: Request) -> Response:
        image = self._ready_pods().get(host)
        if image is None:
            raise ConnectionRefusedError(host)
        return Response(200, json.dumps({"image": image}))

    def _print(self) -> None:
        """Let the Jobs' containers print: it is there before they end."""
        printed: set[str] = set()
        path = f"/api/v1/namespaces/{self.stage.namespace}/pods"
        while not self._stopping.wait(0.1):
            for pod in self.stage.api.items(path, "job-name"):
                name, image = pod["metadata"]["name"], pod["spec"]["containers"][0]["image"]
                lines = PRINTS.get(image.partition(":")[0])
                if name not in printed and lines:
                    self._cluster.log(self.stage.namespace, name, *lines)
                    printed.add(name)

    def _ask_from_outside(self) -> None:
        transport = httpx.HTTPTransport(local_address=OUTSIDE)
        with httpx.Client(transport=transport, timeout=60, trust_env=False) as client:
            while not self._stopping.wait(0.1):
                asked = CLOCK.now()
                answer = client.get(f"{self.apisix.gateway_urls[0]}/shop/1")
                if answer.status_code == 200:
                    self.outside.append((asked, CLOCK.now(), answer.json()["image"]))

    # -- what people do ----------------------------------------------------------------------------------------------------

    def admin(self, method: str, path: str, value: object = None) -> Json:
        """Use the Admin API as somebody else."""
        url = f"{self.apisix.admin_url}/apisix/admin/{path}"
        content = None if value is None else json.dumps(value)
        answer = httpx.request(method, url, content=content, headers={"X-API-KEY": ADMIN_KEY}, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        found: Json = answer.json()["value"]
        return found

    def job(self, image: str, **more: Any) -> Json:  # noqa: ANN401 -- the plan's own values
        """Write a Job that runs for some seconds, so that it has time to print."""
        spec = more.pop("pod", {})
        pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}], **spec}
        template = {"metadata": {"annotations": {"rollout.test/after": "3s"}}, "spec": pod}
        return {"manifest": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}}, "deadline": "5m", **more}

    def submit(self, **spec: Any) -> str:  # noqa: ANN401 -- the plan's own values
        """Hand in a plan that begins now; the rollout's id."""
        body: Json = {
            "target": {"namespace": self.stage.namespace, "stable": STABLE}, "image": NEW, "schemaChange": True,
            "window": {"startAt": f"{CLOCK.now():%Y-%m-%d %H:%M}", "timezone": "UTC", "duration": "1h", "startGrace": "15m"},
            "gate": {"route": {"name": "shop"}, "allow": [INSIDE], "message": "closed", "probes": {
                "outside": [{"url": "/shop/1", "sourceAddress": OUTSIDE}],
                "inside": [{"url": "/shop/1", "sourceAddress": INSIDE}]}},
            "quiesce": {"sessions": self.job("sessions:1")},
            "backup": self.job("backup:1"), "migrate": self.job("migrate:1"), "restore": self.job("restore:1", expected="2m"),
            "tests": [self.answers(NEW), {"name": "smoke", "job": self.job("smoke:1")}],
            "margin": "5m", "watch": "2s", **spec,
        }  # fmt: skip
        document = {"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": self.stage.namespace}, "spec": body}
        path = self.stage.folder / "offline.yaml"
        path.write_text(yaml.safe_dump(document))
        return self.stage.submit(path)

    def answers(self, image: str) -> Json:
        """Write a test: what is behind the gate is of this version."""
        url = f"{self.apisix.gateway_urls[0]}/shop/test"
        return {"name": f"answers as {image}", "http": {"url": url, "contains": image}, "pause": "1s", "retries": 1}

    def served_while_closed(self, rollout: str) -> list[str]:
        """The images that answered requests from outside after the gate was closed and before it was opened."""
        closed, opening = (self.stage.history(rollout, kind)[0].at for kind in ("gate-closed", "opening"))
        return [image for asked, answered, image in self.outside if asked > closed and answered < opening]

    # -- what is seen ------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Json]:
        """The Jobs there are, in the order of their making."""
        found = self.stage.api.items(f"/apis/batch/v1/namespaces/{self.stage.namespace}/jobs")
        return sorted(found, key=lambda job: (job["metadata"]["creationTimestamp"], int(job["metadata"]["resourceVersion"])))

    def job_names(self, rollout: str) -> list[str]:
        return [job["metadata"]["name"].removeprefix(f"{rollout}-") for job in self.jobs()]
