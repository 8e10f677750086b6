"""The MySQL templates' scripts against a real MariaDB: backup, change, restore, compare."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.databases import Bills
from tests.jobs.templates import Runner
from tests.peers.mariadb import MariaDb


@pytest.fixture
def database(mariadb_peer: MariaDb, tmp_path: Path) -> Iterator[Bills]:
    made = Bills(mariadb_peer, tmp_path)
    yield made
    made.drop()


def test_a_database_comes_back_exactly_and_nothing_of_the_migration_is_left(database: Bills) -> None:
    before = database.fingerprint()
    made = database.jobs.run("mysql-backup", ROLLOUT_ID="r-17")
    assert made.code == 0, made.err
    assert made.artifact.id.startswith(f"{database.name}-r-17-")
    assert "verified: 1 tables" in made.out
    database.migrate()
    for _ in range(2):
        restored = database.jobs.run("mysql-restore", **made.artifact.parameters())
        assert restored.code == 0, restored.err
        assert restored.artifact == made.artifact
        assert database.fingerprint() == before


def test_a_restore_ends_a_session_that_holds_a_lock(database: Bills) -> None:
    made = database.jobs.run("mysql-backup")
    login = ["-h", "127.0.0.1", "-P", str(database.peer.port), "-u", database.peer.user, f"-p{database.peer.password}"]
    command = ["mariadb", "--no-defaults", *login, "-BNn", database.name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as lingering:
        assert lingering.stdin is not None
        assert lingering.stdout is not None
        lingering.stdin.write("START TRANSACTION; SELECT COUNT(*) FROM bills;\n")
        lingering.stdin.flush()
        assert lingering.stdout.readline() == "500\n"  # the transaction now holds a lock on the table's shape
        counted = database.jobs.run("mysql-sessions")
        assert counted.out.splitlines()[-1] == "1"
        restored = database.jobs.run("mysql-restore", **made.artifact.parameters())
        lingering.stdin.close()
    assert restored.code == 0, restored.err
    assert database.jobs.run("mysql-sessions").out.splitlines()[-1] == "0"


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other", "foreign"])
def test_a_damaged_dump_is_refused_before_anything_is_dropped(database: Bills, damage: str) -> None:
    made = database.jobs.run("mysql-backup").artifact
    path = database.jobs.folder / made.id
    parameters = made.parameters()
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
        case "cut":
            path.write_bytes(content[: len(content) // 2])
            parameters.pop("ARTIFACT_SHA256")
        case "gone":
            path.unlink()
        case "other":
            parameters["ARTIFACT"] = "../elsewhere.sql.gz"
        case _:
            parameters["DATABASE"] = "somebody-elses"
    database.migrate()
    restored = database.jobs.run("mysql-restore", **parameters)
    assert restored.code != 0
    assert "the database was not touched" in restored.err
    assert database.rows("extra") == 0


def test_a_backup_that_fails_says_so_and_leaves_nothing(database: Bills) -> None:
    for parameters in ({"DATABASE": "no-such-database"}, {}):
        secret = database.jobs.secret if parameters else {**database.jobs.secret, "MYSQL_PWD": "wrong"}
        made = Runner(database.jobs.folder, secret, {"DATABASE": database.name, **parameters}).run("mysql-backup")
        assert made.code != 0
        assert "rollout-failed: no backup of" in made.err
        assert "wrong" not in made.out + made.err
    assert list(database.jobs.folder.iterdir()) == []


def test_a_backup_without_a_table_is_none_unless_that_is_meant(database: Bills) -> None:
    database.execute("DROP VIEW open_bills; DROP TABLE bills")
    made = database.jobs.run("mysql-backup")
    assert made.code == 65
    assert "has no table" in made.err
    assert "rollout-artifact" not in made.out
    assert list(database.jobs.folder.iterdir()) == []
    assert database.jobs.run("mysql-backup", EMPTY="yes").artifact.size > 0
