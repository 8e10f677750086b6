"""Migrations: they make what tables.py describes, in one piece, and old rows are still read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rollout.core.errors import Refused
from rollout.store import schema, tables
from rollout.store.codec import decode, encode
from rollout.store.opening import open_database
from rollout.store.schema import Schema, check, migrations_folder, upgrade, upgrade_database
from rollout.store.sql import open_store
from tests.contract.stores import LEASE, POSTGRESQL, START, StandingClock, engine, postgresql_url, rollout, transition

CLOCK = StandingClock()
GOLDEN = Path(__file__).parent / "golden"
VERSIONS = [folder.name for folder in sorted(GOLDEN.iterdir()) if (folder / "rows.json").is_file()]


@pytest.fixture(params=["sqlite", POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server = postgresql_url(request, "store_schema")
    with engine(server) as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
        connection.commit()
    yield server


def test_a_database_without_tables_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(Refused, match="has no tables yet: run `rollout db upgrade`") as caught:
        open_store(url, clock=CLOCK)
    assert caught.value.problems[0].remedy == "rollout db upgrade"


def test_looking_for_a_database_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no tables yet"):
        check(f"sqlite:///{tmp_path}/typo.db", clock=CLOCK)
    assert list(tmp_path.iterdir()) == []


def test_upgrading_is_done_once_and_then_changes_nothing(url: str) -> None:
    assert upgrade(url, clock=CLOCK) == Schema(tables.HEAD, before="")
    assert upgrade(url, clock=CLOCK) == Schema(tables.HEAD, before=tables.HEAD)
    assert check(url, clock=CLOCK) == Schema(tables.HEAD)


def test_looking_whether_an_upgrade_is_due_waits_for_no_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/busy.db"
    upgrade(url, clock=CLOCK)
    with closing(sqlite3.connect(tmp_path / "busy.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert upgrade(url, clock=CLOCK).current == tables.HEAD


def test_two_daemons_that_start_at_once_migrate_once(url: str) -> None:
    start, done = threading.Barrier(2), []

    def begin() -> None:
        start.wait()
        done.append(upgrade(url, clock=CLOCK))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [schema.current for schema in done] == [tables.HEAD] * 2


def test_migrations_make_exactly_the_tables_that_the_code_describes(url: str) -> None:
    upgrade(url, clock=CLOCK)
    with engine(url) as connection:
        compare_defaults = connection.dialect.name == "postgresql"  # Alembic misreads SQLite's DEFAULT ''
        context = MigrationContext.configure(connection, opts={"compare_server_default": compare_defaults})
        assert compare_metadata(context, tables.metadata) == []
        inspector = sa.inspect(connection)
        described = {(t.name, c.name): c.comment for t in tables.TABLES for c in t.columns}
        if connection.dialect.name == "postgresql":
            found = {(t.name, c["name"]): c["comment"] for t in tables.TABLES for c in inspector.get_columns(t.name)}
            assert found == described
        for name, body in tables.VIEWS.items():
            connection.execute(sa.text(f"CREATE VIEW again_{name} AS {body}"))
            columns = [c["name"] for c in inspector.get_columns(name)]
            assert columns == [c["name"] for c in inspector.get_columns(f"again_{name}")]
        connection.rollback()


def test_the_code_knows_every_migration_in_order() -> None:
    script = ScriptDirectory(str(migrations_folder()))
    assert tuple(reversed([r.revision for r in script.walk_revisions()])) == tables.KNOWN
    assert script.get_heads() == [tables.HEAD]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    upgrade(url, clock=CLOCK)
    with engine(url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    for look in (upgrade, check, open_store):
        with pytest.raises(Refused, match="of version 9999; this version of rollout knows up to"):
            look(url, clock=CLOCK)


def test_a_migration_that_fails_half_way_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(migrations_folder(), broken, ignore=shutil.ignore_patterns("__pycache__"))
    (broken / "versions" / "0002_broken.py").write_text(
        "from alembic import op\nrevision = '0002'\ndown_revision = '0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id int)')\n    raise RuntimeError('power cut')\n"
    )
    monkeypatch.setattr(schema, "migrations_folder", lambda: broken)
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(url, clock=CLOCK)
    with engine(url) as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_history_reads_like_a_story(url: str) -> None:
    upgrade(url, clock=CLOCK)
    with engine(url) as connection:
        _insert(connection, GOLDEN / "0001" / "rows.json")
        connection.commit()
        rows = connection.execute(sa.text("SELECT * FROM rollout_history")).mappings().all()
        kinds = [row["what"] for row in rows]
        assert list(rows[0].keys()) == ["at", "rollout", "plan", "target", "step", "what", "who", "why"]
        assert (kinds, rows[0]["target"]) == (["submitted", "replica-added"], "prod/web/nginx")
        proof = connection.execute(sa.text("SELECT what, signal, query, verdict FROM rollout_evidence")).all()
        assert [tuple(row) for row in proof] == [("replica-added", "errors", "rate(errors[5m])", "healthy")]


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_every_version_so_far_are_migrated_and_read(url: str, version: str) -> None:
    database = open_database(url, CLOCK, migrating=True)
    upgrade_database(database, to=version)
    database.close()
    with engine(url) as connection:
        _insert(connection, GOLDEN / version / "rows.json")
        connection.commit()
    upgrade(url, clock=CLOCK)
    store = open_store(url, clock=CLOCK)
    try:
        (row,) = store.claim("d1", limit=9, lease=LEASE)
        assert (row.id, row.version, row.wake_at) == ("golden0001", 3, START)
        assert [h.event.kind for h in store.history(row.id)] == ["submitted", "replica-added"]
        assert store.history(row.id)[1].event.evidence[0].counts == (("candidate requests", 812.0), ("E", 0.4))
        assert [c.verb.value for c in store.commands()[row.id]] == ["extend"]
        assert [owed.message.notice.key for owed in store.owed(START, limit=9)] == ["started"]
        assert store.commit("d1", [transition(rollout(row.id, version=3))]) == {row.id}
    finally:
        store.close()


STATES = sorted(GOLDEN.glob("*/states/*.json"))


@pytest.mark.parametrize("path", STATES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_states_of_every_version_so_far_are_decoded(path: Path) -> None:
    """A golden file is `{"class": "module:Name", "state": {...}}`; it is never changed once it is released."""
    golden = json.loads(path.read_text())
    module, name = golden["class"].split(":")
    cls = getattr(__import__(module, fromlist=[name]), name)
    state = decode(cls, json.dumps(golden["state"]), row=str(path))
    assert decode(cls, encode(state)) == state


def test_a_wheel_away_from_the_checkout_finds_its_migrations(tmp_path: Path) -> None:
    package = migrations_folder().parent / "rollout"
    site = tmp_path / "site"
    shutil.copytree(package, site / "rollout", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(migrations_folder(), site / "rollout" / "_migrations", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import rollout, sys; from rollout.store.schema import upgrade, migrations_folder; "
        "from rollout.adapters.clock import SystemClock; "
        f"assert rollout.__file__.startswith({str(site)!r}), rollout.__file__; "
        "print(migrations_folder()); upgrade('sqlite:///' + sys.argv[1], clock=SystemClock())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "new.db")],
        env={**os.environ, "PYTHONPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(site / "rollout" / "_migrations")


def _insert(connection: sa.Connection, path: Path) -> None:
    """Insert golden rows as they stand, past tables.py; `{table: [row, ...]}` in the order of their references."""
    reflected = sa.MetaData()
    reflected.reflect(connection)
    plain = connection.dialect.name == "sqlite"
    for table, rows in json.loads(path.read_text()).items():
        for row in rows:
            values = {key: json.dumps(item) if isinstance(item, dict | list) else item for key, item in row.items()}
            names = ", ".join(f'"{name}"' for name in values)
            places = ", ".join(f":{name}" if plain else _placeholder(reflected.tables[table].c[name]) for name in values)
            connection.execute(sa.text(f'INSERT INTO "{table}" ({names}) VALUES ({places})'), values)  # noqa: S608 - our own names


def _placeholder(column: sa.Column[object]) -> str:
    """Say which type a text is, where PostgreSQL does not guess it."""
    return {"TIMESTAMP": f"CAST(:{column.name} || '+00' AS timestamptz)", "JSON": f"CAST(:{column.name} AS json)"}.get(
        str(column.type), f":{column.name}")  # fmt: skip
