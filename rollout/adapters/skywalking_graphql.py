"""GraphQL as text: the calls that rollouts need, packed as aliases of few documents, within the server's complexity limit.

Every value travels as a variable of exactly the type that the schema declares; nothing is written into the document. Equal
values share one variable. Pure; the documents are validated against the schemas of three releases by tests.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rollout.adapters.skywalking_versions import Dialect

Json = Mapping[str, object]

SERVER = "{version getTimeInfo{timezone currentTimestamp}}"
TRACE_V2 = "{hasQueryTracesV2Support}"
KEYWORDS = "{supportQueryLogsByKeywords}"
HEALTH = "{checkHealth{score details}}"
SCHEMA = (
    '{query:__type(name:"Query"){fields{name}} logs:__type(name:"Logs"){fields{name}} '
    'alarms:__type(name:"AlarmMessage"){fields{name}}}'
)
PAGE = 100
"""Rows of one page of traces or logs."""
PAGE_V2 = 50
"""Rows of one page of `queryTraces`, which carries every span."""
WEIGHT_V2 = 12
"""How much dearer whole traces are than their question: about 30 pods a document, so that a storm of errors in many services at
once still fits into an answer that is read (50 traces of 100 spans of 150 bytes each are 750 kB a pod)."""

_VARIABLE = re.compile(r"\$(\w+)")
_ARGUMENTS = re.compile(r"\([^()]*\)")
_NAME = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Call:
    """One field of Query with its arguments. `variables`: name in `text` -> (type, value). `weight`: of its answer."""

    key: Hashable
    text: str
    variables: Mapping[str, tuple[str, object]]
    weight: int = 1

    @property
    def cost(self) -> int:
        """Its complexity: one for each field selected, times its weight."""
        return len(_NAME.findall(_ARGUMENTS.sub("", self.text))) * self.weight


@dataclass(frozen=True, slots=True)
class Lines:
    """Which log lines are meant: of a level, with a keyword in the text, or (both empty) all."""

    level: str = ""
    keyword: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """What is posted, and which alias answers which call."""

    text: str
    variables: Json
    aliases: Mapping[str, Hashable]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return json.dumps({"query": self.text, "variables": self.variables}, separators=(",", ":")).encode()


def documents(calls: Iterable[Call], complexity: int) -> Iterator[Document]:
    """Pack calls in order; a call that is dearer than the limit travels alone."""
    batch: list[Call] = []
    cost = 0
    for call in calls:
        if batch and cost + call.cost > complexity:
            yield _pack(batch)
            batch, cost = [], 0
        batch.append(call)
        cost += call.cost
    if batch:
        yield _pack(batch)


def _pack(calls: Sequence[Call]) -> Document:
    names: dict[tuple[str, str], str] = {}
    values: dict[str, object] = {}
    fields: list[str] = []
    aliases: dict[str, Hashable] = {}
    for number, call in enumerate(calls):
        renamed: dict[str, str] = {}
        for name, (kind, value) in call.variables.items():
            variable = names.setdefault((kind, json.dumps(value, sort_keys=True)), f"v{len(names)}")
            values[variable] = value
            renamed[name] = variable
        aliases[f"a{number}"] = call.key
        fields.append(f"a{number}:{_rename(call.text, renamed)}")
    declared = ",".join(f"${variable}:{kind}" for (kind, _), variable in names.items())
    return Document(f"query({declared}){{{' '.join(fields)}}}", values, aliases)


def _rename(text: str, renamed: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: f"${renamed[match[1]]}", text)


def service_id(name: str) -> str:
    """Build a service's id as OAP does: base64 of the name, a dot, 1 for a service that is no conjecture."""
    return f"{base64.b64encode(name.encode()).decode()}.1"


def instances(key: Hashable, dialect: Dialect, service: str, duration: Json) -> Call:
    """Ask for the instances of a service that were alive since the start of the duration."""
    field = "listInstances" if dialect.metadata_v2 else "getServiceInstances"
    text = f"{field}(duration:$duration,serviceId:$service){{id name attributes{{name value}}}}"
    return Call(key, text, {"duration": ("Duration!", duration), "service": ("ID!", service_id(service))})


def metric(key: Hashable, dialect: Dialect, name: str, service: str, instance: str, duration: Json) -> Call:
    """Ask for one metric of one instance, minute by minute."""
    entity = {"serviceName": service, "serviceInstanceName": instance, "normal": True}
    if dialect.mqe:
        text = "execExpression(expression:$metric,entity:$entity,duration:$duration){type error results{values{value}}}"
        return Call(key, text, {"metric": ("String!", name), "entity": ("Entity!", entity), "duration": ("Duration!", duration)})
    text = "readMetricsValues(condition:$condition,duration:$duration){values{values{value}}}"
    condition = {"name": name, "entity": {"scope": "ServiceInstance", **entity}}
    return Call(key, text, {"condition": ("MetricsCondition!", condition), "duration": ("Duration!", duration)})


def error_traces(key: Hashable, *, trace_v2: bool, service: str, instance: str, duration: Json, page: int) -> Call:
    """Ask for one page of the segments in error of one instance (by its id), newest first."""
    condition: Json = {
        "serviceId": service_id(service),
        "serviceInstanceId": instance,
        "traceState": "ERROR",
        "queryOrder": "BY_START_TIME",
        "queryDuration": duration,
        "paging": {"pageNum": page, "pageSize": PAGE_V2 if trace_v2 else PAGE},
    }
    text = "queryBasicTraces(condition:$condition){traces{traceIds endpointNames}}"
    if trace_v2:
        text = "queryTraces(condition:$condition){traces{spans{traceId serviceCode serviceInstanceName endpointName isError}}}"
    return Call(key, text, {"condition": ("TraceQueryCondition", condition)}, WEIGHT_V2 if trace_v2 else 1)


def log_lines(
    key: Hashable, dialect: Dialect, lines: Lines, *, service: str, instance: str, duration: Json, page: int, size: int
) -> Call:
    """Ask for one page of the log lines of one instance (by its id)."""
    condition: dict[str, object] = {
        "serviceId": service_id(service),
        "serviceInstanceId": instance,
        "queryDuration": duration,
        "paging": {"pageNum": page, "pageSize": size},
    }
    if lines.level:
        condition["tags"] = [{"key": "level", "value": lines.level}]
    if lines.keyword:
        condition["keywordsOfContent"] = [lines.keyword]
    text = f"queryLogs(condition:$condition){{{'errorReason ' if dialect.error_reason else ''}logs{{timestamp}}}}"
    return Call(key, text, {"condition": ("LogQueryCondition", condition)})


def alarms(key: Hashable, dialect: Dialect, duration: Json, page: int) -> Call:
    """Ask for one page of the alarms of every service."""
    fields = "startTime scope id message" + (" recoveryTime" if dialect.alarm_recovery else "")
    text = f"getAlarm(duration:$duration,paging:$paging){{msgs{{{fields}}}}}"
    paging = {"pageNum": page, "pageSize": PAGE}
    return Call(key, text, {"duration": ("Duration!", duration), "paging": ("Pagination!", paging)})
