"""A shop to upgrade offline: a service with a database behind the gateway, and the Jobs that back it up, change it, restore it.

The database is a stand-in: it knows which schema it has and which backups were made of it. What the shipped Job templates would
do with a real one happens to it when their pods end well, and they print what the real scripts print. The service answers by its
image and by that schema, so old code on a new schema (and the other way round) shows at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import yaml

from rollout.sandbox.apisix_admin import ADMIN_KEY, PREFIX
from rollout.sandbox.apisix_http import Request, Response, json_response
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json, name_of
from rollout.sandbox.serve import Sandbox
from rollout.sandbox.services import is_ready
from rollout.sandbox.skywalking_topology import Relation
from rollout.sandbox.storage import Change, ChangeType

NAMESPACE, NAME, CONTAINER, REPLICAS = "shop", "orders", "app", 3
IMAGES = "registry.example.com/shop/orders"
OLD = f"{IMAGES}:2.4.0"
MIGRATION = f"{IMAGES}-schema:3.0.0"
ROUTE = "orders-api"
OLD_SCHEMA, NEW_SCHEMA = "2.4", "3.0"
LASTS = {
    "drain": timedelta(minutes=1),
    "backup": timedelta(minutes=6),
    "migrate": timedelta(minutes=4),
    "smoke": timedelta(minutes=2),
    "restore": timedelta(minutes=8),
}
"""How long the work of each Job takes; a Job's kind is the name of its container, as the shipped templates have it."""

SMOKED = ("/orders/place", "/orders/checkout", "/orders/cancel")
"""The pages that the smoke test asks."""
WARM_UP = timedelta(minutes=5)
"""Passes where time is moved by hand, so that the service stands when the shop is there."""
MANIFESTS = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {NAME}, namespace: {NAMESPACE}}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: {NAME}}}}}
  template:
    metadata: {{labels: {{app: {NAME}}}}}
    spec:
      containers:
        - name: {CONTAINER}
          image: {OLD}
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /orders/healthz, port: http}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {NAME}, namespace: {NAMESPACE}}}
spec:
  selector: {{app: {NAME}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {NAME}-nodeport, namespace: {NAMESPACE}}}
spec:
  type: NodePort
  selector: {{app: {NAME}}}
  ports: [{{name: http, port: 80, targetPort: http, nodePort: 30080}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: settlement, namespace: {NAMESPACE}}}
spec:
  schedule: 0 4 * * *
  jobTemplate:
    spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: settle, image: "settlement:1.9"}}]}}}}}}
"""


@dataclass
class Database:
    """`schema` is what stands in it now; `backups` what each artifact holds; `done` what was done to it, in order."""

    schema: str = OLD_SCHEMA
    backups: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


class Shop:
    """Puts the shop into a sandbox. `wants`: the schema that an image needs; `faulty`: paths that an image fails, and how."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.database = Database()
        self.wants: dict[str, str] = {OLD: OLD_SCHEMA}
        self.faulty: dict[str, Mapping[str, int]] = {}
        self._sandbox = sandbox
        sandbox.skywalking.relations += [
            Relation("storefront", NAME, 412),
            Relation("settlement", NAME, 6),
            Relation(NAME, "payments", 98),
        ]
        sandbox.gateway.backend = self._routed(sandbox.gateway.backend)
        with sandbox.using() as world:
            world.load(yaml.safe_load_all(MANIFESTS))
            world.observers.append(self._saw)
            world.behaviours[OLD] = Behaviour(stop_after=timedelta(seconds=20))
        upstream = {"type": "roundrobin", "discovery_type": "kubernetes", "service_name": f"{NAMESPACE}/{NAME}:http"}
        put_route(sandbox, ROUTE, {"name": ROUTE, "uri": "/orders/*", "plugins": {"prometheus": {}}, "upstream": upstream})
        if not sandbox.options.speed:
            sandbox.advance(WARM_UP)

    @property
    def gate(self) -> Json | None:
        """What stands on the route of ip-restriction, None where there is none."""
        found = self._sandbox.etcd.read("routes", ROUTE)
        plugins: Json = (found.value.get("plugins") or {}) if found is not None else {}
        return plugins.get("ip-restriction")

    # -- the Jobs ------------------------------------------------------------------------------------------------------

    def _saw(self, change: Change) -> None:
        """Give a Job's pod its work when it appears, and do it to the database when it has ended well."""
        kind = _kind(change.new) if change.resource == "pods" else ""
        if kind not in LASTS:
            return
        if change.type is ChangeType.ADDED:
            image = change.new["spec"]["containers"][0]["image"]
            code = int(kind == "smoke" and bool(self._broken()))
            behaviour = Behaviour(completes_after=LASTS[kind], exit_code=code, log=self._log(kind, change.new))
            self._sandbox.world.behaviours[image] = behaviour
        elif _ended_well(change):
            self._done(kind, change.new)

    def _broken(self) -> list[str]:
        """List the smoke test's pages that the version under test fails."""
        deployment = self._sandbox.world.get("deployments", NAMESPACE, NAME)
        image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
        return [page for page in SMOKED if self._answer(image, page).status >= 400]  # noqa: PLR2004 - errors begin there

    def _log(self, kind: str, pod: Json) -> tuple[str, ...]:
        if kind == "smoke":
            return (_junit(self._broken()),)
        if kind == "drain":
            return ("0 orders left in the queue",)
        if kind == "migrate":
            return (f"{NAME}: schema {OLD_SCHEMA} -> {NEW_SCHEMA}", "3 migrations applied")
        artifact = _artifact(kind, pod)
        mark = {"id": artifact, "size": 48_231_936, "sha256": hashlib.sha256(artifact.encode()).hexdigest()}
        words = "verified: 214 entries" if kind == "backup" else "restored: 31 tables"
        return (f"{kind} of {NAME}: {artifact}", words, f"rollout-artifact: {json.dumps(mark)}")

    def _done(self, kind: str, pod: Json) -> None:
        artifact = _artifact(kind, pod)
        if kind == "backup":
            self.database.backups[artifact] = self.database.schema
        elif kind == "migrate":
            self.database.schema = NEW_SCHEMA
        elif kind == "restore":
            self.database.schema = self.database.backups[artifact]
        self.database.done.append(kind)

    # -- the service ---------------------------------------------------------------------------------------------------

    def _routed(self, others: Callable[[str, int, Request], Response]) -> Callable[[str, int, Request], Response]:
        def answer(host: str, port: int, request: Request) -> Response:
            with self._sandbox.using() as world:
                pods = (pod for pod in world.objects("pods", NAMESPACE) if pod.get("status", {}).get("podIP") == host)
                pod = next(pods, None)
            if pod is None or _kind(pod) != CONTAINER:
                return others(host, port, request)
            if not is_ready(pod):
                raise ConnectionRefusedError(f"nothing listens at {host}")
            return self._answer(str(pod["spec"]["containers"][0]["image"]), request.path)

        return answer

    def _answer(self, image: str, path: str) -> Response:
        version, schema = image.rpartition(":")[2], self.database.schema
        if schema != self.wants.get(image, NEW_SCHEMA):
            words = f"orders {version} does not fit schema {schema}"
            return json_response(500, {"status": "DOWN", "version": version, "error": words})
        status = self.faulty.get(image, {}).get(path, 200)
        shown = {"status": "UP" if status < 400 else "DOWN", "version": version, "schema": schema}  # noqa: PLR2004 - errors begin there
        return json_response(status, shown)


def put_route(sandbox: Sandbox, ident: str, route: Json) -> None:
    """Make a route on the sandbox's gateway, by its Admin API."""
    target = f"{PREFIX}/routes/{ident}"
    answer = sandbox.apisix.handle(Request("PUT", target, {}, {"x-api-key": ADMIN_KEY}, json.dumps(route), target=target))
    if answer.status >= 300:  # noqa: PLR2004 - not done
        raise ValueError(f"route {ident}: {answer.status} {answer.body}")


def _kind(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["name"])


def _junit(broken: list[str]) -> str:
    """Write the smoke test's report as test runners do."""
    cases = "".join(
        f'<testcase classname="smoke" name="{page}">'
        + ('<failure message="HTTP 500, expected 200"/>' if page in broken else "")
        + "</testcase>"
        for page in SMOKED
    )
    return f'<testsuite name="smoke" tests="{len(SMOKED)}" failures="{len(broken)}">{cases}</testsuite>'


def _ended_well(change: Change) -> bool:
    before = change.old["status"].get("phase") if change.old is not None else ""
    return bool(change.new["status"].get("phase") == "Succeeded" != before)


def _artifact(kind: str, pod: Json) -> str:
    """Name what a Job makes or restores: a restore is told by its environment."""
    environment = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0].get("env") or ()}
    return str(environment.get("ARTIFACT") or f"{name_of(pod)}.dump") if kind == "restore" else f"{name_of(pod)}.dump"
