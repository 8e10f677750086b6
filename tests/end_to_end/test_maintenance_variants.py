"""Maintenances of other shapes on the whole daemon and the pretend shop, time compressed, on SQLite and on a real PostgreSQL.

Several targets, without stopping, and those that fail.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.cli.stage import Scene, Stage
from rollout.core.history import Outcome
from rollout.core.plan import OfflinePlan, plan_of
from rollout.ports import RolloutRow
from rollout.sandbox import shop
from rollout.sandbox.shop import Shop
from rollout.sandbox.storage import Change
from tests.adapters.stub import Say, Seen, stub

NEW = f"{shop.IMAGES}:3.0.0"
STOCK_OLD, STOCK_NEW = "registry.example.com/shop/stock:7.1.0", "registry.example.com/shop/stock:8.0.0"


class Yard:
    """The shop with a second service, `stock`; every state of the two Deployments that was ever seen."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.shop = Shop(stage.sandbox)
        self.shop.wants[NEW] = shop.OLD_SCHEMA
        self.seen: list[tuple[str, str, int, int]] = []
        text = shop.MANIFESTS.split("---")[0].replace("orders", "stock").replace(shop.OLD.replace("orders", "stock"), STOCK_OLD)
        with stage.sandbox.using() as world:
            world.load([yaml.safe_load(text)])
            world.observers.append(self._saw)
        stage.sandbox.advance(timedelta(minutes=5))

    def _saw(self, change: Change) -> None:
        if change.resource == "deployments" and change.namespace == shop.NAMESPACE:
            spec, status = change.new["spec"], change.new.get("status") or {}
            image = str(spec["template"]["spec"]["containers"][0]["image"])
            self.seen.append(
                (change.new["metadata"]["name"], image, int(spec["replicas"]), int(status.get("availableReplicas") or 0))
            )

    def run(self, **spec: Any) -> RolloutRow:  # noqa: ANN401 - the plan's own values
        """Submit a maintenance and play it to its end."""
        gateway = self.stage.sandbox.urls["gateway"]
        start = self.stage.sandbox.clock.now() + timedelta(minutes=20)
        probes = {"outside": [{"url": "/orders/healthz", "sourceAddress": "127.0.0.2"}], "inside": [{"url": "/orders/healthz"}]}
        base = {
            "window": {"startAt": f"{start:%Y-%m-%d %H:%M}", "timezone": "UTC", "duration": "1h"},
            "announce": {"offsets": ["10m"]},
            "gate": {"route": {"name": shop.ROUTE}, "allow": ["127.0.0.1"], "probes": probes},
            "tests": [{"name": "health", "http": {"url": f"{gateway}/orders/healthz", "contains": "UP"}, "retries": 0}],
            "watch": "1m",
        }
        made = plan_of({"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "shop"}, "spec": {**base, **spec}})
        assert isinstance(made, OfflinePlan)
        row = self.stage.parts.desk.submit(made, "", "alice").rollout
        pause = threading.Event()
        while self.stage.daemon.engine.active(row.id) is None:
            self.stage.daemon.upkeep.claim()
            pause.wait(0.01)
        self.seen.clear()
        assert self.stage.play(lambda: self._ended(row.id), made.target, _nothing)
        found = self.stage.parts.store.rollout(row.id)
        assert found is not None
        return found

    def _ended(self, rollout: str) -> bool:
        row = self.stage.parts.store.rollout(rollout)
        return row is not None and row.outcome.at_rest

    def kinds(self, row: RolloutRow) -> list[str]:
        return [item.event.kind for item in self.stage.parts.store.history(row.id, limit=1_000)]


def _nothing(now: datetime) -> None:
    del now


@pytest.fixture(params=["sqlite", "postgresql_peer"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    real = request.param != "sqlite"
    url = request.getfixturevalue("postgresql_database") if real else f"sqlite:///{tmp_path}/shop.db"
    with Stage(Scene(tmp_path, url)) as stage:
        yield Yard(stage)


TWO = [
    {"namespace": "shop", "stable": "orders", "container": "app", "image": NEW},
    {"namespace": "shop", "stable": "stock", "container": "app", "image": STOCK_NEW},
]


@pytest.mark.timeout(240)
def test_several_targets_stop_together_and_start_in_their_order(yard: Yard) -> None:
    row = yard.run(targets=TWO)
    assert row.outcome is Outcome.SUCCEEDED, row.why
    stopped = [(name, image) for name, image, replicas, _ in yard.seen if replicas == 0]
    assert {("orders", shop.OLD), ("stock", STOCK_OLD)} <= set(stopped)
    first_stock = next(n for n, (name, image, _, _) in enumerate(yard.seen) if (name, image) == ("stock", STOCK_NEW))
    assert ("orders", NEW, 3, 3) in yard.seen[:first_stock]
    assert yard.kinds(row).count("upgraded") == 2


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.SUCCEEDED), (500, Outcome.FAILED)])
def test_what_was_quiesced_is_undone_behind_the_closed_gate_on_both_ways(yard: Yard, status: int, outcome: Outcome) -> None:
    yard.shop.faulty[NEW] = {"/orders/healthz": status} if status != 200 else {}

    def heard(seen: Seen) -> Say:
        assert yard.shop.gate is not None, "the gate is closed"
        return Say(200)

    with stub(heard) as queue:
        hooks, undo = ([{"name": word, "http": {"url": f"{queue.url}/{word}", "method": "POST"}}] for word in ("drain", "fill"))
        row = yard.run(target=TWO[0] | {"image": None}, image=NEW, onFailure="rollback", quiesce={"hooks": hooks, "undo": undo})
        assert [seen.path for seen in queue.seen] == ["/drain", "/fill"]
    assert row.outcome is outcome, row.why
    assert yard.shop.gate is None
    kinds = yard.kinds(row)
    assert kinds.count("undo-hook") == 1
    assert kinds.index("undo-hook") < kinds.index("opening") < kinds.index("gate-opened")
    assert yard.seen[-1][:2] == ("orders", NEW if outcome is Outcome.SUCCEEDED else shop.OLD)


@pytest.mark.timeout(240)
def test_several_targets_go_back_together_when_a_test_fails(yard: Yard) -> None:
    yard.shop.faulty[NEW] = {"/orders/healthz": 500}
    row = yard.run(targets=TWO, onFailure="rollback")
    assert row.outcome is Outcome.FAILED, row.why
    last = {name: (image, replicas, available) for name, image, replicas, available in yard.seen}
    assert last == {"orders": (shop.OLD, 3, 3), "stock": (STOCK_OLD, 3, 3)}
    assert yard.shop.gate is None


@pytest.mark.timeout(240)
def test_without_stopping_the_service_serves_the_allow_list_all_the_time(yard: Yard) -> None:
    row = yard.run(target={"namespace": "shop", "stable": "orders", "container": "app"}, image=NEW, stop=False)
    assert row.outcome is Outcome.SUCCEEDED, row.why
    assert min(available for name, _, _, available in yard.seen if name == "orders") >= 2
    assert "stopped" not in yard.kinds(row)
    assert yard.kinds(row).index("gate-proven") < yard.kinds(row).index("upgraded") < yard.kinds(row).index("gate-opened")


SHOP = {"target": {"namespace": "shop", "stable": "orders", "container": "app"}, "image": NEW}


@pytest.mark.timeout(240)
def test_without_stopping_a_version_that_fails_its_tests_goes_back_behind_the_gate(yard: Yard) -> None:
    yard.shop.faulty[NEW] = {"/orders/healthz": 500}
    row = yard.run(**SHOP, stop=False, onFailure="rollback")
    assert row.outcome is Outcome.FAILED, row.why
    assert min(available for name, _, _, available in yard.seen if name == "orders") >= 2
    assert yard.seen[-1][1:] == (shop.OLD, 3, 3)
    assert yard.shop.gate is None
    assert yard.kinds(row).index("stepping-back") < yard.kinds(row).index("gate-opened")
