from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.core.signals import Counts, Gauges, NoData, PodCount, PodKey, Question, Reading, Unreachable
from tests.adapters.questions import START, WINDOW, pod, question, window
from tests.adapters.stub import HandClock, Say, Script, Seen, Stub, stub

ERRORS = 'sum by (pod) (errors_total{pod=~"{{pods}}"})'
REQUESTS = 'sum by (pod) (requests_total{pod=~"{{pods}}"})'
END = WINDOW.end


def vector(series: Mapping[str, object], label: str = "pod") -> Say:
    result = [{"metric": {label: name}, "value": [0, str(value)]} for name, value in series.items()]
    return Say(body={"status": "success", "data": {"resultType": "vector", "result": result}})


class Counters:
    """A Prometheus that knows the values of metrics at instants: `(metric, minutes after START) -> value by pod`."""

    def __init__(self, values: Mapping[tuple[str, int], Mapping[str, object]]) -> None:
        self.values = values

    def __call__(self, seen: Seen) -> Say:
        query = seen.form["query"]
        metric = re.findall(r"\b(\w+)\{", query)[0]
        wanted = re.findall(r'=~"([^"]*)"', query)[0].replace("[.]", ".").split("|")
        minute = round((float(seen.form["time"]) - START.timestamp()) / 60)
        if query.startswith("last_over_time("):
            minute = -1000 - minute
        series = {name: value for name, value in self.values.get((metric, minute), {}).items() if name in wanted}
        return vector(series, "node" if "(node" in query else "pod")


@contextmanager
def prometheus(script: Script | Say, now: datetime = END) -> Iterator[tuple[PrometheusSource, Stub]]:
    with stub(script) as server:
        source = PrometheusSource("main", PrometheusSettings(url=server.url, timeout=timedelta(seconds=2)), HandClock(now))
        try:
            yield source, server
        finally:
            source.close()


def read(script: Script | Say, asked: Question) -> Reading:
    with prometheus(script) as (source, _):
        return source.read([asked])[asked].reading


COUNTED = question("promql", events=ERRORS, requests=REQUESTS)


def test_a_counter_is_the_difference_of_its_values_at_both_ends_of_the_window() -> None:
    world = Counters({
        ("errors_total", 0): {"web-1": 7, "web-2": 0},
        ("errors_total", 5): {"web-1": 10, "web-2": 0},
        ("requests_total", 0): {"web-1": 1000, "web-2": 500},
        ("requests_total", 5): {"web-1": 1041, "web-2": 540},
    })  # fmt: skip
    assert read(world, COUNTED) == Counts({"web-1": PodCount(3, 41), "web-2": PodCount(0, 40)})


def test_requests_without_any_error_series_are_measured_zero_errors() -> None:
    world = Counters({("requests_total", 0): {"web-1": 10}, ("requests_total", 5): {"web-1": 30}})
    assert read(world, COUNTED) == Counts({"web-1": PodCount(0, 20)})


def test_a_pod_that_the_backend_does_not_know_is_left_out_and_not_zero() -> None:
    world = Counters({("errors_total", 0): {"web-1": 1}, ("errors_total", 5): {"web-1": 1}})
    assert read(world, question("promql", events=ERRORS)) == Counts({"web-1": PodCount(0)})


def test_a_series_born_in_the_window_counts_from_zero() -> None:
    world = Counters({("errors_total", 5): {"web-1": 4}, ("requests_total", 5): {"web-1": 9}})
    assert read(world, COUNTED) == Counts({"web-1": PodCount(4, 9)})


def test_a_scrape_missed_at_the_start_does_not_put_the_count_of_a_life_into_one_window() -> None:
    world = Counters({("errors_total", 5): {"web-1": 503}, ("errors_total", -1000): {"web-1": 500}})
    with prometheus(world) as (source, _):
        asked = question("promql", events=ERRORS)
        answer = source.read([asked])[asked]
    assert answer.reading == Counts({"web-1": PodCount(3)})
    assert "# web-1: not scraped at the start of the window" in answer.query


def test_a_series_whose_past_cannot_be_read_is_unknown() -> None:
    world = Counters({("errors_total", 5): {"web-1": 503}})

    def script(seen: Seen) -> Say:
        broken = Say(422, {"status": "error", "errorType": "execution", "error": "no subqueries here"})
        return broken if seen.form["query"].startswith("last_over_time") else world(seen)

    reading = read(script, question("promql", events=ERRORS))
    assert isinstance(reading, NoData)
    assert "its past could not be read" in reading.why


def test_a_counter_reset_counts_what_came_since_and_says_so() -> None:
    world = Counters({("errors_total", 0): {"web-1": 50}, ("errors_total", 5): {"web-1": 2}})
    with prometheus(world) as (source, _):
        asked = question("promql", events=ERRORS)
        answer = source.read([asked])[asked]
    assert answer.reading == Counts({"web-1": PodCount(2)})
    assert "the counter was reset within the window (50 -> 2)" in answer.query


def test_series_that_a_gateway_drops_are_no_errors_and_no_requests() -> None:
    both = question("promql", events=ERRORS, requests=REQUESTS)

    def told(errors: tuple[float, float], requests: tuple[float, float]) -> Reading:
        names = ("errors_total", "requests_total")
        figures = zip(names, (errors, requests), strict=True)
        return read(Counters({(name, 5 * n): {"web-1": values[n]} for name, values in figures for n in (0, 1)}), both)

    for dropped in (told((60, 10), (1060, 1030)), told((60, 10), (1060, 1080)), told((60, 61), (1060, 800))):
        assert isinstance(dropped, NoData)
        assert "which is no restart" in dropped.why
    assert told((60, 10), (1060, 30)) == Counts({"web-1": PodCount(10, 30)})


def test_each_of_several_series_of_a_pod_is_followed_by_itself() -> None:
    def script(seen: Seen) -> Say:
        start = float(seen.form["time"]) == START.timestamp()
        figures = {"gw-1": 1000 if start else 3, "gw-2": 1000 if start else 1010}
        result = [{"metric": {"pod": "web-1", "instance": i}, "value": [0, str(v)]} for i, v in figures.items()]
        return Say(body={"status": "success", "data": {"resultType": "vector", "result": result}})

    # One gateway of two restarted: 3 since then, and 10 on the other, not the fall of a sum from 2000 to 1013.
    assert read(script, question("promql", events=ERRORS)) == Counts({"web-1": PodCount(13)})


def test_contiguous_windows_share_what_was_read_between_them() -> None:
    world = Counters({("errors_total", m): {"web-1": v} for m, v in ((0, 1), (5, 3), (10, 10))})
    first, second = question("promql", events=ERRORS), question("promql", events=ERRORS, at=window(5))
    with prometheus(world) as (source, server):
        assert source.read([first])[first].reading == Counts({"web-1": PodCount(2)})
        world.values = {("errors_total", 10): {"web-1": 10}, ("errors_total", 5): {"web-1": 4}}
        assert source.read([second])[second].reading == Counts({"web-1": PodCount(7)})
    assert len(server.seen) == 3


def test_an_expression_over_the_window_is_asked_at_its_end_only() -> None:
    world = Counters({("errors_total", 5): {"web-1": 2.5}})
    asked = question("promql", events='sum by (pod)(increase(errors_total{pod=~"{{pods}}"}[{{window}}]))')
    with prometheus(world) as (source, server):
        assert source.read([asked])[asked].reading == Counts({"web-1": PodCount(2.5)})
    assert [seen.form["time"] for seen in server.seen] == [f"{END.timestamp():.3f}"]
    assert "[300s]" in server.seen[0].form["query"]


def test_a_gauge_is_one_number_per_pod() -> None:
    world = Counters({("latency", 5): {"web-1": 120.5, "web-2": "NaN"}})
    assert read(world, question("promql", gauge='latency{pod=~"{{pods}}"}')) == Gauges({"web-1": 120.5})


@pytest.mark.parametrize(
    ("value", "words"), [("NaN", "NaN (0/0: no traffic)"), ("+Inf", "+Inf (division by zero)"), ("-Inf", "-Inf")]
)
def test_a_gauge_that_is_not_a_number_is_no_data_and_says_which(value: str, words: str) -> None:
    reading = read(Counters({("latency", 5): {"web-1": value}}), question("promql", gauge='latency{pod=~"{{pods}}"}'))
    assert isinstance(reading, NoData)
    assert words in reading.why


def test_several_series_for_one_gauge_are_not_chosen_from() -> None:
    result = [{"metric": {"pod": "web-1", "path": path}, "value": [0, "1"]} for path in ("/a", "/b")]
    answer = Say(body={"status": "success", "data": {"resultType": "vector", "result": result}})
    reading = read(answer, question("promql", gauge='latency{pod=~"{{pods}}"}'))
    assert isinstance(reading, Unreachable)
    assert "2 series for web-1 where one is expected ({path=/a, pod=web-1}" in reading.why


def test_an_empty_vector_is_no_data_and_names_the_query() -> None:
    reading = read(vector({}), COUNTED)
    assert reading == NoData(
        'main: no series for web-1, web-2 in sum by (pod) (requests_total{pod=~"..."}) '
        "(wrong metric, label or selector, or not scraped?)"
    )


def refused(status: int, kind: str, error: str) -> Say:
    return Say(status, {"status": "error", "errorType": kind, "error": error})


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (refused(400, "bad_data", "parse error"), "the query was refused (bad_data): parse error"),
        (refused(422, "execution", "many-to-many"), "the query was refused (execution): many-to-many"),
        (refused(503, "timeout", "query timed out"), "the query was not finished (HTTP 503, timeout)"),
        (refused(500, "internal", "storage"), "the query was not finished (HTTP 500, internal)"),
        (Say(503, "Service Unavailable", "text/plain"), "HTTP 503: Service Unavailable"),
        (Say(404, "404 page not found", "text/plain"), "HTTP 404: nothing is there; is the path prefix right?"),
        (Say(401, "Unauthorized", "text/plain"), "it wants credentials"),
        (Say(200, "<html><title>Sign in</title>", "text/html"), "an HTML page instead of JSON (Sign in)"),
        (Say(200, '{"status": "succ'), "cut off or broken"),
        (Say(200, {"took": 3}), "JSON that is not Prometheus'"),
        (Say(200, {"status": {}}), "JSON that is not Prometheus'"),
        (Say(200, {"status": "success", "data": None}), "no vector in it"),
        (Say(200, {"status": "success", "data": {"resultType": [], "result": []}}), "no vector in it"),
        (Say(200, {"status": "success", "data": {"resultType": "vector", "result": {}}}), "no vector in it"),
        (Say(200, {"status": "success", "data": {"resultType": "vector", "result": [7]}}), "not a series"),
        (Say(200, {"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}), "gives a scalar"),
        (
            Say(200, {"status": "success", "warnings": ["store away"], "data": {"resultType": "vector", "result": []}}),
            "partial or suspicious, by its own warning: store away",
        ),
        (
            Say(200, {"status": "success", "isPartial": True, "data": {"resultType": "vector", "result": []}}),
            "the result is partial, by its own word",
        ),
        (
            Say(200, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "histogram": []}]}}),
            "native histogram",
        ),
        (
            Say(200, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, None]}]}}),
            "not a number ([0, None])",
        ),
        (vector({"web-1": 1}, label="k8s_pod"), "has the label 'pod' that names the pod; they have k8s_pod"),
    ],
)  # fmt: skip
def test_every_answer_that_cannot_be_believed_is_unreachable_in_its_own_words(say: Say, words: str) -> None:
    reading = read(say, COUNTED)
    assert isinstance(reading, Unreachable)
    assert words in reading.why


def test_questions_of_all_rollouts_with_one_template_share_their_queries() -> None:
    pods = [PodKey("prod", f"web-{n}", f"u{n}", "") for n in range(300)]
    world = Counters({(m, t): {p.name: t for p in pods} for m in ("errors_total", "requests_total") for t in (0, 5)})
    asked = [question("promql", *pods[n : n + 3], events=ERRORS, requests=REQUESTS) for n in range(0, 300, 3)]
    with prometheus(world) as (source, server):
        answers = source.read(asked)
    assert len(server.seen) == 4
    for one in asked:
        assert answers[one].reading == Counts({p.name: PodCount(5, 5) for p in one.pods})
        assert all(p.name in answers[one].query for p in one.pods)
    assert "web-299" not in answers[asked[0]].query


def test_a_query_that_fails_blinds_only_those_who_asked_it() -> None:
    good = Counters({("errors_total", t): {"web-1": t} for t in (0, 5)})

    def script(seen: Seen) -> Say:
        return refused(400, "bad_data", "parse error") if "broken" in seen.form["query"] else good(seen)

    ok, bad = question("promql", events=ERRORS), question("promql", events='broken{pod=~"{{pods}}"')
    with prometheus(script) as (source, _):
        answers = source.read([ok, bad])
    assert answers[ok].reading == Counts({"web-1": PodCount(5)})
    assert isinstance(answers[bad].reading, Unreachable)


def test_a_backend_that_hangs_costs_three_timeouts_and_no_more() -> None:
    asked = [question("promql", events=f'm{n}{{pod=~"{{{{pods}}}}"}}') for n in range(20)]
    with stub(Say(hang=True)) as server:
        settings = PrometheusSettings(url=server.url, timeout=timedelta(seconds=1))
        source = PrometheusSource("main", settings, HandClock(END))
        answers = source.read(asked)
        source.close()
        assert len(server.seen) == 3
    assert all(isinstance(answer.reading, Unreachable) for answer in answers.values())


def test_pods_that_share_an_ip_are_left_out_because_neither_owns_the_count() -> None:
    twins = (PodKey("prod", "a", "u1", "10.0.0.1"), PodKey("prod", "b", "u2", "10.0.0.1"), PodKey("prod", "c", "u3", ""))
    reading = read(vector({}), question("5xx", *twins))
    assert isinstance(reading, NoData)
    assert "c, a, b cannot be named to Prometheus yet (no IP, or shared by two pods)" in reading.why


def test_the_5xx_of_apisix_are_counted_by_pod_ip_and_told_by_pod_name() -> None:
    def script(seen: Seen) -> Say:
        late = float(seen.form["time"]) == END.timestamp()
        errors = 'code=~"5.."' in seen.form["query"]
        return vector({"10.1.2.1": (4 if errors else 90) if late else (1 if errors else 50)}, "node")

    assert read(script, question("5xx", pod(1), route="checkout")) == Counts({"web-1": PodCount(3, 40)})


def test_a_question_that_cannot_be_asked_is_answered_in_words() -> None:
    reading = read(vector({}), question("error-traces"))
    assert isinstance(reading, Unreachable)
    assert "Prometheus cannot be asked for 'error-traces'" in reading.why
    both = read(vector({}), question("promql", events=ERRORS, gauge=ERRORS))
    assert isinstance(both, Unreachable)
    assert "exactly one of `events` and `gauge`" in both.why


def test_doctor_hears_the_version_and_a_clock_that_is_off() -> None:
    def script(seen: Seen) -> Say:
        if seen.path == "/api/v1/status/buildinfo":
            return Say(body={"status": "success", "data": {"version": "2.42.0"}})
        ahead = END.timestamp() + 95
        return Say(body={"status": "success", "data": {"resultType": "scalar", "result": [ahead, str(ahead)]}})

    with prometheus(script) as (source, _):
        checks = source.check()
    assert [(check.level, check.message) for check in checks] == [
        ("ok", "Prometheus 2.42.0 answers queries"),
        ("warning", "its clock is 1 m 35 s ahead of ours"),
    ]


def test_doctor_names_what_is_wrong_with_a_prometheus_that_is_away() -> None:
    with prometheus(Say(200, "<html><title>Grafana</title>", "text/html")) as (source, _):
        [check] = source.check()
    assert check.level == "refused"
    assert "HTML page instead of JSON (Grafana)" in check.message
    assert check.remedy
