"""SkyWalking OAP 10.1.0 on loopback: the last version whose jars are on Maven Central, and the last with H2 inside.

The jar leaves its configuration out; that comes from the folder `facts/skywalking-oap-10.1.0-config` beside the
checkout, or under ROLLOUT_SHARED.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.peers import build
from tests.peers.oap import agent
from tests.peers.process import Folder, Server, free_port
from tests.peers.programs import java

Json = dict[str, Any]

_CHECKOUT = Path(__file__).parents[3]
_MAIN_CLASS = "org.apache.skywalking.oap.server.starter.OAPServerStartUp"
# Compiled lightly, it starts in a third of the time.
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g")
# Receivers that no test needs; several of them would listen on all interfaces.
_OFF = (
    "SW_PROMQL", "SW_LOGQL", "SW_RECEIVER_AWS_FIREHOSE", "SW_OTEL_RECEIVER", "SW_ENVOY_METRIC", "SW_SERVICE_MESH",
    "SW_RECEIVER_BROWSER", "SW_RECEIVER_CLR", "SW_RECEIVER_EBPF", "SW_RECEIVER_TELEGRAF", "SW_RECEIVER_METER",
)  # fmt: skip
_LOGGING = """<Configuration status="WARN">
  <Appenders>
    <Console name="Console" target="SYSTEM_OUT"><PatternLayout pattern="%d %c %L [%t] %p %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="Console"/></Root></Loggers>
</Configuration>
"""


def _java_name(zone: timezone) -> str:
    """Java reads `GMT+11:00`; its `UTC` is ours."""
    return zone.tzname(None).replace("UTC", "GMT") if zone.utcoffset(None) else "UTC"


def _configuration() -> Path:
    shared = os.environ.get("ROLLOUT_SHARED")
    return (Path(shared) if shared else _CHECKOUT.parent / "shared") / "facts" / f"skywalking-oap-{build.OAP_VERSION}-config"


def where_it_is_noon(now: datetime) -> timezone:
    """Of a moment in UTC: choose the zone of whole hours in which the day is half over.

    H2 has a table for each day of the server's own zone, and a server that has just started has none for yesterday: soon
    after its midnight, what is reported of the minutes before is lost.
    """
    return timezone(timedelta(hours=12 - now.hour))


class OapServer:
    """OAP on loopback, where it is noon, with its health checker on. What is pushed becomes readable within about 5 s.

    `alarms` is a document as in alarm-settings.yml (see alarms.py), for a test that wants alarms posted to it.
    """

    def __init__(self, alarms: Mapping[str, Any] | None = None) -> None:
        self._alarms = alarms or {"rules": {}, "hooks": {}}

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        if java() is None:
            return "Java 17 is missing (Debian package openjdk-17-jre-headless)"
        if not build.oap_folder().is_dir():
            return "OAP's jars are missing: run `python -m tests.peers.build oap`"
        if not (_configuration() / "application.yml").exists():
            return f"OAP's configuration is missing: {_configuration()} (set ROLLOUT_SHARED)"
        return None

    def __enter__(self) -> Self:
        self._folder = Folder("oap")
        self.zone = where_it_is_noon(datetime.now(UTC))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)
        try:
            self.server = Server("oap", self._command(), self._folder.path, environment=self._environment(port))
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        if hasattr(self, "server"):
            self.server.kill()
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        question = json.dumps({"query": "{version getTimeInfo{timezone currentTimestamp}}"})
        return [
            f"SkyWalking OAP {build.OAP_VERSION} at {self.url} (/graphql, /v3/segments ...); log in {self.server.log}",
            f"  curl -H 'Content-Type: application/json' -d '{question}' {self.url}/graphql",
        ]

    def start(self) -> None:
        """Start it (again, empty) and wait until it answers."""
        self.server.start()
        self.server.wait_for(self._answers, 90)

    def restart(self) -> None:
        """Kill it and start it again on the same port; H2 is in its memory, so it comes back empty."""
        self.server.kill()
        self.start()

    # -- What agents do

    def push_segments(self, segments: Iterable[Json]) -> None:
        """Report segments; see agent.segment."""
        self._push("/v3/segments", [*segments])

    def push_requests(self, service: str, instance: str, at: int, count: int, *, errors: int = 0, **more: Any) -> None:  # noqa: ANN401 -- passed on
        """Report `count` requests that began at `at` (ms), the first `errors` of them failed."""
        made = (agent.segment(service, instance, at + n, error="boom" if n < errors else None, **more) for n in range(count))
        self.push_segments(made)

    def push_logs(self, logs: Iterable[Json]) -> None:
        """Report log lines; see agent.log."""
        self._push("/v3/logs", [*logs])

    def report_instance(self, service: str, instance: str, **properties: str) -> None:
        """Report an instance's properties (such as `language`, `ipv4`), then a heartbeat."""
        pairs = [{"key": key, "value": value} for key, value in properties.items()]
        body = {"service": service, "serviceInstance": instance}
        self._push("/v3/management/reportProperties", {**body, "properties": pairs})
        self.keep_alive(service, instance)

    def keep_alive(self, service: str, instance: str) -> None:
        """Report one heartbeat."""
        self._push("/v3/management/keepAlive", {"service": service, "serviceInstance": instance})

    # -- What it knows

    def now(self) -> int:
        """OAP's own clock, in milliseconds."""
        told: int = self.graphql("{getTimeInfo{currentTimestamp}}")["getTimeInfo"]["currentTimestamp"]
        return told

    def graphql(self, document: str, **variables: Any) -> Json:  # noqa: ANN401 -- JSON
        """Ask, and give `data`; errors fail the test."""
        answer = self._client.post("/graphql", json={"query": document, "variables": variables}).json()
        assert not answer.get("errors"), answer
        found: Json = answer["data"]
        return found

    def instance_metric(self, metric: str, service: str, instance: str, start: int, end: int) -> list[int | None]:
        """One value a minute between two moments (ms, inclusive), None where there is none."""
        document = (
            "query($e:String!,$t:Entity!,$d:Duration!){r:execExpression(expression:$e,entity:$t,duration:$d)"
            "{type error results{values{id value}}}}"
        )
        entity = {"serviceName": service, "serviceInstanceName": instance, "normal": True}
        answer = self.graphql(document, e=metric, t=entity, d=self.duration(start, end))["r"]
        assert answer["error"] is None, answer
        values = [point["value"] for result in answer["results"] for point in result["values"]]
        return [None if value is None else round(float(value)) for value in values]

    def error_traces(self, service: str, instance: str, start: int, end: int) -> list[Json]:
        """Segments in error between two moments (ms)."""
        document = (
            "query($c:TraceQueryCondition){r:queryBasicTraces(condition:$c)"
            "{traces{segmentId endpointNames duration start isError traceIds}}}"
        )
        condition = {
            "serviceId": agent.service_id(service),
            "serviceInstanceId": agent.instance_id(service, instance),
            "traceState": "ERROR",
            "queryOrder": "BY_START_TIME",
            "paging": {"pageNum": 1, "pageSize": 100},
            "queryDuration": self.duration(start, end, "SECOND"),
        }
        found: list[Json] = self.graphql(document, c=condition)["r"]["traces"]
        return found

    def duration(self, start: int, end: int, step: str = "MINUTE") -> dict[str, str]:
        """The Duration input for two moments (ms), written in the server's zone."""
        form = {"MINUTE": "%Y-%m-%d %H%M", "SECOND": "%Y-%m-%d %H%M%S"}[step]
        first, last = (datetime.fromtimestamp(moment / 1000, self.zone).strftime(form) for moment in (start, end))
        return {"start": first, "end": last, "step": step}

    # -- How it starts

    def _command(self) -> list[str | Path]:
        classes = f"{self._folder.path}:{_configuration()}:{build.oap_folder()}/*"
        return [java() or "java", *_JVM, f"-Duser.timezone={_java_name(self.zone)}", "-cp", classes, _MAIN_CLASS]

    def _environment(self, port: int) -> dict[str, str]:
        folder = self._folder.path
        (folder / "ui-initialized-templates").mkdir()
        (folder / "log4j2.xml").write_text(_LOGGING)
        (folder / "alarm-settings.yml").write_text(yaml.safe_dump(dict(self._alarms)))
        return {
            "SW_STORAGE": "h2",
            "SW_CORE_REST_HOST": "127.0.0.1",
            "SW_CORE_REST_PORT": str(port),
            "SW_CORE_GRPC_HOST": "127.0.0.1",
            "SW_CORE_GRPC_PORT": str(free_port()),
            "SW_TELEMETRY": "prometheus",
            "SW_TELEMETRY_PROMETHEUS_HOST": "127.0.0.1",
            "SW_TELEMETRY_PROMETHEUS_PORT": str(free_port()),
            "SW_HEALTH_CHECKER": "default",
            "SW_CORE_PERSISTENT_PERIOD": "1",
            "SW_SERVICE_CACHE_REFRESH_INTERVAL": "1",
            **dict.fromkeys(_OFF, "-"),
        }

    def _answers(self) -> bool:
        try:
            return self.now() > 0
        except (httpx.HTTPError, AssertionError, ValueError):
            return False

    def _push(self, path: str, body: object) -> None:
        answer = self._client.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
