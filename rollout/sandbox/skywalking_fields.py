"""The fields of SkyWalking's `Query` that the pretend OAP serves, on the simulated traffic, in the words of each release."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any, TypeVar

from rollout.sandbox.graphql_text import Field, GraphqlError
from rollout.sandbox.skywalking_agents import MINUTE, Agent, agents, minute_of, service_id, spread
from rollout.sandbox.skywalking_topology import CALLS, Relation, neighbours, per_minute
from rollout.sandbox.world import World

_FORMATS = {"DAY": "%Y-%m-%d", "HOUR": "%Y-%m-%d %H", "MINUTE": "%Y-%m-%d %H%M", "SECOND": "%Y-%m-%d %H%M%S"}
_STEPS = {"DAY": timedelta(days=1), "HOUR": timedelta(hours=1), "MINUTE": MINUTE, "SECOND": timedelta(seconds=1)}
_MOST_POINTS = 500
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Flavour:
    """One release. `nulls`: a missing minute is null (9.5 and later); `banyandb`: only `queryTraces` works (10.3 and later)."""

    version: str
    fields: Mapping[str, Mapping[str, str]]
    """The fields of Query that are served, and the declared type of each argument."""
    nulls: bool = False
    banyandb: bool = False
    status_of_errors: int = 200
    complexity: int = 1_000_000


@dataclass(frozen=True, slots=True)
class FiredAlarm:
    """One alarm as a scenario raises it: on an instance when `instance` is given, else on the service."""

    service: str
    message: str
    at: datetime
    instance: str = ""
    recovered_at: datetime | None = None


@dataclass(slots=True)
class Resolver:
    """Answers fields about one moment of a world."""

    world: World
    flavour: Flavour
    zone: timedelta
    alarms: list[FiredAlarm]
    relations: tuple[Relation, ...] = ()
    _agents: list[Agent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._agents = list(agents(self.world))

    def resolve(self, asked: Field) -> Any:  # noqa: ANN401 - JSON
        """Answer one field, complete; the caller takes what was selected. Raises GraphqlError."""
        known: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "version": lambda _: self.flavour.version,
            "getTimeInfo": self._time,
            "checkHealth": lambda _: {"score": 0, "details": ""},
            "listServices": self._services,
            "getAllServices": self._services,
            "findService": lambda a: self._service(a["serviceName"]),
            "searchService": lambda a: self._service(a["serviceCode"]),
            "listInstances": self._instances,
            "getServiceInstances": self._instances,
            "readMetricsValues": self._metric_v2,
            "execExpression": self._metric_v3,
            "queryBasicTraces": self._traces_v1,
            "queryTraces": self._traces_v2,
            "hasQueryTracesV2Support": lambda _: self.flavour.banyandb,
            "supportQueryLogsByKeywords": lambda _: not self.flavour.banyandb,
            "queryLogs": self._logs,
            "getAlarm": self._alarms,
            "getServiceTopology": lambda a: neighbours(self.relations, a["serviceId"]),
        }
        return known[asked.name](asked.arguments)

    def _time(self, _: Mapping[str, Any]) -> dict[str, Any]:
        minutes = round(self.zone.total_seconds() / 60)
        text = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
        return {"timezone": text, "currentTimestamp": _milliseconds(self.world.now)}

    def _services(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [self._service(name) or {} for name in sorted({agent.service for agent in self._agents})]

    def _service(self, name: str) -> dict[str, Any] | None:
        if all(agent.service != name for agent in self._agents):
            return None
        return {"id": service_id(name), "name": name, "group": "", "shortName": name, "layers": ["GENERAL"], "normal": True}

    def _instances(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._minutes(arguments["duration"])
        return [
            {
                "id": agent.instance_id,
                "name": agent.instance,
                "language": "JAVA",
                "instanceUUID": agent.instance_id,
                "attributes": [{"name": "OS Name", "value": "Linux"}, {"name": "ipv4s", "value": agent.ip}],
            }
            for agent in self._agents
            if agent.service_id == arguments["serviceId"]
        ]

    def _minutes(self, duration: Mapping[str, Any]) -> list[datetime]:
        """The minutes of a duration, oldest first."""
        step = str(duration.get("step"))
        if step not in _FORMATS:
            raise GraphqlError("Variable 'duration' has an invalid value: unknown step")
        zone = timezone(self.zone)
        try:
            start, end = (
                datetime.strptime(str(duration[key]), _FORMATS[step]).replace(tzinfo=zone).astimezone(UTC)
                for key in ("start", "end")
            )
        except ValueError:
            raise GraphqlError(f"Exception while fetching data : Unparseable date {duration.get('start')!r}") from None
        if end < start or (end - start) / _STEPS[step] >= _MOST_POINTS:
            words = "the range between the start time and the end time can't exceed 500 minutes"
            raise GraphqlError(f"Exception while fetching data : Duration data error, {words}")
        first = start - timedelta(seconds=start.second)
        count = math.ceil((end + _STEPS[step] - first) / MINUTE)
        return [first + number * MINUTE for number in range(count)]

    # -- metrics ------------------------------------------------------------------------------------------------------

    def _values(self, name: str, entity: Mapping[str, Any], duration: Mapping[str, Any]) -> list[tuple[datetime, int | None]]:
        minutes = self._minutes(duration)
        if name == CALLS:
            calls = per_minute(self.relations, entity.get("serviceName"), entity.get("destServiceName"))
            return [(minute, calls if minute < self.world.now - MINUTE else None) for minute in minutes]
        if not entity.get("normal"):
            return [(minute, None) for minute in minutes]
        chosen = [
            a for a in self._agents if a.service == entity.get("serviceName") and a.instance == entity.get("serviceInstanceName")
        ]
        return [(minute, _value(self.world, name, chosen[0], minute) if chosen else None) for minute in minutes]

    def _metric_v2(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        condition = arguments["condition"]
        values = self._values(condition["name"], condition["entity"], arguments["duration"])
        points = [{"id": f"{minute:%Y%m%d%H%M}_x", "value": value or 0, "isEmptyValue": value is None} for minute, value in values]
        return {"label": None, "values": {"values": points}}

    def _metric_v3(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        name, entity = arguments["expression"], arguments["entity"]
        if name not in _METRICS:
            return {"type": "UNKNOWN", "error": f"Metric: [{name}] does not exist.", "results": []}
        if not entity.get("normal"):
            return {"type": "UNKNOWN", "error": None, "results": []}
        values = self._values(name, entity, arguments["duration"])
        points = [
            {"id": str(_milliseconds(minute)), "value": None if value is None else str(value), "traceID": None, "owner": None}
            for minute, value in values
        ]
        return {"type": "TIME_SERIES_VALUES", "error": None, "results": [{"metric": {"labels": []}, "values": points}]}

    # -- records ------------------------------------------------------------------------------------------------------

    def _traces_v1(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self.flavour.banyandb:
            raise GraphqlError(
                "Exception while fetching data (/queryBasicTraces) : BanyanDB Trace Model changed, please use queryTraces"
            )
        rows = [
            {
                "segmentId": f"{trace}-{part}", "endpointNames": ["/orders"], "duration": 40, "isError": True,
                "start": str(_milliseconds(at)), "traceIds": [trace],
            }
            for trace, at, part, _ in _page(self._error_segments(arguments["condition"]), arguments["condition"])
        ]  # fmt: skip
        return {"traces": rows, "total": len(rows)}

    def _traces_v2(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not self.flavour.banyandb:
            raise GraphqlError("Exception while fetching data (/queryTraces) : Only BanyanDB storage support Trace V2 query now.")
        whole = (row for row in self._error_segments(arguments["condition"]) if row[2] == 0)
        traces = [
            {"spans": [_span(trace, at, agent, own=False), _span(trace, at, agent, own=True)]}
            for trace, at, _, agent in _page(whole, arguments["condition"])
        ]
        return {"traces": traces, "retrievedTimeRange": {"startTime": 0, "endTime": _milliseconds(self.world.now)}}

    def _error_segments(self, condition: Mapping[str, Any]) -> Iterator[tuple[str, datetime, int, Agent]]:
        """Segments in error, newest first; every third trace has two of them in the same process."""
        for agent in self._agents_of(condition):
            for minute in reversed(self._minutes(condition["queryDuration"])):
                errors = minute_of(self.world, agent, minute).error_traces
                for number, at in enumerate(spread(errors, minute)):
                    trace = hashlib.sha1(f"{agent.uid} {at.isoformat()}".encode(), usedforsecurity=False).hexdigest()[:32]
                    for part in range(1 + (number % 3 == 2)):  # noqa: PLR2004 - each third
                        yield trace, at, part, agent

    def _logs(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        condition = arguments["condition"]
        level = next((tag.get("value") for tag in condition.get("tags") or [] if tag.get("key") == "level"), "")
        words = [] if self.flavour.banyandb else condition.get("keywordsOfContent") or []
        rows = [
            {
                "serviceName": agent.service, "serviceInstanceName": agent.instance, "timestamp": _milliseconds(at),
                "contentType": "TEXT", "content": text, "traceId": "", "tags": [{"key": "level", "value": seen}],
            }
            for at, seen, text, agent in _page(self._lines(condition, level, words), condition)
        ]  # fmt: skip
        return {"errorReason": None, "logs": rows, "total": len(rows)}

    def _lines(self, condition: Mapping[str, Any], level: str, words: list[str]) -> Iterator[tuple[datetime, str, str, Agent]]:
        for agent in self._agents_of(condition):
            for minute in reversed(self._minutes(condition["queryDuration"])):
                counts = minute_of(self.world, agent, minute)
                kinds = (
                    ("ERROR", "java.lang.IllegalStateException: boom", counts.error_logs),
                    ("INFO", "answered", counts.requests),
                )
                for seen, text, count in kinds:
                    if level in {"", seen} and all(word in text for word in words):
                        yield from ((at, seen, text, agent) for at in spread(count, minute))

    def _agents_of(self, condition: Mapping[str, Any]) -> list[Agent]:
        if not condition.get("queryDuration"):
            raise GraphqlError("Exception while fetching data : The condition must contains either queryDuration or traceId.")
        instance, service = condition.get("serviceInstanceId"), condition.get("serviceId")
        return [a for a in self._agents if instance in {None, a.instance_id} and service in {None, a.service_id}]

    def _alarms(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        minutes = self._minutes(arguments["duration"])
        seen = [alarm for alarm in self.alarms if minutes[0] <= alarm.at < minutes[-1] + MINUTE and alarm.at <= self.world.now]
        rows = [self._alarm(alarm) for alarm in sorted(seen, key=lambda alarm: alarm.at, reverse=True)]
        return {"msgs": list(_page(iter(rows), arguments)), "total": len(rows)}

    def _alarm(self, alarm: FiredAlarm) -> dict[str, Any]:
        found = next((a for a in self._agents if a.service == alarm.service and a.instance == alarm.instance), None)
        recovered = alarm.recovered_at
        return {
            "startTime": _milliseconds(alarm.at),
            "recoveryTime": _milliseconds(recovered) if recovered and recovered <= self.world.now else None,
            "scope": "ServiceInstance" if found else "Service",
            "id": found.instance_id if found else service_id(alarm.service),
            "name": f"{found.instance} of {alarm.service}" if found else alarm.service,
            "message": alarm.message,
            "events": [],
            "tags": [{"key": "level", "value": "WARNING"}],
        }


_METRICS = ("service_instance_cpm", "service_instance_sla", "service_instance_resp_time", CALLS)


def _value(world: World, name: str, agent: Agent, minute: datetime) -> int | None:
    counts = minute_of(world, agent, minute)
    if not counts.requests:
        return None
    match name:
        case "service_instance_cpm":
            return counts.requests
        case "service_instance_sla":
            return (counts.requests - counts.errors) * 10_000 // counts.requests
        case "service_instance_resp_time":
            return int(counts.latency_mean_ms)
        case _:
            return None


def _page(rows: Iterator[_Row], holder: Mapping[str, Any]) -> Iterator[_Row]:
    paging = holder["paging"]
    size = int(paging["pageSize"])
    start = (int(paging.get("pageNum") or 1) - 1) * size
    return islice(rows, start, start + size)


def _span(trace: str, at: datetime, agent: Agent, *, own: bool) -> dict[str, Any]:
    name = agent.instance if own else "gateway-1"
    return {
        "traceId": trace, "segmentId": f"{trace}-{int(own)}", "spanId": 0, "parentSpanId": -1, "startTime": _milliseconds(at),
        "serviceCode": agent.service if own else "gateway", "serviceInstanceName": name, "isError": own, "endpointName": "/orders",
    }  # fmt: skip


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
