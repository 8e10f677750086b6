"""The PostgreSQL templates' scripts against a real server: backup, change, restore, compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.jobs.databases import Orders
from tests.jobs.templates import Runner
from tests.peers.postgresql import PostgreSql


@pytest.fixture
def database(postgresql_peer: PostgreSql, tmp_path: Path) -> Iterator[Orders]:
    made = Orders(postgresql_peer, tmp_path)
    yield made
    made.drop()


def test_a_database_comes_back_exactly_and_nothing_of_the_migration_is_left(database: Orders) -> None:
    before = database.fingerprint()
    made = database.jobs.run("postgresql-backup", ROLLOUT_ID="r-17")
    assert made.code == 0, made.err
    assert made.artifact.id.startswith(f"{database.name}-r-17-")
    assert (database.jobs.folder / made.artifact.id).stat().st_size == made.artifact.size
    database.migrate()
    restored = database.jobs.run("postgresql-restore", **made.artifact.parameters())
    assert restored.code == 0, restored.err
    assert restored.artifact == made.artifact
    assert database.fingerprint() == before


def test_a_restore_can_be_run_again(database: Orders) -> None:
    before = database.fingerprint()
    made = database.jobs.run("postgresql-backup")
    for _ in range(2):
        assert database.jobs.run("postgresql-restore", **made.artifact.parameters()).code == 0
    assert database.fingerprint() == before


def test_a_restore_ends_whoever_is_still_connected(database: Orders) -> None:
    made = database.jobs.run("postgresql-backup")
    with psycopg.connect(database.conninfo) as lingering:
        lingering.execute("SELECT count(*) FROM orders")
        restored = database.jobs.run("postgresql-restore", **made.artifact.parameters())
        assert restored.code == 0, restored.err
        assert "1 sessions ended" in restored.out
        with pytest.raises(psycopg.OperationalError):
            lingering.execute("SELECT 1")


def test_foreign_sessions_are_counted_in_the_last_line(database: Orders) -> None:
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
def test_a_damaged_archive_is_refused_before_anything_is_dropped(database: Orders, damage: str) -> None:
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
    database.migrate()
    restored = database.jobs.run("postgresql-restore", **parameters)
    assert restored.code != 0
    assert "the database was not touched" in restored.err
    assert "rollout-artifact" not in restored.out
    assert database.rows("invoices") == 0


def test_an_archive_that_was_cut_off_is_found_without_its_checksum(database: Orders) -> None:
    made = database.jobs.run("postgresql-backup").artifact
    path = database.jobs.folder / made.id
    path.write_bytes(path.read_bytes()[: made.size // 2])
    (database.jobs.folder / f"{made.id}.sha256").unlink()
    restored = database.jobs.run("postgresql-restore", ARTIFACT=made.id)
    assert restored.code != 0
    assert database.fingerprint()


def test_a_backup_that_fails_says_so_and_leaves_nothing(database: Orders) -> None:
    made = database.jobs.run("postgresql-backup", DATABASE="no-such-database")
    assert made.code != 0
    assert "rollout-failed: no backup of no-such-database was made" in made.err
    assert "rollout-artifact" not in made.out
    assert list(database.jobs.folder.iterdir()) == []


def test_a_server_that_is_away_fails_the_backup(database: Orders) -> None:
    elsewhere = Runner(database.jobs.folder, {**database.jobs.secret, "PGPORT": "1"}, {"DATABASE": database.name})
    assert elsewhere.run("postgresql-backup").code != 0
    assert list(database.jobs.folder.iterdir()) == []


def test_a_restore_that_breaks_off_says_that_the_database_is_not_usable(database: Orders) -> None:
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


def test_a_backup_without_a_table_is_none_unless_that_is_meant(database: Orders) -> None:
    database.peer.create_database(f"{database.name}-empty")
    try:
        made = database.jobs.run("postgresql-backup", DATABASE=f"{database.name}-empty")
        assert made.code == 65
        assert "has no table" in made.err
        assert "rollout-artifact" not in made.out
        assert list(database.jobs.folder.iterdir()) == []
        meant = database.jobs.run("postgresql-backup", DATABASE=f"{database.name}-empty", EMPTY="yes")
        assert meant.artifact.size > 0
    finally:
        database.peer.drop_database(f"{database.name}-empty")
