"""The daemon is dead while a gate is closed: what `abort --break-glass` says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.core.history import Outcome
from rollout.core.plan import OfflinePlan
from rollout.core.policy import Policy
from rollout.core.state_offline import Backup, OfflineMemory, TargetBefore
from rollout.engine.usecases import Desk
from rollout.ports import Transition
from rollout.store import schema
from rollout.store.reading import StoredCodec
from rollout.store.sql import open_store
from tests.cli.console import Terminal
from tests.core.test_offline import SAVED, plan


def test_breaking_the_glass_of_a_maintenance_says_what_to_do_instead_and_what_stood_before(place: Terminal) -> None:
    answer = place.type("abort", "orders-3", "--break-glass")
    assert answer.code == 2
    for words in ("is a maintenance", "`rollout serve` with the same database", "routes/1", "2 x orders:1.0 before", "a.dump"):
        assert words in answer.err


@pytest.fixture
def place(tmp_path: Path) -> Terminal:
    """A database in which a maintenance stands behind its closed gate."""
    terminal = Terminal(tmp_path)
    clock = SystemClock()
    schema.upgrade(terminal.database, clock=clock)
    store = open_store(terminal.database, clock=clock)
    try:
        row = Desk(store, StoredCodec(store), clock, Policy()).submit(maintenance(clock.now()), "", "alice").rollout
        memory = OfflineMemory(saved_gate=SAVED, closed_at=clock.now(), backup=Backup("a.dump", 4096, "ab" * 32, clock.now()),
                               before=(TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0"),))  # fmt: skip
        state = replace(StoredCodec(store).state(row.state, row.id), offline=memory)
        store.renew("d", lease=timedelta(hours=1))
        store.claim("d", limit=10, lease=timedelta(hours=1))
        text = StoredCodec(store).text(state)
        store.commit("d", [Transition(row.id, row.version, text, Outcome.ACTIVE, "testing", "tests", None, clock.now())])
    finally:
        store.close()
    return terminal


def maintenance(now: datetime) -> OfflinePlan:
    window = {"startAt": f"{now + timedelta(days=1):%Y-%m-%d %H:%M}", "timezone": "UTC", "duration": "2h"}
    made = plan(window=window)
    return made.model_copy(update={"metadata": made.metadata.model_copy(update={"name": "orders-3"})})
