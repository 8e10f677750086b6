"""What a daemon had taken up to tell, and was then stopped, is somebody else's to tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import cast

from rollout.engine.outbox import Outbox
from rollout.engine.workers import Inline, Workers
from rollout.ports import Notifier
from rollout.store.memory import MemoryStore
from tests.contract.stores import LEASE, START, StandingClock, claimed, notice, transition
from tests.end_to_end.arena import Chat


class Held:
    """Workers that begin when they are told to."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def spawn(self, pool: str, work: Callable[[], None]) -> None:
        self.work.append(work)

    def go(self) -> None:
        work, self.work = self.work, []
        for one in work:
            one()


def test_a_notice_that_was_taken_up_before_a_sleep_is_left_to_others() -> None:
    clock, chat, held = StandingClock(), Chat(), Held()
    store = MemoryStore(clock)
    (row,) = claimed(store)
    store.commit("d1", [transition(row, notices=(notice("n0"),), channels=("ops",), at=START)])
    notifiers = {"ops": cast("Notifier", chat)}
    sleeper = Outbox(store, notifiers, clock, cast("Workers", held))
    assert sleeper.deliver() == 1
    clock.moment += LEASE * 2
    held.go()
    assert chat.sent == [], "it slept before it sent"
    assert Outbox(store, notifiers, clock, Inline()).deliver() == 1
    assert [key for _, key in chat.sent] == ["n0"]


def test_a_notice_that_waits_for_a_slow_channel_stays_ours_while_the_store_says_so() -> None:
    clock, chat, held = StandingClock(), Chat(), Held()
    store = MemoryStore(clock)
    (row,) = claimed(store)
    store.commit("d1", [transition(row, notices=(notice("n0"),), channels=("ops",), at=START)])
    outbox = Outbox(store, {"ops": cast("Notifier", chat)}, clock, cast("Workers", held))
    assert outbox.deliver() == 1
    for _ in range(20):
        clock.moment += timedelta(seconds=1)
        assert outbox.deliver() == 0
    held.go()
    assert [key for _, key in chat.sent] == ["n0"]
