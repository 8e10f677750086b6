"""Elasticsearch's adapter against the pretend cluster and, where they run, Elasticsearch 6 and 7 and OpenSearch 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.core.signals import Counts, NoData, PodKey, Unreachable, Window
from rollout.ports import Clock
from rollout.sandbox.elasticsearch import Elasticsearch
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox
from tests.contract.signal_worlds import MINUTE, SignalWorld, Truth, sandbox, sandbox_world, stranger
from tests.peers.elasticsearch import SearchServer, fluentd_record

PEERS = ("elasticsearch", "elasticsearch6", "opensearch")
QUICK = timedelta(seconds=5)


def source_at(url: str, clock: Clock, **settings: object) -> ElasticsearchSource:
    return ElasticsearchSource("logs", ElasticsearchSettings.model_validate({"url": url, "timeout": "5s", **settings}), clock)


def pretend_world(made: Sandbox, stack: ExitStack) -> SignalWorld:
    server = made.serve("elasticsearch", Elasticsearch(made.live).respond)
    source = source_at(server.url, made.clock)
    stack.callback(source.close)
    return sandbox_world(made, source)


def real_world(peer: SearchServer, stack: ExitStack) -> SignalWorld:
    """Index a finished minute as fluentd writes it: names that share words, a line on either edge, another namespace."""
    clock = SystemClock()
    end = clock.now().replace(second=0, microsecond=0) - 2 * MINUTE
    window = Window(end - MINUTE, end)
    pods = [PodKey("prod", f"shop-{n}", f"u{n}", f"10.8.1.{n}") for n in range(1, 4)]
    figures = [(20, 3), (30, 0), (5, 5)]
    records = []
    for pod, (lines, errors) in zip(pods, figures, strict=True):
        for n in range(lines):
            at = window.start + timedelta(seconds=n)
            text = "ERROR java.lang.IllegalStateException" if n < errors else "INFO all is well, errors: none, errorCount=0"
            records.append(fluentd_record(pod.name, pod.namespace, f"{at:%Y-%m-%dT%H:%M:%S.000Z}", text))
    edges = (window.end, window.start - timedelta(milliseconds=1))
    records += [fluentd_record("shop-1", "prod", f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z", "ERROR outside") for at in edges]
    records.append(fluentd_record("shop-1", "staging", f"{window.start:%Y-%m-%dT%H:%M:%S.000Z}", "ERROR of a namesake"))
    days = sorted({f"{at:%Y.%m.%d}" for at in (window.start, window.end)})
    for day in days:
        peer.index(f"contract-{day}", [record for record in records if record["@timestamp"][:10].replace("-", ".") == day])
        stack.callback(peer.delete, f"contract-{day}")
    source = source_at(peer.url, clock, index="contract-%Y.%m.%d")
    stack.callback(source.close)
    truth = {pod: Truth(0, 0, 0, errors) for pod, (_, errors) in zip(pods, figures, strict=True)}
    return SignalWorld(source, "", window, truth, None, stranger(), clock)


REAL = [pytest.param(name, marks=[pytest.mark.peer(name), pytest.mark.xdist_group(name)]) for name in PEERS]


@pytest.fixture(scope="module", params=["sandbox", *REAL])
def world(request: pytest.FixtureRequest) -> Iterator[SignalWorld]:
    with ExitStack() as stack:
        if request.param == "sandbox":
            yield pretend_world(stack.enter_context(sandbox()), stack)
        else:
            yield real_world(request.getfixturevalue(f"{request.param}_peer"), stack)


def test_error_lines_are_counted_per_pod_to_the_last_line(world: SignalWorld) -> None:
    reading = world.read("error-logs")
    assert isinstance(reading, Counts)
    seen = {name: (count.events, count.requests) for name, count in reading.by_pod.items()}
    assert seen == {pod.name: (truth.error_logs, None) for pod, truth in world.truth.items()}
    assert sum(truth.error_logs for truth in world.truth.values()) > 5


def test_two_halves_of_a_window_make_the_whole(world: SignalWorld) -> None:
    middle = world.window.start + timedelta(seconds=30)
    parts = [world.read("error-logs", window=w) for w in (Window(world.window.start, middle), Window(middle, world.window.end))]
    whole = world.read("error-logs")
    assert isinstance(whole, Counts)
    for name, count in whole.by_pod.items():
        assert sum(part.by_pod[name].events for part in parts if isinstance(part, Counts)) == count.events


def test_a_phrase_is_whole_words_and_any_of_several(world: SignalWorld) -> None:
    one, both = world.read("error-logs", pattern="INFO"), world.read("error-logs", pattern="INFO | ERROR")
    none = world.read("error-logs", pattern="ERR")
    assert isinstance(one, Counts)
    assert isinstance(both, Counts)
    errors = {pod.name: truth.error_logs for pod, truth in world.truth.items()}
    assert {name: count.events - one.by_pod[name].events for name, count in both.by_pod.items()} == errors
    assert isinstance(none, Counts)
    assert {count.events for count in none.by_pod.values()} == {0}


def test_a_pod_from_which_no_line_ever_came_is_unknown_and_not_zero(world: SignalWorld) -> None:
    known = next(iter(world.truth))
    reading = world.read("error-logs", known, world.stranger)
    assert isinstance(reading, Counts)
    assert set(reading.by_pod) == {known.name}
    alone = world.read("error-logs", world.stranger)
    assert isinstance(alone, NoData)
    assert f"no line of {world.stranger.name}" in alone.why


def test_a_missing_index_is_no_data_and_not_no_errors(world: SignalWorld) -> None:
    reading = world.read("error-logs", index="nothing-%Y.%m.%d")
    assert isinstance(reading, NoData)
    assert "no index nothing-" in reading.why


def test_a_field_that_no_document_has_is_told(world: SignalWorld) -> None:
    reading = world.read("error-logs", field="message")
    assert isinstance(reading, Unreachable)
    assert "no document has the field message" in reading.why


def test_the_cluster_introduces_itself_to_doctor(world: SignalWorld) -> None:
    checks = world.source.check()
    assert [check.level for check in checks] == ["ok", "ok"]
    assert "kubernetes.pod_name.keyword" in checks[1].message


@pytest.mark.parametrize(("failing", "words"), [(Failing.HTML, "HTML page"), (Failing.REFUSED_401, "it wants credentials")])
def test_a_cluster_in_trouble_is_unreachable(failing: Failing, words: str) -> None:
    with sandbox() as made, ExitStack() as stack:
        world = pretend_world(made, stack)
        with made.using() as inside:
            inside.faults.set("elasticsearch", Fault(failing))
        reading = world.read("error-logs")
    assert isinstance(reading, Unreachable)
    assert words in reading.why


def test_shards_that_fail_make_a_count_unreliable() -> None:
    with sandbox() as made, ExitStack() as stack:
        pretend = Elasticsearch(made.live)
        source = source_at(made.serve("elasticsearch", pretend.respond).url, made.clock)
        stack.callback(source.close)
        pretend.failed_shards = 1
        reading = sandbox_world(made, source).read("error-logs")
    assert isinstance(reading, Unreachable)
    assert "1 of 1 shards failed" in reading.why
