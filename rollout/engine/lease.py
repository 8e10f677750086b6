"""This daemon's one lease: what it owns is its own until the lease runs out, by the clock that never jumps."""

from __future__ import annotations

import threading
from datetime import timedelta

from rollout.ports import Clock


class Lease:
    """Counts from before the renewal was sent, so that we believe in it less long than the database does."""

    def __init__(self, clock: Clock, length: timedelta) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.length = length
        self._until = float("-inf")

    def renewed(self, asked_at: float) -> None:
        """Note a renewal that was asked at monotonic time `asked_at` and granted."""
        with self._lock:
            self._until = max(self._until, asked_at + self.length.total_seconds())

    def lost(self) -> None:
        """Note that the database says somebody else may own what was ours."""
        with self._lock:
            self._until = float("-inf")

    def certain(self) -> bool:
        """Say whether nobody else can own our rollouts now."""
        with self._lock:
            return self._clock.monotonic() < self._until
