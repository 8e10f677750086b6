"""An alarm of a real OAP, pushed to a webhook, leads to the pod of its instance."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout.adapters.alerts import firing_for, parse_skywalking_alarm
from rollout.adapters.clock import SystemClock
from rollout.core.signals import PodKey, Question, Window
from tests.adapters.stub import Say, stub
from tests.peers.fixtures import require
from tests.peers.oap import OapServer, alarms
from tests.peers.process import wait_until

pytestmark = [
    pytest.mark.peer("oap"),
    pytest.mark.xdist_group("oap"),
    pytest.mark.timeout(400),  # OAP looks at its rules once a minute
]
SERVICE = "alarmed"
PODS = tuple(PodKey("default", f"shop-{n}", f"u{n}", f"10.8.1.{n}") for n in (1, 2))


def instance(pod: PodKey) -> str:
    return f"{pod.uid}@{pod.ip}"


def question(clock: SystemClock) -> Question:
    window = Window(clock.now() - timedelta(minutes=5), clock.now())
    return Question("alarms", "sw", "alarms", (("service", SERVICE),), PODS, window)


def test_an_alarm_about_an_instance_that_is_pushed_points_at_its_pod() -> None:
    require(OapServer.available)
    clock, (bad, good) = SystemClock(), PODS
    with stub(Say()) as receiver, OapServer(alarms.failing_instances(receiver.url + "/hook")) as oap:
        for pod in PODS:
            oap.report_instance(SERVICE, instance(pod), language="java", ipv4=pod.ip)

        def pushed() -> bool:
            oap.push_requests(SERVICE, instance(bad), oap.now(), 5, errors=3)
            oap.push_requests(SERVICE, instance(good), oap.now(), 5)
            return bool(receiver.seen)

        wait_until(pushed, 240, "an alarm at the webhook", every=2)
        told = firing_for(question(clock), parse_skywalking_alarm(receiver.seen[0].body))
        assert [(alarm.name, alarm.pods) for alarm in told.firing] == [("failing_instances_rule", (bad.name,))]
