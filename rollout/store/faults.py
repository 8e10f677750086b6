"""Translate what database libraries raise, once, where it enters: Unavailable, Refused, or a bug that keeps rising.

Decided by code (SQLite's result codes, PostgreSQL's SQLSTATE), never by text. Statements and their parameters never get into
a message; nor do URLs, which may hold a password.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlalchemy import exc

from rollout.core.errors import Problem, Refused, RolloutError, Unavailable

BACKEND = "database"
REMEDY = "rollout db upgrade"

_SQLITE = {
    sqlite3.SQLITE_BUSY: "is locked by another process for longer than {patience:g} s",
    sqlite3.SQLITE_LOCKED: "is locked by another statement",
    sqlite3.SQLITE_READONLY: "can only be read: check the file's permissions and the mount",
    sqlite3.SQLITE_IOERR: "cannot be read or written (input/output error): check the disk",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is a file, but no SQLite database",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: does its directory exist, and may this user write there?",
    sqlite3.SQLITE_PERM: "cannot be opened: this user may not",
    sqlite3.SQLITE_AUTH: "cannot be opened: this user may not",
    sqlite3.SQLITE_NOMEM: "is out of memory",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_PROTOCOL: "is busy (its locks could not be had)",
}
_POSTGRESQL = {
    "53100": "cannot grow: the server's disk is full",
    "53200": "is out of memory",
    "53300": "has no connection left",
    "25006": "can only be read: a standby, or set to read only",
    "55P03": "is locked by another session for too long",
    "57014": "took too long for a statement, and was told to stop it",
    "40P01": "broke a deadlock by undoing this transaction",
    "40001": "could not serialise this transaction",
    "57P01": "is being shut down",
    "57P02": "crashed and is restarting",
    "57P03": "is starting up",
    "28P01": "refuses the password",
    "28000": "refuses this user",
    "3D000": "does not exist on this server",
    "42501": "does not let this user do that: the user needs all rights on the tables",
}
_UNDEFINED = {"42P01", "42703"}
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "XX")
TRY_AGAIN = {"40P01", "40001"}


@dataclass(frozen=True, slots=True)
class Place:
    """Which database, in words without secrets, and how long we wait for it (seconds)."""

    name: str
    patience: float = 5.0

    def __str__(self) -> str:
        return self.name


def sqlstate(error: BaseException | None) -> str:
    """Tell the SQLSTATE of a PostgreSQL error, empty for others and where the server said nothing."""
    return getattr(error, "sqlstate", None) or ""


def translated(error: exc.SQLAlchemyError | sqlite3.Error, place: Place, *, committing: bool = False) -> RolloutError | None:
    """Say which of our errors this is; None when it is a bug. `committing`: the answer to a COMMIT was awaited."""
    original: BaseException | None = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(error, exc.TimeoutError):
        return unavailable(place, f"did not get free within {place.patience:g} s: too many wait for it")
    if isinstance(original, sqlite3.Error):
        return _from_sqlite(original, place, committing=committing)
    if isinstance(error, exc.DBAPIError):
        return _from_postgresql(error, sqlstate(original), place, committing=committing)
    return None


def unavailable(place: Place, words: str, *, maybe_done: bool = False) -> Unavailable:
    """Word it for the person on call: which database, what was seen, what happens next."""
    return Unavailable(BACKEND, f"{place} {words}; it is asked again", maybe_done=maybe_done)


def brief(error: Exception) -> str:
    """Say what went wrong without the statement and its parameters."""
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    return f"{type(original).__name__}: {(str(original).splitlines() or [''])[0][:300]}"


def outdated(place: Place, seen: str) -> Refused:
    """Refuse a database whose tables are not those that this version works with."""
    return Refused(f"database: {place} {seen}: run `{REMEDY}`", (Problem(message=seen, remedy=REMEDY),))


def _from_sqlite(error: sqlite3.Error, place: Place, *, committing: bool) -> RolloutError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return unavailable(place, "was closed") if isinstance(error, sqlite3.ProgrammingError) else None
    words = _SQLITE.get(code & 0xFF)
    if words is not None:
        return unavailable(place, words.format(patience=place.patience), maybe_done=committing)
    if code == sqlite3.SQLITE_ERROR and isinstance(error, sqlite3.OperationalError):
        return outdated(place, "does not have the tables or columns that this version works with")
    return None


def _from_postgresql(error: exc.DBAPIError, state: str, place: Place, *, committing: bool) -> RolloutError | None:
    if state in _UNDEFINED:
        return outdated(place, "does not have the tables or columns that this version works with")
    words = _POSTGRESQL.get(state)
    if words is None and state.startswith(_UNAVAILABLE_CLASSES):
        words = f"is not able to answer (SQLSTATE {state})"
    if words is None and not state and isinstance(error, exc.OperationalError | exc.InterfaceError):
        words = _without_state(error)
    return None if words is None else unavailable(place, words, maybe_done=committing and state not in TRY_AGAIN)


def _without_state(error: exc.DBAPIError) -> str:
    name = type(error.orig).__name__
    if name == "Silence":
        return str(error.orig)
    if name == "ConnectionTimeout":
        return "did not answer when a connection was asked for"
    if error.connection_invalidated:
        return "closed the connection"
    return "cannot be reached, or refuses the connection (server down, address, port, user, password or TLS)"
