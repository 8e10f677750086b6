"""PostgreSQL that is stopped, silent, restarted, locked: every call comes back within its patience and says what was seen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import event as sa_event

from rollout.core.commands import Verb
from rollout.core.errors import Unavailable
from rollout.store.postgresql_sessions import session_name
from rollout.store.schema import upgrade
from rollout.store.sql import SqlStore, open_store
from tests.contract.stores import (
    HOUR,
    LEASE,
    POSTGRESQL,
    START,
    StandingClock,
    claimed,
    empty,
    engine,
    event,
    postgresql_url,
    submitted,
    transition,
)
from tests.peers.postgresql import PostgreSql
from tests.peers.process import wait_until

PATIENCE = timedelta(seconds=1)
SHORT = timedelta(seconds=1)
CONNECTING = 2.0
"""psycopg waits at least this long for a connection."""
SLACK = 1.5
"""Seconds of the stopwatch that may be added. A call that nobody gives up lasts as long as the server is silent: for ever here."""
SLICE = 0.1


@pytest.fixture(params=[POSTGRESQL])
def url(request: pytest.FixtureRequest) -> str:
    url = postgresql_url(request, "store_faults")
    upgrade(url, clock=StandingClock())
    empty(url)
    return url


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with closing(open_store(url, clock=StandingClock(), patience=PATIENCE)) as store:
        yield store


@pytest.fixture
def server(request: pytest.FixtureRequest, url: str) -> Iterator[PostgreSql]:
    """The server, to be hurt: it is running again after the test."""
    peer: PostgreSql = request.getfixturevalue("postgresql_peer")
    yield peer
    with suppress(ProcessLookupError):
        peer.resume()


def session(url: str, daemon: str) -> psycopg.Connection[tuple[object, ...]]:
    """A session as that daemon has them, in which the server does not wait long."""
    timeouts = "-c idle_in_transaction_session_timeout=300 -c statement_timeout=300"
    return psycopg.connect(url.replace("+psycopg", ""), application_name=session_name(daemon), options=timeouts)


class Stopwatch:
    """Seconds as another thread counts them that waits a tenth of one again and again: it is as slow as the machine."""

    def __init__(self) -> None:
        self._slices = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._count, name="stopwatch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        return self._slices * SLICE

    def _count(self) -> None:
        while not self._stopped.wait(SLICE):
            self._slices += 1


@dataclass
class Ears:
    """Hears what a store tells."""

    heard: list[str] = field(default_factory=list)
    bell: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, rollout: str) -> None:
        with self.bell:
            self.heard.append(rollout)
            self.bell.notify_all()

    def hear(self, rollout: str, times: int = 1) -> bool:
        with self.bell:
            return self.bell.wait_for(lambda: self.heard.count(rollout) >= times, timeout=10)


def test_a_server_that_takes_connections_and_never_speaks_is_given_up_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"postgresql://127.0.0.1:{mute.getsockname()[1]}/rollout"
        with Stopwatch() as watch, pytest.raises(Unavailable, match="did not answer when a connection was asked for"):
            open_store(url, clock=StandingClock(), patience=PATIENCE)
        assert CONNECTING - SLACK < watch.seconds < CONNECTING + SLACK


def test_a_stopped_server_holds_no_call_longer_than_its_patience_and_is_used_again_afterwards(
    store: SqlStore, server: PostgreSql
) -> None:
    (row,) = claimed(store)
    server.pause()
    with Stopwatch() as watch, pytest.raises(Unavailable, match="is connected, but says nothing"):
        store.commit("d1", [transition(row)])
    assert watch.seconds < PATIENCE.total_seconds() + SLACK
    with Stopwatch() as watch, pytest.raises(Unavailable, match=r"did not answer when a connection was asked for|says nothing"):
        store.rollout(row.id)
    assert watch.seconds < CONNECTING + SLACK
    server.resume()
    assert store.commit("d1", [transition(row)]) == {row.id}


def test_a_commit_whose_answer_is_lost_may_be_done_and_says_so(store: SqlStore, server: PostgreSql) -> None:
    (row,) = claimed(store)

    def pause(_: sa.Connection) -> None:
        server.pause()

    sa_event.listen(store._database.writer, "commit", pause)
    with pytest.raises(Unavailable) as caught:
        store.commit("d1", [transition(row, events=(event(),))])
    assert caught.value.maybe_done
    sa_event.remove(store._database.writer, "commit", pause)
    server.resume()
    after = store.rollout(row.id)
    assert after is not None
    assert (after.version, len(store.history(row.id))) in {(0, 0), (1, 1)}, "all of it or nothing"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_is_restarted_in_the_middle_of_a_commit_has_all_of_it_or_nothing(
    store: SqlStore, server: PostgreSql, how: str
) -> None:
    (row,) = claimed(store)

    def restart(_: sa.Connection) -> None:
        getattr(server, how)()
        server.start()

    sa_event.listen(store._database.writer, "commit", restart)
    with pytest.raises(Unavailable) as caught:
        store.commit("d1", [transition(row, events=(event(),))])
    assert caught.value.maybe_done
    sa_event.remove(store._database.writer, "commit", restart)
    assert (found := store.rollout(row.id)) is not None
    assert (found.version, len(store.history(row.id))) == (0, 0), "COMMIT was never received, so nothing stands"
    assert store.commit("d1", [transition(row, events=(event(),))]) == {row.id}
    assert len(store.history(row.id)) == 1


def test_a_server_that_was_restarted_is_used_again_at_once(store: SqlStore, server: PostgreSql) -> None:
    (row,) = claimed(store)
    server.restart()
    assert store.rollout(row.id) == row
    server.kill()
    server.start()
    assert store.commit("d1", [transition(row)]) == {row.id}


def test_a_row_that_another_session_locks_is_waited_for_and_then_named(store: SqlStore, url: str) -> None:
    (row,) = claimed(store)
    with engine(url) as other:
        other.execute(sa.text("SELECT * FROM rollout FOR UPDATE"))
        with pytest.raises(Unavailable, match="is locked by another session for too long") as caught:
            store.commit("d1", [transition(row)])
        assert not caught.value.maybe_done
        assert store.claim("d2", limit=9, lease=LEASE) == [], "claiming skips what is locked"


def test_a_database_that_can_only_be_read_is_read_and_says_so_when_written(store: SqlStore, url: str) -> None:
    (row,) = submitted(store)
    read_only = f"{url}?options=-c%20default_transaction_read_only%3Don"
    with closing(open_store(read_only, clock=StandingClock())) as late:
        assert late.rollout(row.id) == row
        with pytest.raises(Unavailable, match="can only be read"):
            late.ping()


def test_another_process_hears_of_commands_and_submissions_also_after_a_restart(
    store: SqlStore, url: str, server: PostgreSql
) -> None:
    ears = Ears()
    store.subscribe(ears)
    assert ears.hear("")
    with closing(open_store(url, clock=StandingClock())) as other:
        (row,) = submitted(other)
        assert ears.hear(row.id)
        server.restart()
        assert ears.hear("", times=2), "anything may have changed while nobody listened"
        other.command(row.id, Verb.PAUSE, "ada", "", START)
        assert ears.hear(row.id, times=2)


def test_closing_does_not_wait_for_a_stopped_server_longer_than_its_patience(url: str, server: PostgreSql) -> None:
    ears = Ears()
    with closing(open_store(url, clock=StandingClock(), patience=PATIENCE)) as store:
        store.subscribe(ears)
        assert ears.hear("")
        server.pause()
        with Stopwatch() as watch:
            store.close()
    assert watch.seconds < PATIENCE.total_seconds() + SLACK


def test_leases_follow_the_clock_of_the_database_and_not_those_of_the_daemons(url: str, store: SqlStore) -> None:
    (row,) = claimed(store)
    wrong = StandingClock(START + 1000 * HOUR)
    with closing(open_store(url, clock=wrong)) as other:
        assert other.claim("d2", limit=9, lease=LEASE) == []
        assert store.commit("d1", [transition(row)]) == {row.id}


@pytest.mark.parametrize("locked", ["daemon", "rollout"])
def test_a_daemon_that_was_stopped_between_two_messages_of_a_transaction_does_not_keep_its_rollouts(
    url: str, store: SqlStore, locked: str
) -> None:
    """The server waits for its next message without a timeout: such a session is not idle, and no statement runs."""
    (row,) = submitted(store)
    assert store.claim("d1", limit=9, lease=SHORT) == [row]
    with session(url, "d1") as stopped, suppress(psycopg.OperationalError), stopped.pipeline():
        stopped.execute(sql.SQL("SELECT id FROM {} FOR UPDATE").format(sql.Identifier(locked))).fetchall()

        def taken_over() -> bool:
            store.renew("d2", lease=SHORT)
            return [taken.id for taken in store.claim("d2", limit=9, lease=SHORT)] == [row.id]

        wait_until(taken_over, 10, "what d1 had is claimed by d2")
        with pytest.raises(psycopg.errors.AdminShutdown):
            stopped.execute("SELECT 1").fetchall()


def test_a_transaction_of_a_daemon_that_lives_is_left_alone(url: str, store: SqlStore) -> None:
    claimed(store)
    store.renew("d2", lease=timedelta(0))
    with session(url, "d1") as busy:
        busy.execute("SET idle_in_transaction_session_timeout = 0")
        busy.execute("SELECT id FROM rollout FOR UPDATE")
        store.renew("d3", lease=LEASE)
        assert store.claim("d3", limit=9, lease=timedelta(0)) == []
        assert busy.execute("SELECT 1").fetchone() == (1,)
