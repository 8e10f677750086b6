"""A pretend SkyWalking OAP: its GraphQL endpoint on the simulated traffic, in the manner of 8.7 or of 10.4.

What differs is what clients stumble over: 8.7 calls itself 8.0, answers 200 to every error, has no nulls and no `listInstances`;
10.4 answers 400 to a field that it does not know, 200 to a resolver's error, limits complexity, and on BanyanDB has only the new
trace query. Arguments are checked against the types that the schemas declare.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollout.sandbox.graphql_text import Field, GraphqlError, parse
from rollout.sandbox.http import Request, Response, json_response, text_response
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.skywalking_fields import FiredAlarm, Flavour, Resolver
from rollout.sandbox.skywalking_topology import Relation

NAME = "skywalking"
"""What Faults knows this backend by."""

_COMMON: dict[str, dict[str, str]] = {
    "version": {},
    "getTimeInfo": {},
    "checkHealth": {},
    "searchService": {"serviceCode": "String!"},
    "getAllServices": {"duration": "Duration!", "group": "String"},
    "getServiceInstances": {"duration": "Duration!", "serviceId": "ID!"},
    "readMetricsValues": {"condition": "MetricsCondition!", "duration": "Duration!"},
    "queryBasicTraces": {"condition": "TraceQueryCondition"},
    "supportQueryLogsByKeywords": {},
    "queryLogs": {"condition": "LogQueryCondition"},
    "getServiceTopology": {"serviceId": "ID!", "duration": "Duration!"},
    "getAlarm": {"duration": "Duration!", "scope": "Scope", "keyword": "String", "paging": "Pagination!", "tags": "[AlarmTag]"},
}
_NEW: dict[str, dict[str, str]] = {
    "listServices": {"layer": "String"},
    "findService": {"serviceName": "String!"},
    "listInstances": {"duration": "Duration!", "serviceId": "ID!"},
    "execExpression": {"expression": "String!", "entity": "Entity!", "duration": "Duration!"},
    "queryTraces": {"condition": "TraceQueryCondition"},
    "hasQueryTracesV2Support": {},
}
V8 = Flavour("8.0", _COMMON)
V10 = Flavour("10.4.0-5a2d0a7", {**_COMMON, **_NEW}, nulls=True, status_of_errors=400, complexity=3000)
V10_BANYANDB = replace(V10, banyandb=True)
_ONLY_NEW = frozenset({"errorReason", "recoveryTime", "isEmptyValue", "owner", "layers", "shortName"})
_ONLY_OLD = frozenset({"total"})


class SkyWalking:
    """Answers `/graphql` and, as 10.1 and later, `/healthcheck`. `alarms` and `relations` hold what a scenario says."""

    def __init__(self, live: LiveWorld, flavour: Flavour = V10, *, zone: timedelta = timedelta(hours=8)) -> None:
        self.flavour = flavour
        self.alarms: list[FiredAlarm] = []
        self.relations: list[Relation] = []
        self._live = live
        self._zone = zone

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/healthcheck" and self.flavour.nulls:
            return text_response("")
        if request.path != "/graphql":
            return text_response("404 Not Found\n", 404)
        if request.method != "POST":
            return text_response("405 Method Not Allowed\n", 405)
        try:
            document = request.json()
            fields = parse(str(document["query"]), document.get("variables") or {})
            self._validate(fields)
        except (ValueError, KeyError, TypeError):
            return text_response("400 Bad Request\n", 400)
        except GraphqlError as error:
            return json_response({"errors": [{"message": str(error)}]}, self.flavour.status_of_errors)
        return json_response(self._execute(fields))

    def _execute(self, fields: list[Field]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        with self._live.using() as world:
            resolver = Resolver(world, self.flavour, self._zone, list(self.alarms), tuple(self.relations))
            for asked in fields:
                try:
                    answer = resolver.resolve(asked)
                    if asked.name == "getTimeInfo":
                        answer["currentTimestamp"] += round(world.faults.skew(NAME).total_seconds() * 1000)
                    found[asked.alias] = _select(answer, asked.selection)
                except GraphqlError as error:
                    found[asked.alias] = None
                    told: dict[str, Any] = {"message": str(error)}
                    errors.append(told | ({"path": [asked.alias]} if self.flavour.nulls else {}))
        return {"data": found} | ({"errors": errors} if errors else {})

    def _validate(self, fields: list[Field]) -> None:
        size = sum(field.size() for field in fields)
        if size > self.flavour.complexity:
            raise GraphqlError(f"maximum query complexity exceeded {size} > {self.flavour.complexity}")
        for asked in fields:
            expected = self.flavour.fields.get(asked.name)
            if expected is None:
                raise _undefined(asked.name, "Query")
            for name, kind in asked.types.items():
                wanted = expected.get(name, "")
                if kind != wanted and kind.removesuffix("!") != wanted:
                    words = f"Variable type '{kind}' doesn't match expected type '{wanted}'"
                    raise GraphqlError(f"Validation error (VariableTypeMismatch@[{asked.name}]) : {words}")
            for name in asked.arguments:
                if name not in expected:
                    raise GraphqlError(f"Validation error (UnknownArgument@[{asked.name}]) : Unknown field argument '{name}'")
            for name, kind in expected.items():
                if kind.endswith("!") and asked.arguments.get(name) is None:
                    raise GraphqlError(f"Validation error (MissingFieldArgument@[{asked.name}]) : Missing field argument '{name}'")
            self._validate_names(asked)

    def _validate_names(self, asked: Field) -> None:
        foreign = _ONLY_OLD if self.flavour.nulls else _ONLY_NEW
        for child in asked.selection:
            if child.name in foreign:
                raise _undefined(child.name, asked.name)
            self._validate_names(child)


def _undefined(name: str, place: str) -> GraphqlError:
    return GraphqlError(f"Validation error (FieldUndefined@[{name}]) : Field '{name}' in type '{place}' is undefined")


def _select(answer: Any, selection: list[Field]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(answer, list):
        return [_select(item, selection) for item in answer]
    if not isinstance(answer, dict):
        return answer
    for child in selection:
        if child.name not in answer:
            raise GraphqlError(f"the sandbox does not serve the field '{child.name}' here")
    return {child.alias: _select(answer[child.name], child.selection) for child in selection}
