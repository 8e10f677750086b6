"""The Jobs of a rollout as the daemon asks for them, from template to result, on each kind of database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.chain import Chain, ProcessJobs
from tests.jobs.databases import Bills, Database, Orders

KINDS = {"postgresql_peer": Orders, "mariadb_peer": Bills}


@pytest.fixture
def database(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made: Database = KINDS[server](request.getfixturevalue(server), tmp_path)
    yield made
    made.drop()


pytestmark = pytest.mark.parametrize("server", KINDS)


def test_the_daemons_own_way_from_template_to_result(database: Database) -> None:
    """Backup, migration, restore as the steps ask for them: each once, the artifact told to the restore, the data as before."""
    before = database.fingerprint()
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder, {"schema:2": database.entry})
    chain = Chain(database.kind, database.name, jobs)
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
    assert database.rows(database.table) == 0
    assert chain.run("restore").ok
    assert database.fingerprint() == before
    assert [name.split("-", 4)[-1] for name in jobs.ended] == ["sessions-1", "backup-1", "migrate-1", "restore-1"]


def test_a_damaged_artifact_is_no_restore_and_says_why(database: Database) -> None:
    jobs = ProcessJobs(database.jobs.secret, database.jobs.folder)
    chain = Chain(database.kind, database.name, jobs)
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
    chain = Chain(database.kind, database.name, ProcessJobs(database.jobs.secret, database.jobs.folder))
    first, second = (chain.run("backup", attempt).facts["artifact"] for attempt in (1, 2))
    assert first != second
    assert {first, second} < {path.name for path in database.jobs.folder.iterdir()}
