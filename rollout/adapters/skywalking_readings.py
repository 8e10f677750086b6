"""What SkyWalking's answers mean, with no data told from zero. Pure.

Before 9.5 a minute without a row is the number 0, so `sla = 0` means that everything failed only where `cpm > 0`; from 9.5 it is
null. In both, an instance that is listed alive and counts no call was idle, and that is measured; a pod without an instance is
one that SkyWalking knows nothing of.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rollout.adapters.http import shorten
from rollout.core.signals import Alarm, PodCount

_PER_CENT_OF_PER_CENT = 10_000
_ID = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F]{8}[0-9a-fA-F-]*)(?=/|$)")
"""A part of a path that is an id: digits, or eight and more hexadecimal ones."""
_LATEST = 10**14
"""Milliseconds (year 5138) from which a time is none."""
Minutes = Sequence[float | None]


class AnswerError(ValueError):
    """An answer that is not what the schema promises, or that says of itself that it failed."""


def minutes_of(answer: object, count: int) -> tuple[float | None, ...]:
    """Read one metric of one instance: a value per minute, None where the server says that it has none.

    Understands `readMetricsValues` and `execExpression`. Raises AnswerError.
    """
    match answer:
        case {"values": {"values": list() as points}}:
            values = tuple(_number(point) for point in points)
        case {"type": "TIME_SERIES_VALUES", "results": [{"values": list() as points}]}:
            values = tuple(_number(point) for point in points)
        case {"type": str() as kind, "error": error, "results": _}:
            raise AnswerError(f"the expression was not computed ({shorten(str(error or kind))})")
        case _:
            raise AnswerError("a metric came in an unknown shape")
    if len(values) != count:
        raise AnswerError(f"{len(values)} minutes came where {count} were asked for")
    return values


def _number(point: object) -> float | None:
    match point:
        case {"value": None}:
            return None
        case {"value": bool()}:
            raise AnswerError("a metric's value is not a number")
        case {"value": int() | float() | str() as value}:
            return _measured(str(value))
        case _:
            raise AnswerError("a metric's value is missing")


def _measured(text: str) -> float:
    try:
        value = float(text.replace(",", "."))  # the decimal mark follows the server's locale
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise AnswerError(f"a metric's value is not a number of at least 0 ({shorten(text, 40)})")
    return value


def calls(cpm: Minutes) -> float:
    """Sum the calls of a window; a minute without a row had none."""
    return sum(value or 0.0 for value in cpm)


def failed_calls(cpm: Minutes, sla: Minutes) -> float | None:
    """Sum `cpm * (10000 - sla) / 10000` over the minutes with calls; None when such a minute lacks its sla.

    OAP cuts sla to a whole number, so each minute's product is up to cpm/10000 too large: rounding gives the count back.
    Worked example: cpm 20 and 10, sla 9000 and 10000: 2 of 30 calls failed.
    """
    total = 0.0
    for called, good in zip(cpm, sla, strict=True):
        if not called:
            continue
        if good is None:
            return None
        bad = _PER_CENT_OF_PER_CENT - min(max(good, 0.0), _PER_CENT_OF_PER_CENT)
        total += round(called * bad / _PER_CENT_OF_PER_CENT)
    return total


def mean_time(cpm: Minutes, time: Minutes) -> float | None:
    """Average milliseconds over calls, not over minutes; None without calls."""
    pairs = [(called, took) for called, took in zip(cpm, time, strict=True) if called and took is not None]
    weight = sum(called for called, _ in pairs)
    return sum(called * took for called, took in pairs) / weight if weight else None


def add_counts(counts: Sequence[PodCount]) -> PodCount:
    """Add what several processes of one pod counted."""
    requests = [count.requests for count in counts if count.requests is not None]
    kinds = tuple(sorted({kind for count in counts for kind in count.kinds}))
    return PodCount(sum(count.events for count in counts), sum(requests) if len(requests) == len(counts) else None, kinds)


def trace_ids(answer: object, instance: str) -> tuple[set[str], int]:
    """Read one page of traces in error: their ids, and how many rows the page had.

    One row of `queryBasicTraces` is a segment, so a trace can come several times. `queryTraces` brings whole traces, of which
    only the spans of this instance (by name) count. Raises AnswerError.
    """
    match answer:
        case {"traces": list() as rows}:
            found: set[str] = set()
            for row in rows:
                found |= _ids_of(row, instance)
            return found, len(rows)
        case _:
            raise AnswerError("traces came in an unknown shape")


def _ids_of(row: object, instance: str) -> set[str]:
    match row:
        case {"traceIds": [*ids]}:
            return {str(ids[0])} if ids else set()
        case {"spans": [*spans]}:
            mine = [span for span in spans if isinstance(span, dict) and span.get("isError")]
            return {str(span.get("traceId")) for span in mine if span.get("serviceInstanceName") == instance}
        case _:
            raise AnswerError("a trace came in an unknown shape")


def endpoints_of(answer: object, instance: str) -> set[str]:
    """Name the endpoints at which the traces of one page failed, ids in their paths taken out: the kinds of error.

    Understands what `trace_ids` understands, and says nothing of rows that name no endpoint.
    """
    found: set[str] = set()
    for row in answer.get("traces", ()) if isinstance(answer, dict) else ():
        match row:
            case {"endpointNames": [*names]}:
                found |= {_kind(str(name)) for name in names}
            case {"spans": [*spans]}:
                mine = [span for span in spans if isinstance(span, dict) and span.get("isError")]
                found |= {
                    _kind(str(span["endpointName"]))
                    for span in mine
                    if span.get("serviceInstanceName") == instance and span.get("endpointName")
                }
            case _:
                continue
    return found


def _kind(endpoint: str) -> str:
    return shorten(_ID.sub("*", endpoint), 120)


def log_rows(answer: object) -> int:
    """Count the lines of one page. Raises AnswerError, also when the server names a reason of its own."""
    match answer:
        case {"errorReason": str() as reason} if reason:
            raise AnswerError(f"logs could not be read: {shorten(reason)}")
        case {"logs": list() as rows}:
            return len(rows)
        case _:
            raise AnswerError("logs came in an unknown shape")


def alarm_rows(answer: object) -> Sequence[Mapping[str, object]]:
    """Read one page of alarms. Raises AnswerError."""
    match answer:
        case {"msgs": list() as rows} if all(isinstance(row, dict) for row in rows):
            return rows
        case _:
            raise AnswerError("alarms came in an unknown shape")


def alarm_for(
    row: Mapping[str, object], service: str, pods: Mapping[str, str], rules: Sequence[str], now: datetime
) -> Alarm | None:
    """Say what one alarm is to a service (by id) whose instances (by id) belong to `pods`; None: nothing, or recovered.

    `rules`: words of which one must stand in the message; empty: any alarm. An alarm of the service itself, or of one of its
    endpoints, points at no pod: the whole service shares it.
    """
    entity, scope, message = str(row.get("id")), row.get("scope"), shorten(str(row.get("message")), 300)
    recovered = row.get("recoveryTime")
    if isinstance(recovered, int) and recovered > 0:
        return None
    if rules and not any(rule.lower() in message.lower() for rule in rules):
        return None
    started = row.get("startTime")
    since = datetime.fromtimestamp(started / 1000, UTC) if isinstance(started, int) and 0 <= started < _LATEST else now
    if scope == "ServiceInstance":
        return Alarm(_rule(scope, entity, message), since, message, (pods[entity],)) if entity in pods else None
    if (scope == "Service" and entity == service) or (scope == "Endpoint" and entity.startswith(f"{service}_")):
        return Alarm(_rule(str(scope), entity, message), since, message)
    return None


def _rule(scope: str, entity: str, message: str) -> str:
    """Name the rule, which OAP does not tell, by the scope and the message with the entity's name taken out.

    So one rule has one name for all pods, and the service's own alarm is not taken for the same trouble at each of them.
    """
    for name in sorted(_names(entity), key=len, reverse=True):
        message = message.replace(name, "*") if name else message
    return f"{scope} alarm {shorten(message, 80)!r}"


def _names(entity: str) -> list[str]:
    """Decode the names in an id, such as `b3JkZXItc3Zj.1_MTAuMS4yLjM=`, and how OAP writes them together in its messages."""
    service, _, part = entity.partition("_")
    found = [_decoded(part), _decoded(service.rpartition(".")[0])]
    together = [f"{found[0]} of {found[1]}", f"{found[0]} in {found[1]}"] if all(found) else []
    return [*together, *found]


def _decoded(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return ""
