"""What each ask means to SkyWalking: which calls it needs, and what their answers are as a reading. Pure.

Parameters: `service` (its name in SkyWalking; required), `instance` (a template, see skywalking_match); for `error-logs` `level`
(ERROR), or `pattern` (a keyword of the text instead, where the storage can search); for `alarms` `rules` (words separated by
commas, of which one must stand in the alarm's message).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollout.adapters import skywalking_graphql as graphql
from rollout.adapters.skywalking_graphql import Call, Lines
from rollout.adapters.skywalking_match import Instance, match_instances
from rollout.adapters.skywalking_readings import (
    AnswerError,
    add_counts,
    alarm_for,
    alarm_rows,
    calls,
    endpoints_of,
    failed_calls,
    log_rows,
    mean_time,
    minutes_of,
    trace_ids,
)
from rollout.adapters.skywalking_server import Server
from rollout.adapters.skywalking_time import MINUTE, whole_minutes
from rollout.core.signals import Alarms, Counts, Gauges, NoData, PodCount, Question, Reading, Unreachable
from rollout.core.wording import listed, moment, span

CPM, SLA, TIME = "service_instance_cpm", "service_instance_sla", "service_instance_resp_time"
METRICS: Mapping[str, tuple[str, ...]] = {
    "error-traces": (CPM,),
    "success-rate": (CPM, SLA),
    "response-time": (CPM, TIME),
    "error-logs": (),
    "alarms": (),
}
"""The metrics that each ask reads per instance; its keys are the asks that there are."""
LOGS_SETTLE = timedelta(seconds=30)
SKEW_TOLD = timedelta(seconds=30)
MOST_PAGES = 10
"""Pages of one pod and window: 1,000 errors say enough."""


@dataclass(slots=True)
class Results:
    """Answers and failures of one poll, by the key of the call."""

    answers: dict[Hashable, object] = field(default_factory=dict)
    failures: dict[Hashable, str] = field(default_factory=dict)


@dataclass(slots=True)
class Asked:
    """A question that can be asked. `matched` and `listed` are filled when the instances are known."""

    question: Question
    service: str
    matched: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    listed: tuple[Instance, ...] | None = None
    alarms_in: Mapping[str, object] = field(default_factory=dict)

    def match(self, instances: tuple[Instance, ...] | None) -> None:
        """Take what the server lists of the service."""
        self.listed = instances
        self.matched = match_instances(self.question.pods, instances or (), self.question.parameter("instance"))

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances of all pods."""
        return tuple(instance for found in self.matched.values() for instance in found)

    def key(self, what: str, instance: Instance, page: int = 1) -> Hashable:
        """Name a call about an instance in the question's window, so that questions share it."""
        return (what, self.service, instance.id, self.question.window, page)


def prepare(question: Question, server: Server, at: datetime, settle: timedelta) -> Asked | NoData | Unreachable:
    """Check that a question can be asked, and that its minutes are finished by the server's clock."""
    if question.ask not in METRICS:
        known = ", ".join(METRICS)
        return Unreachable(f"SkyWalking cannot be asked for {question.ask!r} (signal {question.signal}); it can for {known}")
    service = question.parameter("service")
    if not service:
        remedy = "set parameters.service to the name that the service has in SkyWalking"
        return Unreachable(f"signal {question.signal} names no SkyWalking service: {remedy}")
    window = question.window
    if not whole_minutes(window):
        return Unreachable(f"SkyWalking counts by the minute; the window of {span(window.length)} is not made of whole minutes")
    # Logs do not pass the aggregation that metrics wait for.
    finished = server.time.now(at) - (min(settle, LOGS_SETTLE) if question.ask == "error-logs" else settle)
    if question.ask != "alarms" and window.end > finished:
        left, behind = window.end - finished, -server.time.skew
        clock = f" (its clock is {span(behind)} behind ours)" if behind > SKEW_TOLD else ""
        return NoData(f"the minutes until {moment(window.end)} are not finished in SkyWalking yet; they are in {span(left)}{clock}")
    if question.ask == "error-logs" and question.parameter("pattern") and not server.keywords:
        remedy = "its storage cannot search logs by keyword: leave out parameters.pattern, so that the level ERROR is counted"
        return Unreachable(f"signal {question.signal} asks SkyWalking for a pattern: {remedy}")
    return Asked(question, service)


def calls_of(item: Asked, server: Server, at: datetime, *, alarm_memory: timedelta, log_presence: timedelta) -> list[Call]:
    """Name the calls of the second round, first pages only."""
    question, window = item.question, item.question.window
    duration = server.time.minutes(window.start, window.end)
    if question.ask == "alarms":
        item.alarms_in = server.time.minutes(window.end - alarm_memory, server.time.now(at) + MINUTE)
        return [graphql.alarms(("alarms", window, 1), server.dialect, item.alarms_in, 1)]
    found: list[Call] = []
    for instance in item.instances:
        found += [
            graphql.metric(item.key(name, instance), server.dialect, name, item.service, instance.name, duration)
            for name in METRICS[question.ask]
        ]
        if question.ask == "error-traces":
            found.append(_traces(item, server, instance, 1))
        if question.ask == "error-logs":
            past = server.time.minutes(window.end - log_presence, window.end)
            found += [_lines(item, server, instance, 1), _any_line(item, server, instance, past)]
    return found


def _traces(item: Asked, server: Server, instance: Instance, page: int) -> Call:
    duration = server.time.minutes(item.question.window.start, item.question.window.end)
    v2, key = server.dialect.trace_v2, item.key("traces", instance, page)
    return graphql.error_traces(key, trace_v2=v2, service=item.service, instance=instance.id, duration=duration, page=page)


def _wanted(question: Question) -> Lines:
    keyword = question.parameter("pattern")
    return Lines(keyword=keyword) if keyword else Lines(level=question.parameter("level") or "ERROR")


def _lines_key(item: Asked, instance: Instance, page: int) -> Hashable:
    return (_wanted(item.question), item.key("logs", instance, page))


def _lines(item: Asked, server: Server, instance: Instance, page: int) -> Call:
    return graphql.log_lines(
        _lines_key(item, instance, page),
        server.dialect,
        _wanted(item.question),
        service=item.service,
        instance=instance.id,
        duration=server.time.minutes(item.question.window.start, item.question.window.end),
        page=page,
        size=graphql.PAGE,
    )


def _any_line(item: Asked, server: Server, instance: Instance, duration: Mapping[str, object]) -> Call:
    key, service = item.key("lines", instance), item.service
    return graphql.log_lines(key, server.dialect, Lines(), service=service, instance=instance.id, duration=duration, page=1, size=1)


def further(item: Asked, server: Server, results: Results, page: int) -> Iterator[Call]:
    """Name the calls for the next page, where the page before was full."""
    if item.question.ask == "alarms":
        yield from _further_alarms(item, server, results, page)
    for instance in item.instances if item.question.ask in {"error-traces", "error-logs"} else ():
        traces = item.question.ask == "error-traces"
        before = results.answers.get(item.key("traces", instance, page - 1) if traces else _lines_key(item, instance, page - 1))
        if before is None:
            continue
        try:
            rows = trace_ids(before, instance.name)[1] if traces else log_rows(before)
        except AnswerError:
            continue
        full = graphql.PAGE_V2 if traces and server.dialect.trace_v2 else graphql.PAGE
        if rows >= full:
            yield _traces(item, server, instance, page) if traces else _lines(item, server, instance, page)


def _further_alarms(item: Asked, server: Server, results: Results, page: int) -> Iterator[Call]:
    try:
        rows = alarm_rows(results.answers.get(("alarms", item.question.window, page - 1)))
    except AnswerError:
        return
    if len(rows) >= graphql.PAGE:
        yield graphql.alarms(("alarms", item.question.window, page), server.dialect, item.alarms_in, page)


def reading_of(item: Asked, results: Results, backend: str, at: datetime) -> Reading:
    """Say what the answers mean for one question."""
    if why := results.failures.get(("instances", item.service)):
        return Unreachable(why)
    if item.listed is None:
        return Unreachable(f"{backend}: the instances of {item.service} came in an unknown shape")
    try:
        if item.question.ask == "alarms":
            return _alarms(item, results, at)
        if not item.matched:
            return NoData(f"{backend}: {_unmatched(item)}")
        return _per_pod(item, results, backend)
    except AnswerError as failure:
        return Unreachable(f"{backend}: {failure}")


def _get(results: Results, key: Hashable) -> object:
    if key in results.failures:
        raise AnswerError(results.failures[key].partition(": ")[2])
    return results.answers.get(key)


def _unmatched(item: Asked) -> str:
    if not item.listed:
        return f"no live instance of service {item.service!r} (wrong name, no agent in the image, or it started just now)"
    names = listed((instance.name for instance in item.listed), 3)
    remedy = "the stock agent reads SW_AGENT_INSTANCE_NAME, not SW_AGENT_INSTANCENAME; or set parameters.instance"
    return f"none of {listed((pod.name for pod in item.question.pods), 3)} is an instance of {item.service!r} ({names}); {remedy}"


def _per_pod(item: Asked, results: Results, backend: str) -> Reading:
    ask = item.question.ask
    if ask == "response-time":
        gauges: dict[str, float] = {}
        for name, found in item.matched.items():
            cpm = [value for instance in found for value in _metric(item, results, CPM, instance)]
            time = [value for instance in found for value in _metric(item, results, TIME, instance)]
            if (mean := mean_time(cpm, time)) is not None:
                gauges[name] = mean
        return Gauges(gauges) if gauges else NoData(f"{backend}: no calls in the window, so no response time")
    counted: dict[str, PodCount] = {}
    for name, found in item.matched.items():
        counts = [_count(item, results, instance) for instance in found]
        known = [count for count in counts if count is not None]
        if ask == "error-logs":
            if known:
                counted[name] = add_counts(known)
        elif len(known) == len(counts):
            counted[name] = add_counts(known)
    if counted:
        return Counts(counted)
    if ask == "error-logs":
        return NoData(f"{backend}: no log line of any level from {listed(item.matched, 3)}; does the app ship logs to SkyWalking?")
    return NoData(f"{backend}: calls were counted, but their success rate has not arrived")


def _count(item: Asked, results: Results, instance: Instance) -> PodCount | None:
    match item.question.ask:
        case "error-traces":
            traces: set[str] = set()
            kinds: set[str] = set()
            for page in range(1, MOST_PAGES + 1):
                key = item.key("traces", instance, page)
                if page > 1 and key not in results.answers and key not in results.failures:
                    break
                traces |= trace_ids(_get(results, key), instance.name)[0]
                kinds |= endpoints_of(_get(results, key), instance.name)
            return PodCount(float(len(traces)), calls(_metric(item, results, CPM, instance)), tuple(sorted(kinds)))
        case "success-rate":
            cpm = _metric(item, results, CPM, instance)
            failed = failed_calls(cpm, _metric(item, results, SLA, instance))
            return None if failed is None else PodCount(failed, calls(cpm))
        case _:
            if not log_rows(_get(results, item.key("lines", instance))):
                return None
            rows = 0
            for page in range(1, MOST_PAGES + 1):
                key = _lines_key(item, instance, page)
                if page > 1 and key not in results.answers and key not in results.failures:
                    break
                rows += log_rows(_get(results, key))
            return PodCount(float(rows))


def _metric(item: Asked, results: Results, name: str, instance: Instance) -> Sequence[float | None]:
    return minutes_of(_get(results, item.key(name, instance)), whole_minutes(item.question.window))


def _alarms(item: Asked, results: Results, at: datetime) -> Reading:
    rules = [rule.strip() for rule in item.question.parameter("rules").split(",") if rule.strip()]
    pods = {instance.id: name for name, found in item.matched.items() for instance in found}
    service = graphql.service_id(item.service)
    rows: list[Mapping[str, object]] = []
    for page in range(1, MOST_PAGES + 1):
        key = ("alarms", item.question.window, page)
        if page > 1 and key not in results.answers and key not in results.failures:
            break
        rows += alarm_rows(_get(results, key))
    firing = [alarm for row in rows if (alarm := alarm_for(row, service, pods, rules, at)) is not None]
    return Alarms(tuple(sorted(firing, key=lambda alarm: (alarm.since, alarm.message))))


def shown(item: Asked, server: Server) -> str:
    """Write what was asked, as a reader can repeat it in SkyWalking's own screens."""
    question, time, wanted = item.question, server.time, _wanted(item.question)
    duration = time.minutes(question.window.start, question.window.end)
    what = {
        "error-traces": f"{'queryTraces' if server.dialect.trace_v2 else 'queryBasicTraces'} traceState ERROR; {CPM}",
        "error-logs": "queryLogs " + (f"with {wanted.keyword!r}" if wanted.keyword else f"level={wanted.level}"),
        "alarms": "getAlarm",
    }.get(question.ask) or ", ".join(METRICS[question.ask])
    pods = listed((f"{name} = {'+'.join(i.name for i in found)}" for name, found in item.matched.items()), 20)
    span_shown = f"{duration['start']} to {duration['end']} (server's time zone)"
    return f"{what}; service {item.service}; {span_shown}; instances: {pods or 'none matched'}"
