"""The database fails in every way it can, while a canary fails too: it is at 0 as fast as ever, and history tells of it later."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout.core.history import Outcome
from rollout.store import schema
from rollout.store.sql import SqlStore, open_store
from tests.end_to_end.arena import CLOCK, CRASHES, GOOD, Arena, Chat, Node, until
from tests.peers.postgresql import PostgreSql

SOON = 3.0
"""Seconds within which a canary is at 0, whatever the database does; with a healthy one it takes well under one here."""


@dataclass(frozen=True, slots=True)
class Bed:
    """One database and the daemon on it, with a canary that runs."""

    url: str
    store: SqlStore
    chat: Chat
    arena: Arena
    node: Node
    rollout: str

    def fail(self) -> float:
        """Let the new version crash; return the seconds until the canary is told to be 0."""
        self.arena.behave(GOOD, CRASHES)
        return until(lambda: self.arena.replicas(0) == 0, "the canary is at 0", 30)

    def ends(self) -> None:
        """Wait until the rollout has ended by the database's word, and everything was told."""
        until(self._ended, "the database knows the end", 40)
        until(lambda: all(n["state"] == "delivered" for n in self.store.notices(self.rollout)), "everything is told", 40)

    def _ended(self) -> bool:
        with suppress(Exception):  # the database may not be there yet
            row = self.store.rollout(self.rollout)
            return row is not None and row.outcome is Outcome.FAILED
        return False


def check_history(bed: Bed) -> None:
    """Hold history, evidence and notices against what was done."""
    history = [row.event for row in bed.store.history(bed.rollout)]
    kinds = [event.kind for event in history]
    assert kinds.count("stepping-back") == 1, kinds
    assert kinds.count("failed") == 1, kinds
    assert [event.at for event in history] == sorted(event.at for event in history)
    back = next(event for event in history if event.kind == "stepping-back")
    reason = dict(back.facts)["reason"]
    assert reason not in {"tombstone", "canary-scaled-to-0"}, "history must tell the reason, not only its traces"
    assert "crash" in back.why.lower() or "restart" in back.why.lower(), back.why
    owed = [str(notice["key"]) for notice in bed.store.notices(bed.rollout)]
    assert list(dict.fromkeys(key for rollout, key in bed.chat.sent if rollout == bed.rollout)) == owed
    assert any("stepping" in key for key in owed)


@contextmanager
def laid(url: str) -> Iterator[Bed]:
    """Start everything and wait until the canary runs and the database knows."""
    schema.upgrade(url, clock=CLOCK)
    with ExitStack() as stack:
        store = open_store(url, clock=CLOCK)
        stack.callback(store.close)
        arena, chat = stack.enter_context(Arena(1)), Chat()
        node = stack.enter_context(Node(arena, "d1", store, chat))
        rollout = node.desk.submit(arena.plan(0, soak="10h", most=1), "", "ada").rollout.id
        until(lambda: _step(store, rollout) == "soaking", "it soaks")
        yield Bed(url, store, chat, arena, node, rollout)


def _step(store: SqlStore, rollout: str) -> str:
    row = store.rollout(rollout)
    return row.step if row is not None else ""


def sqlite_read_only(bed: Bed) -> Callable[[], None]:
    """As a mount that went read-only."""
    _pragma(bed.store, "query_only=ON")
    return lambda: _pragma(bed.store, "query_only=OFF")


def sqlite_full(bed: Bed) -> Callable[[], None]:
    """As a full disk: the file may not grow, and has no page left."""
    with closing(sqlite3.connect(bed.url.removeprefix("sqlite:///"), timeout=10)) as connection:
        connection.execute("CREATE TABLE filler (what BLOB)")
        grow = "INSERT INTO filler VALUES (zeroblob(1000000))"
        connection.execute(f"CREATE TRIGGER grow BEFORE UPDATE ON rollout BEGIN {grow}; END")
        connection.commit()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    _pragma(bed.store, f"max_page_count={pages}")
    return lambda: _pragma(bed.store, "max_page_count=1000000")


def sqlite_locked(bed: Bed) -> Callable[[], None]:
    """As somebody's tool that keeps the file's lock."""
    holder = sqlite3.connect(bed.url.removeprefix("sqlite:///"), timeout=10, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder.close


def _pragma(store: SqlStore, setting: str) -> None:
    connection = store._database.writer.raw_connection()  # the one connection that writes
    connection.cursor().execute(f"PRAGMA {setting}").close()
    connection.close()


@pytest.mark.parametrize("fault", [sqlite_read_only, sqlite_locked, sqlite_full])
def test_sqlite_that_cannot_be_written_delays_no_step_back(fault: Callable[[Bed], Callable[[], None]], tmp_path: Path) -> None:
    with laid(f"sqlite:///{tmp_path}/rollout.db") as bed:
        mend = fault(bed)
        try:
            assert bed.fail() < SOON
            until(lambda: bed.node.engine.saving.commits.trouble, "the commit was refused", 30)
            assert any("database" in problem for problem in bed.node.daemon.problems())
        finally:
            mend()
        bed.ends()
        check_history(bed)


@pytest.mark.parametrize("fault", ["hung", "away", "killed", "read-only", "full"])
def test_postgresql_that_fails_delays_no_step_back(fault: str, postgresql_peer: PostgreSql, postgresql_database: str) -> None:
    name = postgresql_database.rsplit("/", 1)[1].partition("?")[0]
    breaking: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "hung": (postgresql_peer.pause, postgresql_peer.resume),
        "away": (postgresql_peer.stop, postgresql_peer.start),
        "killed": (postgresql_peer.kill, postgresql_peer.start),
        "read-only": (lambda: _read_only(postgresql_peer, name, "on"), lambda: _read_only(postgresql_peer, name, "off")),
        "full": (
            lambda: postgresql_peer.execute(FULL, name),
            lambda: postgresql_peer.execute("DROP TRIGGER full_disk ON rollout", name),
        ),
    }
    begin, end = breaking[fault]
    with laid(postgresql_database) as bed:
        begin()
        try:
            assert bed.fail() < SOON
            until(lambda: bed.node.engine.saving.commits.trouble, "the commit was refused", 30)
        finally:
            end()
        bed.ends()
        check_history(bed)


FULL = """\
CREATE OR REPLACE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE UPDATE ON rollout FOR EACH ROW EXECUTE FUNCTION no_space()"""


def _read_only(peer: PostgreSql, name: str, setting: str) -> None:
    peer.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}")
    peer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%'")


def test_a_commit_whose_answer_was_lost_is_neither_repeated_nor_forgotten(
    postgresql_peer: PostgreSql, postgresql_database: str
) -> None:
    """The server dies again and again while a rollout goes forward and back: history has every row once."""
    with laid(postgresql_database) as bed:
        for _ in range(3):
            postgresql_peer.kill()
            postgresql_peer.start()
        bed.arena.behave(GOOD, CRASHES)
        postgresql_peer.kill()
        postgresql_peer.start()
        bed.ends()
        check_history(bed)
