"""What a SkyWalking agent reports, as protobuf-JSON for OAP's HTTP receivers (port 12800), for one request each.

Names are lowerCamelCase, enums are strings, times are milliseconds since 1970.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from uuid import uuid4

Json = dict[str, Any]
_HTTP = {"spanLayer": "Http", "componentId": 1}


def service_id(service: str) -> str:
    """OAP's id of a real (not a conjectured) service."""
    return b64encode(service.encode()).decode() + ".1"


def instance_id(service: str, instance: str) -> str:
    """OAP's id of an instance."""
    return f"{service_id(service)}_{b64encode(instance.encode()).decode()}"


def segment(
    service: str,
    instance: str,
    at: int,
    *,
    endpoint: str = "/orders",
    milliseconds: int = 20,
    error: str | None = None,
    caller: tuple[str, str] | None = None,
) -> Json:
    """One request that began at `at`: an entry span, in error with `error` as the exception's message.

    With a `caller` (service, instance) it draws the edge from there in the topology.
    """
    trace = uuid4().hex
    tags = [{"key": "http.method", "value": "GET"}, {"key": "http.status_code", "value": "500" if error else "200"}]
    span: Json = {
        "spanId": 0,
        "parentSpanId": -1,
        "operationName": endpoint,
        "startTime": at,
        "endTime": at + milliseconds,
        "spanType": "Entry",
        "isError": error is not None,
        "tags": tags,
        "refs": [],
        "logs": [],
        **_HTTP,
    }
    if error is not None:
        told = {"event": "error", "error.kind": "java.lang.IllegalStateException", "message": error, "stack": f"{error}\n\tat x"}
        span["logs"] = [{"time": at, "data": [{"key": key, "value": value} for key, value in told.items()]}]
    if caller is not None:
        span["refs"] = [_reference(trace, caller, endpoint)]
    return {
        "traceId": trace,
        "traceSegmentId": uuid4().hex,
        "service": service,
        "serviceInstance": instance,
        "isSizeLimited": False,
        "spans": [span],
    }


def log(service: str, instance: str, at: int, text: str, *, level: str = "ERROR", trace: str | None = None) -> Json:
    """One log line, as the Java toolkit sends it."""
    context = {"traceContext": {"traceId": trace, "traceSegmentId": uuid4().hex, "spanId": 0}} if trace else {}
    return {
        "timestamp": at,
        "service": service,
        "serviceInstance": instance,
        "layer": "GENERAL",
        "tags": {"data": [{"key": "level", "value": level}]},
        "body": {"text": {"text": text}},
        **context,
    }


def _reference(trace: str, caller: tuple[str, str], endpoint: str) -> Json:
    return {
        "refType": "CrossProcess",
        "traceId": trace,
        "parentTraceSegmentId": uuid4().hex,
        "parentSpanId": 0,
        "parentService": caller[0],
        "parentServiceInstance": caller[1],
        "parentEndpoint": endpoint,
        "networkAddressUsedAtPeer": "10.0.0.1:8080",
    }
