"""Delivers what is owed: at least once, in order for each rollout and channel, with patience, and a dead letter that shows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta

import structlog

from rollout.engine import events
from rollout.engine.workers import Workers
from rollout.ports import Clock, Notifier, OwedNotice, Rejected, RolloutError, Store, Unavailable

log = structlog.get_logger()

AT_ONCE = 100
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
OURS_SECONDS = 7.0
"""So long, at least, nobody else is given what the store gave to us. A daemon that was stopped in between and woken sends nothing
of it: somebody else has told it, and what came after it."""
GIVE_UP_AFTER = 200
"""Attempts: with the longest wait between them, two days of a chat system that is away."""


class Outbox:
    """Reads due notices and hands each to its channel, on one thread per channel, off the control path."""

    def __init__(self, store: Store, notifiers: Mapping[str, Notifier], clock: Clock, workers: Workers) -> None:
        self._store = store
        self._notifiers = notifiers
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._sending: dict[int, float] = {}
        """What is on its way, and when the store was last asked that gave it to us (monotonic)."""
        self.dead = 0
        """Notices that were given up: what the database had when we began, and what we gave up since."""
        self._counted = False

    def deliver(self) -> int:
        """Send everything that is due now; return how many were handed over."""
        if not self._delivering.acquire(blocking=False):
            return 0
        try:
            return self._deliver()
        except RolloutError as error:
            log.warning(events.COMMIT_FAILED, what="outbox", why=str(error))
            return 0
        finally:
            self._delivering.release()

    def _deliver(self) -> int:
        """What is on its way before we look may arrive while we look: it is left for the next time."""
        if not self._counted:
            self.dead += sum(self._store.standing().dead.values())
            self._counted = True
        with self._lock:
            on_their_way = frozenset(self._sending)
        handed = 0
        asked_at = self._clock.monotonic()
        for item in self._store.owed(self._clock.now(), limit=AT_ONCE):
            with self._lock:
                if item.id not in on_their_way or item.id in self._sending:
                    self._sending[item.id] = asked_at
            if item.id in on_their_way:
                continue
            handed += 1
            self._workers.spawn(f"channel-{item.channel}", lambda item=item: self._send(item))  # type: ignore[misc]  # bound now
        return handed

    def _send(self, item: OwedNotice) -> None:
        with self._lock:
            asked_at = self._sending.get(item.id, float("-inf"))
        try:
            if self._clock.monotonic() - asked_at < OURS_SECONDS:
                self._try(item)
        except RolloutError as error:
            log.warning(events.COMMIT_FAILED, what="outbox", why=str(error))
        finally:
            with self._lock:
                self._sending.pop(item.id, None)

    def _try(self, item: OwedNotice) -> None:
        names = {"rollout": item.rollout, "channel": item.channel, "notice": item.message.notice.key}
        notifier = self._notifiers.get(item.channel)
        if notifier is None:
            self._bury(item, f"no channel {item.channel!r} is configured")
            return
        try:
            notifier.send(item.message)
        except Unavailable as error:
            if item.attempts + 1 >= GIVE_UP_AFTER:
                self._bury(item, f"given up after {item.attempts + 1} attempts: {error}")
                return
            wait = error.retry_after or min(FIRST_WAIT * 2 ** min(item.attempts, 20), LONGEST_WAIT)
            self._store.postponed(item.id, self._clock.now() + wait, str(error))
            log.warning(events.NOTICE_POSTPONED, **names, why=str(error), seconds=wait.total_seconds())
        except Rejected as error:
            self._bury(item, str(error))
        else:
            self._store.delivered(item.id, self._clock.now())
            log.info(events.NOTICE_SENT, **names)

    def _bury(self, item: OwedNotice, why: str) -> None:
        self.dead += 1
        self._store.dead(item.id, self._clock.now(), why)
        log.error(events.NOTICE_DEAD, rollout=item.rollout, channel=item.channel, notice=item.message.notice.key, why=why)
