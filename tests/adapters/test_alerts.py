from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from rollout.adapters.alertmanager import AlertmanagerSettings, AlertmanagerSource
from rollout.adapters.alerts import (
    Alert,
    MatcherError,
    PushError,
    firing_for,
    holds,
    parse_alertmanager_webhook,
    parse_alerts,
    parse_matchers,
    parse_skywalking_alarm,
)
from rollout.core.signals import Alarm, Alarms, PodKey, Question, Reading, Unreachable
from tests.adapters.questions import question
from tests.adapters.stub import HandClock, Say, Script, Stub, stub

SINCE = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


def alert(summary: str = "too many errors", **labels: str) -> Alert:
    return Alert({"alertname": "HighErrors", "namespace": "prod", **labels}, {"summary": summary}, SINCE, "f1")


def firing(asked: Question, *alerts: Alert) -> tuple[Alarm, ...]:
    return firing_for(asked, alerts).firing


PODS = question("alerts")


@pytest.mark.parametrize(
    "labels",
    [
        {"pod": "web-1"},
        {"kubernetes_pod_name": "web-1"},
        {"pod_ip": "10.1.2.1"},
        {"instance": "10.1.2.1:8080"},
        {"instance": "4f2a@10.1.2.1"},
    ],
)
def test_an_alert_that_names_a_pod_points_at_it(labels: dict[str, str]) -> None:
    assert firing(PODS, alert(**labels)) == (Alarm("HighErrors", SINCE, "too many errors", ("web-1",)),)


@pytest.mark.parametrize(
    "labels",
    [
        {"pod": "other-7"},
        {"instance": "10.1.2.11:8080"},
        {"pod": "web-1", "namespace": "staging"},
        {"service": "web"},
        {"severity": "critical"},
    ],
)
def test_an_alert_about_others_is_nothing_to_us(labels: dict[str, str]) -> None:
    assert firing(PODS, alert(**labels)) == ()


def test_an_alert_of_the_service_points_at_no_pod() -> None:
    asked = question("alerts", service="web")
    assert [alarm.pods for alarm in firing(asked, alert(service="web"), alert(service="shop"))] == [()]


def test_matchers_of_the_plan_choose_and_may_choose_service_wide_alerts() -> None:
    asked = question("alerts", matchers='severity="critical", alertname=~"High.*"')
    assert [alarm.pods for alarm in firing(asked, alert(severity="critical"), alert(severity="info"))] == [()]
    assert firing(asked, alert(severity="critical", pod="web-2"))[0].pods == ("web-2",)
    assert firing(asked, alert(severity="critical", pod="other-1")) == ()


def test_a_label_of_ones_own_may_name_the_pod() -> None:
    assert firing(question("alerts", label="workload_pod"), alert(workload_pod="web-2"))[0].pods == ("web-2",)


def test_ipv6_instances_are_known() -> None:
    six = question("alerts", PodKey("prod", "web-6", "u", "fd00::6"))
    assert firing(six, alert(instance="[fd00::6]:8080"))[0].pods == ("web-6",)


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ("", ()),
        ("a=b", (("a", "=", "b"),)),
        ('a="x, \\"y\\"", b=~"c.*" , d!=e', (("a", "=", 'x, "y"'), ("b", "=~", "c.*"), ("d", "!=", "e"))),
    ],
)
def test_matchers_are_read_as_alertmanager_writes_them(text: str, matchers: tuple[tuple[str, str, str], ...]) -> None:
    assert parse_matchers(text) == matchers


@pytest.mark.parametrize("text", ["severity", "=x", 'a=~"["', '1a="b"', 'a="b" c="d"'])
def test_a_matcher_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(MatcherError):
        parse_matchers(text)


def test_an_absent_label_is_empty() -> None:
    assert holds({}, (("a", "=", ""), ("b", "!=", "x"), ("c", "!~", "y.+")))
    assert not holds({}, (("a", "=", "x"),))


LISTED = [
    {
        "fingerprint": "f1", "labels": {"alertname": "HighErrors", "pod": "web-1", "namespace": "prod"},
        "annotations": {"summary": "too many errors"}, "startsAt": "2026-11-22T13:00:00Z", "endsAt": "2026-11-22T13:09:00Z",
        "receivers": [{"name": "r"}], "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
    },
    {"labels": {"alertname": "Old", "pod": "web-1"}, "startsAt": "2026-11-22T13:00:00Z", "status": {"state": "suppressed"}},
]  # fmt: skip


@contextmanager
def alertmanager(script: Script | Say) -> Iterator[tuple[AlertmanagerSource, Stub]]:
    with stub(script) as server:
        settings = AlertmanagerSettings(url=server.url, timeout=timedelta(seconds=2))
        source = AlertmanagerSource("am", settings, HandClock(SINCE))
        try:
            yield source, server
        finally:
            source.close()


def read(say: Say, asked: Question = PODS) -> Reading:
    with alertmanager(say) as (source, _):
        return source.read([asked])[asked].reading


def test_what_fires_is_pulled_once_for_all_and_suppressed_alerts_are_left_out() -> None:
    asked = [question("alerts", signal=f"s{n}") for n in range(5)]
    with alertmanager(Say(body=LISTED)) as (source, server):
        answers = source.read(asked)
    assert len(server.seen) == 1
    assert server.seen[0].query == {"active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "true"}
    expected = Alarms((Alarm("HighErrors", SINCE, "too many errors", ("web-1",)),))
    assert [answers[one].reading for one in asked] == [expected] * 5


def test_no_alert_is_the_good_answer_and_not_missing_knowledge() -> None:
    assert read(Say(body=[])) == Alarms(())


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (Say(500, '"storage broke"'), "HTTP 500"),
        (Say(400, '"bad regular expression"'), "bad regular expression"),
        (Say(410, {"error": "gone"}), "HTTP 410"),
        (Say(200, {"status": "success", "data": []}), "a list of alerts was expected"),
        (Say(200, [{"nolabels": 1}]), "a list of alerts was expected"),
        (Say(200, "<html><title>Login</title>", "text/html"), "HTML page instead of JSON (Login)"),
    ],
)
def test_what_is_not_a_list_of_alerts_is_unreachable_and_not_silence(say: Say, words: str) -> None:
    reading = read(say)
    assert isinstance(reading, Unreachable)
    assert words in reading.why


def test_matchers_that_cannot_be_read_are_answered_in_words() -> None:
    reading = read(Say(body=[]), question("alerts", matchers="severity"))
    assert isinstance(reading, Unreachable)
    assert 'a matcher such as severity="critical" is expected' in reading.why


def test_an_alert_with_a_time_that_cannot_be_read_still_counts() -> None:
    [found] = parse_alerts([{"labels": {"alertname": "x"}, "startsAt": "yesterday"}]) or ()
    assert found.since == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_pushed_group_is_read_alert_by_alert() -> None:
    body = {
        "version": "4", "status": "firing", "receiver": "r", "truncatedAlerts": 0, "notification_reason": "new",
        "alerts": [
            {"status": "firing", "labels": {"alertname": "A", "pod": "web-1"}, "annotations": {}, "fingerprint": "f1",
             "startsAt": "2026-11-22T13:00:00Z", "endsAt": "0001-01-01T00:00:00Z"},
            {"status": "resolved", "labels": {"alertname": "B"}, "annotations": {}, "fingerprint": "f2",
             "startsAt": "2026-11-22T13:00:00Z", "endsAt": "2026-11-22T13:01:00Z"},
        ],
    }  # fmt: skip
    first, second = parse_alertmanager_webhook(json.dumps(body).encode())
    assert (first.key, second.key) == (("f1", SINCE, True), ("f2", SINCE, False))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"alerts": [7]}', b"\xff", b"[" * 100_000])
def test_a_push_that_is_no_alertmanagers_is_refused(body: bytes) -> None:
    with pytest.raises(PushError):
        parse_alertmanager_webhook(body)


SKYWALKING = {
    "scopeId": 2, "scope": "SERVICE_INSTANCE", "name": "10.1.2.1 of order-svc", "id0": "b3JkZXItc3Zj.1_MTAuMS4yLjE=", "id1": "",
    "ruleName": "service_instance_resp_time_rule", "alarmMessage": "Response time is high", "startTime": 1795352400000,
    "hooks": ["webhook.default"], "tags": [{"key": "level", "value": "WARNING"}],
}  # fmt: skip


def test_a_pushed_skywalking_alarm_is_an_alert_that_points_at_the_pod() -> None:
    [found] = parse_skywalking_alarm(json.dumps([SKYWALKING]).encode())
    assert found.labels["instance"] == "10.1.2.1"
    assert found.labels["service"] == "order-svc"
    [alarm] = firing(PODS, found)
    assert (alarm.name, alarm.pods, alarm.message) == ("service_instance_resp_time_rule", ("web-1",), "Response time is high")


def test_a_recovery_has_the_key_of_its_alarm_but_for_firing() -> None:
    fire, recover = parse_skywalking_alarm(
        json.dumps([{**SKYWALKING, "uuid": "u1"}, {**SKYWALKING, "uuid": "u1", "recoveryTime": 1795352524001}]).encode()
    )
    assert fire.fingerprint == recover.fingerprint
    assert fire.firing
    assert not recover.firing


@pytest.mark.parametrize("body", [b"{}", b"[7]", b'[{"alarmMessage": "x"}]', b"no"])
def test_a_push_that_is_no_skywalkings_is_refused(body: bytes) -> None:
    with pytest.raises(PushError):
        parse_skywalking_alarm(body)
