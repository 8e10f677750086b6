from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.elasticsearch_search import Wanted, errors_filter, exact_field, indices_of
from rollout.core.signals import Counts, NoData, PodCount, Question, Reading, Unreachable, Window
from tests.adapters.questions import WINDOW, pod, question
from tests.adapters.stub import HandClock, Say, Script, Seen, Stub, stub

CAPS: dict[str, dict[str, dict[str, object]]] = {
    "fields": {
        "kubernetes.pod_name": {"text": {}}, "kubernetes.pod_name.keyword": {"keyword": {}},
        "kubernetes.namespace_name": {"keyword": {}}, "log": {"text": {}}, "level": {"keyword": {}},
    }
}  # fmt: skip
LOGS = question("error-logs")
HOUR = timedelta(hours=1)


def result(*pods: tuple[int, int], **more: object) -> dict[str, object]:
    buckets = {f"p{n}": {"doc_count": lines, "errors": {"doc_count": errors}} for n, (lines, errors) in enumerate(pods)}
    shards = {"total": 5, "successful": 5, "skipped": 0, "failed": 0}
    return {"timed_out": False, "_shards": shards, "aggregations": {"pods": {"buckets": buckets}}, "status": 200, **more}


class Cluster:
    """Answers `_field_caps` and one result for every search."""

    def __init__(self, *results: object, caps: object = CAPS) -> None:
        self.results = results
        self.caps = caps

    def __call__(self, seen: Seen) -> Say:
        if seen.path.endswith("/_field_caps"):
            return Say(body=self.caps)
        return Say(body={"took": 1, "responses": list(self.results)})


@contextmanager
def elasticsearch(script: Script | Say, **settings: object) -> Iterator[tuple[ElasticsearchSource, Stub]]:
    with stub(script) as server:
        made = ElasticsearchSettings.model_validate({"url": server.url, "timeout": "2s", **settings})
        source = ElasticsearchSource("logs", made, HandClock())
        try:
            yield source, server
        finally:
            source.close()


def read(script: Script | Say, asked: Question = LOGS) -> Reading:
    with elasticsearch(script) as (source, _):
        return source.read([asked])[asked].reading


def searches(server: Stub) -> list[tuple[dict[str, object], dict[str, object]]]:
    lines = [json.loads(line) for seen in server.seen if seen.path == "/_msearch" for line in seen.body.decode().splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_errors_are_counted_per_pod_and_a_pod_without_any_line_is_left_out() -> None:
    three = question("error-logs", pod(1), pod(2), pod(3))
    assert read(Cluster(result((100, 3), (80, 0), (0, 0))), three) == Counts({"web-1": PodCount(3), "web-2": PodCount(0)})


def test_the_search_is_exact_about_pod_namespace_and_window() -> None:
    with elasticsearch(Cluster(result((1, 0), (1, 0)))) as (source, server):
        source.read([LOGS])
        [(header, body)] = searches(server)
        assert server.seen[-1].headers["content-type"] == "application/x-ndjson"
    assert header == {"index": "logstash-2026.11.22", "ignore_unavailable": True, "allow_no_indices": True}
    aggregation = body["aggs"]["pods"]  # type: ignore[index] # JSON
    terms = aggregation["filters"]["filters"]["p0"]["bool"]["filter"]
    assert terms == [{"term": {"kubernetes.pod_name.keyword": "web-1"}}, {"term": {"kubernetes.namespace_name": "prod"}}]
    window, errors = aggregation["aggs"]["errors"]["filter"]["bool"]["filter"]
    assert window == {"range": {"@timestamp": {"gte": "2026-11-22T13:00:00.000000Z", "lt": "2026-11-22T13:05:00.000000Z"}}}
    assert errors == {"match_phrase": {"log": "ERROR"}}
    assert body["query"] == {
        "bool": {"filter": [{"range": {"@timestamp": {"gte": "2026-11-22T12:05:00.000000Z", "lt": "2026-11-22T13:05:00.000000Z"}}}]}
    }


def test_a_window_just_after_midnight_touches_two_days_and_days_are_of_utc() -> None:
    midnight = datetime(2026, 11, 22, 0, 5, tzinfo=UTC)
    window = Window(midnight - timedelta(minutes=5), midnight)
    assert indices_of("logstash-%Y.%m.%d", window, HOUR) == "logstash-2026.11.21,logstash-2026.11.22"
    assert indices_of("logstash-%Y.%m.%d", window, timedelta(minutes=5)) == "logstash-2026.11.22"
    assert indices_of("logs-*", window, HOUR) == "logs-*"


@pytest.mark.parametrize(
    ("results", "kind", "words"),
    [
        (result(_shards={"total": 0, "successful": 0, "failed": 0}), NoData, "no index logstash-2026.11.22"),
        (result((9, 0), _shards={"total": 5, "successful": 4, "failed": 1}), Unreachable, "1 of 5 shards failed"),
        (result((9, 0), timed_out=True), Unreachable, "the search timed out on the server"),
        ({"error": {"type": "parse", "reason": "bad"}, "status": 400}, Unreachable, "the search was refused: parse: bad"),
        ({"_shards": {"total": 5, "failed": 0}}, Unreachable, "has no counts in it"),
        (7, Unreachable, "is no search result (7)"),
        (result((0, 0), (0, 0)), NoData, "no line of web-1, web-2 within 1 h in logstash-2026.11.22; are these pods' logs shipped"),
    ],
)
def test_a_count_that_may_be_too_low_is_never_believed(results: object, kind: type[Reading], words: str) -> None:
    reading = read(Cluster(results))
    assert isinstance(reading, kind)
    assert words in getattr(reading, "why", "")


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (Say(401, {"error": {"type": "security_exception", "reason": "missing authentication"}}), "HTTP 401: it wants credentials"),
        (Say(404, {"error": {"type": "index_not_found_exception", "reason": "no such index"}}), "no such index"),
        (Say(503, {"error": "master not discovered"}), "HTTP 503: master not discovered"),
        (Say(429, {"error": {"type": "es_rejected_execution_exception", "reason": "full"}}), "HTTP 429: too many requests"),
        (Say(200, "<html><title>Kibana</title>", "text/html"), "HTML page instead of JSON (Kibana)"),
        (Say(200, {"took": 3}), "no index"),
    ],
)
def test_a_cluster_that_does_not_answer_says_so(say: Say, words: str) -> None:
    reading = read(say)
    assert isinstance(reading, NoData | Unreachable)
    assert words in reading.why


def caps(**fields: Mapping[str, object]) -> dict[str, object]:
    return {"fields": {**CAPS["fields"], **fields}}


def test_a_field_that_is_not_there_would_look_like_health_and_is_refused() -> None:
    without = {"fields": {name: kinds for name, kinds in CAPS["fields"].items() if name != "log"}}
    reading = read(Cluster(result((100, 0), (100, 0)), caps=without))
    assert isinstance(reading, Unreachable)
    assert "no document has the field log" in reading.why
    exact = read(Cluster(result((100, 0), (100, 0)), caps=caps(log={"keyword": {}})))
    assert isinstance(exact, Unreachable)
    assert "phrases cannot be searched" in exact.why


def test_an_index_that_maps_pod_names_as_keyword_has_no_second_field() -> None:
    assert exact_field(CAPS, "kubernetes.pod_name") == "kubernetes.pod_name.keyword"
    assert exact_field(CAPS, "kubernetes.namespace_name") == "kubernetes.namespace_name"
    assert exact_field(CAPS, "kubernetes.container_name") is None


def test_what_an_error_line_is_can_be_said_by_phrase_level_or_query() -> None:
    phrases = errors_filter(Wanted("log", phrases=("ERROR", "FATAL")))
    assert phrases == {
        "bool": {"should": [{"match_phrase": {"log": "ERROR"}}, {"match_phrase": {"log": "FATAL"}}], "minimum_should_match": 1}
    }
    assert errors_filter(Wanted("log", level_field="level", levels=("ERROR",))) == {"match": {"level": "ERROR"}}
    query = errors_filter(Wanted("log", query="log:ERROR AND NOT log:ignored"))
    assert query["query_string"] == {
        "query": "log:ERROR AND NOT log:ignored", "default_field": "log", "allow_leading_wildcard": False,
    }  # fmt: skip


def test_all_rollouts_share_one_search_and_the_fields_are_asked_once() -> None:
    pods = [pod(n, f"web-{n}") for n in range(30)]
    asked = [question("error-logs", *pods[n : n + 3]) for n in range(0, 30, 3)]
    with elasticsearch(Cluster(result(*[(10, n) for n in range(30)]))) as (source, server):
        answers = source.read(asked)
        source.read(asked)
    assert [seen.path for seen in server.seen] == ["/logstash-2026.11.22/_field_caps", "/_msearch", "/_msearch"]
    for number, one in enumerate(asked):
        assert answers[one].reading == Counts({p.name: PodCount(3 * number + n) for n, p in enumerate(one.pods)})


def test_an_index_from_a_plan_cannot_lead_elsewhere() -> None:
    reading = read(Cluster(), question("error-logs", index="../_cluster/settings?x="))
    assert isinstance(reading, Unreachable)
    assert "holds characters that no name has" in reading.why


def test_doctor_tells_product_version_and_index() -> None:
    greeting = {"version": {"number": "2.11.0", "distribution": "opensearch"}}
    with elasticsearch(lambda seen: Say(body=greeting if seen.path == "/" else CAPS)) as (source, _):
        checks = source.check()
    assert [(check.level, check.message) for check in checks] == [
        ("ok", "opensearch 2.11.0"),
        ("ok", "logstash-2026.11.22 has kubernetes.pod_name.keyword"),
    ]


def test_the_evidence_names_index_pattern_pods_and_window() -> None:
    with elasticsearch(Cluster(result((1, 0), (1, 0)))) as (source, _):
        query = source.read([LOGS])[LOGS].query
    assert query == (
        "GET /logstash-2026.11.22/_count: log: 'ERROR'; kubernetes.pod_name: web-1, web-2; 2026-11-22 13:00:00Z to 13:05:00Z"
    )
    assert WINDOW.length == timedelta(minutes=5)
