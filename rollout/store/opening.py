"""From a database's URL to connections: the only place that chooses between SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from rollout.core.errors import Refused
from rollout.ports import Clock
from rollout.store.database import Database
from rollout.store.sqlite import open_sqlite

MIGRATION = 3600.0
"""Seconds that a migration may be silent: building an index of a large table takes its time."""


def open_database(url: str, clock: Clock, *, patience: float = 5.0, migrating: bool = False, process: str = "") -> Database:
    """Prepare connections to `url`; nothing is connected yet. Raises Refused for a URL that is none of ours.

    `patience`: seconds that one call may wait for a lock or for an answer. `migrating`: foreign keys are not enforced.
    `process`: who this is, for PostgreSQL's list of sessions.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(parsed, clock, patience, migrating=migrating)
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
