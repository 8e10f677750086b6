"""Signals as plans write them, and what they are compiled to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollout.core.plan import check_document
from rollout.core.presets import PRESETS
from rollout.core.signals_compiled import JudgeKind, Signal, SignalKind
from tests.core.test_plan import canary, document

ERRORS = 'sum by (pod) (errors_total{pod=~"{{pods}}"})'
ALL = 'sum by (pod) (requests_total{pod=~"{{pods}}"})'


def compiled(entry: object) -> Signal:
    """Compile one entry."""
    (signal,) = canary(signals=[entry]).signals
    return signal


def complaint(entry: object) -> tuple[str, str]:
    """Give key and message of the one complaint about an entry."""
    plan, located = check_document(document(signals=[entry]))
    assert plan is None
    (one,) = located
    return one.problem.key, one.problem.message


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_named_asked_and_judged_by_default(name: str) -> None:
    signal = compiled(name)
    preset = PRESETS[name]
    assert (signal.name, signal.backend, signal.ask) == (name, preset.backend, preset.ask)
    assert (
        signal.judge
        is {
            SignalKind.COUNTS: JudgeKind.RATIO,
            SignalKind.GAUGE: JudgeKind.RANK,
            SignalKind.ALARMS: JudgeKind.ALARM,
        }[signal.kind]
    )
    assert signal.window == timedelta(seconds=60)
    assert (signal.required, signal.dry_run, signal.limit) == (True, False, None)


def test_a_source_is_told_what_the_target_is_called_there_unless_the_plan_says_it() -> None:
    assert compiled("skywalking-traces").parameters == (("service", "orders"),)
    assert (
        compiled({"preset": "skywalking-traces", "parameters": {"service": "shop::orders"}}).parameter("service") == "shop::orders"
    )
    assert dict(compiled("alertmanager").parameters) == {"deployment": "orders", "service": "orders"}
    assert compiled("apisix-5xx").parameters == ()


def test_skywalking_is_asked_for_whole_minutes() -> None:
    key, message = complaint({"preset": "skywalking-traces", "window": "90s"})
    assert (key, "divide an hour" in message) == ("spec.signals[0].window", False)
    assert compiled({"preset": "apisix-5xx", "window": "30s"}).window == timedelta(seconds=30)


def test_an_absolute_limit_replaces_the_comparison() -> None:
    signal = compiled({"preset": "apisix-5xx", "limit": "5%", "kOfN": "2 of 4"})
    assert (signal.judge, signal.limit, signal.k, signal.n) == (JudgeKind.LIMIT, 0.05, 2, 4)


@pytest.mark.parametrize(("written", "value"), [("800ms", 800.0), ("2s", 2000.0), (0.5, 0.5), ("50%", 0.5), (1200, 1200.0)])
def test_a_limit_is_given_in_the_unit_of_the_reading(written: object, value: float) -> None:
    assert compiled({"preset": "apisix-latency", "limit": written}).limit == value


def test_promql_of_ones_own_becomes_sorted_parameters() -> None:
    signal = compiled({"name": "checkout", "promql": {"requests": ALL, "events": ERRORS}, "backend": "metrics"})
    assert (signal.ask, signal.backend, signal.kind, signal.judge) == ("promql", "metrics", SignalKind.COUNTS, JudgeKind.RATIO)
    assert signal.parameters == (("by", "name"), ("events", ERRORS), ("label", "pod"), ("requests", ALL))
    assert signal.r0 == 1.0


def test_counts_without_requests_tolerate_a_share_that_is_not_the_replica_ratio() -> None:
    assert compiled({"name": "checkout", "promql": {"events": ERRORS}}).r0 == 1.5


def test_a_gauge_is_judged_by_its_rank() -> None:
    signal = compiled({"name": "heap", "promql": {"gauge": ALL}, "tolerance": 0.3})
    assert (signal.kind, signal.judge, signal.tolerance) == (SignalKind.GAUGE, JudgeKind.RANK, 0.3)


def test_the_same_preset_may_be_used_twice_under_two_names() -> None:
    plan = canary(signals=["apisix-5xx", {"preset": "apisix-5xx", "name": "hard-limit", "limit": "20%"}])
    assert [signal.name for signal in plan.signals] == ["apisix-5xx", "hard-limit"]


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ("apisix-5x", "spec.signals[0].preset", "not a preset"),
        ({}, "spec.signals[0]", "either preset or promql"),
        ({"preset": "apisix-5xx", "promql": {"events": ERRORS}}, "spec.signals[0]", "either preset or promql"),
        ({"promql": {"events": ERRORS}}, "spec.signals[0].name", "needs a name"),
        ({"name": "x", "promql": {"events": ERRORS, "gauge": ALL}}, "spec.signals[0].promql", "either events or gauge"),
        ({"name": "x", "promql": {}}, "spec.signals[0].promql", "either events or gauge"),
        ({"name": "x", "promql": {"gauge": ALL, "requests": ALL}}, "spec.signals[0].promql.requests", "only go with events"),
        ({"name": "x", "promql": {"events": "errors_total"}}, "spec.signals[0].promql.events", "{{pods}} is missing"),
        ({"name": "x", "promql": {"events": ERRORS + "{{pod}}"}}, "spec.signals[0].promql.events", "{{pod}} is not known"),
        ({"name": "x", "promql": {"events": ERRORS, "label": 'a"b'}}, "spec.signals[0].promql.label", "was seen"),
        ({"name": "x", "promql": {"events": ERRORS}, "limit": "5%"}, "spec.signals[0].limit", "a percentage of what"),
        ({"preset": "apisix-5xx", "limit": "2s"}, "spec.signals[0].limit", "is a time"),
        ({"preset": "apisix-5xx", "limit": -1}, "spec.signals[0].limit", "not a limit"),
        ({"preset": "apisix-5xx", "limit": True}, "spec.signals[0].limit", "not a limit"),
        ({"preset": "alertmanager", "limit": 1}, "spec.signals[0].limit", "alarms have no limit"),
        ({"preset": "apisix-5xx", "kOfN": "6 of 5"}, "spec.signals[0].kOfN", "cannot be"),
        ({"preset": "apisix-5xx", "kOfN": "0 of 5"}, "spec.signals[0].kOfN", "cannot be"),
        ({"preset": "apisix-5xx", "window": "7m"}, "spec.signals[0].window", "does not divide an hour"),
        ({"preset": "apisix-5xx", "window": "1s"}, "spec.signals[0].window", "not a useful window"),
        ({"preset": "apisix-5xx", "alpha": 0}, "spec.signals[0].alpha", "more than 0"),
        ({"preset": "apisix-5xx", "alpha": "0.01"}, "spec.signals[0].alpha", "a number is expected"),
        ({"preset": "apisix-5xx", "r0": 0.5}, "spec.signals[0].r0", "at least 1"),
        ({"preset": "apisix-5xx", "r0": float("nan")}, "spec.signals[0].r0", "finite number"),
        ({"preset": "apisix-5xx", "parameters": {"rout": "x"}}, "spec.signals[0].parameters", "unknown parameter 'rout'"),
        (["apisix-5xx"], "spec.signals[0]", "a map is expected"),
        (None, "spec.signals[0]", "a map is expected"),
    ],
)
def test_a_signal_that_cannot_be_asked_or_judged_is_refused(entry: Any, key: str, words: str) -> None:  # noqa: ANN401 - any entry
    found_key, message = complaint(entry)
    assert found_key == key
    assert words in message
