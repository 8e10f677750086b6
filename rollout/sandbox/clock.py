"""Compressed time: a clock whose day may last a second, that can stand still, and that can be moved by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from rollout.ports import Clock


class CompressedClock:
    """A `ports.Clock` that runs `speed` times as fast as the real one, from `start` on. `monotonic` stays real.

    Speed 0 stands still for good: then only `jump` moves it.
    """

    def __init__(self, real: Clock, start: datetime, speed: float = 1.0) -> None:
        self._real = real
        self._lock = threading.Lock()
        self._speed = speed
        self._stops = 0
        self._at = start
        self._since = real.monotonic()

    def now(self) -> datetime:
        """Tell the compressed time, aware, UTC."""
        with self._lock:
            return self._now()

    def monotonic(self) -> float:
        """Tell the real clock's seconds: timeouts and leases are about real waiting."""
        return self._real.monotonic()

    @property
    def speed(self) -> float:
        """How many seconds pass in a real one."""
        return self._speed

    def set_speed(self, speed: float) -> None:
        """Run faster or slower from now on."""
        with self._lock:
            self._rebase()
            self._speed = speed

    def jump(self, span: timedelta) -> datetime:
        """Move at once; return the time it is then. A negative span is a clock that was set back."""
        with self._lock:
            self._rebase()
            self._at += span
            return self._at

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop while something is in flight. Nested and concurrent uses count: it goes on when the last one ends."""
        with self._lock:
            self._rebase()
            self._stops += 1
        try:
            yield
        finally:
            with self._lock:
                self._rebase()
                self._stops -= 1

    def _now(self) -> datetime:
        if self._stops or not self._speed:
            return self._at
        return self._at + timedelta(seconds=(self._real.monotonic() - self._since) * self._speed)

    def _rebase(self) -> None:
        self._at = self._now()
        self._since = self._real.monotonic()
