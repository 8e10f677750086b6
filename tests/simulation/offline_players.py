"""The gateway, the Jobs and the database as an offline rollout meets them: played on the pretend world, with the dice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rollout.core.errors import Refused, Rejected, Unavailable
from rollout.core.gate import (
    GateConfig,
    GateObject,
    GateTarget,
    MergePatchNull,
    Nothing,
    Place,
    PutWhole,
    SavedGate,
    SubPathPatch,
    object_from_value,
)
from rollout.core.gate_plan import plan_close, plan_open
from rollout.core.gate_probe import ProbeResult, Vantage
from rollout.core.gate_view import RouteReach
from rollout.ports import Check
from rollout.ports_offline import Answered, Call, JobPhase, JobSeen
from rollout.sandbox.apisix_admin import ADMIN_KEY, AdminApi
from rollout.sandbox.apisix_etcd import Etcd
from rollout.sandbox.apisix_flavours import FLAVOURS
from rollout.sandbox.apisix_gateway import DataPlane
from rollout.sandbox.apisix_http import Request, Response
from rollout.sandbox.kube_objects import ApiError, Json, parse_stamp
from rollout.sandbox.world import World
from tests.simulation.players import Stage

OUTSIDE, INSIDE = "198.51.100.7", "192.0.2.10"
ROUTE = "1"
HEADERS = {"x-api-key": ADMIN_KEY}


class WorldApisix:
    """An Admin API and one gateway node in this process, before the world's pods."""

    def __init__(self, world: World, before: Json | None) -> None:
        self.world = world
        flavour = FLAVOURS["3.18"]

        def seconds() -> float:
            return world.now.timestamp()

        self.etcd = Etcd(seconds)
        self.admin = AdminApi(flavour, self.etcd, seconds)
        self.plane = DataPlane(flavour, self.etcd, seconds, self._answer, self._discover)
        plugins = {"ip-restriction": before} if before is not None else {}
        upstream = {"type": "roundrobin", "discovery_type": "kubernetes", "service_name": "shop/orders"}
        route = {"name": "orders", "uri": "/*", "plugins": {"prometheus": {}, **plugins}, "upstream": upstream}
        self.call("PUT", f"/routes/{ROUTE}", json.dumps(route))

    def call(self, method: str, path: str, body: str = "") -> Json:
        """Ask the Admin API."""
        request = Request(method, f"/apisix/admin{path}", {}, HEADERS, body, "127.0.0.1", path)
        answer = self.admin.handle(request)
        assert len(self.admin.requests) < 1_000_000
        self.admin.requests.clear()
        if answer.status >= 300:
            raise Rejected("apisix", f"{answer.status}: {answer.body}", code=answer.status)
        found: Json = json.loads(answer.body)
        return found

    def value(self) -> Json:
        """The route as it is."""
        found: Json = self.call("GET", f"/routes/{ROUTE}")["value"]
        return found

    def gate(self) -> Any:  # noqa: ANN401 - the plugin's object or None
        """What stands there of the gate."""
        return self.value().get("plugins", {}).get("ip-restriction")

    def ask(self, client: str) -> Response:
        """Send one request through the gateway."""
        return self.plane.handle(Request("GET", "/", {}, {"host": "shop"}, "", client, "/"))

    def _pods(self) -> list[Json]:
        return [
            pod
            for pod in self.world.objects("pods", "shop")
            if pod["metadata"].get("labels", {}).get("app") == "orders"
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def _discover(self, service_name: str) -> list[tuple[str, int]]:
        del service_name
        return sorted((pod["status"]["podIP"], 80) for pod in self._pods())

    def _answer(self, host: str, port: int, request: Request) -> Response:
        del port, request
        pod = next((p for p in self._pods() if p["status"].get("podIP") == host), None)
        if pod is None:
            raise ConnectionRefusedError(host)
        return Response(200, json.dumps({"image": pod["spec"]["containers"][0]["image"]}))


class WorldGateway:
    """The Gateway port on it, by the same decisions what to write as the real adapter."""

    def __init__(self, apisix: WorldApisix, stage: Stage) -> None:
        self.apisix = apisix
        self._stage = stage

    @property
    def name(self) -> str:
        return "apisix"

    def _look(self) -> GateObject:
        return object_from_value(Place(GateTarget().kind, ROUTE), "ip-restriction", self.apisix.value())

    def find(self, target: GateTarget, plugin: str) -> GateObject:
        found: GateObject = self._stage.play("find", self._look, backend="gateway", write=False)
        return found

    def read(self, place: Place, plugin: str, rule: str = "") -> GateObject:
        found: GateObject = self._stage.play("read", self._look, backend="gateway", write=False)
        return found

    def _write(self, write: SubPathPatch | MergePatchNull | PutWhole | Nothing) -> None:
        match write:
            case SubPathPatch(config=config):
                self.apisix.call("PATCH", f"/routes/{ROUTE}/plugins/ip-restriction", config)
            case MergePatchNull():
                self.apisix.call("PATCH", f"/routes/{ROUTE}", '{"plugins": {"ip-restriction": null}}')
            case PutWhole(value=value):
                self.apisix.call("PUT", f"/routes/{ROUTE}", value)
            case Nothing():
                pass

    def close_gate(self, place: Place, config: GateConfig, rule: str = "") -> GateObject:
        write = plan_close(self._look(), config)
        self._stage.play("close the gate", lambda: self._write(write), backend="gateway", write=True, weight=3)
        return self._look()

    def open_gate(self, saved: SavedGate) -> GateObject:
        write = plan_open(saved, self._look())
        self._stage.play("open the gate", lambda: self._write(write), backend="gateway", write=True, weight=3)
        return self._look()

    def probe(self, vantage: Vantage) -> Sequence[ProbeResult]:
        answer = self.apisix.ask(vantage.source_address)
        return (ProbeResult(vantage, "gateway-1", answer.status, answer.body),)

    def rehearse(self, target: GateTarget, config: GateConfig, vantages: Sequence[Vantage] = ()) -> Sequence[Check]:
        self._stage.play("rehearse", self._look, backend="gateway", write=False)
        return (Check("gate", "ok", "found"),)

    def bypasses(self, gate: GateObject) -> Sequence[str]:
        return ()

    def routes_reaching(self, nodes: Sequence[str], services: Sequence[str] = ()) -> Sequence[RouteReach]:
        return ()

    def check(self) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        return


@dataclass
class Database:
    """The service's database: which schema it has, and the backups that were made of it. `half` while a Job writes it."""

    schema: str = "old"
    backups: dict[str, str] = field(default_factory=dict)
    restored: int = 0
    mixed: bool = False
    """Somebody wrote while it was last restored."""
    written: bool = False
    """Outsiders have used the new version."""


class WorldJobs:
    """The Jobs port straight on the world."""

    def __init__(self, world: World, stage: Stage) -> None:
        self._world = world
        self._stage = stage

    def ensure(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        def create() -> None:
            try:
                self._world.create(dict(manifest), manager="rollout", namespace=namespace)
            except ApiError as error:
                if error.code != 409:
                    raise Rejected("cluster", str(error), code=error.code) from None

        self._stage.play(f"create Job {manifest['metadata']['name']}", create, backend="cluster", write=True, weight=4)

    def look(self, namespace: str, name: str) -> JobSeen | None:
        def look() -> JobSeen | None:
            return self._seen(namespace, name)

        found: JobSeen | None = self._stage.play(f"look at Job {name}", look, backend="cluster", write=False, weight=0.5)
        return found

    def _seen(self, namespace: str, name: str) -> JobSeen | None:
        job = self._world.find("jobs", namespace, name)
        if job is None:
            return None
        pods = [p for p in self._world.objects("pods", namespace) if p["metadata"].get("labels", {}).get("job-name") == name]
        conditions = _ended(job)
        start = parse_stamp(job["status"]["startTime"]) if job["status"].get("startTime") else None
        if not conditions:
            alive = [p for p in pods if p["status"].get("phase") not in {"Succeeded", "Failed"}]
            if job["spec"].get("suspend"):
                return JobSeen(JobPhase.RUNNING if alive else JobPhase.HALTED, "ends", start)
            return JobSeen(JobPhase.RUNNING, "", start)
        image = job["spec"]["template"]["spec"]["containers"][0]["image"]
        log = "\n".join(self._world.behaviours[image].log).replace("@", name)
        phase = JobPhase.SUCCEEDED if "Complete" in conditions else JobPhase.FAILED
        return JobSeen(phase, "", start, self._world.now, 0 if phase is JobPhase.SUCCEEDED else 1, log=log)

    def halt(self, namespace: str, manifest: Mapping[str, Any]) -> JobSeen:
        name = manifest["metadata"]["name"]

        def halt() -> JobSeen:
            job = self._world.find("jobs", namespace, name)
            if job is None:
                spec = {**manifest["spec"], "suspend": True}
                self._world.create({**manifest, "spec": spec}, manager="rollout", namespace=namespace)
            elif not _ended(job) and not job["spec"].get("suspend"):
                self._world.patch("jobs", namespace, name, {"spec": {"suspend": True}}, manager="rollout")
            seen = self._seen(namespace, name)
            assert seen is not None
            return seen

        found: JobSeen = self._stage.play(f"halt Job {name}", halt, backend="cluster", write=True)
        return found

    def may_create(self, namespace: str) -> str:
        return ""

    def unseen_ways(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_addresses(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_names(self, namespace: str, deployment: str) -> Sequence[str]:
        return ("orders",)


def _ended(job: Json) -> set[str]:
    return {c["type"] for c in job["status"].get("conditions") or ()} & {"Complete", "Failed"}


class WorldRequests:
    """Tests go through the gateway from an address that is let in."""

    def __init__(self, apisix: WorldApisix, stage: Stage, passes: Callable[[str], bool]) -> None:
        self._apisix = apisix
        self._stage = stage
        self._passes = passes

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str, *, timeout: timedelta) -> Answered:
        answer: Response = self._stage.play("test", lambda: self._apisix.ask(INSIDE), backend="test", write=False, weight=2)
        image = json.loads(answer.body).get("image", "") if answer.status == 200 else ""
        good = answer.status == 200 and self._passes(image)
        return Answered(200 if good else 500, answer.body, timedelta(seconds=1))


class NoCommands:
    """There are no commands in these plans."""

    def run(self, words: Sequence[str], environment: Mapping[str, str], *, timeout: timedelta) -> Answered:
        raise Refused("no commands here")


class NoTopology:
    """A topology that is away: the report says so."""

    def calls(self, service: str, *, hops: int) -> Sequence[Call]:
        raise Unavailable("skywalking", "is away")
