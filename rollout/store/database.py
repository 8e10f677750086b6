"""One database, SQLite or PostgreSQL, behind two verbs: `read(work)` and `write(work)`, each one transaction.

SQLite has one writer by nature. Instead of letting threads race for its lock, there is one writing connection in a pool of
one: the pool is the queue. It begins with BEGIN IMMEDIATE, so a transaction never fails in its middle for want of the lock.
Readers have their own connections and, thanks to WAL, wait for nobody. `synchronous=FULL`: going forward we commit, then act;
a commit that a power cut could undo would leave the world ahead of its history (with NORMAL it could).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import QueuePool

from rollout.core.errors import Refused, Unavailable
from rollout.ports import Clock
from rollout.store.columns import dumps
from rollout.store.faults import BACKEND, TRY_AGAIN, Place, sqlstate, translated

T = TypeVar("T")
READERS = 4
WAL_RETRY = 0.02
MIGRATION = 3600.0
"""Seconds that a migration may be silent: building an index of a large table takes its time."""


class Listening(Protocol):
    """Somebody who listens until closed."""

    def close(self) -> None:
        """Stop."""
        ...


@dataclass(frozen=True, slots=True)
class Database:
    """Where `read` and `write` happen. Both raise Unavailable or Refused; anything else is a bug."""

    place: Place
    dialect: str
    clock: Clock
    reader: Engine
    writer: Engine
    file: Path | None = None
    """SQLite's file, where it is a plain one."""
    listen: Callable[[Callable[[str], None]], Listening] | None = None
    """Begin to listen for what other processes write; None where the database cannot tell."""
    end_transactions: Callable[[Connection, Sequence[str], timedelta], list[str]] | None = None
    """End transactions of these daemons that are older; None where no process can keep locks that another one needs."""
    closed: threading.Event = field(default_factory=threading.Event)
    begin_call: Callable[[], None] = lambda: None
    """Called at the start of each call: PostgreSQL's connections share one patience, SQLite's file is looked at."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction that writes nothing."""
        return self._twice(lambda: self._reading(work))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction and commit it. `maybe_done` is set where the answer to the commit was lost."""
        return self._twice(lambda: self._writing(work))

    def now(self, connection: Connection) -> datetime:
        """Tell the time by which leases expire: PostgreSQL's own, because daemons' clocks differ; else our clock."""
        if self.dialect == "postgresql":
            moment: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return moment.astimezone(UTC)
        return self.clock.now()

    def data_version(self) -> int:
        """Tell a number that changes when another process has written; SQLite, seen from the one connection that writes."""
        return self._twice(self._data_version)

    def _data_version(self) -> int:
        connection = self.writer.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA data_version")
            (version,) = cursor.fetchone() or (-1,)
            cursor.close()
            return int(version)
        finally:
            connection.close()

    def close(self) -> None:
        """Give back every connection; later calls raise Unavailable."""
        self.closed.set()
        self.reader.dispose()
        self.writer.dispose()

    def _reading(self, work: Callable[[Connection], T]) -> T:
        with self.reader.connect() as connection:
            return work(connection)

    def _writing(self, work: Callable[[Connection], T]) -> T:
        committing = False
        with self.writer.connect() as connection:
            transaction = connection.begin()
            try:
                result = work(connection)
                committing = True
                transaction.commit()
            except (exc.SQLAlchemyError, sqlite3.Error) as error:
                with suppress(exc.SQLAlchemyError, sqlite3.Error):
                    transaction.rollback()
                raise _Failed(error, committing=committing) from None
            except BaseException:
                transaction.rollback()
                raise
        return result

    def _twice(self, attempt: Callable[[], T]) -> T:
        """Try again once where that is safe and helps: a stale connection of the pool, a deadlock. Translate errors."""
        if self.closed.is_set():
            raise Unavailable(BACKEND, f"{self.place} was closed by us")
        self.begin_call()
        try:
            try:
                return attempt()
            except (exc.SQLAlchemyError, sqlite3.Error, _Failed) as error:
                if not _worth_repeating(error):
                    raise
            return attempt()
        except (exc.SQLAlchemyError, sqlite3.Error, _Failed) as error:
            cause, committing = (error.cause, error.committing) if isinstance(error, _Failed) else (error, False)
            ours = translated(cause, self.place, committing=committing)
            if ours is None:
                raise cause from None
        raise ours


class _SameFile:
    """Notices that SQLite's file was removed or replaced: its connections would go on writing into a file that nobody finds."""

    def __init__(self, path: Path, place: Place) -> None:
        self._path = path
        self._place = place
        self._first: tuple[int, int] | None = None

    def __call__(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            if self._first is None:
                return
            raise Unavailable(BACKEND, f"{self._place} was removed while in use: put it back, or restart the daemon") from None
        if self._first is None:
            self._first = (found.st_dev, found.st_ino)
        if self._first != (found.st_dev, found.st_ino):
            raise Unavailable(BACKEND, f"{self._place} was replaced by another file while in use: restart the daemon")


class _Failed(Exception):  # noqa: N818 - never leaves this module
    """A write failed; `committing` tells whether its commit may have been done."""

    def __init__(self, cause: exc.SQLAlchemyError | sqlite3.Error, *, committing: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.committing = committing


def _worth_repeating(error: Exception) -> bool:
    cause, committing = (error.cause, error.committing) if isinstance(error, _Failed) else (error, False)
    if not isinstance(cause, exc.DBAPIError):
        return False
    if sqlstate(cause.orig) in TRY_AGAIN:
        return True
    return cause.connection_invalidated and not committing and type(cause.orig).__name__ != "Silence"


def open_database(url: str, clock: Clock, *, patience: float = 5.0, migrating: bool = False, process: str = "") -> Database:
    """Prepare connections to `url`; nothing is connected yet. Raises Refused for a URL that is none of ours.

    `patience`: seconds that one call may wait for a lock or for an answer. `migrating`: foreign keys are not enforced.
    `process`: who this is, for PostgreSQL's list of sessions.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, clock, patience, migrating=migrating)
    from rollout.store.postgresql import open_postgresql  # noqa: PLC0415 - psycopg is an extra that SQLite users lack

    return open_postgresql(parsed, clock, MIGRATION if migrating else patience, process)


def _parse(url: str) -> URL:
    expected = "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise Refused(f"database: the URL cannot be read (not repeated here: it may hold a password); {expected}") from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        return parsed
    raise Refused(f"database: no store for {parsed.drivername!r}; {expected}")


def _sqlite(url: URL, clock: Clock, patience: float, *, migrating: bool) -> Database:
    in_memory = url.database in {None, "", ":memory:"}
    place = Place("SQLite in memory" if in_memory else f"SQLite {url.database}", patience)
    writer = _sqlite_engine(url, patience, begin="BEGIN IMMEDIATE", connections=1, migrating=migrating)
    reader = writer
    if not in_memory and not migrating:
        reader = _sqlite_engine(url, patience, begin="BEGIN", connections=READERS, migrating=False)
    file = None if in_memory or url.query else Path(str(url.database)).absolute()
    begin_call = _SameFile(file, place) if file else lambda: None
    return Database(place, "sqlite", clock, reader, writer, file, begin_call=begin_call)


def _sqlite_engine(url: URL, patience: float, *, begin: str, connections: int, migrating: bool) -> Engine:
    engine = sa.create_engine(
        url, poolclass=QueuePool, pool_size=connections, max_overflow=0, pool_timeout=patience, hide_parameters=True,
        json_serializer=dumps, connect_args={"isolation_level": None, "timeout": patience, "check_same_thread": False},
    )  # fmt: skip

    def prepare(connection: sqlite3.Connection, _: Any) -> None:  # noqa: ANN401 - SQLAlchemy's record
        connection.isolation_level = None
        _use_wal(connection, patience)
        for pragma in ("synchronous=FULL", f"foreign_keys={'OFF' if migrating else 'ON'}", "journal_size_limit=67108864",
                       "temp_store=MEMORY"):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch the file to WAL, once for its life. SQLite does not wait for this lock itself: two first starts would collide."""
    for attempt in range(int(patience / WAL_RETRY) + 1):
        if attempt:
            threading.Event().wait(WAL_RETRY)
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_READONLY:
                return
            if code != sqlite3.SQLITE_BUSY or attempt == int(patience / WAL_RETRY):
                raise
        else:
            return
