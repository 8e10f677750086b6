"""A world that lives in real time: one lock around it, a thread that moves it with the clock, a bell for who watches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rollout.ports import Clock
from rollout.sandbox.world import World

_TICK_SECONDS = 0.005


class LiveWorld:
    """Serves one world to many threads. Whoever looks at it first moves it to the clock's time."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="sandbox-world", daemon=True)

    @contextmanager
    def using(self) -> Iterator[World]:
        """Hold the world, as it is now; watchers hear of what was changed meanwhile."""
        with self._lock:
            version = self._world.storage.version
            self._catch_up()
            try:
                yield self._world
            finally:
                if self._world.storage.version != version:
                    self._changed.notify_all()

    def now(self) -> datetime:
        """The clock's time, which the world has reached or is about to."""
        return self._clock.now()

    def settle(self) -> None:
        """Move the world to the clock's time now."""
        with self.using():
            pass

    def wait_for_change(self, version: int, seconds: float) -> None:
        """Wait until there is a newer version, at most some real seconds."""
        with self._changed:
            if self._world.storage.version == version and not self._stop.is_set():
                self._changed.wait(seconds)

    def start(self) -> None:
        """Move with the clock from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stand still, and wake whoever waits."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            self.settle()

    def _catch_up(self) -> None:
        """Move to the clock's time; what controllers do in answer to a change takes place a moment later than the change."""
        self._world.advance(max(self._clock.now(), self._world.now))
