"""The PostgreSQL templates' scripts against a real server: backup, change, restore, compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest

from tests.jobs.chain import Chain, ProcessJobs
from tests.jobs.templates import Runner
from tests.peers.postgresql import PostgreSql

SCHEMA = """
CREATE TYPE status AS ENUM ('new', 'paid');
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, paid status DEFAULT 'new', raw bytea);
CREATE INDEX orders_note ON orders (note);
CREATE VIEW paid_orders AS SELECT * FROM orders WHERE paid = 'paid';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
INSERT INTO orders (note, paid, raw) SELECT 'Bestellung ' || n || ' für Ωμέγα 🙂 ''quoted''', 'paid', decode('00ff', 'hex')
  FROM generate_series(1, 500) n;
ALTER DATABASE "{database}" SET work_mem = '7MB';
"""
MIGRATION = """
ALTER TABLE orders ADD COLUMN total int NOT NULL DEFAULT 0; DROP VIEW paid_orders; DELETE FROM orders WHERE id > 100;
UPDATE orders SET note = 'overwritten'; CREATE TABLE invoices (id int); DROP FUNCTION twice;
ALTER DATABASE "{database}" SET work_mem = '9MB';
"""
MIGRATE = ("/bin/sh", "-euc", "psql -XqAt -v ON_ERROR_STOP=1 -c 'CREATE TABLE invoices (id int)' -c 'DELETE FROM orders'")
"""The entry point of an image that migrates: it finds the database in its environment alone."""
FINGERPRINT = """
SELECT md5(string_agg(o::text, '|' ORDER BY id)) || ' ' || twice(21) || ' ' || (SELECT count(*) FROM paid_orders)
  || ' ' || current_setting('work_mem') || ' '
  || (SELECT string_agg(table_name || '.' || column_name, ',' ORDER BY table_name, column_name) FROM information_schema.columns
      WHERE table_schema = 'public') FROM orders o
"""


class Database:
    def __init__(self, peer: PostgreSql, folder: Path) -> None:
        # A name that needs quoting everywhere.
        self.name = f"Orders-{uuid4().hex[:8]}"
        self.peer = peer
        peer.create_database(self.name)
        self.jobs = Runner(folder, {"PGHOST": "127.0.0.1", "PGPORT": str(peer.port), "PGUSER": peer.user}, {"DATABASE": self.name})
        self.execute(SCHEMA.format(database=self.name))

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statements)

    def fingerprint(self, query: LiteralString = FINGERPRINT) -> str:
        with psycopg.connect(self.conninfo) as connection:
            row = connection.execute(query).fetchone()
            assert row is not None
            return str(row[0])

    @property
    def conninfo(self) -> str:
        return self.peer.conninfo(self.name)


@pytest.fixture
def database(postgresql_peer: PostgreSql, tmp_path: Path) -> Iterator[Database]:
    made = Database(postgresql_peer, tmp_path)
    yield made
    postgresql_peer.drop_database(made.name)


def test_a_database_comes_back_exactly_and_nothing_of_the_migration_is_left(database: Database) -> None:
    before = database.fingerprint()
    made = database.jobs.run("postgresql-backup", ROLLOUT_ID="r-17")
    assert made.code == 0, made.err
    assert made.artifact.id.startswith(f"{database.name}-r-17-")
    assert (database.jobs.folder / made.artifact.id).stat().st_size == made.artifact.size
    database.execute(MIGRATION.format(database=database.name))
    restored = database.jobs.run("postgresql-restore", **made.artifact.parameters())
    assert restored.code == 0, restored.err
    assert restored.artifact == made.artifact
    assert database.fingerprint() == before


def test_a_restore_can_be_run_again(database: Database) -> None:
    before = database.fingerprint()
    made = database.jobs.run("postgresql-backup")
    for _ in range(2):
        assert database.jobs.run("postgresql-restore", **made.artifact.parameters()).code == 0
    assert database.fingerprint() == before


def test_a_restore_ends_whoever_is_still_connected(database: Database) -> None:
    made = database.jobs.run("postgresql-backup")
    with psycopg.connect(database.conninfo) as lingering:
        lingering.execute("SELECT count(*) FROM orders")
        restored = database.jobs.run("postgresql-restore", **made.artifact.parameters())
        assert restored.code == 0, restored.err
        assert "1 sessions ended" in restored.out
        with pytest.raises(psycopg.OperationalError):
            lingering.execute("SELECT 1")


def test_foreign_sessions_are_counted_in_the_last_line(database: Database) -> None:
    assert database.jobs.run("postgresql-sessions").out.splitlines()[-1] == "0"
    with (
        psycopg.connect(database.conninfo, application_name="shop"),
        psycopg.connect(database.conninfo, application_name="exporter"),
    ):
        everybody = database.jobs.run("postgresql-sessions")
        assert everybody.out.splitlines()[-1] == "2"
        assert "shop from 127.0.0.1 as rollout" in everybody.out
        assert database.jobs.run("postgresql-sessions", IGNORE="exporter").out.splitlines()[-1] == "1"


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other", "foreign"])
def test_a_damaged_archive_is_refused_before_anything_is_dropped(database: Database, damage: str) -> None:
    made = database.jobs.run("postgresql-backup").artifact
    path = database.jobs.folder / made.id
    parameters = made.parameters()
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "gone":
            path.unlink()
        case "other":
            parameters["ARTIFACT"] = "../elsewhere.dump"
        case _:
            parameters["DATABASE"] = "somebody-elses"
    database.execute(MIGRATION.format(database=database.name))
    restored = database.jobs.run("postgresql-restore", **parameters)
    assert restored.code != 0
    assert "the database was not touched" in restored.err
    assert "rollout-artifact" not in restored.out
    with psycopg.connect(database.conninfo) as connection:
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (0,)


def test_an_archive_that_was_cut_off_is_found_without_its_checksum(database: Database) -> None:
    made = database.jobs.run("postgresql-backup").artifact
    path = database.jobs.folder / made.id
    path.write_bytes(path.read_bytes()[: made.size // 2])
    (database.jobs.folder / f"{made.id}.sha256").unlink()
    restored = database.jobs.run("postgresql-restore", ARTIFACT=made.id)
    assert restored.code != 0
    assert database.fingerprint()


def test_a_backup_that_fails_says_so_and_leaves_nothing(database: Database) -> None:
    made = database.jobs.run("postgresql-backup", DATABASE="no-such-database")
    assert made.code != 0
    assert "rollout-failed: no backup of no-such-database was made" in made.err
    assert "rollout-artifact" not in made.out
    assert list(database.jobs.folder.iterdir()) == []


def test_a_server_that_is_away_fails_the_backup(database: Database) -> None:
    elsewhere = Runner(database.jobs.folder, {**database.jobs.secret, "PGPORT": "1"}, {"DATABASE": database.name})
    assert elsewhere.run("postgresql-backup").code != 0
    assert list(database.jobs.folder.iterdir()) == []


def test_a_restore_that_breaks_off_says_that_the_database_is_not_usable(database: Database) -> None:
    database.execute("CREATE ROLE seller_of_the_past; GRANT SELECT ON orders TO seller_of_the_past")
    made = database.jobs.run("postgresql-backup").artifact
    database.execute("REVOKE SELECT ON orders FROM seller_of_the_past; DROP ROLE seller_of_the_past")
    restored = database.jobs.run("postgresql-restore", **made.parameters())
    assert restored.code != 0
    assert "dropped or half restored: run this again" in restored.err
    assert "rollout-artifact" not in restored.out
    database.peer.execute("CREATE ROLE seller_of_the_past")
    assert database.jobs.run("postgresql-restore", **made.parameters()).code == 0
    database.execute("REVOKE SELECT ON orders FROM seller_of_the_past; DROP ROLE seller_of_the_past")


def test_the_daemons_own_way_from_template_to_result(database: Database) -> None:
    """Backup, migration, restore as the steps ask for them: each once, the artifact told to the restore, the data as before."""
    before = database.fingerprint()
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder, {"schema:2": MIGRATE})
    chain = Chain("postgresql", database.name, jobs)
    assert chain.run("sessions").facts["sessions"] == "0"
    made = chain.run("backup")
    assert (made.ok, chain.run("backup").facts) == (True, made.facts), made
    (artifact,) = (path for path in database.jobs.folder.iterdir() if path.suffix != ".sha256")
    assert made.facts["artifact"] == artifact.name
    assert made.facts["size"] == str(artifact.stat().st_size)
    assert made.facts["sha256"] == hashlib.sha256(artifact.read_bytes()).hexdigest()
    chain.remember(made)
    migrated = chain.run("migrate")
    assert migrated.ok, migrated
    assert database.fingerprint("SELECT count(*) FROM invoices") == "0"
    assert chain.run("restore").ok
    assert database.fingerprint() == before
    assert [name.split("-", 4)[-1] for name in jobs.ended] == ["sessions-1", "backup-1", "migrate-1", "restore-1"]


def test_a_damaged_artifact_is_no_restore_and_says_why(database: Database) -> None:
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder)
    chain = Chain("postgresql", database.name, jobs)
    made = chain.run("backup")
    chain.remember(made)
    path = database.jobs.folder / made.facts["artifact"]
    content = path.read_bytes()
    path.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    before = database.fingerprint()
    restored = chain.run("restore")
    assert not restored.ok
    assert "the database was not touched" in restored.facts["log"]
    assert database.fingerprint() == before
    path.write_bytes(content)
    assert chain.run("restore", attempt=2).ok


def test_two_backups_are_two_artifacts(database: Database) -> None:
    chain = Chain("postgresql", database.name, ProcessJobs(database.jobs.secret, database.jobs.folder))
    first, second = (chain.run("backup", attempt).facts["artifact"] for attempt in (1, 2))
    assert first != second
    assert {first, second} < {path.name for path in database.jobs.folder.iterdir()}
