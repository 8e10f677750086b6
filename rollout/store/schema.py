"""Bring a database to the schema that this version works with, or say why it is not.

To change the schema: change tables.py, write migrations/versions/000N_words.py by hand (script.py.mako shows the form; look
at the one before), set HEAD and KNOWN in tables.py. Only add; a column that old rows lack gets a server default. The
contract tests compare tables and migrations on both databases.

Alembic is imported only to migrate: `check` runs in every command and has to be quick.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollout.core.errors import Problem, Refused
from rollout.ports import Clock
from rollout.store import tables
from rollout.store.database import Database
from rollout.store.faults import Place, outdated
from rollout.store.opening import open_database

_UPGRADE_LOCK = 0x726F6C6C
"""Of PostgreSQL's advisory locks: two daemons that start at once migrate one after the other."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database stands: `current` is empty for a database without tables; `head` is what this version works with.

    `before`: where it stood before an upgrade, empty where it had no tables.
    """

    current: str
    head: str = tables.HEAD
    before: str = ""

    @property
    def behind(self) -> bool:
        """Say whether an upgrade is due."""
        return self.current != self.head


def migrations_folder() -> Path:
    """Find the migrations: inside an installed wheel they are rollout/_migrations, in a checkout they stand at the top."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Refused(f"the migrations are missing from this installation (neither {package}/_migrations nor beside it): reinstall")


def upgrade(url: str, *, clock: Clock) -> Schema:
    """Create or migrate the tables, in one transaction; a database that is up to date is only looked at.

    Raises Unavailable, and Refused for a database of a newer version.
    """
    with closing(open_database(url, clock)) as database:
        schema = _look(database)
    if not schema.behind:
        return replace(schema, before=schema.current)
    with closing(open_database(url, clock, migrating=True)) as database:
        return upgrade_database(database)


def check(url: str, *, clock: Clock) -> Schema:
    """Look where the database stands. Raises Refused when it is behind (with the remedy) or newer, and Unavailable."""
    with closing(open_database(url, clock)) as database:
        return check_database(database)


def check_database(database: Database) -> Schema:
    """Do as `check`, on connections that exist already."""
    schema = _look(database)
    if schema.behind:
        seen = f"has the tables of version {schema.current}, {schema.head} is needed" if schema.current else "has no tables yet"
        raise outdated(database.place, seen)
    return schema


def _look(database: Database) -> Schema:
    file = database.file
    schema = Schema("" if file is not None and not file.exists() else database.read(_current))
    _refuse_newer(schema, database.place)
    return schema


def upgrade_database(database: Database, *, to: str = tables.HEAD) -> Schema:
    """Do as `upgrade`, on connections that exist already; tests also stop on the way."""
    return database.write(lambda connection: _migrate(connection, database.place, to))


def _migrate(connection: Connection, place: Place, to: str) -> Schema:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
    before = Schema(_current(connection))
    _refuse_newer(before, place)
    if before.behind:
        _run_alembic(connection, to)
        if connection.dialect.name == "sqlite":
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise Refused(f"database: {place} holds {len(broken)} rows that refer to nothing; nothing was migrated")
    return Schema(to, before=before.current)


def _run_alembic(connection: Connection, to: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head" if to == tables.HEAD else to)


def _current(connection: Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or ""


def _refuse_newer(schema: Schema, place: Place) -> None:
    if schema.current and schema.current not in tables.KNOWN:
        seen = f"has the tables of version {schema.current}; this version of rollout knows up to {schema.head}"
        raise Refused(f"database: {place} {seen}: a newer rollout was here; run that one, or restore the backup from before it",
                      (Problem(message=seen, remedy="install the newer rollout"),))  # fmt: skip
