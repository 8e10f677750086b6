"""The wake queue when the wall clock is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollout.engine.wakes import Wakes

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
M = timedelta(minutes=1)


def test_a_clock_that_was_set_back_keeps_nobody_waiting_until_it_has_caught_up() -> None:
    wakes = Wakes()
    wakes.wake_at("a", NOW + M)
    assert wakes.due(NOW, 10) == []
    assert wakes.due(NOW - 60 * M, 10) == ["a"]
    wakes.wake_at("a", NOW - 59 * M)
    assert wakes.due(NOW - 60 * M, 10) == []
    assert wakes.due(NOW - 59 * M, 10) == ["a"]


def test_a_wake_is_due_once_at_its_time() -> None:
    wakes = Wakes()
    wakes.wake_at("a", NOW + 2 * M)
    wakes.wake_at("a", NOW + M)
    assert (wakes.due(NOW, 10), wakes.due(NOW + M, 10), wakes.due(NOW + 3 * M, 10)) == ([], ["a"], [])
