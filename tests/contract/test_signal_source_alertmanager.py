"""Alertmanager's adapter against a real one, pulled and pushed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from rollout.adapters.alertmanager import AlertmanagerSettings, AlertmanagerSource
from rollout.adapters.alerts import firing_for, parse_alertmanager_webhook
from rollout.adapters.clock import SystemClock
from rollout.core.signals import Alarms, Unreachable
from tests.adapters.questions import question
from tests.adapters.stub import Say, stub
from tests.contract.signal_worlds import sandbox
from tests.peers.alertmanager import Alertmanager
from tests.peers.process import wait_until

POD_ALERT = question("alerts", matchers='alertname="ContractErrors"')


@pytest.fixture
def source(alertmanager_peer: Alertmanager) -> Iterator[AlertmanagerSource]:
    made = AlertmanagerSource("am", AlertmanagerSettings(url=alertmanager_peer.url, timeout=timedelta(seconds=5)), SystemClock())
    yield made
    made.close()


def firing(source: AlertmanagerSource) -> list[tuple[str, tuple[str, ...], str]]:
    reading = source.read([POD_ALERT])[POD_ALERT].reading
    assert isinstance(reading, Alarms), reading
    return [(alarm.name, alarm.pods, alarm.message) for alarm in reading.firing]


def test_an_alert_fires_points_at_its_pod_and_is_gone_when_it_is_resolved(
    alertmanager_peer: Alertmanager, source: AlertmanagerSource
) -> None:
    labels = {"pod": "web-1", "namespace": "prod"}
    alertmanager_peer.fire("ContractErrors", labels, {"summary": "too many errors"})
    wait_until(lambda: firing(source) == [("ContractErrors", ("web-1",), "too many errors")], 60, "the alert")
    alertmanager_peer.resolve("ContractErrors", labels)
    wait_until(lambda: not firing(source), 60, "the end of the alert")


def test_a_silenced_alert_does_not_fire(alertmanager_peer: Alertmanager, source: AlertmanagerSource) -> None:
    alertmanager_peer.silence("ContractSilenced")
    labels = {"pod": "web-1", "namespace": "prod"}
    alertmanager_peer.fire("ContractSilenced", labels)
    alertmanager_peer.fire("ContractLoud", labels)
    asked = question("alerts", matchers='alertname=~"Contract(Silenced|Loud)"')

    def names() -> list[str]:
        reading = source.read([asked])[asked].reading
        return [alarm.name for alarm in reading.firing] if isinstance(reading, Alarms) else []

    wait_until(lambda: "ContractLoud" in names(), 60, "the alert that is not silenced")
    wait_until(lambda: names() == ["ContractLoud"], 60, "the silence")


def test_a_receiver_that_is_no_regular_expression_is_refused_in_words(source: AlertmanagerSource) -> None:
    asked = question("alerts", receiver="[")
    reading = source.read([asked])[asked].reading
    assert isinstance(reading, Unreachable)
    assert "HTTP 400" in reading.why


def test_what_alertmanager_pushes_is_what_it_lists(alertmanager_peer: Alertmanager, source: AlertmanagerSource) -> None:
    del source
    with stub(Say()) as receiver:
        alertmanager_peer.post_to(receiver.url + "/hook")
        alertmanager_peer.fire("ContractPushed", {"pod": "web-2", "namespace": "prod"}, {"summary": "pushed"})
        wait_until(lambda: any(b"ContractPushed" in seen.body for seen in receiver.seen), 60, "the push")
        alertmanager_peer.post_to(None)
        body = next(seen.body for seen in receiver.seen if b"ContractPushed" in seen.body)
    alarms = firing_for(question("alerts"), parse_alertmanager_webhook(body)).firing
    assert ("ContractPushed", ("web-2",), "pushed") in [(alarm.name, alarm.pods, alarm.message) for alarm in alarms]


def test_doctor_is_answered(source: AlertmanagerSource) -> None:
    checks = source.check()
    assert {check.level for check in checks} == {"ok"}


def test_the_pretend_alertmanager_lists_and_pushes_alike() -> None:
    with sandbox() as made:
        pretend = made.alertmanager
        settings = AlertmanagerSettings(url=made.urls["alertmanager"], timeout=timedelta(seconds=5))
        pulled = AlertmanagerSource("am", settings, made.clock)
        made._stack.callback(pulled.close)
        assert firing(pulled) == []
        alert = pretend.fire("ContractErrors", {"pod": "web-1", "namespace": "prod"}, "too many errors")
        assert firing(pulled) == [("ContractErrors", ("web-1",), "too many errors")]
        pushed = firing_for(POD_ALERT, parse_alertmanager_webhook(json.dumps(pretend.webhook()).encode()))
        assert [(alarm.name, alarm.pods, alarm.message) for alarm in pushed.firing] == firing(pulled)
        pretend.resolve(alert)
        assert firing(pulled) == []
        assert firing_for(POD_ALERT, parse_alertmanager_webhook(json.dumps(pretend.webhook()).encode())) == Alarms(())
