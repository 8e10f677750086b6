"""Bounded thread pools, one per purpose, and their thread-less twin.

The path that steps back has a pool of its own and shares no queue or lock with anything else. `Inline` runs everything at once
in the caller: the simulation is a plain loop, and what it proves is proved of the same engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Protocol

import structlog

from rollout.engine import events

log = structlog.get_logger()


class Pool(StrEnum):
    """The purposes. Writing to clusters has a pool for each cluster (`Pool.BACK.of(name)`), and so has each signal backend.

    A gate is guarded whatever else is asked: gates have a pool for each gateway. Tests and hooks, which may take an hour, have one.
    """

    BACK = "back"
    FORWARD = "forward"
    COMMIT = "commit"
    TASKS = "tasks"
    GATES = "gates"
    WORK = "work"
    POSTS = "posts"

    def of(self, place: str) -> str:
        """Name the pool of one cluster or gateway: one that hangs keeps nobody of another one waiting."""
        return f"{self.value} {place}"


SIZES: dict[str, int] = {Pool.BACK: 16, Pool.FORWARD: 8, Pool.COMMIT: 1, Pool.TASKS: 8, Pool.GATES: 8, Pool.WORK: 32,
                         Pool.POSTS: 2}  # fmt: skip


class Workers(Protocol):
    """Runs work somewhere. `idle` says whether nothing is under way, so that compressed time may pass."""

    def spawn(self, pool: str, work: Callable[[], None]) -> None:
        """Run `work` in that pool; what it raises is logged as a bug."""
        ...

    def idle(self) -> bool:
        """Say whether nothing is queued or running."""
        ...

    def close(self, timeout: float) -> None:
        """Take nothing more, and wait up to `timeout` seconds for what runs."""
        ...


class Inline:
    """Runs work in the caller, at once. A BaseException (a simulated crash) goes through."""

    def spawn(self, pool: str, work: Callable[[], None]) -> None:
        """Run it now."""
        del pool
        work()

    def idle(self) -> bool:
        """Nothing is ever under way between two calls."""
        return True

    def close(self, timeout: float) -> None:
        """Nothing to wait for."""
        del timeout


class Threads:
    """Real pools, made when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._under_way = 0
        self._closed = False

    def spawn(self, pool: str, work: Callable[[], None]) -> None:
        """Queue it."""
        with self._lock:
            if self._closed:
                return
            if pool not in self._pools:
                size = SIZES.get(pool.partition(" ")[0], 1)
                self._pools[pool] = ThreadPoolExecutor(size, thread_name_prefix=f"rollout-{pool}")
            self._under_way += 1
            future = self._pools[pool].submit(work)
        future.add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        with self._lock:
            self._under_way -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            log.error(events.BUG, where="worker", error=repr(error), exc_info=error)

    def idle(self) -> bool:
        """Say whether no pool has anything queued or running."""
        with self._lock:
            return self._under_way == 0

    def close(self, timeout: float) -> None:
        """Cancel what is queued and wait for what runs, up to `timeout` seconds in all."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())

        def wait_for_all() -> None:
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)

        waiter = threading.Thread(target=wait_for_all, daemon=True)
        waiter.start()
        waiter.join(timeout)
