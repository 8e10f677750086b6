"""The policy: floors and caps that name themselves, and freezes that end when they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.policy import Freeze, Policy
from tests.core.test_plan import canary
from tests.core.test_plan_offline import SCHEMA, TEST, job_with, offline


def policy(**keys: Any) -> Policy:  # noqa: ANN401 - any value may be tried
    return Policy.model_validate(keys)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def test_the_documented_procedure_passes_the_default_policy() -> None:
    assert Policy().check(canary()) == ()
    assert Policy().check(offline()) == ()


@pytest.mark.parametrize(
    ("spec", "key", "rule"),
    [
        ({"soak": "12h"}, "spec.soak", "minimumSoak (24h)"),
        ({"replicas": {"every": "1h"}}, "spec.replicas.every", "minimumInterval (6h)"),
        ({"replicas": {"initial": 2}}, "spec.replicas.initial", "maximumStep (1)"),
        ({"replicas": {"step": 2}}, "spec.replicas.step", "maximumStep (1)"),
        ({"replicas": {"max": 11}}, "spec.replicas.max", "maximumReplicas (10)"),
        ({"maxShare": "30%"}, "spec.maxShare", "maximumShare (25%)"),
        ({"maxBlind": "3h", "maxPartlyBlind": "3h"}, "spec.maxBlind", "maximumBlind (2h)"),
    ],
)
def test_a_plan_below_a_floor_is_refused_with_the_floor_named(spec: dict[str, Any], key: str, rule: str) -> None:
    problem = policy().check(canary(**spec))[0]
    assert problem.key == key
    assert rule in problem.message


def test_a_policy_may_be_laxer_on_purpose() -> None:
    lax = policy(minimumSoak="0s", minimumInterval="0s", maximumShare="50%", maximumInitialShare="50%", maximumStep=2)
    assert (
        lax.check(canary(soak="1m", maxSoak="5m", replicas={"every": "30s", "step": 2}, maxShare="50%", initialShare="50%")) == ()
    )


def job_in(namespace: str, **parameters: str) -> dict[str, Any]:
    job = job_with(parameters)
    return job | {"manifest": job["manifest"] | {"metadata": {"namespace": namespace}}}


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (SCHEMA | {"migrate": job_in("kube-system")}, "spec.migrate"),
        (SCHEMA | {"backup": job_in("kube-system")}, "spec.backup"),
        (SCHEMA | {"migrate": job_in("{{WHERE}}", WHERE="kube-system")}, "spec.migrate"),
        (SCHEMA | {"migrate": job_in("{{WHERE:kube-system}}")}, "spec.migrate"),
        ({"tests": [TEST, {"name": "smoke", "job": job_in("kube-system") | {"deadline": "5m"}}]}, "spec.tests[1].job"),
        ({"quiesce": {"hooks": [{"name": "drain", "job": job_in("kube-system")}]}}, "spec.quiesce.hooks[0].job"),
        ({"quiesce": {"sessions": job_in("kube-system")}}, "spec.quiesce.sessions"),
    ],
)
def test_a_job_runs_only_where_the_policy_allows(spec: dict[str, Any], place: str) -> None:
    (problem,) = policy(allowedNamespaces=["shop", "qa-*"]).check(offline(**spec))
    assert problem.key == f"{place}.manifest.metadata.namespace"
    assert "namespace 'kube-system', which is not among the policy's allowedNamespaces" in problem.message
    assert problem.remedy == "leave it out: then it is the target's, shop; allowed: shop, qa-*"


@pytest.mark.parametrize("namespace", ["shop", "qa-2", "{{WHERE:qa-2}}"])
def test_a_job_may_run_beside_the_target_and_where_the_policy_allows(namespace: str) -> None:
    assert policy(allowedNamespaces=["shop", "qa-*"]).check(offline(**SCHEMA | {"migrate": job_in(namespace)})) == ()


def test_namespaces_are_allowed_by_pattern() -> None:
    (problem,) = policy(allowedNamespaces=["prod-*", "qa"]).check(canary())
    assert problem.key == "spec.target.namespace"
    assert "prod-*, qa" in problem.remedy
    assert policy(allowedNamespaces=["sh?p"]).check(canary()) == ()


@pytest.mark.parametrize(
    ("pattern", "image", "allowed"),
    [
        ("registry.example.com/shop/*", "registry.example.com/shop/orders:1", True),
        ("registry.example.com/*", "registry.example.com.evil.example/x:1", False),
        ("docker.io/library/*", "nginx:1.27", True),
        ("docker.io/library/*", "someone/nginx:1.27", False),
        ("docker.io/*", "someone/nginx:1.27", True),
        ("*@sha256:*", "nginx:1.27", False),
        ("*@sha256:*", "nginx@sha256:" + "0" * 64, True),
    ],
)
def test_images_are_allowed_by_their_full_name(pattern: str, image: str, allowed: bool) -> None:  # noqa: FBT001 - a table's column
    assert (policy(allowedImages=[pattern]).check(canary(image=image)) == ()) is allowed


def test_places_are_checked_for_offline_plans_too() -> None:
    keys = [p.key for p in policy(allowedNamespaces=["x"], allowedImages=["x"]).check(offline())]
    assert keys == ["spec.target.namespace", "spec.image"]


def test_a_minimum_of_signals_counts_only_those_that_can_stop_a_rollout() -> None:
    signals = ["apisix-5xx", {"preset": "apisix-latency", "required": False}, {"preset": "error-logs", "dryRun": True}]
    assert policy(minimumSignals=1).check(canary(signals=signals)) == ()
    assert policy(minimumSignals=2).check(canary(signals=signals))[0].key == "spec.signals"


WEEKEND = [
    {"name": "weekend", "timezone": "Europe/Berlin", "days": ["fri"], "times": "16:00-24:00"},
    {"name": "saturday", "timezone": "Europe/Berlin", "days": ["sat", "sun"]},
]


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2026-11-20T15:59", None),
        ("2026-11-20T16:00", "weekend"),
        ("2026-11-21T03:00", "saturday"),
        ("2026-11-22T23:59", "saturday"),
        ("2026-11-23T00:00", None),
    ],
)
def test_a_weekend_is_frozen_from_friday_afternoon_to_monday(moment: str, name: str | None) -> None:
    freeze = policy(freezeWindows=WEEKEND).frozen(at(moment, "Europe/Berlin"))
    assert (freeze.name if freeze else None) == name
    if freeze:
        assert freeze.until == at("2026-11-23T00:00", "Europe/Berlin")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    nights = policy(freezeWindows=[{"name": "night", "days": ["mon"], "times": "22:00-06:00"}])
    assert nights.frozen(at("2026-11-24T05:59")) == Freeze("night", at("2026-11-24T06:00"))
    assert nights.frozen(at("2026-11-23T05:59")) is None
    assert nights.frozen(at("2026-11-24T06:00")) is None


def test_a_freeze_with_dates_ends_at_its_end() -> None:
    once = policy(
        freezeWindows=[{"name": "year's end", "timezone": "Asia/Shanghai", "from": "2026-12-20", "to": "2027-01-04 08:00"}]
    )
    assert once.frozen(at("2026-12-19T23:59", "Asia/Shanghai")) is None
    assert once.frozen(at("2026-12-20T00:00", "Asia/Shanghai")) == Freeze("year's end", at("2027-01-04T00:00"))
    assert once.frozen(at("2027-01-04T08:00", "Asia/Shanghai")) is None


def test_a_weekly_freeze_stops_after_its_last_day() -> None:
    limited = policy(freezeWindows=[{"name": "audit", "times": "08:00-18:00", "until": "2026-11-24"}])
    assert limited.frozen(at("2026-11-24T17:59")) is not None
    assert limited.frozen(at("2026-11-25T12:00")) is None


def test_a_freeze_in_the_hour_that_happens_twice_covers_both() -> None:
    night = policy(freezeWindows=[{"name": "night", "timezone": "Europe/Berlin", "times": "01:00-02:30"}])
    # 2026-10-25: 03:00 summer time becomes 02:00; 02:30 happens at 00:30 and 01:30 UTC.
    assert night.frozen(datetime(2026, 10, 25, 1, 0, tzinfo=UTC)) == Freeze("night", datetime(2026, 10, 25, 1, 30, tzinfo=UTC))


def test_a_freeze_without_end_is_given_its_horizon() -> None:
    always = policy(freezeWindows=[{"name": "always", "times": "00:00-24:00"}])
    freeze = always.frozen(at("2026-11-22T12:00"))
    assert freeze is not None
    assert freeze.until > at("2027-11-22T12:00")


@pytest.mark.parametrize(
    "window",
    [
        {"name": "x"},
        {"name": "x", "days": ["mon"], "from": "2026-01-01", "to": "2026-01-02"},
        {"name": "x", "from": "2026-01-01"},
        {"name": "x", "to": "2026-01-01"},
        {"name": "x", "from": "2026-01-02", "to": "2026-01-01"},
        {"name": "x", "from": "2026-02-30", "to": "2026-03-01"},
        {"name": "x", "times": "8-18"},
        {"name": "x", "times": "08:00-08:00"},
        {"name": "x", "times": "08:00-24:30"},
        {"name": "x", "days": ["monday"]},
        {"name": "x", "days": ["mon"], "timezone": "Berlin"},
        {"name": "x", "from": "2026-01-01", "to": "2026-01-02", "until": "2026-01-01"},
        {"days": ["mon"]},
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused(window: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(freezeWindows=[window])


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
minutes = st.integers(0, 1439)


@given(moments, minutes, minutes, st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "America/Sao_Paulo", "Australia/Lord_Howe"]))
def test_when_a_freeze_ends_it_has_ended_and_not_before(now: datetime, start: int, end: int, zone: str) -> None:
    if start == end:
        return
    times = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    frozen = policy(freezeWindows=[{"name": "x", "timezone": zone, "times": times, "days": ["mon", "tue", "fri"]}])
    freeze = frozen.frozen(now)
    if freeze is None:
        return
    assert freeze.until > now
    assert frozen.frozen(freeze.until) is None
    assert frozen.frozen(freeze.until - timedelta(seconds=1)) is not None


def test_a_maintenance_that_a_freeze_keeps_from_beginning_is_refused_with_when_it_is_free() -> None:
    zone = {"timezone": "UTC", "duration": "2h", "startGrace": "15m"}
    frozen = policy(freezeWindows=WEEKEND)
    (problem,) = frozen.check(offline(window={"startAt": "2026-11-21 12:00", **zone}))
    assert problem.key == "spec.window.startAt"
    assert "lies in the freeze window" in problem.message
    assert problem.remedy == "it is free from 2026-11-22 23:00 UTC"
    assert frozen.check(offline(window={"startAt": "2026-11-22 22:50", **zone})) == ()
    assert frozen.check(offline(window={"startAt": "2026-11-23 01:00", **zone})) == ()
