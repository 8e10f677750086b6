"""The Prometheus HTTP API on the simulated traffic: instant and range queries, alerts, buildinfo, readiness.

The shapes are those of Prometheus' own documentation (docs/querying/api.md): values are strings, an empty vector is success,
an unsupported expression is 400 bad_data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollout.sandbox.http import Request, Response, json_response, text_response
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.metrics_traffic import TrafficMetrics
from rollout.sandbox.promql_eval import Evaluator, ExecutionError
from rollout.sandbox.promql_functions import Vector
from rollout.sandbox.promql_series import Family, Labels, Scrapes, Series
from rollout.sandbox.promql_syntax import QueryError, parse, seconds

NAME = "prometheus"
"""What Faults knows this backend by."""
SCRAPE_SECONDS = 15.0
_MOST_POINTS = 11_000


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """One alert as `/api/v1/alerts` lists it; `state` is `firing` or `pending`."""

    labels: dict[str, str]
    active_at: datetime
    annotations: dict[str, str] = field(default_factory=dict)
    state: str = "firing"


class Prometheus:
    """Answers the API. `families` may get more metrics, `alerts` what fires, `warnings` a partial result's words."""

    def __init__(self, live: LiveWorld) -> None:
        self.alerts: list[FiringAlert] = []
        self.warnings: list[str] = []
        self._live = live
        with live.using() as world:
            self.families: dict[str, Family] = dict(TrafficMetrics(world).families())

    def gauge(self, name: str, labels: Labels, value: float, since: datetime) -> None:
        """Add a series with a fixed value to a metric."""
        before = self.families.get(name, tuple)
        series = Series(dict(labels), lambda _: value, since.timestamp())
        self.families[name] = lambda: (*before(), series)

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        match request.path:
            case "/-/ready":
                return text_response("Prometheus Server is Ready.\n")
            case "/-/healthy":
                return text_response("Prometheus Server is Healthy.\n")
            case "/api/v1/status/buildinfo":
                return _success({"version": "3.5.0", "revision": "sandbox", "goVersion": "go1.24"})
            case "/api/v1/alerts":
                return _success({"alerts": [_alert(alert) for alert in self.alerts]})
            case "/api/v1/labels":
                return _success(["__name__", *sorted({key for f in self.families.values() for s in f() for key in s.labels})])
            case "/api/v1/label/__name__/values":
                return _success(sorted(self.families))
            case "/api/v1/query" | "/api/v1/query_range":
                return self._query(request)
            case _:
                return text_response("404 page not found\n", 404)

    def _query(self, request: Request) -> Response:
        form = {key: values[0] for key, values in request.form().items()}
        try:
            with self._live.using() as world:
                now = world.now.timestamp()
                found = self._range(form, now) if request.path.endswith("_range") else self._instant(form, now)
        except (QueryError, ValueError) as error:
            return _failure(400, "bad_data", f'invalid parameter "query": {error}')
        except ExecutionError as error:
            return _failure(422, "execution", str(error))
        return _success(found, self.warnings)

    def _evaluator(self, now: float) -> Evaluator:
        return Evaluator(self.families, Scrapes(SCRAPE_SECONDS, now))

    def _instant(self, form: dict[str, str], now: float) -> dict[str, Any]:
        at = _time(form["time"]) if form.get("time") else now
        found = self._evaluator(now).evaluate(parse(form.get("query", "")), at)
        if isinstance(found, float):
            return {"resultType": "scalar", "result": [at, _number(found)]}
        if isinstance(found, str):
            return {"resultType": "string", "result": [at, found]}
        return {"resultType": "vector", "result": [{"metric": dict(labels), "value": [at, _number(v)]} for labels, v in found]}

    def _range(self, form: dict[str, str], now: float) -> dict[str, Any]:
        start, end, step = _time(form.get("start", "")), _time(form.get("end", "")), seconds(form.get("step", ""))
        if step <= 0 or end < start or (end - start) / step > _MOST_POINTS:
            raise QueryError("exceeded maximum resolution of 11,000 points per timeseries, or an empty range")
        expression, evaluator = parse(form.get("query", "")), self._evaluator(now)
        lines: dict[tuple[tuple[str, str], ...], list[list[Any]]] = {}
        for number in range(int((end - start) / step) + 1):
            at = start + number * step
            found = evaluator.evaluate(expression, at)
            vector: Vector = found if isinstance(found, list) else [({}, float(found))]
            for labels, value in vector:
                lines.setdefault(tuple(sorted(labels.items())), []).append([at, _number(value)])
        result = [{"metric": dict(labels), "values": values} for labels, values in lines.items()]
        return {"resultType": "matrix", "result": result}


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)  # noqa: PLR2004 - as Go prints


def _alert(alert: FiringAlert) -> dict[str, Any]:
    shown = {"labels": alert.labels, "annotations": alert.annotations, "state": alert.state, "value": "1e+00"}
    return {**shown, "activeAt": alert.active_at.isoformat().replace("+00:00", "Z")}


def _success(found: Any, warnings: list[str] | None = None) -> Response:  # noqa: ANN401 - JSON
    body = {"status": "success", "data": found}
    return json_response(body | ({"warnings": list(warnings)} if warnings else {}))


def _failure(code: int, kind: str, words: str) -> Response:
    return json_response({"status": "error", "errorType": kind, "error": words}, code)
