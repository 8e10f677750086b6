"""One database, SQLite or PostgreSQL, behind two verbs: `read(work)` and `write(work)`, each one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from rollout.core.errors import Unavailable
from rollout.ports import Clock
from rollout.store.faults import BACKEND, TRY_AGAIN, Place, sqlstate, translated

T = TypeVar("T")


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
