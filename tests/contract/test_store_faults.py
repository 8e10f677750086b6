"""A database that is locked, full, read-only, damaged, away: worded, bounded, without secrets, and over when it is over."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.commands import Verb
from rollout.core.errors import Refused, RolloutError, Unavailable
from rollout.ports import RolloutFilter
from rollout.store.schema import upgrade
from rollout.store.sql import SqlStore, open_store
from tests.contract.stores import START, StandingClock, claimed, event, notice, submitted, transition

CLOCK = StandingClock()
ROOT = Path(__file__).parents[2]
SHORT = timedelta(seconds=0.2)
SECRET = "s3cr3t-marker"  # noqa: S105 - it is there to be looked for


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.db"
    upgrade(f"sqlite:///{path}", clock=CLOCK)
    return path


@pytest.fixture
def store(file: Path) -> Iterator[SqlStore]:
    with closing(open_store(f"sqlite:///{file}", clock=CLOCK, patience=SHORT)) as store:
        yield store


def test_a_lock_held_by_another_process_is_waited_for_and_then_named(store: SqlStore, file: Path) -> None:
    (row,) = submitted(store)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"rollout\.db is locked by another process for longer than 0\.2 s") as caught:
            store.command(row.id, Verb.PAUSE, "ada", "", START)
        assert not caught.value.maybe_done
        assert store.rollout(row.id) == row, "reading waits for nobody"
    assert store.command(row.id, Verb.PAUSE, "ada", "", START) == 1


def test_writers_of_one_process_queue_and_none_fails(file: Path) -> None:
    with closing(open_store(f"sqlite:///{file}", clock=CLOCK)) as store:
        rows = submitted(store, 8)
        threads = [threading.Thread(target=lambda row=row: [store.command(row.id, Verb.PAUSE, "ada", "", START) for _ in range(10)])
                   for row in rows]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {id_: len(waiting) for id_, waiting in store.commands().items()} == {row.id: 10 for row in rows}


def test_a_full_disk_is_named_and_nothing_is_half_written(store: SqlStore) -> None:
    (row,) = claimed(store)
    connection = store._database.writer.raw_connection()
    connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size as the least
    connection.close()
    big = transition(row, state="x" * 200_000, events=(event(), event()))
    with pytest.raises(Unavailable, match="cannot grow: the disk is full"):
        store.commit("d1", [big])
    assert (store.rollout(row.id), store.history(row.id)) == (row, [])
    connection = store._database.writer.raw_connection()
    connection.execute("PRAGMA max_page_count = 1000000")
    connection.close()
    assert store.commit("d1", [big]) == {row.id}


def test_a_database_that_can_only_be_read_is_read_and_says_so_when_written(file: Path) -> None:
    with closing(open_store(f"sqlite:///file:{file}?mode=ro&uri=true", clock=CLOCK, patience=SHORT)) as store:
        assert store.rollouts(RolloutFilter()) == []
        with pytest.raises(Unavailable, match="can only be read"):
            store.ping()


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, " * 100)
    with pytest.raises(Unavailable, match=r"notes\.txt is a file, but no SQLite database"):
        open_store(f"sqlite:///{path}", clock=CLOCK)


def test_a_missing_directory_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened: does its directory exist"):
        upgrade(f"sqlite:///{tmp_path}/nowhere/rollout.db", clock=CLOCK)


def test_tables_that_vanished_are_refused_with_the_remedy(store: SqlStore, file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("DROP TABLE command")
    with pytest.raises(Refused, match="run `rollout db upgrade`"):
        store.commands()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://a:b@c/d", "postgresql:/x:y", f"postgresql://u:{SECRET}@h:port/d"])
def test_a_url_that_is_none_of_ours_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(Refused, match="expected sqlite:///FILE or postgresql://") as caught:
        open_store(url, clock=CLOCK)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid:5432"])
def test_a_password_is_never_shown(host: str) -> None:
    with pytest.raises(Unavailable, match=r"PostgreSQL .*cannot be reached") as caught:
        open_store(f"postgresql://ada:{SECRET}@{host}/rollout?password={SECRET}", clock=CLOCK)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert "ada" not in str(caught.value)


def test_one_decision_that_the_database_cannot_hold_sinks_no_other(store: SqlStore) -> None:
    first, poison, last = claimed(store, 3)
    broken = replace(transition(poison), why=None, events=(event(),))  # type: ignore[arg-type]  # a bug somewhere else
    written = store.commit("d1", [transition(first, notices=(notice("n"),), channels=("ops",)), broken, transition(last)])
    assert written == {first.id, last.id}
    assert store.history(poison.id) == []
    with pytest.raises(Exception, match="NOT NULL") as caught:
        store.commit("d1", [broken])
    assert not isinstance(caught.value, RolloutError), "alone it is a bug that must be seen"


def test_what_another_process_wrote_is_noticed_and_our_own_writing_is_not(store: SqlStore, file: Path) -> None:
    store.changed()
    (row,) = submitted(store)
    assert not store.changed()
    with closing(open_store(f"sqlite:///{file}", clock=CLOCK)) as other:
        other.command(row.id, Verb.ABORT, "ada", "", START)
    assert store.changed()
    assert not store.changed()


def test_a_store_that_was_closed_says_so(store: SqlStore) -> None:
    store.close()
    with pytest.raises(Unavailable, match="was closed by us"):
        store.ping()


def test_a_database_in_memory_has_its_tables_at_once() -> None:
    with closing(open_store("sqlite://", clock=CLOCK)) as store:
        assert claimed(store, 2) == list(reversed(store.rollouts(RolloutFilter())))
        assert repr(store) == "SqlStore(SQLite in memory)"


CRASHING = """
import sys
from itertools import count
from tests.contract.stores import StandingClock, claimed, event, notice, open_store, transition
store = open_store(sys.argv[1], clock=StandingClock())
rows = claimed(store, 3)
for version in count():
    written = store.commit("d1", [transition(row, seen_version=version, events=(event(), event()), notices=(notice(f"n{version}"),),
                                             channels=("ops", "dev")) for row in rows])
    print(version, flush=True)
"""


def test_a_daemon_killed_in_the_middle_leaves_whole_decisions_and_every_one_that_was_confirmed(file: Path) -> None:
    url = f"sqlite:///{file}"
    for kills in range(3):
        child = subprocess.Popen([sys.executable, "-c", CRASHING, url], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert child.stdout is not None
        confirmed = [int(child.stdout.readline()) for _ in range(5 + kills)][-1]
        child.kill()
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        confirmed = max([confirmed, *(int(line) for line in rest)])
        with closing(open_store(url, clock=CLOCK)) as store:
            for row in store.rollouts(RolloutFilter()):
                assert row.version >= confirmed + 1
                assert len(store.history(row.id)) == 2 * row.version
                assert len(store.notices(row.id)) == 2 * row.version
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.executescript("PRAGMA foreign_keys=ON; DELETE FROM rollout; DELETE FROM daemon;")


def test_a_file_that_is_removed_or_replaced_under_a_daemon_is_noticed_at_once(store: SqlStore, file: Path, tmp_path: Path) -> None:
    (row,) = submitted(store)
    away = file.rename(tmp_path / "away.db")
    with pytest.raises(Unavailable, match="was removed while in use"):
        store.command(row.id, Verb.PAUSE, "ada", "", START)
    file.write_bytes(away.read_bytes())
    with pytest.raises(Unavailable, match="was replaced by another file"):
        store.ping()
    away.rename(file)
    assert store.command(row.id, Verb.PAUSE, "ada", "", START) == 1
