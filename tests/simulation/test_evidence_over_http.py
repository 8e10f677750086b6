"""Hours of evidence through the real adapters: the same engine and traffic, asked over HTTP as SkyWalking, APISIX and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.evidence_state import Verdict
from rollout.core.history import Outcome
from rollout.ports import SignalSource
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.skywalking import V8, V10, SkyWalking
from rollout.sandbox.skywalking_fields import Flavour
from tests.simulation.days import Day, H, M, manifests
from tests.simulation.pretend import START, WorldClock

SIGNALS = ("skywalking-traces", "skywalking-success-rate", "apisix-5xx", "apisix-latency", "error-logs")
PATIENCE = timedelta(seconds=5)


class OverHttp:
    """A day whose backends are the sandbox's, on loopback. Nobody but the test moves the time, so nothing runs meanwhile."""

    def __init__(self, sandbox: Sandbox, sources: dict[str, SignalSource], *signals: str, requests: float) -> None:
        self._sandbox = sandbox
        self.day = Day(*signals, requests=requests, world=sandbox.world, sources=sources)
        self.day.tick = self._tick

    def _tick(self, at: datetime) -> None:
        self._sandbox.clock.jump(at - self._sandbox.clock.now())
        self._sandbox.live.settle()

    def failing(self, backend: str, start: timedelta, end: timedelta, failing: Failing) -> None:
        faults = self._sandbox.world.faults
        self.day.after(start, lambda: faults.set(backend, Fault(failing)))
        self.day.after(end, lambda: faults.clear(backend))


@contextmanager
def over_http(*signals: str, flavour: Flavour = V10, requests: float = 660.0) -> Iterator[OverHttp]:
    start = SandboxOptions(START - 40 * M, speed=0.0, requests_per_minute=requests, warm_up=30 * M)
    sandbox = Sandbox(SystemClock(), start, manifests("nginx"))
    pretend = SkyWalking(sandbox.live, flavour)
    with ExitStack() as stack:
        stack.callback(sandbox._stack.close)
        urls = {
            "prometheus": sandbox.serve("prometheus", sandbox.prometheus.respond).url,
            "elasticsearch": sandbox.serve("elasticsearch", sandbox.elasticsearch.respond).url,
            "skywalking": sandbox.serve("skywalking", pretend.respond).url,
        }
        clock = WorldClock(sandbox.world)
        sources: dict[str, SignalSource] = {
            "prometheus": PrometheusSource("prometheus", PrometheusSettings(url=urls["prometheus"], timeout=PATIENCE), clock),
            "elasticsearch": ElasticsearchSource(
                "elasticsearch", ElasticsearchSettings(url=urls["elasticsearch"], timeout=PATIENCE), clock
            ),
            "skywalking": SkyWalkingSource("skywalking", SkyWalkingSettings(url=urls["skywalking"], timeout=PATIENCE), clock),
        }
        for source in sources.values():
            stack.callback(source.close)
        yield OverHttp(sandbox, sources, *signals, requests=requests)


@pytest.mark.parametrize("flavour", [V8, V10], ids=["skywalking 8.7", "skywalking 10"])
def test_a_good_version_is_credited_by_every_backend_and_a_bad_one_is_found_by_them(flavour: Flavour) -> None:
    with over_http(*SIGNALS, flavour=flavour) as http:
        day = http.day
        day.turns(0.2, 40 * M).run(39 * M)
        good = {signal.name: signal for signal in day.state().signals}
        assert {signal.verdict for signal in good.values()} == {Verdict.HEALTHY}, [s.why for s in good.values()]
        assert day.credited() > 28 * M
        day.run(2 * H)
        assert day.outcome() is Outcome.FAILED
        assert day.since(day.stepped_back) < 55 * M
        counted = {s.name: s.last for s in day.state().signals if s.name in {"skywalking-success-rate", "apisix-5xx"}}
        assert all(dict(figures)["candidate events"] > 0 for figures in counted.values())


@pytest.mark.parametrize("failing", [Failing.UNAVAILABLE_503, Failing.HTML])
def test_an_elasticsearch_that_fails_for_twenty_minutes_holds_and_goes_on(failing: Failing) -> None:
    with over_http("apisix-5xx", "error-logs") as http:
        http.failing("elasticsearch", 20 * M, 40 * M, failing)
        day = http.day.run(38 * M)
        before = day.credited()
        assert [hold.kind.value for hold in day.state().holds] == ["blind"]
        assert day.signal("apisix-5xx").verdict is Verdict.HEALTHY
        day.run(60 * M)
        assert not day.state().holds
        assert before < day.credited() < 38 * M


def test_every_backend_counts_the_same_requests_of_the_candidate() -> None:
    with over_http("skywalking-success-rate", "apisix-5xx") as http:
        day = http.day.run(30 * M)
        seen = [dict(s.last)["candidate requests"] for s in day.state().signals]
        windows = {s.window_start for s in day.state().signals}
        sums = [s.count.candidate_requests for s in day.state().signals if s.count is not None]
        assert min(seen) > 40
        assert len(windows) == 2
        assert sums[1] == pytest.approx(sums[0], rel=0.15)
