"""A coalescing wake queue: many wakes of one rollout are one, and a wake that comes while it is being looked at is not lost."""

from __future__ import annotations

import heapq
import threading
from datetime import datetime


class Wakes:
    """Which rollouts are to be looked at, now or at a time. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now: dict[str, None] = {}
        self._at: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._closed = False
        self._seen: datetime | None = None
        """The latest time that was asked about."""

    def wake(self, rollout: str) -> None:
        """Look at it as soon as possible."""
        with self._changed:
            self._now[rollout] = None
            self._changed.notify()

    def wake_at(self, rollout: str, at: datetime) -> None:
        """Look at it at `at`; this replaces the time set before."""
        with self._changed:
            self._at[rollout] = at
            heapq.heappush(self._heap, (at, rollout))
            if self._heap[0][1] == rollout:
                self._changed.notify()

    def forget(self, rollout: str) -> None:
        """It is at rest, or not ours any more."""
        with self._changed:
            self._at.pop(rollout, None)
            self._now.pop(rollout, None)

    def due(self, now: datetime, limit: int) -> list[str]:
        """Take up to `limit` rollouts whose time has come."""
        with self._changed:
            self._ripen(now)
            taken = list(self._now)[:limit]
            for rollout in taken:
                del self._now[rollout]
            return taken

    def _ripen(self, now: datetime) -> None:
        if self._seen is not None and now < self._seen:  # the clock was set back: nobody waits until it has caught up
            self._now.update(dict.fromkeys(self._at))
            self._at.clear()
            self._heap.clear()
        self._seen = now
        while self._heap and self._heap[0][0] <= now:
            at, rollout = heapq.heappop(self._heap)
            if self._at.get(rollout) == at:
                del self._at[rollout]
                self._now[rollout] = None

    def next_at(self) -> datetime | None:
        """Tell when the next one is due, None when none is."""
        with self._changed:
            while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
                heapq.heappop(self._heap)
            return self._heap[0][0] if self._heap else None

    def empty(self, now: datetime) -> bool:
        """Say whether nobody is to be looked at now."""
        with self._changed:
            self._ripen(now)
            return not self._now

    def wait(self, seconds: float) -> None:
        """Sleep until something is woken, or `seconds` have passed."""
        with self._changed:
            if not self._now and not self._closed:
                self._changed.wait(seconds)

    def nudge(self) -> None:
        """Let the waiter look at the time again: a compressed clock was moved."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Wake the waiter for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
