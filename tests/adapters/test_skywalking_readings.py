from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollout.adapters.skywalking_readings import (
    AnswerError,
    alarm_for,
    calls,
    endpoints_of,
    failed_calls,
    log_rows,
    mean_time,
    minutes_of,
    trace_ids,
)
from rollout.adapters.skywalking_time import ServerTime, parse_zone, server_time, whole_minutes
from rollout.core.signals import Alarm, Window
from tests.peers.oap.agent import instance_id, service_id

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
SERVICE = "b3JkZXItc3Zj.1"


def mqe(*values: str | None) -> dict[str, object]:
    points = [{"value": value} for value in values]
    return {"type": "TIME_SERIES_VALUES", "error": None, "results": [{"values": points}]}


def test_both_generations_of_metrics_are_read_minute_by_minute() -> None:
    assert minutes_of({"values": {"values": [{"value": 12}, {"value": 0}]}}, 2) == (12.0, 0.0)
    assert minutes_of(mqe("12", None), 2) == (12.0, None)


def test_a_decimal_comma_of_the_servers_locale_is_read() -> None:
    assert minutes_of(mqe("9975,5"), 1) == (9975.5,)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"type": "UNKNOWN", "error": "Metric: [x] does not exist.", "results": []}, "Metric: [x] does not exist."),
        ({"type": "UNKNOWN", "error": None, "results": []}, "UNKNOWN"),
        (mqe("12"), "1 minutes came where 2 were asked for"),
        (mqe("twelve", "1"), "not a number of at least 0 (twelve)"),
        (mqe("NaN", "1"), "not a number of at least 0 (NaN)"),
        (mqe("1e999", "1"), "not a number of at least 0 (1e999)"),
        ({"values": {"values": [{"value": -1}, {"value": 1}]}}, "not a number of at least 0 (-1)"),
        ({"values": {"values": [{"value": True}, {"value": 1}]}}, "not a number"),
        ({"values": None}, "unknown shape"),
        ([], "unknown shape"),
    ],
)
def test_a_metric_that_is_not_what_was_asked_for_is_an_error_and_not_a_zero(answer: object, words: str) -> None:
    with pytest.raises(AnswerError) as caught:
        minutes_of(answer, 2)
    assert words in str(caught.value)


def test_failed_calls_are_weighted_by_calls() -> None:
    assert failed_calls((20, 10), (9000, 10000)) == pytest.approx(2)
    assert calls((20, 10)) == 30


def test_a_success_rate_of_zero_means_all_failing_only_where_there_were_calls() -> None:
    assert failed_calls((0, 5), (0, 0)) == 5
    assert failed_calls((None, 0), (None, 0)) == 0


def test_a_minute_with_calls_but_without_a_success_rate_is_unknown() -> None:
    assert failed_calls((20, 10), (9000, None)) is None


def test_the_mean_time_is_over_calls_and_idle_is_none() -> None:
    assert mean_time((90, 10, None), (100, 1100, None)) == pytest.approx(200)
    assert mean_time((0, None), (0, None)) is None


def test_traces_are_counted_once_though_they_come_as_several_segments() -> None:
    rows = [{"traceIds": ["t1"]}, {"traceIds": ["t1"]}, {"traceIds": ["t2"]}]
    assert trace_ids({"traces": rows}, "i") == ({"t1", "t2"}, 3)


def test_the_kinds_of_error_are_the_endpoints_without_the_ids_in_their_paths() -> None:
    old = [{"endpointNames": ["GET:/orders/4711", "GET:/orders/9f8e7d6c-0b1a/items"]}, {"endpointNames": ["GET:/orders/12"]}]
    assert endpoints_of({"traces": old}, "i") == {"GET:/orders/*", "GET:/orders/*/items"}
    mine = {"isError": True, "serviceInstanceName": "me", "endpointName": "/pay"}
    spans = [
        mine,
        mine | {"serviceInstanceName": "other", "endpointName": "/stock"},
        mine | {"isError": False, "endpointName": "/"},
    ]
    assert endpoints_of({"traces": [{"spans": spans}]}, "me") == {"/pay"}


def test_of_a_whole_trace_only_the_instances_own_spans_count() -> None:
    spans = [
        {"traceId": "t1", "serviceInstanceName": "me", "isError": False},
        {"traceId": "t1", "serviceInstanceName": "other", "isError": True},
    ]
    mine = [{"traceId": "t2", "serviceInstanceName": "me", "isError": True}]
    assert trace_ids({"traces": [{"spans": spans}, {"spans": mine}]}, "me") == ({"t2"}, 2)


def test_logs_that_could_not_be_read_are_an_error_and_not_no_lines() -> None:
    with pytest.raises(AnswerError, match="logs could not be read: storage is down"):
        log_rows({"errorReason": "storage is down", "logs": []})
    assert log_rows({"errorReason": None, "logs": [{}, {}]}) == 2


def alarm(scope: str, entity: str, **more: object) -> dict[str, object]:
    return {"startTime": 1795352524000, "scope": scope, "id": entity, "message": "Response time is high", **more}


def test_an_alarm_of_an_instance_points_at_its_pod_and_one_of_the_service_at_none() -> None:
    since = datetime.fromtimestamp(1795352524, UTC)
    pods = {f"{SERVICE}_MTAuMS4yLjM=": "web-1"}
    name = "alarm 'Response time is high'"
    instance = alarm_for(alarm("ServiceInstance", f"{SERVICE}_MTAuMS4yLjM="), SERVICE, pods, (), NOW)
    assert instance == Alarm(f"ServiceInstance {name}", since, "Response time is high", ("web-1",))
    assert alarm_for(alarm("Service", SERVICE), SERVICE, pods, (), NOW) == Alarm(f"Service {name}", since, "Response time is high")
    assert alarm_for(alarm("Endpoint", f"{SERVICE}_L29yZGVycw=="), SERVICE, pods, (), NOW) is not None


def test_one_rule_has_one_name_for_all_pods_and_another_rule_another() -> None:
    pods = {instance_id("order-svc", f"10.1.2.{n}"): f"web-{n}" for n in (3, 4)}

    def named(scope: str, entity: str, message: str) -> str:
        found = alarm_for(alarm(scope, entity, message=message), service_id("order-svc"), pods, (), NOW)
        assert found is not None
        return found.name

    slow = [named("ServiceInstance", id_, f"Slow: 10.1.2.{n} of order-svc") for n, id_ in zip((3, 4), pods, strict=True)]
    failing = named("ServiceInstance", next(iter(pods)), "Failing: 10.1.2.3 of order-svc")
    whole = named("Service", service_id("order-svc"), "Slow: order-svc")
    assert slow == ["ServiceInstance alarm 'Slow: *'"] * 2
    assert len({slow[0], failing, whole}) == 3


@pytest.mark.parametrize("time", [10**30, -1, "soon", None])
def test_an_alarm_at_an_impossible_time_fires_now(time: object) -> None:
    found = alarm_for(alarm("Service", SERVICE, startTime=time), SERVICE, {}, (), NOW)
    assert found is not None
    assert found.since == NOW


def test_alarms_of_others_recovered_ones_and_other_rules_are_nothing_to_us() -> None:
    assert alarm_for(alarm("Service", "other.1"), SERVICE, {}, (), NOW) is None
    assert alarm_for(alarm("ServiceInstance", f"{SERVICE}_eA=="), SERVICE, {}, (), NOW) is None
    assert alarm_for(alarm("Service", SERVICE, recoveryTime=1795352525000), SERVICE, {}, (), NOW) is None
    assert alarm_for(alarm("Service", SERVICE), SERVICE, {}, ("success rate",), NOW) is None
    assert alarm_for(alarm("Service", SERVICE), SERVICE, {}, ("success rate", "response time"), NOW) is not None


def test_minutes_are_written_in_the_zone_of_the_server_with_both_ends_inclusive() -> None:
    time = ServerTime(timedelta(hours=8), timedelta(0))
    assert time.minutes(NOW, NOW + timedelta(minutes=5)) == {"start": "2026-11-22 2100", "end": "2026-11-22 2104", "step": "MINUTE"}


@pytest.mark.parametrize(
    ("text", "minutes"), [("+0800", 480), ("-0330", -210), ("+05:30", 330), ("+0000", 0), ("UTC", None), ("+9900", None)]
)
def test_zones_are_read_as_java_writes_them(text: str, minutes: int | None) -> None:
    assert parse_zone(text) == (None if minutes is None else timedelta(minutes=minutes))


def test_the_servers_clock_is_compared_with_ours() -> None:
    found = server_time("+0800", int(NOW.timestamp() * 1000) + 45_000, NOW)
    assert found == ServerTime(timedelta(hours=8), timedelta(seconds=45))
    assert server_time("+0800", None, NOW) is None
    assert server_time(None, 1, NOW) is None
    assert server_time("+0800", 10**30, NOW) is None


def test_a_window_must_be_made_of_whole_minutes() -> None:
    assert whole_minutes(Window(NOW, NOW + timedelta(minutes=5))) == 5
    assert whole_minutes(Window(NOW, NOW + timedelta(seconds=30))) == 0
    assert whole_minutes(Window(NOW + timedelta(seconds=1), NOW + timedelta(seconds=61))) == 0
