"""A maintenance before it begins, as people type it: preview, doctor, submit, extend, cancel; against the pretend shop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from rollout.adapters.clock import SystemClock
from rollout.cli.stage import settings_for
from rollout.sandbox import shop
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.shop import Shop
from tests.cli.console import Terminal

PLAN = """\
apiVersion: rollout/v1
kind: Offline
metadata: {name: orders-3}
spec:
  target: {namespace: shop, stable: orders, container: app}
  image: registry.example.com/shop/orders:3.0.0
  window:
    startAt: START
    timezone: UTC
    duration: 1h
  announce: {offsets: [1h], channels: [operations]}
  impact: {dependants: [{name: settlement, note: batch at 04:00}]}
  gate:
    gateway: apisix
    route: {name: ROUTE}
    allow: [127.0.0.1]
    probes: {outside: [{url: /orders/healthz, sourceAddress: 127.0.0.2}]}
  tests:
    - {name: health, http: {url: "http://orders.shop/orders/healthz"}}
"""


class Place(Terminal):
    """A terminal beside a pretend shop, with a configuration that leads to it."""

    @property
    def config(self) -> str:
        return str(self.folder / "rollout.yaml")

    def maintenance(self, *, route: str = shop.ROUTE, start: datetime | None = None) -> str:
        at = start or SystemClock().now() + timedelta(days=2)
        return self.file("orders-3.yaml", PLAN.replace("START", f"{at:%Y-%m-%d %H:%M}").replace("ROUTE", route))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with Sandbox(SystemClock(), SandboxOptions(start=SystemClock().now(), speed=0.0)) as sandbox:
        Shop(sandbox)
        found = Place(folder)
        settings = settings_for(sandbox.urls, sandbox.kubeconfig(folder / "kubeconfig"))
        found.file("rollout.yaml", yaml.safe_dump(settings | {"database": {"url": found.database}}))
        yield found


def test_preview_draws_the_timetable_and_who_will_notice(place: Place) -> None:
    answer = place.type("preview", place.maintenance(), "--config", place.config)
    assert answer.code == 0, answer.err
    drawn = [" ".join(line.split()) for line in answer.out.splitlines()]
    for words in (
        "who calls whom storefront calls orders, 412 calls a minute",
        "orders calls payments, 98 calls a minute",
        "through the gateway route orders-api (orders-api) /orders/* by its own upstream",
        "past the gateway traces show storefront, settlement calling orders; the gate does not keep out who comes past the gateway",
        "Service orders-nodeport (NodePort) answers on every node at port 30080, past the gateway",
        "CronJob settlement (0 4 * * *) may need it",
        "declared settlement, batch at 04:00",
    ):
        assert words in drawn
    assert any("the last moment for a way back" in line for line in drawn)


def test_preview_without_a_configuration_says_that_nobody_was_asked(place: Place) -> None:
    answer = place.type("preview", place.maintenance(), "-o", "json")
    assert answer.document["impact"] == [
        "ways: nobody was asked; with --config, SkyWalking, gateway and cluster are",
        "declared: settlement, batch at 04:00",
    ]


def test_doctor_checks_a_maintenance_by_its_own_preflight(place: Place) -> None:
    answer = place.type("doctor", place.maintenance(), "--config", place.config, "-o", "json")
    assert answer.code == 0, answer.out
    checks = {line["check"]: line["level"] for line in answer.document}
    assert checks["gateway apisix"] == "ok"
    assert checks["gate"] == "ok"
    assert checks["deployment"] == "ok"
    assert "canary" not in checks


def test_doctor_refuses_a_gate_that_is_not_there(place: Place) -> None:
    answer = place.type("doctor", place.maintenance(route="no-such-route"), "--config", place.config)
    assert answer.code == 2
    assert "no-such-route" in answer.out


def test_a_window_in_the_past_is_refused_with_its_line(place: Place) -> None:
    path = place.maintenance(start=datetime(2020, 1, 1, tzinfo=UTC))
    for command in (("validate", path), ("submit", path)):
        answer = place.type(*command)
        assert answer.code == 2
        assert f"{path}:8:14: spec.window.startAt: 2020-01-01 00:00 UTC is in the past" in answer.err
        assert "(choose a later start)" in answer.err


def test_channels_and_gateways_that_are_not_configured_are_refused_with_their_line(place: Place) -> None:
    path = place.maintenance()
    text = Path(path).read_text().replace("channels: [operations]", "channels: [customers]").replace("apisix\n", "edge\n")
    answer = place.type("submit", place.file("elsewhere.yaml", text), "--config", place.config)
    assert answer.code == 2
    assert "elsewhere.yaml:11:" in answer.err
    assert "spec.announce.channels[0]: no channel 'customers' is configured (configured: operations)" in answer.err
    assert "spec.gate.gateway: no gateway 'edge' is configured (configured: apisix)" in answer.err


def test_a_submitted_maintenance_can_be_extended_and_cancelled_and_a_canary_cannot(place: Place) -> None:
    rollout = place.type("submit", place.maintenance(), "-o", "json").document["id"]
    assert place.type("extend", rollout, "--by", "30m", "-m", "slow disks").code == 0
    assert place.type("extend", rollout, "--by", "soon").code == 2
    assert place.type("cancel", rollout).code == 0
    canary = place.type("submit", place.plan("web"), "-o", "json").document["id"]
    refused = place.type("cancel", canary)
    assert refused.code == 2
    assert "is a canary: cancel is for a maintenance" in refused.err


def test_a_maintenance_has_no_signals_to_try_and_says_by_what_it_is_judged(place: Place) -> None:
    answer = place.type("signals", "test", place.maintenance(), "--config", place.config)
    assert answer.code == 0
    assert "judged by its tests" in answer.out


def test_a_channel_that_is_not_there_is_refused_with_those_that_are(place: Place) -> None:
    answer = place.type("notify", "test", "operatons", "--config", place.config)
    assert answer.code == 2
    assert "no channel 'operatons' is configured (did you mean operations? allowed: operations)" in answer.err
