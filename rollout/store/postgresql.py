"""PostgreSQL: connections that never wait for ever, and the listener that wakes us when another process wrote.

A server that is stopped (SIGSTOP, a frozen virtual machine, a hung disk) keeps its connections open and says nothing; TCP goes
on acknowledging, so no timeout of TCP or of the server helps. psycopg waits for the socket in slices of 0.1 s;
`BoundedConnection` counts the empty slices of one call and closes the connection when patience is over. What the server itself
can bound, it bounds: `statement_timeout`, `lock_timeout`, and `idle_in_transaction_session_timeout`, which frees the locks of
a daemon that sleeps; what the server cannot bound, the next owner ends (postgresql_sessions).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine

from rollout.core.errors import Refused
from rollout.ports import Clock
from rollout.store.columns import dumps
from rollout.store.database import Database
from rollout.store.faults import Place
from rollout.store.postgresql_sessions import end_transactions, session_name
from rollout.store.sql_commands import CHANNEL

try:
    import psycopg
    from psycopg import sql
except ImportError:  # pragma: no cover - the test environment has it
    raise Refused("database: PostgreSQL needs the driver: install rollout[postgresql]") from None

RV = TypeVar("RV")

POOL = 16
LISTEN_SLICE = 0.2
PROOF_OF_LIFE = 25
"""Slices without a word, after which the listener asks whether the server is still there (5 s)."""
RETRY = 1.0
LONGEST = 10.0
"""Seconds at most that the network may take, whatever the patience for the server."""


class Silence(psycopg.OperationalError):
    """The server is connected, and has said nothing for too long."""


class _Patience(threading.local):
    left: float = 5.0


_patience = _Patience()


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose waits share what is left of the patience of the present call, in this thread."""

    unbounded = False

    def wait(self, gen: Generator[Any, Any, RV], *args: Any, **kwargs: Any) -> RV:  # noqa: ANN401 - psycopg's versions differ
        """Wait for the server; raise Silence, and close, when patience is over."""
        interval = kwargs.get("interval", args[0] if args else 0.1)
        waiting = gen if self.unbounded else self._impatient(gen, interval)
        return super().wait(waiting, *args, **kwargs)

    def _impatient(self, gen: Generator[Any, Any, RV], interval: float) -> Generator[Any, Any, RV]:
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready:
                    self._grow_impatient(interval)
                state = gen.send(ready)
        except StopIteration as stop:
            answer: RV = stop.value
            return answer

    def _grow_impatient(self, interval: float) -> None:
        _patience.left -= interval
        if _patience.left <= 0:
            self.pgconn.finish()
            raise Silence("is connected, but says nothing (stopped, frozen, or its disk hangs)")


def open_postgresql(url: URL, clock: Clock, patience: float, process: str = "") -> Database:
    """Prepare connections. `statement_timeout` and `lock_timeout` lie under `patience`, so that the server answers first."""
    name = f"PostgreSQL {url.host or 'on the local socket'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
    engine = sa.create_engine(
        url, pool_size=POOL, max_overflow=0, pool_timeout=patience, pool_use_lifo=True, hide_parameters=True,
        json_serializer=dumps, use_native_hstore=False,
    )  # fmt: skip

    def connect(_dialect: object, _record: object, arguments: list[Any], parameters: dict[str, Any]) -> BoundedConnection:
        return BoundedConnection.connect(*arguments, **bounded(parameters, patience, process))

    event.listen(engine, "do_connect", connect)

    def begin_call() -> None:
        _patience.left = patience

    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    return Database(
        Place(name, patience), "postgresql", clock, reader=reader, writer=engine,
        begin_call=begin_call, listen=lambda changed: Listener(engine, changed, patience, process),
        end_transactions=end_transactions,
    )  # fmt: skip


def bounded(parameters: dict[str, Any], patience: float, process: str) -> dict[str, Any]:
    """Add the bounds, and whose session it is, to connection parameters; what the URL says itself goes first."""
    milliseconds = int(patience * 1000)
    options = (f"-c statement_timeout={int(milliseconds * 0.8)} -c lock_timeout={int(milliseconds * 0.6)} "
               "-c idle_in_transaction_session_timeout=5000 -c timezone=UTC")  # fmt: skip
    defaults = {
        "connect_timeout": max(2, int(min(patience, LONGEST) / 2)),
        "tcp_user_timeout": int(min(patience, LONGEST) * 1000),
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "application_name": session_name(process),
    }
    return defaults | parameters | {"options": f"{options} {parameters.get('options', '')}".strip()}


class Listener:
    """A thread of its own that waits for NOTIFY, connects again when it must, and then says that anything may have changed."""

    def __init__(self, engine: Engine, changed: Callable[[str], None], patience: float, process: str) -> None:
        self._engine = engine
        self._changed = changed
        self._patience = patience
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; takes at most a slice, or what is left of the patience with a silent server."""
        self._stop.set()
        self._thread.join(timeout=self._patience + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    self._changed("")
                    self._listen(connection)
            except psycopg.Error:
                self._stop.wait(RETRY)

    def _connect(self) -> BoundedConnection:
        _patience.left = self._patience
        arguments, parameters = self._engine.dialect.create_connect_args(self._engine.url)
        connection = BoundedConnection.connect(
            *arguments, autocommit=True, **bounded(dict(parameters), self._patience, self._process)
        )
        try:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL))).close()
        except BaseException:
            connection.close()
            raise
        return connection

    def _listen(self, connection: BoundedConnection) -> None:
        quiet = 0
        while not self._stop.is_set():
            quiet += 1
            connection.unbounded = True
            for notify in connection.notifies(timeout=LISTEN_SLICE):
                quiet = 0
                self._changed(notify.payload)
            connection.unbounded = False
            if quiet >= PROOF_OF_LIFE:
                quiet = 0
                _patience.left = self._patience
                connection.execute("SELECT 1").close()
