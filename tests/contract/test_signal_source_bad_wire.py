"""Real backends behind a bad network: cut off in the middle of an answer, silent, away; and asked again when it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.signals import NoData, PodKey, Question, Reading, Unreachable, Window
from rollout.core.windows import floor
from rollout.ports import SignalSource
from tests.peers.process import wait_until
from tests.peers.wire import Wire

CLOCK, QUICK = SystemClock(), timedelta(seconds=2)
ASKS = {
    "prometheus_peer": ("promql", {"gauge": 'max by (pod) (no_such_metric{pod=~"{{pods}}"})'}),
    "oap_peer": ("success-rate", {"service": "no-such-service"}),
    "elasticsearch_peer": ("error-logs", {}),
}
"""Questions to which each has nothing to say: an answer all the same, and not one that an empty one could be taken for."""


def source_at(peer: str, url: str) -> SignalSource:
    match peer:
        case "prometheus_peer":
            return PrometheusSource("far", PrometheusSettings(url=url, timeout=QUICK), CLOCK)
        case "oap_peer":
            return SkyWalkingSource("far", SkyWalkingSettings(url=url, timeout=QUICK), CLOCK)
        case _:
            return ElasticsearchSource("far", ElasticsearchSettings(url=url, timeout=QUICK), CLOCK)


@dataclass(frozen=True)
class Far:
    """A source and the wire to its backend."""

    source: SignalSource
    wire: Wire
    ask: str
    parameters: dict[str, str]

    def read(self) -> Reading:
        end = floor(CLOCK.now() - timedelta(minutes=5), timedelta(minutes=1))
        window = Window(end - timedelta(minutes=1), end)
        pods = (PodKey("prod", "shop-1", "u1", "10.66.0.1"),)
        asked = Question("s", "far", self.ask, tuple(sorted(self.parameters.items())), pods, window)
        return self.source.read([asked])[asked].reading

    def answers(self) -> bool:
        return isinstance(self.read(), NoData)


@pytest.fixture
def far(peer: str, request: pytest.FixtureRequest) -> Iterator[Far]:
    port = int(request.getfixturevalue(peer).url.rpartition(":")[2])
    ask, parameters = ASKS[peer]
    with Wire(port) as wire, closing(source_at(peer, f"http://127.0.0.1:{wire.port}")) as source:
        found = Far(source, wire, ask, parameters)
        wait_until(found.answers, 60, "an answer over the healthy wire", every=0.5)  # a busy machine may need more than QUICK
        yield found


@pytest.mark.parametrize("peer", ASKS)
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda wire: wire.cut_after(60), "the connection broke before the answer was complete"),
        (Wire.stall, "no answer within 2 s"),
        (Wire.refuse, "connection refused"),
    ],
    ids=["cut", "silent", "away"],
)
def test_a_backend_behind_a_bad_wire_is_unreachable_in_words_and_asked_again_when_it_is_mended(
    far: Far, trouble: Callable[[Wire], None], words: str
) -> None:
    trouble(far.wire)
    first = far.read()
    assert isinstance(first, Unreachable), first  # in words of its own where the connection that was kept breaks first
    wait_until(lambda: words in getattr(far.read(), "why", ""), 30, words, every=0.1)
    far.wire.mend()
    wait_until(far.answers, 60, "an answer over the mended wire", every=0.5)
