"""Alarms of a real OAP, pushed to a webhook and pulled by our source, lead to the pod of their instance or to the whole service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import pytest

from rollout.adapters.alerts import Alert, firing_for, parse_skywalking_alarm
from rollout.adapters.clock import SystemClock
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.signals import Alarm, Alarms, PodKey, Question, Window
from rollout.core.windows import floor
from tests.adapters.stub import Say, Stub, stub
from tests.peers.fixtures import require
from tests.peers.oap import OapServer, alarms
from tests.peers.process import wait_until

pytestmark = [
    pytest.mark.peer("oap"),
    pytest.mark.xdist_group("oap"),
    pytest.mark.timeout(400),  # OAP looks at its rules once a minute
]
SERVICE, NEIGHBOUR = "alarmed", "unalarmed"
BAD, GOOD = PODS = tuple(PodKey("default", f"shop-{n}", f"u{n}", f"10.8.1.{n}") for n in (1, 2))
CLOCK = SystemClock()


@dataclass(frozen=True)
class Fired:
    """An OAP that has fired about one instance and about its service, a neighbour that is well, and who was told."""

    source: SkyWalkingSource
    receiver: Stub

    def pulled(self, service: str = SERVICE, **parameters: str) -> tuple[Alarm, ...]:
        asked = question(service, **parameters)
        reading = self.source.read([asked])[asked].reading
        assert isinstance(reading, Alarms), reading
        return reading.firing

    def pushed(self) -> list[Alert]:
        return [alert for request in self.receiver.seen for alert in parse_skywalking_alarm(request.body)]

    def complete(self) -> bool:
        scopes = {alert.labels["scope"] for alert in self.pushed()}
        return scopes >= {"SERVICE_INSTANCE", "SERVICE"} and {len(alarm.pods) for alarm in self.pulled()} >= {0, 1}


def instance(pod: PodKey) -> str:
    return f"{pod.uid}@{pod.ip}"


def question(service: str, **parameters: str) -> Question:
    end = floor(CLOCK.now(), timedelta(minutes=1))
    window = Window(end - timedelta(minutes=5), end)
    return Question("alarms", "sw", "alarms", (*sorted({"service": service, **parameters}.items()),), PODS, window)


@pytest.fixture(scope="module")
def fired() -> Iterator[Fired]:
    require(OapServer.available)
    with (
        stub(Say()) as receiver,
        OapServer(alarms.failing(receiver.url + "/hook")) as oap,
        closing(SkyWalkingSource("sw", SkyWalkingSettings(url=oap.url), CLOCK)) as source,
    ):
        for pod in PODS:
            oap.report_instance(SERVICE, instance(pod), language="java", ipv4=pod.ip)
        found = Fired(source, receiver)

        def complete() -> bool:
            oap.push_requests(SERVICE, instance(BAD), oap.now(), 5, errors=3)
            oap.push_requests(SERVICE, instance(GOOD), oap.now(), 5)
            oap.push_requests(NEIGHBOUR, instance(GOOD), oap.now(), 5)
            return found.complete()

        wait_until(complete, 240, "alarms of the instance and of the service, at the webhook and in what is asked for", every=2)
        yield found


def test_an_alarm_about_an_instance_that_is_pushed_points_at_its_pod(fired: Fired) -> None:
    told = firing_for(question(SERVICE), fired.pushed())
    assert {(alarm.name, alarm.pods) for alarm in told.firing if alarm.pods} == {("failing_instances_rule", (BAD.name,))}


def test_an_alarm_about_an_instance_that_is_pulled_points_at_its_pod(fired: Fired) -> None:
    told = [alarm for alarm in fired.pulled() if alarm.pods]
    assert {(alarm.pods, alarm.message) for alarm in told} == {((BAD.name,), f"Requests fail at {instance(BAD)} of {SERVICE}")}
    assert all(timedelta(0) <= CLOCK.now() - alarm.since < timedelta(minutes=5) for alarm in told)


def test_an_alarm_about_the_service_that_is_pulled_is_everybodys(fired: Fired) -> None:
    told = {(alarm.pods, alarm.message) for alarm in fired.pulled() if not alarm.pods}
    assert told == {((), f"Requests fail in all of {SERVICE}")}


def test_the_words_of_a_plan_choose_among_the_alarms_that_are_pulled(fired: Fired) -> None:
    assert {alarm.pods for alarm in fired.pulled(rules="requests fail at")} == {(BAD.name,)}
    assert {alarm.pods for alarm in fired.pulled(rules="in all of, out of memory")} == {()}
    assert fired.pulled(rules="out of memory") == ()


def test_a_service_is_not_told_of_its_neighbours_alarms(fired: Fired) -> None:
    assert fired.pulled(NEIGHBOUR) == ()
