"""What the store costs: milliseconds per commit alone and in batches, the idle looks, KB per rollout-day.

    python -m tests.bench.store_bench [URL]

Without a URL it measures SQLite in a temporary folder; a PostgreSQL URL must name an empty database. The figures of the last run
stand in store.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median

import sqlalchemy as sa

from rollout.adapters.clock import SystemClock
from rollout.core.history import Event, Evidence, Notice, NoticeKind, Outcome
from rollout.ports import PlanRow, RolloutFilter, RolloutRow, Transition
from rollout.store.schema import upgrade
from rollout.store.sql import SqlStore, open_store

START = datetime(2026, 3, 2, tzinfo=UTC)
LEASE = timedelta(days=400)
STATE = '{"kind":"State","padding":"' + "x" * 3900 + '"}'
PODS = "|".join(f"nginx-canary-6d4cf56db6-{number:05d}" for number in range(3))
QUERY = 'sum by (pod) (increase(http_requests_total{{code=~"5..",pod=~"{pods}"}}[5m])) # {signal}'
COUNTS = (("candidate events", 3.0), ("candidate requests", 4120.0), ("baseline events", 41.0),
          ("baseline requests", 91233.0), ("E", 0.4137))  # fmt: skip
PLAN_TEXT = "# a plan with its comments\n" * 70
CLOCK = SystemClock()


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Take the median of several runs."""
    runs = []
    for _ in range(times):
        before = CLOCK.monotonic()
        work()
        runs.append((CLOCK.monotonic() - before) * 1000)
    return median(runs)


def submit(store: SqlStore, count: int) -> list[RolloutRow]:
    """Submit `count` rollouts and own them."""
    for number in range(count):
        plan = PlanRow(f"plan-{number}", f"{number:064d}", "Canary", PLAN_TEXT, PLAN_TEXT, "bench", START)
        row = RolloutRow(
            f"bench{number:07d}", plan.name, plan.hash, "canary", "prod", f"web/app-{number}", "nginx:1.29", Outcome.ACTIVE,
            "preflight", "submitted", STATE, 0, START, START, START,
        )  # fmt: skip
        store.submit(plan, row)
    return list(store.claim("bench", limit=count, lease=LEASE))


class Decisions:
    """Transitions of many rollouts, with their versions counted."""

    def __init__(self, store: SqlStore, rows: Sequence[RolloutRow]) -> None:
        self.store = store
        self.ids = [row.id for row in rows]
        self.versions = {row.id: row.version for row in rows}
        self.told = 0

    def commit(self, ids: Sequence[str], at: datetime = START, events: tuple[Event, ...] = (), *, tell: bool = False) -> None:
        """Commit one transition of each."""
        self.told += 1
        notice = Notice(f"n{self.told}", NoticeKind.REPLICA_ADDED, "nginx: canary has 2 replicas", "six healthy hours: " + "x" * 80,
                        at, ("3 of 4120 failed, baseline 41 of 91233",) * 2, "one more replica at 18:00")  # fmt: skip
        written = self.store.commit("bench", [
            Transition(id_, self.versions[id_], STATE, Outcome.ACTIVE, "soak", "6 h 12 m until the next replica",
                       at + timedelta(hours=6), at, events, (notice,) if tell else (), ("ops",))
            for id_ in ids
        ])  # fmt: skip
        assert len(written) == len(ids)
        for id_ in ids:
            self.versions[id_] += 1


def evidence(signal: str, at: datetime, query: str) -> Evidence:
    """One judged answer of realistic size."""
    why = "3 of 4120 requests failed (0.07 %), baseline 0.04 %"
    return Evidence(signal, at - timedelta(hours=1), at, query, COUNTS, "healthy", why)


def happening(number: int, at: datetime) -> Event:
    """One ordinary event, every third with evidence of two signals."""
    readings = tuple(evidence(f"signal-{n}", at, QUERY.format(pods=PODS, signal=n)) for n in range(2)) if number % 3 == 0 else ()
    why = "nginx: the canary was watched for six healthy hours; it gets one more replica (2 of 12 ready pods, 16.7 %)"
    return Event(at, "replica-added", "soak", why, facts=(("replicas", "2"), ("share", "0.167")), evidence=readings)


def summary(at: datetime) -> Event:
    """An hourly summary of six signals: figures, whose sentences and queries stand where a verdict changed."""
    return Event(at, "hourly-summary", "soak", "5 h 12 m of 24 h are credited; next replica at 18:00",
                 evidence=tuple(replace(evidence(f"signal-{n}", at, ""), why="") for n in range(6)))  # fmt: skip


def live_a_day(decisions: Decisions, ids: Sequence[str]) -> None:
    """A state commit every five minutes, 30 events, ten notices, a summary per hour."""
    for minute in range(0, 24 * 60, 5):
        at = START + timedelta(minutes=minute)
        events: tuple[Event, ...] = (summary(at),) if minute % 60 == 0 else ()
        number = minute // 45
        if minute % 45 == 0 and number < 30:
            events += (happening(number, at),)
        decisions.commit(ids, at, events, tell=minute % 140 == 0)


def size(store: SqlStore) -> float:
    """Bytes of what grows with the days: everything but the old row versions of `rollout` that PostgreSQL's vacuum takes away."""
    with store._database.writer.connect() as connection:
        if connection.dialect.name == "sqlite":
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return float(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        total = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('event', 'query', 'reading', 'notice')"
        return float(connection.scalar(sa.text(total)))


def main() -> None:
    """Measure and print."""
    folder = tempfile.mkdtemp(prefix="rollout-bench-")
    url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/bench.db"
    upgrade(url, clock=CLOCK)
    store = open_store(url, clock=CLOCK)
    try:
        measure(store)
    finally:
        store.close()
        shutil.rmtree(folder)


def measure(store: SqlStore) -> None:
    """Print one line per figure."""
    rows = submit(store, 1000)
    decisions = Decisions(store, rows)
    one, many, most = decisions.ids[:1], decisions.ids[1:51], decisions.ids[51:251]
    event = happening(1, START)
    print(f"one state alone              {milliseconds(lambda: decisions.commit(one), 100):8.2f} ms")
    print(f"one with event and notice    {milliseconds(lambda: decisions.commit(one, START, (event,), tell=True), 100):8.2f} ms")
    for ids in (many, most):
        state = milliseconds(lambda ids=ids: decisions.commit(ids), 20) / len(ids)  # type: ignore[misc]
        full = milliseconds(lambda ids=ids: decisions.commit(ids, START, (event,), tell=True), 20) / len(ids)  # type: ignore[misc]
        print(f"of {len(ids):3d} in one commit: state {state:8.3f} ms each, with event and notice {full:8.3f} ms each")
    print(f"looking for commands         {milliseconds(store.commands, 200):8.2f} ms")
    print(f"looking for due notices      {milliseconds(lambda: store.owed(START - timedelta(days=1), limit=100), 200):8.2f} ms")
    print(f"has another process written  {milliseconds(store.changed, 200):8.3f} ms")
    print(f"renewing the lease           {milliseconds(lambda: store.renew('bench', lease=LEASE), 100):8.2f} ms")
    print(f"ping                         {milliseconds(store.ping, 100):8.2f} ms")
    print(f"listing the newest 100       {milliseconds(lambda: store.rollouts(RolloutFilter()), 20):8.2f} ms")
    store.release("bench")
    before = CLOCK.monotonic()
    taken = store.claim("bench", limit=1000, lease=LEASE)
    print(f"claiming {len(taken)} at a restart   {(CLOCK.monotonic() - before) * 1000:8.0f} ms")
    living = decisions.ids[500:600]
    before_day = size(store)
    live_a_day(decisions, living)
    print(f"a rollout-day                {(size(store) - before_day) / len(living) / 1024:8.1f} KB")
    for id_ in living:
        last = replace(rows[0], id=id_, version=decisions.versions[id_])
        end = Transition(id_, last.version, STATE, Outcome.SUCCEEDED, "ended", "done", None, START)
        store.commit("bench", [end])
    before = CLOCK.monotonic()
    deleted = store.prune(START + timedelta(days=1))
    print(f"pruning {deleted['event']} events of 100   {(CLOCK.monotonic() - before) * 1000:8.0f} ms")


if __name__ == "__main__":
    main()
