"""What the daemon says of itself to whoever watches it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import apscheduler.schedulers.base
import apscheduler.triggers.interval
import pytest

from rollout.adapters.clock import SystemClock
from rollout.core.decision import Timing
from rollout.core.policy import Policy
from rollout.engine.daemon import STUCK_AFTER, Daemon, Periods
from rollout.engine.engine import Engine, Setup
from rollout.engine.outbox import Outbox
from rollout.engine.upkeep import Upkeep
from rollout.engine.workers import Inline
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec

HOUR = timedelta(hours=1)


class Stuck:
    """A clock in whose `now` the looking thread can be caught, as a lock that nobody gives back would catch it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.caught = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def now(self) -> datetime:
        if threading.current_thread().name == "rollout-look" and not self.free.is_set():
            self.caught.set()
            self.free.wait(60)
        return datetime(2026, 11, 25, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_a_looking_thread_that_is_caught_is_told_as_not_alive_and_as_alive_again_when_it_goes_on() -> None:
    clock = Stuck()
    store = MemoryStore(clock)
    setup = Setup("d1", Policy(), Timing(HOUR, HOUR, HOUR), lease=24 * HOUR)
    engine = Engine(setup, store, {}, {}, StoredCodec(store), clock, Inline())
    seldom = Periods(HOUR, HOUR, HOUR, HOUR, HOUR)
    daemon = Daemon(engine, Upkeep(engine, {}), Outbox(store, {}, clock, Inline()), seldom)
    daemon.start()
    try:
        assert daemon.alive()
        clock.free.clear()
        engine.wakes.nudge()
        assert clock.caught.wait(30)
        clock.seconds += STUCK_AFTER
        assert not daemon.alive()
        assert "the looking thread does not run" in daemon.problems()
        clock.free.set()
        tick = threading.Event()
        assert any(daemon.alive() or tick.wait(0.01) for _ in range(3000))
    finally:
        clock.free.set()
        daemon.stop(1)
    assert not daemon.alive()


@pytest.mark.parametrize("set_by", [-HOUR, HOUR])
def test_a_wall_clock_that_is_set_keeps_no_lease_command_or_question_waiting(
    set_by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = [timedelta()]

    class Wall(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + wall[0]

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Wall)
    monkeypatch.setattr(apscheduler.triggers.interval, "datetime", Wall)
    clock = SystemClock()
    store = MemoryStore(clock)
    setup = Setup("d1", Policy(), Timing(HOUR, HOUR, HOUR), lease=24 * HOUR)
    engine = Engine(setup, store, {}, {}, StoredCodec(store), clock, Inline())
    seldom = Periods(HOUR, HOUR, HOUR, HOUR, HOUR, HOUR, HOUR)
    done = threading.Event()
    often = {"work": (done.set, timedelta(milliseconds=20))}
    daemon = Daemon(engine, Upkeep(engine, {}), Outbox(store, {}, clock, Inline()), seldom, often)
    daemon.start()
    try:
        assert done.wait(30)
        wall[0] = set_by
        for _ in range(3):
            done.clear()
            assert done.wait(30), "nothing periodic is done any more"
    finally:
        daemon.stop(1)
