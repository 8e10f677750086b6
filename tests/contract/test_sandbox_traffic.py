"""The one simulated traffic adds up, follows the endpoints, and is what every source reads."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.traffic_counts import TrafficCounts
from rollout.sandbox.world import World
from tests.contract.sandbox_builders import NAMESPACE, START, live_pods, shop

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def uids(world: World, role: str = "release") -> list[str]:
    return [pod["metadata"]["uid"] for pod in live_pods(world, role)]


def busy(behaviour: Behaviour | None = None) -> World:
    """A shop with one canary pod that has served for five hours."""
    world = shop()
    world.behaviours["web:2"] = behaviour or Behaviour()
    world.set_image(NAMESPACE, "web-canary", "app", "web:2")
    world.scale(NAMESPACE, "web-canary", 1)
    world.advance_by(5 * HOUR)
    return world


WORLD = busy(Behaviour(error_rate=0.05, slow_rate=0.1))
CANARY = uids(WORLD, "canary")[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5 * 3_600_000), min_size=2, max_size=6))
def test_counts_of_neighbouring_windows_add_up(cuts: list[int]) -> None:
    times = [START + timedelta(milliseconds=cut) for cut in sorted(cuts)]
    total = TrafficCounts()
    for start, end in pairwise(times):
        total += WORLD.traffic.counts(CANARY, start, end)
    assert total == WORLD.traffic.counts(CANARY, times[0], times[-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5 * 3_600), st.integers(0, 600))
def test_a_counter_never_falls_and_grows_by_the_counts(seconds: int, span: int) -> None:
    start = START + timedelta(seconds=seconds)
    end = start + timedelta(seconds=span)
    before, after = WORLD.traffic.total(CANARY, start), WORLD.traffic.total(CANARY, end)
    assert after.requests >= before.requests
    assert after.errors >= before.errors
    assert after.within(100) >= before.within(100)
    assert after - before == WORLD.traffic.counts(CANARY, start, end)


def test_requests_are_split_evenly_over_the_ready_endpoints() -> None:
    world = busy()
    counts = [world.traffic.counts(uid, world.now - HOUR, world.now).requests for uid in uids(world) + uids(world, "canary")]
    assert sum(counts) == pytest.approx(600 * 60, rel=0.01)
    assert max(counts) - min(counts) < 0.05 * max(counts)


def test_a_pod_that_is_not_ready_gets_nothing() -> None:
    world = busy(Behaviour(ready_after=None))
    uid = uids(world, "canary")[0]
    assert world.traffic.counts(uid, START, world.now) == TrafficCounts()


def test_errors_come_at_the_rate_of_the_version() -> None:
    counts = WORLD.traffic.counts(CANARY, WORLD.now - 4 * HOUR, WORLD.now)
    assert counts.errors / counts.requests == pytest.approx(0.05, rel=0.15)
    assert counts.error_logs == counts.error_traces == counts.errors
    stable = WORLD.traffic.counts(uids(WORLD)[0], WORLD.now - 4 * HOUR, WORLD.now)
    assert stable.errors / stable.requests < 0.003


def test_slow_requests_show_in_count_sum_and_quantiles() -> None:
    counts = WORLD.traffic.counts(CANARY, WORLD.now - 4 * HOUR, WORLD.now)
    assert counts.slow / counts.requests == pytest.approx(0.1, rel=0.15)
    assert counts.quantile_ms(0.5) < 60
    assert counts.quantile_ms(0.97) > 2_000
    assert counts.latency_sum_ms / counts.requests == pytest.approx(counts.latency_mean_ms)
    assert [counts.within(limit) for limit in (0, 10, 100, 1e9)] == sorted(counts.within(limit) for limit in (0, 10, 100, 1e9))


def test_a_fault_with_an_onset_is_silent_before_it() -> None:
    world = busy(Behaviour(error_rate=0.5, onset=2 * HOUR))
    uid = uids(world, "canary")[0]
    began = world.traffic.started_at(uid)
    assert began is not None
    early = world.traffic.counts(uid, began, began + 2 * HOUR)
    late = world.traffic.counts(uid, began + 2 * HOUR + MINUTE, began + 3 * HOUR)
    assert early.errors / early.requests < 0.005
    assert late.errors / late.requests > 0.4


def test_what_was_answered_once_is_not_changed_by_a_later_change_of_mind() -> None:
    world = busy()
    uid, noon = uids(world, "canary")[0], world.now + timedelta(seconds=30)
    world.advance(noon)
    before = world.traffic.counts(uid, START, noon)
    world.behaviours["web:2"] = Behaviour(error_rate=1.0)
    world.advance_by(10 * MINUTE)
    assert world.traffic.counts(uid, START, noon) == before
    after = world.traffic.counts(uid, noon + MINUTE, world.now)
    assert after.errors == after.requests > 0


def test_the_rate_can_be_set_and_the_night_can_be_quiet() -> None:
    world = shop()
    world.traffic.set_rate(f"{NAMESPACE}/web-svc", 60.0, world.now)
    world.advance_by(HOUR)
    total = sum(world.traffic.counts(uid, world.now - 30 * MINUTE, world.now).requests for uid in uids(world))
    assert total == pytest.approx(30 * 60, rel=0.05)
    world.traffic.daily_swing = 0.8
    noon = START.replace(hour=12)
    night = noon + 12 * HOUR
    assert world.traffic.rate(f"{NAMESPACE}/web-svc", noon) > 5 * world.traffic.rate(f"{NAMESPACE}/web-svc", night)


def test_a_pod_that_left_keeps_what_it_had() -> None:
    world = busy()
    uid = uids(world, "canary")[0]
    world.scale(NAMESPACE, "web-canary", 0)
    world.advance_by(MINUTE)
    had = world.traffic.total(uid, world.now)
    world.advance_by(HOUR)
    assert world.traffic.total(uid, world.now) == had
    assert had.requests > 0
