"""Prometheus' adapter against the pretend Prometheus and, where it runs, a real one that scrapes a pretend gateway."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.core.signals import Counts, Gauges, NoData, PodCount, PodKey, Question, Unreachable, Window
from rollout.ports import Clock
from rollout.sandbox.faults import Failing, Fault
from tests.contract.signal_worlds import MINUTE, SignalWorld, Truth, sandbox, sandbox_world, stranger
from tests.peers.exporter import GatewayExporter
from tests.peers.process import wait_until
from tests.peers.prometheus import Prometheus

SECOND = timedelta(seconds=1)
NUMBERS = itertools.count(1)
ERRORS = 'sum by (node) (apisix_http_status{node=~"{{pods}}", code=~"5.."})'


def source_at(url: str, clock: Clock) -> PrometheusSource:
    return PrometheusSource("prom", PrometheusSettings(url=url, timeout=timedelta(seconds=5)), clock)


def fresh_pod() -> PodKey:
    """A pod whose address no other test of this session has used."""
    number = next(NUMBERS)
    return PodKey("prod", f"shop-{number}", f"u{number}", f"10.7.{number // 250}.{number % 250}")


class Gateway:
    """A real Prometheus with the counters of a gateway, moved by a test and waited for."""

    def __init__(self, prometheus: Prometheus, exporter: GatewayExporter) -> None:
        self.prometheus = prometheus
        self.exporter = exporter
        self.clock = SystemClock()
        self.source = source_at(prometheus.url, self.clock)

    def scraped(self, times: int = 2) -> None:
        """Wait until some more scrapes have been answered; all but the last one are stored then."""
        seen = self.exporter.scrapes
        wait_until(lambda: self.exporter.scrapes >= seen + times, 60, "scrapes")

    def window(self, serve: object = None) -> Window:
        """Let something be served between two instants at which all is scraped.

        `increase()` needs a sample inside the window from before the serving, so one is waited for after the start.
        """
        self.scraped()
        start = self.clock.now()
        self.scraped()
        if callable(serve):
            serve()
        self.scraped()
        return Window(start, self.clock.now())


@pytest.fixture
def gateway(prometheus_peer: Prometheus, exporter_peer: GatewayExporter) -> Iterator[Gateway]:
    made = Gateway(prometheus_peer, exporter_peer)
    yield made
    made.source.close()


def real_world(gateway: Gateway) -> SignalWorld:
    pods = [fresh_pod() for _ in range(3)]
    figures = [(20, 2), (30, 0), (5, 5)]

    def serve(times: int = 1) -> None:
        for pod, (requests, errors) in zip(pods, figures, strict=True):
            gateway.exporter.serve(pod.ip, times * (requests - errors), milliseconds=40)
            gateway.exporter.serve(pod.ip, times * errors, code=502, milliseconds=40)

    serve(7)
    window = gateway.window(serve)
    truth = {pod: Truth(requests, errors, 0, 0) for pod, (requests, errors) in zip(pods, figures, strict=True)}
    return SignalWorld(gateway.source, "", window, truth, None, stranger(), gateway.clock)


REAL = pytest.param("prometheus", marks=[pytest.mark.peer("prometheus"), pytest.mark.xdist_group("prometheus")])


@pytest.fixture(scope="module", params=["sandbox", REAL])
def world(request: pytest.FixtureRequest) -> Iterator[SignalWorld]:
    with ExitStack() as stack:
        if request.param == "sandbox":
            made = stack.enter_context(sandbox())
            yield sandbox_world(made, stack.enter_context(closing(source_at(made.urls["prometheus"], made.clock))))
        else:
            gateway = Gateway(*(request.getfixturevalue(f"{name}_peer") for name in ("prometheus", "exporter")))
            stack.callback(gateway.source.close)
            yield real_world(gateway)


def test_5xx_answers_and_requests_are_counted_per_pod_to_the_last_one(world: SignalWorld) -> None:
    reading = world.read("5xx")
    assert isinstance(reading, Counts)
    seen = {name: (count.events, count.requests) for name, count in reading.by_pod.items()}
    assert seen == {pod.name: (truth.errors, truth.requests) for pod, truth in world.truth.items()}


def test_a_pod_that_the_gateway_never_saw_is_unknown(world: SignalWorld) -> None:
    known = next(iter(world.truth))
    reading = world.read("5xx", known, world.stranger)
    assert isinstance(reading, Counts)
    assert set(reading.by_pod) == {known.name}
    alone = world.read("5xx", world.stranger)
    assert isinstance(alone, NoData)
    assert "no series for" in alone.why


def test_latency_is_milliseconds_per_pod(world: SignalWorld) -> None:
    reading = world.read("latency")
    assert isinstance(reading, Gauges)
    assert set(reading.by_pod) == {pod.name for pod in world.truth}
    assert all(20 < value <= 200 for value in reading.by_pod.values())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"events": 'sum by (node) (apisix_http_status{node=~"{{pods}}"}'}, "the query was refused (bad_data)"),
        (
            {"events": 'sum by (code) (apisix_http_status{node=~"{{pods}}"})'},
            "has the label 'node' that names the pod; they have code",
        ),
        ({"gauge": 'sum by (node, code, le, type) (apisix_http_latency_bucket{node=~"{{pods}}"})'}, "where one is expected"),
        ({"gauge": 'scalar(sum(apisix_http_status{node=~"{{pods}}"}))'}, "gives a scalar"),
    ],
)
def test_a_query_that_cannot_work_is_told_in_words(world: SignalWorld, parameters: dict[str, str], words: str) -> None:
    reading = world.read("promql", label="node", by="ip", window=None, **parameters)
    assert isinstance(reading, Unreachable)
    assert words in reading.why


def test_a_metric_that_nobody_exports_is_no_data(world: SignalWorld) -> None:
    reading = world.read("promql", events='sum by (node) (no_such_metric_total{node=~"{{pods}}"})', label="node", by="ip")
    assert isinstance(reading, NoData)
    assert "no_such_metric_total" in reading.why


def test_doctor_hears_version_and_clock(world: SignalWorld) -> None:
    checks = world.source.check()
    assert [check.level for check in checks] == ["ok", "ok"]
    assert checks[0].message.startswith("Prometheus ")


def test_two_halves_of_a_window_make_the_whole_though_asked_late() -> None:
    with sandbox() as made, ExitStack() as stack:
        source = source_at(made.urls["prometheus"], made.clock)
        stack.callback(source.close)
        world = sandbox_world(made, source)
        middle = world.window.start + 2 * MINUTE
        first = world.read("5xx", window=Window(world.window.start, middle))
        made.advance(MINUTE)
        second = world.read("5xx", window=Window(middle, world.window.end))
        assert isinstance(first, Counts)
        assert isinstance(second, Counts)
        for pod, truth in world.truth.items():
            assert first.by_pod[pod.name].events + second.by_pod[pod.name].events == truth.errors


def test_the_pods_own_counters_can_be_asked_by_name() -> None:
    with sandbox() as made, ExitStack() as stack:
        source = source_at(made.urls["prometheus"], made.clock)
        stack.callback(source.close)
        world = sandbox_world(made, source)
        reading = world.read(
            "promql",
            events='sum by (pod) (http_requests_total{pod=~"{{pods}}",namespace="{{namespace}}",code=~"5.."})',
            requests='sum by (pod) (http_requests_total{pod=~"{{pods}}",namespace="{{namespace}}"})',
        )
    assert isinstance(reading, Counts)
    assert {n: (c.events, c.requests) for n, c in reading.by_pod.items()} == {
        pod.name: (truth.errors, truth.requests) for pod, truth in world.truth.items()
    }


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        (Failing.HTML, "HTML page instead of JSON (Sign in)"),
        (Failing.ERROR_500, "HTTP 500"),
        (Failing.UNAVAILABLE_503, "HTTP 503"),
        (Failing.CUT, "broke before the answer was complete"),
    ],
)
def test_a_prometheus_in_trouble_is_unreachable(failing: Failing, words: str) -> None:
    with sandbox() as made, ExitStack() as stack:
        source = source_at(made.urls["prometheus"], made.clock)
        stack.callback(source.close)
        with made.using() as inside:
            inside.faults.set("prometheus", Fault(failing))
        reading = sandbox_world(made, source).read("5xx")
    assert isinstance(reading, Unreachable)
    assert words in reading.why


def read(gateway: Gateway, pod: PodKey, window: Window) -> tuple[object, str]:
    world = SignalWorld(gateway.source, "", window, {pod: Truth(0, 0, 0, 0)}, None, stranger(), gateway.clock)
    asked = world.question("promql", pod, events=ERRORS, label="node", by="ip")
    answer = gateway.source.read([asked])[asked]
    return answer.reading, answer.query


def test_a_pod_born_in_the_window_counts_from_zero_on_a_real_prometheus(gateway: Gateway) -> None:
    pod = fresh_pod()
    window = gateway.window(lambda: gateway.exporter.serve(pod.ip, 3, code=500))
    assert read(gateway, pod, window)[0] == Counts({pod.name: PodCount(3)})


def test_a_gateway_that_restarts_is_noticed_on_a_real_prometheus(gateway: Gateway) -> None:
    pod = fresh_pod()
    gateway.exporter.serve(pod.ip, 50, code=500)

    def restart() -> None:
        gateway.exporter.forget(pod.ip)
        gateway.exporter.serve(pod.ip, 2, code=500)

    reading, query = read(gateway, pod, gateway.window(restart))
    assert reading == Counts({pod.name: PodCount(2)})
    assert "the counter was reset within the window (50 -> 2)" in query


def test_errors_that_a_gateway_forgets_are_not_made_again_on_a_real_prometheus(gateway: Gateway) -> None:
    pod = fresh_pod()
    for code, times in ((200, 1000), (502, 50), (503, 10)):
        gateway.exporter.serve(pod.ip, times, code=code)

    def expire() -> None:
        gateway.exporter.expire(pod.ip, 502)
        gateway.exporter.serve(pod.ip, 20)

    asked = Question("s", "prom", "5xx", (), (pod,), gateway.window(expire))
    reading = gateway.source.read([asked])[asked].reading
    assert isinstance(reading, NoData)
    assert "which is no restart: series in it were dropped" in reading.why


def test_a_scrape_missed_at_the_start_does_not_count_a_whole_life_on_a_real_prometheus(gateway: Gateway) -> None:
    pod = fresh_pod()
    gateway.exporter.serve(pod.ip, 500, code=500)
    gateway.scraped(8)
    gateway.exporter.broken = True
    try:
        wait_until(lambda: not gateway.prometheus.query(f'apisix_http_status{{node="{pod.ip}"}}'), 60, "a stale series")
        start = gateway.clock.now()
    finally:
        gateway.exporter.broken = False
    gateway.exporter.serve(pod.ip, 4, code=500)
    wait_until(lambda: gateway.prometheus.query(f'apisix_http_status{{node="{pod.ip}"}} == 504'), 60, "the series to return")
    reading, query = read(gateway, pod, Window(start, gateway.clock.now()))
    assert reading == Counts({pod.name: PodCount(4)})
    assert "not scraped at the start of the window" in query
