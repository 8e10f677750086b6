"""The store on SQLite and PostgreSQL: each method of the port is one transaction over the functions of the sql_* modules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy import exc

from rollout.core.commands import Command, Verb
from rollout.core.errors import RolloutError, Unavailable
from rollout.core.history import Event
from rollout.ports import Clock, HistoryRow, OwedNotice, PlanRow, RolloutFilter, RolloutRow, Submission, Transition
from rollout.ports_standing import Standing
from rollout.store import (
    sql_commands,
    sql_commit,
    sql_history,
    sql_lease,
    sql_outbox,
    sql_rollouts,
)
from rollout.store import tables as t
from rollout.store.database import Database, Listening
from rollout.store.faults import brief
from rollout.store.opening import open_database
from rollout.store.schema import check_database, upgrade_database

log = structlog.get_logger("rollout.store")

BATCH = 200
"""Transitions per transaction: long enough that the fsync is shared, short enough that nobody waits long for the writer."""


def open_store(url: str, *, clock: Clock, patience: timedelta = timedelta(seconds=5), process: str = "") -> SqlStore:
    """Open the database at `url`, whose tables must be of this version (an SQLite database in memory gets them now).

    `patience`: how long one call waits for a lock or an answer. `process`: the name under which this process holds its lease;
    PostgreSQL shows it beside each session, and who takes over from it ends them. Raises Refused (a URL that is none, tables
    of another version, with the remedy) and Unavailable.
    """
    database = open_database(url, clock, patience=patience.total_seconds(), process=process)
    try:
        if database.dialect == "sqlite" and database.reader is database.writer:
            upgrade_database(database)
        check_database(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database)


class SqlStore:
    """Implements ports.Store. From any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = uuid4().hex
        self._daemons: set[str] = set()
        self._subscribers: list[Callable[[str], None]] = []
        self._listening: Listening | None = None
        self._data_version = -1
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SqlStore({self._database.place})"

    def submit(self, plan: PlanRow, rollout: RolloutRow, *, events: Sequence[Event] = (), again: bool = False) -> Submission:
        """Write plan and rollout at once; see the port. The loser of a race for the target is refused like a late comer."""
        try:
            done = self._database.write(lambda c: sql_rollouts.submit(c, plan, rollout, events, again=again))
        except exc.IntegrityError:
            done = self._database.write(lambda c: sql_rollouts.submit(c, plan, rollout, events, again=again))
        if done.created and self._database.listen is None:
            self._tell(rollout.id)
        return done

    def rollout(self, rollout: str) -> RolloutRow | None:
        """Find one by id or unambiguous prefix. Raises Refused where several fit."""
        return self._database.read(lambda c: sql_rollouts.find(c, rollout))

    def rollouts(self, wanted: RolloutFilter) -> Sequence[RolloutRow]:
        """List, newest first."""
        return self._database.read(lambda c: sql_rollouts.listing(c, wanted))

    def plan(self, name: str, plan_hash: str) -> PlanRow | None:
        """Find a plan."""
        return self._database.read(lambda c: sql_rollouts.find_plan(c, name, plan_hash))

    def claim(self, daemon: str, *, limit: int, lease: timedelta) -> Sequence[RolloutRow]:
        """Take active rollouts that no living daemon owns; nothing where our own lease has run out: renew first."""

        def work(connection: sa.Connection) -> Sequence[RolloutRow]:
            self._inherit(connection, daemon)
            now = self._database.now(connection)
            if self._database.end_transactions is not None and (silent := sql_lease.silent(connection, now)):
                for ended in self._database.end_transactions(connection, silent, lease / 2):
                    log.warning("transaction-ended", daemon=ended, why="its lease has run out, and it kept locks")
            return sql_lease.claim(connection, daemon, now, limit=limit, lease=lease)

        claimed = self._database.write(work)
        self._daemons.add(daemon)
        return claimed

    def renew(self, daemon: str, *, lease: timedelta, about: str = "") -> bool:
        """Renew the lease; False when it had run out or its row was gone: the new one begins with what nobody took meanwhile."""

        def work(connection: sa.Connection) -> bool:
            first = self._inherit(connection, daemon)
            lost = not first and not sql_lease.known(connection, daemon)
            held = sql_lease.renew(connection, daemon, self._database.now(connection), lease=lease, about=about)
            return held and not lost

        renewed = self._database.write(work)
        self._daemons.add(daemon)
        return renewed

    def release(self, daemon: str) -> None:
        """Give everything back."""
        self._database.write(lambda c: sql_lease.release(c, daemon))
        self._daemons.discard(daemon)

    def owned(self, daemon: str) -> frozenset[str]:
        """Tell what this daemon owns."""
        return self._database.read(lambda c: sql_lease.owned(c, daemon, self._database.now(c)))

    def standing(self) -> Standing:
        """Tell which daemons live, and whose notices were given up."""
        return self._database.read(lambda c: Standing(sql_lease.living(c, self._database.now(c)), sql_outbox.dead_letters(c)))

    def commit(self, daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        """Commit what still holds, in batches; one that the database cannot hold is logged and left out, alone."""
        written: frozenset[str] = frozenset()
        for start in range(0, len(transitions), BATCH):
            batch = transitions[start : start + BATCH]
            try:
                written |= self._commit(daemon, batch)
            except RolloutError:
                raise
            except Exception:
                if len(transitions) == 1:
                    raise
                written |= self._one_by_one(daemon, batch)
        return written

    def _commit(self, daemon: str, batch: Sequence[Transition]) -> frozenset[str]:
        return self._database.write(lambda c: sql_commit.commit(c, daemon, self._database.now(c), batch))

    def _one_by_one(self, daemon: str, batch: Sequence[Transition]) -> frozenset[str]:
        written: frozenset[str] = frozenset()
        for transition in batch:
            try:
                written |= self._commit(daemon, [transition])
            except RolloutError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug in one decision must not stop the others; it is logged
                log.error("transition-left-out", rollout=transition.rollout, step=transition.step, error=brief(error))
        return written

    def command(self, rollout: str, verb: Verb, actor: str, reason: str, at: datetime,
                arguments: Sequence[tuple[str, str]] = ()) -> int:  # fmt: skip
        """Record a command and wake whoever subscribed. Raises Refused when the rollout is unknown or at rest."""
        id_ = self._database.write(lambda c: sql_commands.record(c, rollout, verb, actor, reason, at, arguments))
        if self._database.listen is None:
            self._tell(rollout)
        return id_

    def commands(self, rollouts: Sequence[str] | None = None) -> Mapping[str, Sequence[Command]]:
        """Read commands not yet consumed; only rollouts that have some are in the answer."""
        return self._database.read(lambda c: sql_commands.waiting(c, rollouts))

    def history(self, rollout: str, *, after: int = 0, limit: int = 1000) -> Sequence[HistoryRow]:
        """Read history in order, with evidence."""
        return self._database.read(lambda c: sql_history.history(c, rollout, after, limit))

    def owed(self, now: datetime, *, limit: int) -> Sequence[OwedNotice]:
        """Take up notices due now; another process is not given them for 15 s, this one gets them again when it asks again."""

        def look(connection: sa.Connection) -> bool:
            return sql_outbox.is_due(connection, now, self._database.now(connection), self._name)

        def take(connection: sa.Connection) -> Sequence[OwedNotice]:
            return sql_outbox.take(connection, now, self._database.now(connection), self._name, limit)

        # Nothing is due nearly always: asked by reading, it costs no write transaction.
        return self._database.write(take) if self._database.read(look) else []

    def delivered(self, notice: int, at: datetime) -> None:
        """Mark as delivered."""
        self._database.write(lambda c: sql_outbox.settle(c, notice, at, dead=False, error=""))

    def postponed(self, notice: int, next_attempt_at: datetime, error: str) -> None:
        """Count one failed attempt, and say when to try again."""
        self._database.write(lambda c: sql_outbox.postpone(c, notice, next_attempt_at, error))

    def dead(self, notice: int, at: datetime, error: str) -> None:
        """Give up on a notice; it stays, and shows."""
        self._database.write(lambda c: sql_outbox.settle(c, notice, at, dead=True, error=error))

    def notices(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        """Tell where every notice of a rollout stands; the keys are those of sql_outbox.SHOWN."""
        return self._database.read(lambda c: sql_outbox.standing(c, rollout))

    def prune(self, before: datetime) -> Mapping[str, int]:
        """Delete what ended before this, a few at a time; the newest rollout of each plan stays, without history."""
        deleted: Counter[str] = Counter(rollout=0, event=0)
        while some := self._database.write(lambda c: sql_rollouts.prune_some(c, before)):
            deleted.update(some)
        deleted["daemon"] = self._database.write(lambda c: sql_rollouts.prune_daemons(c, before))
        return dict(deleted)

    def ping(self) -> None:
        """Write the heartbeat and read it back."""
        at = self._database.clock.now()

        def beat(connection: sa.Connection) -> None:
            changed = connection.execute(sa.update(t.heartbeat).where(t.heartbeat.c.id == 1).values(at=at))
            if not changed.rowcount:
                connection.execute(sql_rollouts.insert_or_skip(connection, t.heartbeat).values(id=1, at=at))

        self._database.write(beat)
        if self._database.read(lambda c: c.scalar(sa.select(t.heartbeat.c.at))) is None:
            raise Unavailable("database", f"{self._database.place} has lost what was just written to it")

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(rollout)` after each command and submission; on PostgreSQL also after those of other processes."""
        with self._lock:
            self._subscribers.append(changed)
            if self._listening is None and self._database.listen is not None:
                self._listening = self._database.listen(self._tell)

    def changed(self) -> bool:
        """Tell whether another process may have written since the last call; always True on PostgreSQL."""
        if self._database.dialect != "sqlite":
            return True
        version = self._database.data_version()
        with self._lock:
            before, self._data_version = self._data_version, version
        return bool(version != before)

    def close(self) -> None:
        """Give back every connection. Leases stay as they are: `release` first on a clean stop."""
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        self._database.close()

    def _inherit(self, connection: sa.Connection, daemon: str) -> bool:
        """Take the place of an earlier process of the same name, at the first call; say whether it was the first."""
        first = daemon not in self._daemons
        if first:
            sql_lease.release(connection, daemon)
        return first

    def _tell(self, rollout: str) -> None:
        with self._lock:
            subscribers = tuple(self._subscribers)
        for changed in subscribers:
            changed(rollout)
