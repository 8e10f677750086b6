"""What the desk knows of a maintenance: measured restores, busy targets, names that the configuration lacks; on every store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.errors import Refused
from rollout.core.history import Event, Notice, NoticeKind, Outcome
from rollout.core.plan import OfflinePlan, plan_of
from rollout.core.policy import Policy
from rollout.engine.configured import Configured
from rollout.engine.restores import measured_restore
from rollout.engine.usecases import Desk
from rollout.ports import RolloutRow, Store, Transition
from rollout.store import schema
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from rollout.store.sql import open_store
from tests.core.builders import canary_plan

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
JOB = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b:1"}]}}}}


class MovedClock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(params=["memory", "sqlite"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    clock = MovedClock()
    store: Store
    if request.param == "memory":
        store = MemoryStore(clock)
    else:
        schema.upgrade(f"sqlite:///{tmp_path}/desk.db", clock=clock)
        store = open_store(f"sqlite:///{tmp_path}/desk.db", clock=clock)
    yield Desk(store, StoredCodec(store), clock, Policy())
    store.close()


def plan(name: str = "orders", *, targets: tuple[str, ...] = ("orders",), **more: Any) -> OfflinePlan:  # noqa: ANN401 - plan values
    spec = {
        "targets": [{"namespace": "shop", "stable": stable} for stable in targets], "image": "orders:2.0", "schemaChange": True,
        "window": {"startAt": "2026-11-22 10:00", "timezone": "UTC", "duration": "2h"},
        "gate": {"route": {"id": "1"}, "allow": ["192.0.2.10"], "probes": {"outside": [{"url": "/"}]}},
        "backup": {"manifest": JOB}, "restore": {"manifest": JOB, "expected": "10m"},
        "tests": [{"name": "health", "http": {"url": "http://shop/"}}], **more,
    }  # fmt: skip
    made = plan_of({"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": name}, "spec": spec})
    assert isinstance(made, OfflinePlan)
    return made


def write(desk: Desk, row: RolloutRow, *, outcome: Outcome, events: tuple[Event, ...] = (), **more: Any) -> None:  # noqa: ANN401 - a transition
    store = desk.store
    store.renew("d", lease=timedelta(hours=1))
    store.claim("d", limit=10, lease=timedelta(hours=1))
    now = store.rollout(row.id)
    assert now is not None
    made = Transition(row.id, now.version, now.state, outcome, "ended", "told", None, NOW, events=events, **more)
    assert store.commit("d", [made]) == {row.id}


def restored(seconds: int) -> Event:
    return Event(NOW, "back-restore", "rollingback", "restored", facts=(("seconds", str(seconds)),))


def later(desk: Desk) -> None:
    assert isinstance(desk.clock, MovedClock)
    desk.clock.at += timedelta(minutes=1)


def test_a_restore_that_took_longer_than_the_window_allows_refuses_the_next_plan(desk: Desk) -> None:
    first = desk.submit(plan(), "", "alice").rollout
    write(desk, first, outcome=Outcome.FAILED, events=(restored(600), restored(7_200)))
    later(desk)
    assert measured_restore(desk.store, plan("again"), desk.clock.now()) == timedelta(seconds=7_200)
    with pytest.raises(Refused) as refused:
        desk.submit(plan("again"), "", "alice")
    (problem,) = refused.value.problems
    assert problem.key == "spec.window.duration"
    assert "restore 2h" in problem.message


def test_a_measured_restore_stands_in_for_one_that_the_plan_does_not_name(desk: Desk) -> None:
    unnamed = plan(restore={"manifest": JOB})
    with pytest.raises(Refused) as refused:
        desk.submit(unnamed, "", "alice")
    assert [problem.key for problem in refused.value.problems] == ["spec.restore.expected"]
    first = desk.submit(plan("first"), "", "alice").rollout
    write(desk, first, outcome=Outcome.FAILED, events=(restored(600),))
    later(desk)
    assert desk.submit(unnamed, "", "alice").created


def test_a_second_target_of_another_active_maintenance_is_busy(desk: Desk) -> None:
    busy = desk.submit(plan(targets=("orders", "stock")), "", "alice").rollout
    with pytest.raises(Refused) as refused:
        desk.submit(plan("stock", targets=("stock",)), "", "alice")
    assert busy.id in str(refused.value.problems[0])
    write(desk, busy, outcome=Outcome.CANCELLED)
    assert desk.submit(plan("stock", targets=("stock",)), "", "alice").created


def test_a_canary_on_a_second_target_is_refused_and_the_same_plan_twice_is_not(desk: Desk) -> None:
    both = plan(targets=("orders", "stock"))
    desk.submit(both, "", "alice")
    assert not desk.submit(both, "", "alice").created
    with pytest.raises(Refused, match="busy"):
        desk.submit(canary_plan(target={"namespace": "shop", "stable": "stock", "service": "stock"}), "", "alice")


def test_two_maintenances_of_one_gate_at_one_time_are_refused_for_each_would_put_back_what_the_other_wrote(desk: Desk) -> None:
    busy = desk.submit(plan(), "", "alice").rollout
    with pytest.raises(Refused) as refused:
        desk.submit(plan("stock", targets=("stock",)), "", "alice")
    (problem,) = refused.value.problems
    assert problem.key == "spec.gate"
    assert f"rollout {busy.id} closes routes with id 1 from 2026-11-22 10:00 UTC to 2026-11-22 12:00 UTC" in problem.message


@pytest.mark.parametrize(
    "more",
    [
        {"window": {"startAt": "2026-11-22 12:00", "timezone": "UTC", "duration": "2h"}},
        {"gate": {"route": {"id": "2"}, "allow": ["192.0.2.10"], "probes": {"outside": [{"url": "/"}]}}},
        {"gate": {"gateway": "other", "route": {"id": "1"}, "allow": ["192.0.2.10"], "probes": {"outside": [{"url": "/"}]}}},
    ],
)
def test_another_time_another_route_or_another_gateway_is_free(desk: Desk, more: dict[str, Any]) -> None:
    desk.submit(plan(), "", "alice")
    assert desk.submit(plan("stock", targets=("stock",), **more), "", "alice").created


def test_a_maintenance_that_has_begun_keeps_its_gate_until_it_has_ended(desk: Desk) -> None:
    first = desk.submit(plan(), "", "alice").rollout
    assert isinstance(desk.clock, MovedClock)
    desk.clock.at += timedelta(hours=5)
    window = {"startAt": "2026-11-22 20:00", "timezone": "UTC", "duration": "2h"}
    with pytest.raises(Refused, match="busy"):
        desk.submit(plan("stock", targets=("stock",), window=window), "", "alice")
    write(desk, first, outcome=Outcome.FAILED)
    assert desk.submit(plan("stock", targets=("stock",), window=window), "", "alice").created


def test_channels_and_gateways_that_nobody_configured_are_refused(desk: Desk) -> None:
    known = replace(desk, configured=Configured(channels=frozenset({"operations"}), gateways=frozenset({"edge"})))
    problems = known.check(plan(announce={"channels": ["customers"]}))
    assert [problem.key for problem in problems] == ["spec.announce.channels[0]", "spec.gate.gateway"]
    assert "configured: edge" in str(problems[1])


def test_a_credential_that_nobody_configured_is_refused(desk: Desk) -> None:
    known = replace(desk, configured=Configured(credentials=frozenset({"orders-qa"})))
    tests = [{"name": "health", "http": {"url": "http://orders.shop/", "credential": "order-qa"}}]
    (problem,) = known.check(plan(tests=tests))
    assert problem.key == "spec.tests[0].http.credential"
    assert str(problem).endswith("no credential 'order-qa' is configured (did you mean orders-qa? configured: orders-qa)")


def test_a_notice_with_channels_of_its_own_is_owed_only_there(desk: Desk) -> None:
    row = desk.submit(plan(), "", "alice").rollout
    notices = (
        Notice("0001-announcement", NoticeKind.ANNOUNCEMENT, "out of service", "why", NOW, channels=("customers",)),
        Notice("0002-step", NoticeKind.STEP, "stopped", "why", NOW),
    )
    write(desk, row, outcome=Outcome.FAILED, notices=notices, channels=("operations",))
    owed = {(item["key"], item["channel"]) for item in desk.store.notices(row.id)}
    assert owed == {("0001-announcement", "customers"), ("0002-step", "operations")}


def test_a_retry_whose_window_is_over_is_refused(desk: Desk) -> None:
    row = desk.submit(plan(), "", "alice").rollout
    write(desk, row, outcome=Outcome.CANCELLED)
    assert isinstance(desk.clock, MovedClock)
    desk.clock.at = NOW + timedelta(days=1)
    with pytest.raises(Refused) as refused:
        desk.retry(row.id, "alice")
    assert [problem.key for problem in refused.value.problems] == ["spec.window.startAt"]


def test_a_plan_that_follows_nothing_known_is_refused(desk: Desk) -> None:
    (problem,) = desk.check(plan(follows="nobody"))
    assert problem.key == "spec.follows"
    day_before = {"startAt": "2026-11-21 10:00", "timezone": "UTC", "duration": "2h"}
    assert isinstance(desk.clock, MovedClock)
    desk.clock.at -= timedelta(days=1)
    before = desk.submit(plan("before", targets=("stock",), window=day_before), "", "alice").rollout
    assert desk.submit(plan(follows="before"), "", "alice").rollout.follows == before.id
