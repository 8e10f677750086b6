"""What may come as answer to an instant query, told apart: a vector, nothing, a refusal, a partial result, a proxy's page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rollout.adapters.http import Reply, describe, parse_json, refuse_status, shorten
from rollout.core.errors import Rejected, Unavailable
from rollout.core.wording import listed


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant vector. `value` may be NaN or infinite: Prometheus means it."""

    labels: tuple[tuple[str, str], ...]
    value: float


def parse_vector(backend: str, reply: Reply, label: str) -> dict[str, list[Sample]]:
    """Read `{"status":"success","data":{"resultType":"vector",...}}` into samples by the value of `label`.

    An empty mapping is a true answer: no series. Raises Rejected for a query that can never work (syntax, a scalar, a native
    histogram, no such label), Unavailable for what may pass (starting, overload, storage, warnings of a partial result).
    """
    document = parse_json(backend, reply)
    if not isinstance(document, dict) or str(document.get("status")) not in {"success", "error"}:
        refuse_status(backend, reply)
        raise Unavailable(backend, f"HTTP {reply.status} with JSON that is not Prometheus' ({shorten(reply.text, 80)})")
    if document["status"] == "error" or reply.status >= 400:  # noqa: PLR2004 - HTTP's line between answers and errors
        _refuse(backend, reply, document)
    if warnings := document.get("warnings"):
        seen = listed(shorten(str(w)) for w in (warnings if isinstance(warnings, list) else [warnings]))
        raise Unavailable(backend, f"the result is partial or suspicious, by its own warning: {seen}")
    if document.get("isPartial") is True:  # VictoriaMetrics, while one of its storage nodes is away
        raise Unavailable(backend, "the result is partial, by its own word (isPartial): a storage node is away")
    result = document.get("data")
    kind = str(result.get("resultType", "")) if isinstance(result, dict) else ""
    series = result.get("result") if isinstance(result, dict) else None
    if kind in {"scalar", "string", "matrix"}:
        raise Rejected(backend, f"the query gives a {kind}, a vector with one series per {label} is expected")
    if kind != "vector" or not isinstance(series, list):
        raise Unavailable(backend, f"{'its answer' if kind else describe(reply)} has no vector in it")
    return _by_label(backend, series, label)


def _refuse(backend: str, reply: Reply, document: Mapping[str, object]) -> None:
    kind = shorten(str(document.get("errorType") or "error"))
    words = shorten(str(document.get("error") or "no reason given"))
    if kind in {"timeout", "canceled", "internal", "unavailable"}:
        raise Unavailable(backend, f"the query was not finished (HTTP {reply.status}, {kind}): {words}")
    refuse_status(backend, reply, about=f"HTTP {reply.status}: the query was refused ({kind}): {words}")
    raise Rejected(backend, f"the query was refused ({kind}): {words}", code=reply.status)


def _by_label(backend: str, series: list[object], label: str) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    others: set[str] = set()
    for item in series:
        metric = item.get("metric") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(metric, dict):
            raise Unavailable(backend, "its vector holds something that is not a series")
        if "value" not in item and "histogram" in item:
            raise Rejected(backend, "the query gives a native histogram; use histogram_count() or histogram_quantile()")
        labels = tuple(sorted((str(k), str(v)) for k, v in metric.items()))
        value = _number(item.get("value"))
        if value is None:
            raise Unavailable(backend, f"its vector holds a value that is not a number ({shorten(str(item.get('value')), 40)})")
        if label in metric:
            found.setdefault(str(metric[label]), []).append(Sample(labels, value))
        else:
            others.update(str(name) for name in metric)
    if series and not found:
        has = f"they have {listed(sorted(others))}" if others else "they have no labels at all"
        raise Rejected(backend, f"no series of the answer has the label {label!r} that names the pod; {has}")
    return found


def _number(pair: object) -> float | None:
    match pair:
        case [_, str() as text]:
            try:
                return float(text)
            except ValueError:
                return None
        case _:
            return None


def finite(value: float) -> bool:
    """Say whether a value can be counted with."""
    return math.isfinite(value)
