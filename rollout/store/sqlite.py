"""SQLite: one connection that writes, some that read, and a file that must stay where it is.

SQLite has one writer by nature. Instead of letting threads race for its lock, there is one writing connection in a pool of
one: the pool is the queue. It begins with BEGIN IMMEDIATE, so a transaction never fails in its middle for want of the lock.
Readers have their own connections and, thanks to WAL, wait for nobody. `synchronous=FULL`: going forward we commit, then act;
a commit that a power cut could undo would leave the world ahead of its history (with NORMAL it could).
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import QueuePool

from rollout.core.errors import Unavailable
from rollout.ports import Clock
from rollout.store.columns import dumps
from rollout.store.database import Database
from rollout.store.faults import BACKEND, Place

READERS = 4
WAL_RETRY = 0.02


def open_sqlite(url: URL, clock: Clock, patience: float, *, migrating: bool) -> Database:
    """Prepare connections to a file, or to a database in memory; nothing is connected yet."""
    in_memory = url.database in {None, "", ":memory:"}
    place = Place("SQLite in memory" if in_memory else f"SQLite {url.database}", patience)
    writer = _engine(url, patience, begin="BEGIN IMMEDIATE", connections=1, migrating=migrating)
    reader = writer
    if not in_memory and not migrating:
        reader = _engine(url, patience, begin="BEGIN", connections=READERS, migrating=False)
    file = None if in_memory or url.query else Path(str(url.database)).absolute()
    begin_call = _SameFile(file, place) if file else lambda: None
    return Database(place, "sqlite", clock, reader, writer, file, begin_call=begin_call)


def _engine(url: URL, patience: float, *, begin: str, connections: int, migrating: bool) -> Engine:
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
