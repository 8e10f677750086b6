"""What a maintenance asks before it begins, and how its gate is guarded: the real performers and adapters on the pretend shop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.cli.stage import settings_for
from rollout.core.decision import Execution
from rollout.core.errors import Refused
from rollout.core.gate import IP_RESTRICTION, Place, PlaceKind
from rollout.core.history import Outcome
from rollout.core.machine import begin
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.plan import OfflinePlan, plan_of
from rollout.core.state import State
from rollout.core.state_offline import OfflineMemory
from rollout.engine.tasks import Performer
from rollout.sandbox import shop
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.shop import Shop, put_route
from rollout.settings import Settings
from rollout.store import schema
from rollout.wiring import Parts, open_parts, performers
from tests.contract.stores import plan, rollout, transition

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
UPSTREAM = {"type": "roundrobin", "discovery_type": "kubernetes", "service_name": "shop/orders:http"}


@dataclass
class Premises:
    """The shop, and a daemon's parts without the daemon."""

    sandbox: Sandbox
    parts: Parts
    made: dict[str, Performer]

    def execution(self, **more: Any) -> Execution:  # noqa: ANN401 - the plan's own values
        probe = {"url": "/orders/healthz", "sourceAddress": "127.0.0.2"}
        spec = {
            "target": {"namespace": "shop", "stable": "orders", "container": "app"}, "image": f"{shop.IMAGES}:3.0.0",
            "window": {"startAt": "2026-11-22 12:00", "timezone": "UTC", "duration": "1h"},
            "gate": {"route": {"name": shop.ROUTE}, "allow": ["127.0.0.1"], "probes": {"outside": [probe]}},
            "tests": [{"name": "health", "http": {"url": "http://orders.shop/"}}], **more,
        }  # fmt: skip
        plan = plan_of({"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}, "spec": spec})
        assert isinstance(plan, OfflinePlan)
        return Execution("orders-1a2b3c4d", plan, ())

    def perform(self, kind: str, execution: Execution, state: State | None = None) -> TaskResult:
        return self.made[kind](execution, state or begin(execution, START), Task(kind, kind))

    def lines(self, kind: str, **more: Any) -> list[Line]:  # noqa: ANN401 - as execution
        return list(self.perform(kind, self.execution(**more)).lines)


def opened(folder: Path, sandbox: Sandbox, **settings: Any) -> Parts:  # noqa: ANN401 - sections of the configuration
    document = settings_for(sandbox.urls, sandbox.kubeconfig(folder / "kubeconfig")) | settings
    url = f"sqlite:///{folder / 'rollout.db'}"
    schema.upgrade(url, clock=sandbox.clock)
    return open_parts(Settings.model_validate(document), clock=sandbox.clock, database=url)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Premises]:
    with Sandbox(SystemClock(), SandboxOptions(start=START, speed=0.0)) as sandbox:
        Shop(sandbox)
        with closing(opened(tmp_path, sandbox)) as parts:
            yield Premises(sandbox, parts, performers(parts))


def test_whether_jobs_may_be_made_is_asked_wherever_the_plan_runs_one(place: Premises) -> None:
    container = {"name": "a", "image": "a:1"}
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "qa"},
                "spec": {"template": {"spec": {"containers": [container]}}}}  # fmt: skip
    smoke = {"name": "smoke", "job": {"manifest": manifest, "deadline": "1m"}}
    lines = place.lines("offline-preflight", tests=[smoke], quiesce={"hooks": [{"name": "drain", "job": "no-such-template"}]})
    assert [line.message for line in lines if line.name == "Jobs"] == ["Jobs may be created in qa", "Jobs may be created in shop"]
    assert [line.name for line in lines if line.level == "refused"] == ["quiesce.hooks[0].job Job"]


def test_a_credential_that_cannot_be_shown_is_found_before_the_maintenance(place: Premises, tmp_path: Path) -> None:
    qa = {"name": "qa", "hosts": ["shop.example.com"], "bearerTokenFile": str(tmp_path / "gone")}
    tests = [
        {"name": name, "http": {"url": f"http://{host}/", "credential": "qa"}}
        for name, host in (("elsewhere", "orders.shop"), ("no file", "shop.example.com"))
    ]
    with closing(opened(tmp_path, place.sandbox, credentials=[qa])) as parts:
        lines = performers(parts)["offline-preflight"](
            execution := place.execution(tests=tests), begin(execution, START), Task("p", "p")
        ).lines
    assert [(line.name, line.message) for line in lines if line.level == "refused"] == [
        ("tests[0].http", "credential 'qa' is not meant for orders.shop: its hosts are shop.example.com"),
        ("tests[1].http", f"credential 'qa': {tmp_path / 'gone'} cannot be read: No such file or directory"),
    ]


def refused(lines: list[Line]) -> list[str]:
    return [line.message for line in lines if line.level == "refused"]


def test_a_maintenance_that_can_begin_passes_its_preflight(place: Premises) -> None:
    lines = place.lines("offline-preflight")
    assert refused(lines) == []
    assert {"permissions", "deployment", "gate", "gate permission", "gate probe"} <= {line.name for line in lines}


def test_a_target_that_runs_the_new_image_already_is_refused(place: Premises) -> None:
    assert refused(place.lines("offline-preflight", image=shop.OLD)) == [f"shop/orders runs {shop.OLD} already"]


def test_where_no_channel_is_configured_nobody_would_be_told(place: Premises, tmp_path: Path) -> None:
    (tmp_path / "silent").mkdir()
    with closing(opened(tmp_path / "silent", place.sandbox, channels=[])) as parts:
        silent = replace(place, parts=parts, made=performers(parts))
        assert refused(silent.lines("offline-preflight")) == ["no channel is configured: nobody would be told of the maintenance"]
        assert refused(silent.lines("offline-preflight", announce={"offsets": []})) == []


def test_where_no_channel_takes_announcements_nobody_would_be_told(place: Premises, tmp_path: Path) -> None:
    (tmp_path / "deaf").mkdir()
    channel = {"name": "operations", "type": "slack", "url": "http://127.0.0.1:9/hook", "events": ["needs-a-person"]}
    with closing(opened(tmp_path / "deaf", place.sandbox, channels=[channel])) as parts:
        deaf = replace(place, parts=parts, made=performers(parts))
        (said,) = refused(deaf.lines("offline-preflight"))
        assert said == "operations takes no announcement (`events`): nobody would be told of the maintenance"
        assert not refused(deaf.lines("offline-preflight", announce={"channels": ["operations"]}))


def test_a_gate_name_that_two_routes_have_is_refused_with_both(place: Premises) -> None:
    put_route(place.sandbox, "twin", {"name": shop.ROUTE, "uri": "/orders/old", "upstream": UPSTREAM})
    (words,) = refused(place.lines("offline-preflight"))
    assert "2 objects match" in words
    assert "twin" in words


def test_a_route_that_an_ingress_controller_owns_is_refused_without_via(place: Premises) -> None:
    labels = {"k8s/kind": "ApisixRoute", "k8s/namespace": "shop", "k8s/name": "orders", "manager-by": "apisix-ingress-controller"}
    put_route(place.sandbox, shop.ROUTE, {"name": shop.ROUTE, "uri": "/orders/*", "labels": labels, "upstream": UPSTREAM})
    (words,) = refused(place.lines("offline-preflight"))
    assert "via: ApisixRoute" in words


def test_a_consumers_own_plugin_and_a_cloned_route_are_said_to_pass_the_gate(place: Premises) -> None:
    put_route(place.sandbox, "clone", {"name": "clone", "uri": "/orders/*", "priority": 9, "upstream": UPSTREAM})
    words = [line.message for line in place.lines("offline-preflight") if line.name == "gate bypass"]
    assert any("clone" in one and "higher priority" in one for one in words)


def test_the_report_finds_routes_by_the_pods_addresses_and_by_the_gates_service(place: Premises) -> None:
    with place.sandbox.using() as world:
        pods = [p["status"]["podIP"] for p in world.objects("pods", "shop")]
    put_route(place.sandbox, "by-pods", {"uri": "/pods", "upstream": {"type": "roundrobin", "nodes": {f"{pods[0]}:8080": 1}}})
    found = [line.message for line in place.lines("assess") if line.name == "route"]
    assert any("by-pods" in words for words in found)
    assert any(shop.ROUTE in words for words in found)


def test_what_cannot_be_asked_is_said_in_the_report(place: Premises) -> None:
    place.sandbox.world.faults.set("skywalking", Fault(Failing.ERROR_500))
    words = [line.message for line in place.lines("assess") if line.name == "topology"]
    assert len(words) == 1
    assert "could not say who calls orders" in words[0]


def closed_state(place: Premises, execution: Execution) -> State:
    """Let the gate be closed and proven, as the row would know it."""
    gate = place.parts.offline.gateways["apisix"]
    assert isinstance(execution.plan, OfflinePlan)
    config = execution.plan.spec.gate.config
    saved = gate.read(Place(PlaceKind.ROUTE, shop.ROUTE), IP_RESTRICTION).save()
    gate.close_gate(saved.place, config)
    memory = OfflineMemory(saved_gate=saved.to_json(), closed_at=START, gate_proven=True)
    return replace(begin(execution, START), offline=memory)


def test_the_guard_finds_a_closed_gate_closed_and_closes_an_opened_one(place: Premises) -> None:
    execution = place.execution()
    state = closed_state(place, execution)
    assert place.perform("gate-guard", execution, state).ok
    place.sandbox.etcd.write("routes", shop.ROUTE, {**_route(place), "plugins": {}})
    result = place.perform("gate-guard", execution, state)
    assert not result.ok
    assert "it is closed again" in result.why
    assert IP_RESTRICTION in _route(place)["plugins"]


@pytest.mark.parametrize("step", ["openinggate", "watchingopen", "ended"])
@pytest.mark.parametrize("kind", ["gate-guard", "gate-close"])
def test_a_daemon_that_slept_does_not_close_the_gate_that_its_heir_has_opened(place: Premises, kind: str, step: str) -> None:
    execution = place.execution()
    store, now = place.parts.store, SystemClock().now()
    made = plan(f"{kind}-{step}")
    row = rollout(f"slept-{kind}-{step}", of=made, target=f"shop/{kind}-{step}")
    store.submit(made, row)
    execution = replace(execution, id=row.id)
    state = closed_state(place, execution)
    assert place.perform(kind, execution, state).ok
    store.renew("heir", lease=timedelta(minutes=1))
    store.claim("heir", limit=10, lease=timedelta(minutes=1))
    outcome = Outcome.FAILED if step == "ended" else Outcome.ACTIVE
    assert store.commit("heir", [transition(row, outcome=outcome, step=step, at=now)]) == {row.id}
    place.sandbox.etcd.write("routes", shop.ROUTE, {**_route(place), "plugins": {}})
    with pytest.raises(Refused, match="it is not closed again"):
        place.perform(kind, execution, state)
    assert IP_RESTRICTION not in _route(place)["plugins"]


def test_the_guard_tells_a_way_past_the_gate_that_opens_during_the_window(place: Premises) -> None:
    execution = place.execution()
    state = closed_state(place, execution)
    put_route(place.sandbox, "clone", {"uri": "/orders/healthz", "upstream": UPSTREAM})
    result = place.perform("gate-guard", execution, state)
    assert not result.ok
    assert "somebody from outside was let through: outside-1" in result.why
    assert "route clone" in result.facts["advice"], "it is named, so that somebody can close it at once"
    assert "put ip-restriction with whitelist 127.0.0.1" in result.facts["advice"].replace("Put", "put")


def _route(place: Premises) -> dict[str, Any]:
    found = place.sandbox.etcd.read("routes", shop.ROUTE)
    assert found is not None
    copied: dict[str, Any] = json.loads(json.dumps(found.value))
    return copied


def test_what_somebody_put_on_the_gate_after_it_was_saved_is_read_again_and_not_lost(place: Premises) -> None:
    execution = place.execution()
    read = place.perform("gate-read", execution)
    state = replace(begin(execution, START), offline=OfflineMemory(saved_gate=read.facts["saved"]))
    theirs = {"blacklist": ["198.51.100.9"], "message": "go away"}
    place.sandbox.etcd.write("routes", shop.ROUTE, {**_route(place), "plugins": {IP_RESTRICTION: theirs}})
    closed = place.perform("gate-close", execution, state)
    assert (closed.ok, closed.facts) == (False, {"changed": "yes"})
    assert _route(place)["plugins"][IP_RESTRICTION] == theirs


def test_a_close_that_is_asked_twice_finds_its_own_work_and_not_a_change(place: Premises) -> None:
    execution = place.execution()
    state = replace(begin(execution, START), offline=OfflineMemory(saved_gate=place.perform("gate-read", execution).facts["saved"]))
    assert place.perform("gate-close", execution, state).ok
    assert place.perform("gate-close", execution, state).ok


def test_the_guard_keeps_what_it_overwrites(place: Premises) -> None:
    execution = place.execution()
    state = closed_state(place, execution)
    theirs = {"blacklist": ["198.51.100.9"], "message": "go away"}
    place.sandbox.etcd.write("routes", shop.ROUTE, {**_route(place), "plugins": {IP_RESTRICTION: theirs}})
    facts = place.perform("gate-guard", execution, state).facts
    assert facts["gate"] == "open"
    assert "198.51.100.9" in facts["found"]


def test_a_gate_that_another_maintenance_names_otherwise_is_found_to_be_the_same(place: Premises) -> None:
    by_id = {"route": {"id": shop.ROUTE}, "allow": ["127.0.0.1"], "probes": {"outside": [{"url": "/"}]}}
    other = place.execution(target={"namespace": "shop", "stable": "stock"}, gate=by_id).plan
    assert refused(place.lines("offline-preflight")) == []
    row = place.parts.desk.submit(other, "", "alice").rollout
    (words,) = refused(place.lines("offline-preflight"))
    assert f"rollout {row.id} closes routes/{shop.ROUTE}" in words
