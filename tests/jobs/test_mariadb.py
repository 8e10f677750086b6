"""The MySQL templates' scripts against a real MariaDB: backup, change, restore, compare."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.jobs.chain import Chain, ProcessJobs
from tests.jobs.templates import Runner
from tests.peers.mariadb import MariaDb

SCHEMA = """
CREATE TABLE bills (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200), raw BLOB, changed INT DEFAULT 0) CHARACTER SET utf8mb4;
INSERT INTO bills (note, raw) SELECT CONCAT('Rechnung ', seq, ' für Ωμέγα 🙂 ''quoted'''), 0x00FF27 FROM seq_1_to_500;
CREATE VIEW open_bills AS SELECT id FROM bills WHERE changed = 0;
CREATE TRIGGER bump BEFORE UPDATE ON bills FOR EACH ROW SET NEW.changed = OLD.changed + 1;
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM bills WHERE id < 0;
"""
MIGRATION = """
ALTER TABLE bills ADD COLUMN total INT NOT NULL DEFAULT 0; DROP VIEW open_bills; DROP TRIGGER bump; DELETE FROM bills WHERE id > 9;
UPDATE bills SET note = 'overwritten'; CREATE TABLE extra (id INT); DROP FUNCTION twice; DROP EVENT nightly;
"""
MIGRATE = ("/bin/sh", "-euc", """\
echo 'CREATE TABLE extra (id int); DELETE FROM bills' |
  mariadb --no-defaults -h "$MYSQL_HOST" -P "$MYSQL_PORT" -u "$MYSQL_USER" "$MYSQL_DATABASE"
""")  # fmt: skip
"""The entry point of an image that migrates: it finds the database in its environment alone."""
FINGERPRINT = """
SET SESSION group_concat_max_len = 10000000;
SELECT MD5(GROUP_CONCAT(id, note, HEX(raw), changed ORDER BY id)), twice(21), (SELECT COUNT(*) FROM open_bills),
  (SELECT GROUP_CONCAT(trigger_name) FROM information_schema.triggers WHERE trigger_schema = DATABASE()),
  (SELECT GROUP_CONCAT(event_name) FROM information_schema.events WHERE event_schema = DATABASE()),
  (SELECT GROUP_CONCAT(table_name, '.', column_name ORDER BY table_name, column_name) FROM information_schema.columns
    WHERE table_schema = DATABASE()),
  @@character_set_database FROM bills
"""


class Database:
    def __init__(self, peer: MariaDb, folder: Path) -> None:
        self.name = f"billing-{uuid4().hex[:8]}"
        self.peer = peer
        peer.execute(f"CREATE DATABASE `{self.name}` CHARACTER SET utf8mb4")
        secret = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(peer.port), "MYSQL_USER": peer.user, "MYSQL_PWD": peer.password}
        self.jobs = Runner(folder, secret, {"DATABASE": self.name})
        self.execute(SCHEMA)

    def execute(self, statements: str) -> str:
        return self.peer.execute(f"SET NAMES utf8mb4; {statements}", self.name)

    def fingerprint(self) -> str:
        return self.execute(FINGERPRINT)


@pytest.fixture
def database(mariadb_peer: MariaDb, tmp_path: Path) -> Iterator[Database]:
    made = Database(mariadb_peer, tmp_path)
    yield made
    mariadb_peer.execute(f"DROP DATABASE IF EXISTS `{made.name}`")


def test_a_database_comes_back_exactly_and_nothing_of_the_migration_is_left(database: Database) -> None:
    before = database.fingerprint()
    made = database.jobs.run("mysql-backup", ROLLOUT_ID="r-17")
    assert made.code == 0, made.err
    assert made.artifact.id.startswith(f"{database.name}-r-17-")
    assert "verified: 1 tables" in made.out
    database.execute(MIGRATION)
    for _ in range(2):
        restored = database.jobs.run("mysql-restore", **made.artifact.parameters())
        assert restored.code == 0, restored.err
        assert restored.artifact == made.artifact
        assert database.fingerprint() == before


def test_a_restore_ends_a_session_that_holds_a_lock(database: Database) -> None:
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
def test_a_damaged_dump_is_refused_before_anything_is_dropped(database: Database, damage: str) -> None:
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
    database.execute(MIGRATION)
    restored = database.jobs.run("mysql-restore", **parameters)
    assert restored.code != 0
    assert "the database was not touched" in restored.err
    assert database.execute("SELECT COUNT(*) FROM extra") == "0"


def test_a_backup_that_fails_says_so_and_leaves_nothing(database: Database) -> None:
    for parameters in ({"DATABASE": "no-such-database"}, {}):
        secret = database.jobs.secret if parameters else {**database.jobs.secret, "MYSQL_PWD": "wrong"}
        made = Runner(database.jobs.folder, secret, {"DATABASE": database.name, **parameters}).run("mysql-backup")
        assert made.code != 0
        assert "rollout-failed: no backup of" in made.err
        assert "wrong" not in made.out + made.err
    assert list(database.jobs.folder.iterdir()) == []


def test_the_daemons_own_way_from_template_to_result(database: Database) -> None:
    """Backup, migration, restore as the steps ask for them: each once, the artifact told to the restore, the data as before."""
    before = database.fingerprint()
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder, {"schema:2": MIGRATE})
    chain = Chain("mysql", database.name, jobs)
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
    assert database.execute("SELECT COUNT(*) FROM extra") == "0"
    assert chain.run("restore").ok
    assert database.fingerprint() == before
    assert [name.split("-", 4)[-1] for name in jobs.ended] == ["sessions-1", "backup-1", "migrate-1", "restore-1"]


def test_a_damaged_artifact_is_no_restore_and_says_why(database: Database) -> None:
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder)
    chain = Chain("mysql", database.name, jobs)
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
    chain = Chain("mysql", database.name, ProcessJobs(database.jobs.secret, database.jobs.folder))
    first, second = (chain.run("backup", attempt).facts["artifact"] for attempt in (1, 2))
    assert first != second
    assert {first, second} < {path.name for path in database.jobs.folder.iterdir()}
