"""The pretend OAP errs where the real releases err, and serves no field that they do not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType
from hypothesis import given
from hypothesis import strategies as st

from rollout.sandbox.graphql_text import GraphqlError, parse
from rollout.sandbox.http import Request, Response
from rollout.sandbox.serve import Sandbox
from rollout.sandbox.skywalking import V8, V10, V10_BANYANDB, SkyWalking
from rollout.sandbox.skywalking_fields import Flavour
from tests.adapters.test_skywalking_graphql import schema
from tests.contract.signal_worlds import sandbox

DURATION = {"start": "2026-11-22 2000", "end": "2026-11-22 2002", "step": "MINUTE"}


@pytest.fixture(scope="module")
def made() -> Iterator[Sandbox]:
    with sandbox() as at:
        yield at


def ask(made: Sandbox, flavour: Flavour, query: str, **variables: object) -> tuple[int, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    answer = SkyWalking(made.live, flavour).respond(Request("POST", "/graphql", {}, {}, body))
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(("flavour", "status"), [(V8, 200), (V10, 400)])
def test_a_field_that_a_release_does_not_know_is_an_error_in_its_own_manner(made: Sandbox, flavour: Flavour, status: int) -> None:
    seen, body = ask(made, flavour, "{nothingLikeIt}")
    assert seen == status
    assert "Field 'nothingLikeIt' in type 'Query' is undefined" in body["errors"][0]["message"]
    assert "data" not in body


def test_eight_has_neither_expressions_nor_reasons(made: Sandbox) -> None:
    assert "errors" in ask(made, V8, "{hasQueryTracesV2Support}")[1]
    text = "query($c:LogQueryCondition){queryLogs(condition:$c){errorReason logs{timestamp}}}"
    assert "errorReason" in ask(made, V8, text, c={})[1]["errors"][0]["message"]


def test_banyandb_has_only_the_new_trace_query_and_the_others_only_the_old(made: Sandbox) -> None:
    condition = {"traceState": "ERROR", "queryOrder": "BY_START_TIME", "paging": {"pageSize": 1}, "queryDuration": DURATION}
    old = "query($c:TraceQueryCondition){queryBasicTraces(condition:$c){traces{traceIds}}}"
    new = "query($c:TraceQueryCondition){queryTraces(condition:$c){traces{spans{traceId}}}}"
    assert ask(made, V10, old, c=condition)[1]["data"]["queryBasicTraces"]["traces"]
    assert ask(made, V10_BANYANDB, new, c=condition)[1]["data"]["queryTraces"]["traces"]
    status, body = ask(made, V10_BANYANDB, old, c=condition)
    assert status == 200
    assert "please use queryTraces" in body["errors"][0]["message"]
    assert body["data"] == {"queryBasicTraces": None}
    assert "Only BanyanDB" in ask(made, V10, new, c=condition)[1]["errors"][0]["message"]


def test_no_data_is_zero_in_eight_and_null_in_ten(made: Sandbox) -> None:
    entity = {"serviceName": "nginx", "serviceInstanceName": "nobody", "normal": True}
    old = "query($c:MetricsCondition!,$d:Duration!){r:readMetricsValues(condition:$c,duration:$d){values{values{value}}}}"
    condition = {"name": "service_instance_cpm", "entity": {**entity, "scope": "ServiceInstance"}}
    assert ask(made, V8, old, c=condition, d=DURATION)[1]["data"]["r"]["values"]["values"] == [{"value": 0}] * 3
    call = "execExpression(expression:$m,entity:$e,duration:$d){type results{values{value}}}"
    new = f"query($m:String!,$e:Entity!,$d:Duration!){{r:{call}}}"
    answer = ask(made, V10, new, m="service_instance_cpm", e=entity, d=DURATION)[1]["data"]["r"]
    assert answer["results"][0]["values"] == [{"value": None}] * 3
    assert ask(made, V10, new, m="no_such_metric", e=entity, d=DURATION)[1]["data"]["r"] == {"type": "UNKNOWN", "results": []}


def test_a_variable_of_the_wrong_type_and_a_duration_turned_round_are_refused(made: Sandbox) -> None:
    wrong = "query($s:String!,$d:Duration!){listInstances(serviceId:$s,duration:$d){id}}"
    assert "doesn't match expected type 'ID!'" in ask(made, V10, wrong, s="x", d=DURATION)[1]["errors"][0]["message"]
    right = wrong.replace("$s:String!", "$s:ID!")
    turned = {**DURATION, "start": DURATION["end"], "end": DURATION["start"]}
    assert "can't exceed 500 minutes" in ask(made, V10, right, s="x", d=turned)[1]["errors"][0]["message"]


def test_a_document_beyond_the_complexity_limit_is_aborted(made: Sandbox) -> None:
    query = "{" + " ".join(f"a{n}:version" for n in range(3001)) + "}"
    assert "maximum query complexity exceeded 3001 > 3000" in ask(made, V10, query)[1]["errors"][0]["message"]
    assert len(ask(made, V8, query)[1]["data"]) == 3001


@pytest.mark.parametrize(("flavour", "release"), [(V8, "v8.7.0"), (V10, "v10.4.0")])
def test_every_field_is_served_with_the_types_of_the_real_schema(flavour: Flavour, release: str) -> None:
    query = schema(release).query_type
    assert isinstance(query, GraphQLObjectType)
    for name, arguments in flavour.fields.items():
        real = {key: str(argument.type) for key, argument in query.fields[name].args.items()}
        assert {key: real[key] for key in arguments} == arguments
        assert {key for key, kind in real.items() if kind.endswith("!")} <= set(arguments)


def test_a_request_that_is_no_graphql_is_400(made: Sandbox) -> None:
    def raw(method: str, path: str, body: bytes) -> Response:
        return SkyWalking(made.live, V10).respond(Request(method, path, {}, {}, body))

    assert raw("POST", "/graphql", b"no json").status == 400
    assert raw("POST", "/graphql", b"[]").status == 400
    assert raw("GET", "/graphql", b"").status == 405
    assert raw("GET", "/elsewhere", b"").status == 404
    assert raw("GET", "/healthcheck", b"").status == 200


@given(st.text(alphabet='{}()$:!="[]a1,@. \\'))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        fields = parse(text, {})
    except GraphqlError:
        return
    assert all(field.name for field in fields)


def test_literals_variables_and_aliases_are_read() -> None:
    [one] = parse(
        'query Q($d:Duration! $n:[Int!]=[1]){x:f(a:1,b:"t\\n",c:[ASC,true],d:$d,e:{k:-1.5}){y z}}', {"d": {"step": "DAY"}}
    )
    assert (one.alias, one.name, [child.name for child in one.selection], one.size()) == ("x", "f", ["y", "z"], 3)
    assert one.arguments == {"a": 1, "b": "t\n", "c": ["ASC", True], "d": {"step": "DAY"}, "e": {"k": -1.5}}
    assert one.types == {"d": "Duration!"}
