"""The long-running daemon: one thread that looks at whom it is time to look at, and a scheduler for the periodic work.

Rollouts are rows, not jobs: the scheduler only runs what is periodic for everybody. The looking thread never does I/O.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from rollout.engine import events
from rollout.engine.engine import Engine
from rollout.engine.outbox import Outbox
from rollout.engine.upkeep import Upkeep
from rollout.ports import RolloutError

log = structlog.get_logger()

LOOKS_AT_ONCE = 200
LONGEST_SLEEP = 0.5
OVERDUE = 3.0
"""Periodic work that was not begun for so many of its periods, and as many seconds, is put on the schedule anew."""
STUCK_AFTER = 60.0
"""Seconds without one round of the looking thread, which never waits for anything outside: it will not come back by itself."""


@dataclass(frozen=True, slots=True)
class Periods:
    """How often the periodic work is done, in seconds of real time."""

    lease: timedelta = timedelta(seconds=4)
    claim: timedelta = timedelta(seconds=2)
    commands: timedelta = timedelta(seconds=0.5)
    ask: timedelta = timedelta(seconds=5)
    outbox: timedelta = timedelta(seconds=1)
    plans: timedelta = timedelta(seconds=5)
    retention: timedelta = timedelta(hours=6)


class Daemon:
    """Runs an engine until it is stopped. `extra`: more periodic work by name (the plan folder, retention)."""

    def __init__(
        self,
        engine: Engine,
        upkeep: Upkeep,
        outbox: Outbox,
        periods: Periods,
        extra: dict[str, tuple[Callable[[], None], timedelta]] | None = None,
    ) -> None:
        self.engine = engine
        self.upkeep = upkeep
        self.outbox = outbox
        self._periods = periods
        self._extra = extra or {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="rollout-look", daemon=True)
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(12), "lease": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        self.looking = False
        self._busy = False
        self._periodic: dict[str, timedelta] = {}
        self._began: dict[str, float] = {}
        """When each periodic work was last begun (monotonic), infinity while it is under way."""
        self._round_at = 0.0
        self._news = threading.Event()

    def start(self) -> None:
        """Take the lease, begin, and claim: with thousands of rollouts, what is claimed first is looked at while the rest comes.

        The lease is renewed meanwhile: taking all of them into memory may last longer than it. What people asked while no daemon
        lived is fetched before the first look, which may find the end of a rollout.
        """
        self.upkeep.fetch_commands()
        self.upkeep.keep_lease()
        periods = self._periods
        self._every("lease", self.upkeep.keep_lease, periods.lease, executor="lease")
        self._every("claim", self.upkeep.claim, periods.claim)
        self._every("commands", self.upkeep.fetch_commands, periods.commands)
        self._every("ask", self.upkeep.ask, periods.ask)
        self._every("outbox", self.outbox.deliver, periods.outbox)
        for name, (work, period) in self._extra.items():
            self._every(name, work, period)
        self.engine.store.subscribe(self._told)
        self._scheduler.start()
        self._round_at = self.engine.clock.monotonic()
        self._thread.start()
        self.looking = True
        self.upkeep.claim()
        log.info(events.STARTED, daemon=self.engine.setup.daemon, rollouts=len(self.engine.actives()))

    def _every(self, name: str, work: Callable[[], object], period: timedelta, executor: str = "default") -> None:
        monotonic = self.engine.clock.monotonic

        def guarded() -> None:
            self._began[name] = math.inf
            try:
                work()
            except Exception as error:
                self.engine.bugs += 1
                log.error(events.BUG, where=name, exc_info=error)
            finally:
                self._began[name] = monotonic()

        self._periodic[name], self._began[name] = period, monotonic()
        self._scheduler.add_job(guarded, "interval", seconds=period.total_seconds(), id=name, executor=executor)

    def _keep_going(self) -> None:
        """Let what is long overdue begin anew: the scheduler reckons by the wall clock, and one that was set back holds it up.

        Without this a clock that is set back by an hour renews no lease, hears no command and asks no backend for an hour.
        """
        now = self.engine.clock.monotonic()
        for name, period in self._periodic.items():
            if now - self._began[name] > OVERDUE * period.total_seconds() + OVERDUE:
                log.warning(events.STALLED, work=name, seconds=round(now - self._began[name]))
                self._began[name] = now
                with suppress(JobLookupError):  # it is being stopped
                    self._scheduler.reschedule_job(name, trigger="interval", seconds=period.total_seconds())

    def _told(self, rollout: str) -> None:
        """Somebody wrote a command or a rollout: fetch both now. Called from the store's thread."""
        del rollout
        if not self._news.is_set():
            self._news.set()
            self.engine.workers.spawn("told", self._fetch)

    def _fetch(self) -> None:
        self._news.clear()
        self.upkeep.fetch_commands()
        self.upkeep.claim()

    def _look(self) -> None:
        engine = self.engine
        while not self._stopping.is_set():
            self._busy = True
            self._round_at = engine.clock.monotonic()
            due = engine.wakes.due(engine.clock.now(), LOOKS_AT_ONCE)
            for rollout in due:
                self._round_at = engine.clock.monotonic()
                engine.tick(rollout)
            self._busy = bool(due)
            self._keep_going()
            if not due:
                engine.wakes.wait(self._sleep())

    def _sleep(self) -> float:
        at = self.engine.wakes.next_at()
        if at is None:
            return LONGEST_SLEEP
        return min(max((at - self.engine.clock.now()).total_seconds(), 0.001), LONGEST_SLEEP)

    def alive(self) -> bool:
        """Say whether the looking thread lives and goes round."""
        going = self.engine.clock.monotonic() - self._round_at < STUCK_AFTER
        return self.looking and self._thread.is_alive() and going

    def problems(self) -> list[str]:
        """List what keeps rollouts from going forward; stepping back needs none of it."""
        found: list[str] = []
        if not self.alive():
            found.append("the looking thread does not run")
        if not self.engine.lease.certain():
            found.append("the lease is not certain: the database does not answer, or another daemon took over")
        if self.engine.saving.commits.trouble:
            found.append(f"database: {self.engine.saving.commits.trouble}")
        found += [
            f"rollout {rollout} cannot be read, nobody looks at it: {why}" for rollout, why in self.engine.undecodable.items()
        ]
        return found

    def idle(self) -> bool:
        """Say whether nobody is to be looked at and nothing is under way, so that compressed time may pass."""
        return self.engine.workers.idle() and self.engine.wakes.empty(self.engine.clock.now()) and not self._busy

    def stop(self, timeout: float = 8.0) -> None:
        """Stop cleanly: no further look, what is under way is waited for, the lease is given back."""
        self._stopping.set()
        self.engine.wakes.close()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        if self._thread.is_alive():
            self._thread.join(timeout / 2)
        self.engine.workers.close(timeout / 2)
        self._give_back(timeout / 8)
        self.looking = False
        log.info(events.STOPPED, daemon=self.engine.setup.daemon)

    def _give_back(self, timeout: float) -> None:
        """Release the lease, so that another daemon need not wait for it to run out; a database that hangs holds nobody up."""

        def release() -> None:
            try:
                self.engine.store.release(self.engine.setup.daemon)
            except RolloutError as error:
                log.warning(events.COMMIT_FAILED, what="release", why=str(error))

        self.engine.lease.lost()
        giving = threading.Thread(target=release, name="rollout-release", daemon=True)
        giving.start()
        giving.join(timeout)
