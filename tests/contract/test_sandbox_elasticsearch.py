"""The pretend Elasticsearch refuses what the real one refuses, and its lines are those of the simulated traffic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.sandbox.elasticsearch import Elasticsearch, Lines
from rollout.sandbox.http import Request
from rollout.sandbox.serve import Sandbox
from tests.contract.signal_worlds import NOON, keys_of, sandbox

NDJSON = {"content-type": "application/x-ndjson"}
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def made() -> Iterator[Sandbox]:
    with sandbox() as at:
        yield at


def ask(
    made: Sandbox, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, **query: str
) -> tuple[int, dict[str, Any]]:
    asked = Request(method, path, {key: [value] for key, value in query.items()}, headers or {}, body)
    answer = Elasticsearch(made.live).respond(asked)
    return answer.status, json.loads(answer.body)


def count(made: Sandbox, query: dict[str, Any], index: str = "logstash-2026.11.22") -> int:
    status, body = ask(made, "POST", f"/{index}/_count", json.dumps({"query": query}).encode())
    assert status == 200, body
    return int(body["count"])


def test_an_index_that_is_not_there_is_404_unless_the_asker_is_lenient(made: Sandbox) -> None:
    status, body = ask(made, "POST", "/nothing/_count", b"{}")
    assert (status, body["error"]["type"]) == (404, "index_not_found_exception")
    assert ask(made, "POST", "/nothing-*/_count", b"{}")[1] == {
        "count": 0, "_shards": {"total": 0, "successful": 0, "skipped": 0, "failed": 0},
    }  # fmt: skip
    assert ask(made, "POST", "/nothing/_count", b"{}", ignore_unavailable="true")[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}\n{}\n", {}, 406),
        (b"no json\n", NDJSON, 400),
        (b"{}\n{}", NDJSON, 400),
        (b"{}\n", NDJSON, 400),
        (b"{}\n{}\n", NDJSON, 200),
    ],
)
def test_a_multi_search_must_be_whole_lines_of_json(made: Sandbox, body: bytes, headers: dict[str, str], status: int) -> None:
    assert ask(made, "POST", "/_msearch", body, headers)[0] == status


def test_a_query_of_an_unknown_kind_is_refused_and_the_other_searches_are_answered(made: Sandbox) -> None:
    lines = ["{}", '{"query":{"fuzzy":{}}}', "{}", '{"size":0}']
    _, body = ask(made, "POST", "/_msearch", ("\n".join(lines) + "\n").encode(), NDJSON)
    assert body["responses"][0]["error"]["type"] == "parsing_exception"
    assert body["responses"][1]["hits"]["total"]["value"] > 0


def test_the_lines_are_those_of_the_traffic(made: Sandbox) -> None:
    pod = keys_of(made, "nginx")[0]
    start, end = NOON, NOON + 3 * MINUTE
    with made.using() as world:
        truth = world.traffic.counts(pod.uid, start, end)
    span = {"range": {"@timestamp": {"gte": start.isoformat(), "lt": end.isoformat()}}}
    mine = {"term": {"kubernetes.pod_name.keyword": pod.name}}
    errors = {"match_phrase": {"log": "ERROR"}}
    assert count(made, {"bool": {"filter": [span, mine, errors]}}) == truth.error_logs
    assert count(made, {"bool": {"filter": [span, mine], "must_not": [errors]}}) == truth.requests
    assert count(made, {"bool": {"filter": [span, {"term": {"kubernetes.pod_name": pod.name}}]}}) == 0  # analysed: no whole name


@given(st.integers(1, 50), st.integers(-30, 90), st.integers(0, 60), st.integers(0, 60))
def test_counts_of_adjoining_spans_add_up(number: int, first: int, more: int, rest: int) -> None:
    minute = datetime(2026, 11, 22, 13, tzinfo=UTC)
    lines = Lines({}, "x", minute, minute + MINUTE, number)
    a, b, c = (minute + timedelta(seconds=s) for s in (first, first + more, first + more + rest))
    assert lines.within(a, b) + lines.within(b, c) == lines.within(a, c)
    assert lines.within(minute, minute + MINUTE) == number
