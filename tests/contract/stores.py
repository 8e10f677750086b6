"""The three stores behind one face, for the contract tests: memory, SQLite in a file, PostgreSQL where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollout.core.history import Event, Evidence, Notice, NoticeKind, Outcome
from rollout.ports import PlanRow, RolloutRow, Store, Transition
from rollout.store import tables
from rollout.store.memory import MemoryStore
from rollout.store.schema import upgrade
from rollout.store.sql import SqlStore, open_store
from tests.peers.postgresql import PostgreSql

START = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=15)
POSTGRESQL = pytest.param("postgresql", marks=(pytest.mark.peer("postgresql"), pytest.mark.xdist_group("postgresql")))
KINDS = ("memory", "sqlite", POSTGRESQL)


@dataclass
class StandingClock:
    """Time that moves when the test says so."""

    moment: datetime = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - START).total_seconds()


@dataclass
class Bench:
    """One kind of store with its clock. `open` again is another process on the same data (memory has only one)."""

    kind: str
    url: str
    clock: StandingClock = field(default_factory=StandingClock)
    opened: list[SqlStore] = field(default_factory=list)
    memory: MemoryStore | None = None

    def open(self) -> Store:
        if self.kind == "memory":
            self.memory = self.memory or MemoryStore(self.clock)
            return self.memory
        self.opened.append(open_store(self.url, clock=self.clock))
        return self.opened[-1]

    def advance(self, by: timedelta) -> None:
        """Let time pass. PostgreSQL has its own clock: there, what it would expire is moved back instead."""
        self.clock.moment += by
        if self.kind == "postgresql":
            with engine(self.url) as connection:
                connection.execute(sa.text("UPDATE daemon SET lease_until = lease_until - :by"), {"by": by})
                connection.execute(sa.text("UPDATE notice SET held_until = held_until - :by"), {"by": by})
                connection.commit()

    def close(self) -> None:
        for store in self.opened:
            store.close()


class engine:  # noqa: N801 - reads as a verb: with engine(url) as connection
    """A connection past the store, to look at rows or to do harm."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(re.sub(r"^postgresql:", "postgresql+psycopg:", url), poolclass=sa.NullPool)

    def __enter__(self) -> sa.Connection:
        self._connection = self._engine.connect()
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._engine.dispose()


_made: dict[tuple[int, str], str] = {}


def postgresql_url(request: pytest.FixtureRequest, name: str) -> str:
    """Give the URL of a database of that name in the real PostgreSQL; skipped with a reason where there is none."""
    peer: PostgreSql = request.getfixturevalue("postgresql_peer")
    if (id(peer), name) not in _made:
        _made[id(peer), name] = peer.create_database(name)
    return _made[id(peer), name]


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Every test runs once for each kind."""
    kind = str(request.param)
    url = f"sqlite:///{tmp_path}/rollout.db" if kind == "sqlite" else ""
    if kind == "postgresql":
        url = postgresql_url(request, "store_contract")
    bench = Bench(kind, url)
    if kind != "memory":
        upgrade(bench.url, clock=bench.clock)
    if kind == "postgresql":
        empty(bench.url)
    yield bench
    bench.close()


def empty(url: str) -> None:
    """Forget every row of a PostgreSQL that is used again."""
    names = ", ".join(f'"{table.name}"' for table in tables.TABLES)
    with engine(url) as connection:
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        connection.commit()


def plan(name: str = "nginx", content: str = "1") -> PlanRow:
    return PlanRow(name, f"sha-{content}", "Canary", '{"spec":{}}', "kind: Canary\n", "ada", START)


def rollout(id_: str = "r1aaaaaaaa", *, of: PlanRow | None = None, target: str = "web/nginx", **changed: Any) -> RolloutRow:  # noqa: ANN401 - any field
    of = of or plan()
    values: dict[str, Any] = {
        "id": id_, "plan_name": of.name, "plan_hash": of.hash, "kind": "canary", "cluster": "prod", "target": target,
        "image": "nginx:1.29", "outcome": Outcome.ACTIVE, "step": "preflight", "why": "submitted", "state": '{"kind":"State"}',
        "version": 0, "wake_at": START, "created_at": START, "updated_at": START,
    }  # fmt: skip
    return RolloutRow(**values | changed)


def evidence(signal: str = "errors", query: str = "rate(errors[5m])") -> Evidence:
    counts = (("candidate requests", 41.0), ("candidate events", 3.0), ("E", 12.25))
    return Evidence(signal, START - HOUR, START, query, counts, "suspect", "3 of 41 requests failed")


def event(kind: str = "replica-added", *readings: Evidence, at: datetime = START) -> Event:
    return Event(at, kind, "soak", "the first six hours were healthy", "rollout", (("replicas", "2"), ("share", "0.1")), readings)


def notice(key: str, title: str = "canary has 2 replicas") -> Notice:
    return Notice(key, NoticeKind.REPLICA_ADDED, title, "six hours healthy", START, ("0 of 812 failed",), "one more in 6 h")


def transition(row: RolloutRow, **changed: Any) -> Transition:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "rollout": row.id, "seen_version": row.version, "state": '{"kind":"State","size":2}', "outcome": Outcome.ACTIVE,
        "step": "soak", "why": "the first six hours were healthy", "wake_at": START + HOUR, "at": START + timedelta(minutes=1),
    }  # fmt: skip
    return Transition(**values | changed)


def submitted(store: Store, count: int = 1) -> list[RolloutRow]:
    """Submit rollouts of different plans on different targets, ids r0..., oldest first."""
    rows = []
    for number in range(count):
        of = plan(f"plan-{number}")
        row = rollout(f"r{number}aaaaaaaa", of=of, target=f"web/app-{number}", created_at=START + timedelta(seconds=number))
        rows.append(store.submit(of, row).rollout)
    return rows


def claimed(store: Store, count: int = 1, daemon: str = "d1") -> list[RolloutRow]:
    """Submit rollouts, and take them."""
    submitted(store, count)
    return sorted(store.claim(daemon, limit=count, lease=LEASE), key=lambda row: row.id)
