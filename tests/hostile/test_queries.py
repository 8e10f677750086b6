"""Names, labels and patterns that would change a query if anything pasted them: what is sent has the shape of a harmless one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.adapters.elasticsearch_search import Wanted, errors_filter
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.core.signals import NoData, Question, Unreachable
from rollout.sandbox.promql_syntax import parse
from tests.adapters.questions import pod, question
from tests.adapters.stub import HandClock, Say, stub
from tests.adapters.test_elasticsearch import CAPS, elasticsearch
from tests.hostile.mutations import HOSTILE

NASTY = (
    'a"} or vector(1) #',
    '"}) { __schema { types { name } } }',
    "*:* OR password:*",
    '"}}]}}\n{"index":"secrets"}\n{"query":{"match_all":{}}}',
    "a\\",
    '\\"',
    "x|.*",
    "{{pods}}",
    "${jndi:ldap://x}",
    "a\nb\tc",
    "'; DROP TABLE rollout; --",
)


def shape(value: object) -> object:
    """Keep the structure of a JSON document, and of its texts only that they are texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def promql(asked: Sequence[Question]) -> list[str]:
    """Ask a Prometheus that knows nothing; return the queries as they arrived."""
    empty = Say(body={"status": "success", "data": {"resultType": "vector", "result": []}})
    with stub(empty) as server:
        source = PrometheusSource("main", PrometheusSettings(url=server.url, timeout=timedelta(seconds=2)), HandClock())
        try:
            answers = source.read(asked)
        finally:
            source.close()
        assert all(isinstance(answer.reading, NoData | Unreachable) for answer in answers.values()), "it knows nothing"
        return [seen.form["query"] for seen in server.seen]


def skeleton(query: str) -> str:
    """Parse a query as the pretend Prometheus does, and blank its texts."""
    parse(query)
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)


@pytest.mark.parametrize("nasty", [text for text in NASTY if "|" not in text])
def test_a_route_or_a_pod_cannot_change_what_prometheus_is_asked(nasty: str) -> None:
    plain = promql([question("5xx", route="shop"), question("promql", events='errors_total{pod=~"{{pods}}"}')])
    harmless = {skeleton(query) for query in plain}
    assert len(harmless) >= 2
    asked = promql(
        [question("5xx", route=nasty), question("promql", pod(1, nasty), pod(2), events='errors_total{pod=~"{{pods}}"}')]
    )
    assert {skeleton(query) for query in asked} <= harmless
    assert all(query.count("vector(1)") == 0 or '\\"} or vector(1)' in query for query in asked)


def test_the_two_names_of_a_route_are_no_regular_expressions() -> None:
    assert all(
        'route=~"x|[.][*]"' in query or 'route=~"x|\\\\.\\\\*"' in query for query in promql([question("5xx", route="x|.*")])
    )


def search(pattern: str, container: str, *names: str) -> list[Any]:
    """Ask for error lines; return the lines of the `_msearch` as documents, pod names blanked as keys too."""
    import json  # noqa: PLC0415 - the one place

    def script(seen: Any) -> Say:  # noqa: ANN401 - a request
        return Say(body=CAPS) if seen.path.endswith("/_field_caps") else Say(body={"took": 1, "responses": []})

    pods = [pod(number, name) for number, name in enumerate(names)]
    with elasticsearch(script) as (source, server):
        source.read([question("error-logs", *pods, pattern=pattern, container=container)])
        return [
            json.loads(line) for seen in server.seen if seen.path == "/_msearch" for line in seen.body.decode().split("\n") if line
        ]


@pytest.mark.parametrize("nasty", [text for text in NASTY if "|" not in text])
def test_a_pattern_a_container_or_a_pod_cannot_change_what_elasticsearch_is_asked(nasty: str) -> None:
    harmless, hostile = search("ERROR", "app", "web-1", "web-2"), search(nasty, nasty, nasty, "web-2")
    assert len(harmless) == len(hostile) == 2
    assert shape(hostile) == shape(harmless)
    assert hostile[0]["index"] == harmless[0]["index"]


@settings(max_examples=100)
@given(st.sampled_from(HOSTILE) | st.text(min_size=1))
def test_no_phrase_is_read_as_a_query(text: str) -> None:
    assert errors_filter(Wanted("log", phrases=(text,))) == {"match_phrase": {"log": text}}
