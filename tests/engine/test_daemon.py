"""What the daemon says of itself to whoever watches it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

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
