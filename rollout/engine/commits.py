"""Group commits on a thread of their own: a database that hangs must hold neither a look nor a step back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from rollout.engine import events
from rollout.engine.workers import Pool, Workers
from rollout.ports import RolloutError, Store, Transition, Unavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pending:
    """One transition that waits, and who wants to know: `answered("written" | "lost" | "unavailable" | "unknown")`."""

    transition: Transition
    answered: Callable[[str], None]


class Commits:
    """Collects transitions while the database is busy with the ones before, and writes them together."""

    MOST = 200

    def __init__(self, store: Store, daemon: str, workers: Workers) -> None:
        self._store = store
        self._daemon = daemon
        self._workers = workers
        self._lock = threading.Lock()
        self._waiting: list[Pending] = []
        self._scheduled = False
        self.trouble = ""
        """What the database last refused to do, empty while it works."""
        self.bugs = 0
        """How often a transition could not be written for a reason that is ours."""

    def put(self, pending: Pending) -> None:
        """Queue one; it is answered from the commit thread (or at once, without threads)."""
        with self._lock:
            self._waiting.append(pending)
            if self._scheduled:
                return
            self._scheduled = True
        self._workers.spawn(Pool.COMMIT, self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting[: self.MOST], self._waiting[self.MOST :]
                if not batch:
                    self._scheduled = False
                    return
            self._write(batch)

    def _write(self, batch: list[Pending]) -> None:
        try:
            written = self._store.commit(self._daemon, [pending.transition for pending in batch])
        except RolloutError as error:
            if str(error) != self.trouble:
                log.error(events.COMMIT_FAILED, why=str(error), waiting=len(batch))
            self.trouble = str(error)
            for pending in batch:
                pending.answered("unknown" if isinstance(error, Unavailable) and error.maybe_done else "unavailable")
            return
        except Exception as error:  # noqa: BLE001 - logged there, once it is known whose it is
            self._one_by_one(batch, error)
            return
        except BaseException:
            # A crash (simulated or real) in the middle: nobody is told, as nobody would be; the next drain starts afresh.
            with self._lock:
                self._scheduled = False
            raise
        self.trouble = ""
        for pending in batch:
            pending.answered("written" if pending.transition.rollout in written else "lost")

    def _one_by_one(self, batch: list[Pending], error: Exception) -> None:
        """Keep a transition that cannot be written from sinking those written with it: it alone is tried again and again."""
        if len(batch) > 1:
            for pending in batch:
                self._write([pending])
            return
        rollout = batch[0].transition.rollout
        self.bugs += 1
        log.error(events.BUG, where="commit", rollout=rollout, exc_info=error)
        self.trouble = f"rollout {rollout} cannot be written: internal error ({type(error).__name__})"
        batch[0].answered("unavailable")
