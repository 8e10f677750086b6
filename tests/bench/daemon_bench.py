"""What a fault costs: seconds until canaries are at 0, the database healthy, hung or away, and until a dead daemon's heir has all.

    python -m tests.bench.daemon_bench

It needs the PostgreSQL of tests/peers. The pretend cluster is in this process; the figures of the last run stand in daemon.md.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack

import structlog

from rollout.store import schema
from rollout.store.sql import open_store
from tests.end_to_end.arena import CLOCK, CRASHES, GOOD, Arena, Chat, Node, until
from tests.peers.postgresql import PostgreSql

ROLLOUTS = 20
LEASE = 15.0


def _nothing() -> None:
    """The database stays as it is."""


def fault_to_zero(peer: PostgreSql, begin: Callable[[], object], end: Callable[[], object]) -> float:
    """Seconds from the new version's crash until the last of the canaries is told to be 0."""
    name = f"bench_{int(CLOCK.monotonic() * 1000)}"
    url = peer.create_database(name)
    schema.upgrade(url, clock=CLOCK)
    with ExitStack() as stack:
        store = open_store(url, clock=CLOCK)
        stack.callback(store.close)
        arena = stack.enter_context(Arena(ROLLOUTS))
        node = stack.enter_context(Node(arena, "d1", store, Chat(), lease=LEASE))
        for number in range(ROLLOUTS):
            node.desk.submit(arena.plan(number, soak="10h", most=1), "", "bench")
        until(lambda: all(arena.replicas(number) for number in range(ROLLOUTS)), "all run")
        begin()
        try:
            arena.behave(GOOD, CRASHES)
            return until(lambda: not any(arena.replicas(number) for number in range(ROLLOUTS)), "all are at 0")
        finally:
            end()


def takeover(peer: PostgreSql) -> float:
    """Seconds from a daemon's death until another has all of its rollouts in memory; the lease is as it comes (15 s)."""
    name = f"bench_{int(CLOCK.monotonic() * 1000)}"
    url = peer.create_database(name)
    schema.upgrade(url, clock=CLOCK)
    with ExitStack() as stack:
        stores = [open_store(url, clock=CLOCK) for _ in range(2)]
        for store in stores:
            stack.callback(store.close)
        arena = stack.enter_context(Arena(ROLLOUTS))
        first = stack.enter_context(Node(arena, "first", stores[0], Chat(), lease=LEASE))
        for number in range(ROLLOUTS):
            first.desk.submit(arena.plan(number, soak="10h", most=1), "", "bench")
        until(lambda: len(first.owns()) == ROLLOUTS, "all are taken")
        second = stack.enter_context(Node(arena, "second", stores[1], Chat(), lease=LEASE))
        first.gate.kill()
        return until(lambda: len(second.owns()) == ROLLOUTS, "the second has all")


def main() -> None:
    """Print a line for each figure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    with PostgreSql() as peer:
        cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "healthy": (_nothing, _nothing),
            "hung": (peer.pause, peer.resume),
            "away": (peer.stop, peer.start),
        }
        for words, (begin, end) in cases.items():
            sys.stdout.write(
                f"{ROLLOUTS} canaries fail, database {words}: all at 0 after {fault_to_zero(peer, begin, end):.2f} s\n"
            )
            sys.stdout.flush()
        sys.stdout.write(f"takeover of {ROLLOUTS} rollouts from a dead daemon, lease {LEASE:g} s: {takeover(peer):.1f} s\n")


if __name__ == "__main__":
    main()
