"""Every error of a plan in one run: what cannot be read hides nothing that can, and nobody is told of what is not so."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rollout.adapters.yamlfile import read_bytes, read_yaml
from rollout.core.errors import Problem
from rollout.core.plan import KINDS, OfflinePlan, Plan, check_document
from rollout.core.plan_draft import STAND_INS
from rollout.core.plan_errors import Path as KeyPath
from rollout.core.plan_errors import path_of
from rollout.core.policy import Policy

PLANS = Path(__file__).parents[2] / "config" / "plans"
EXAMPLES: dict[str, Any] = {path.stem: read_yaml(read_bytes(path), path.name).value for path in sorted(PLANS.glob("*.yaml"))}
BROKEN = ["a", ["list", 7]]
"""A value that no key takes: a list in a list."""
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def check(plan: Plan) -> Iterator[Problem]:
    """What a daemon adds to what the file says by itself."""
    yield from Policy().check(plan)
    if isinstance(plan, OfflinePlan):
        yield from plan.problems_at(NOW)


def canary(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any value may be tried
    base = {"target": {"namespace": "shop", "stable": "orders"}, "image": "orders:2.14", **spec}
    return {"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": "orders"}, "spec": base}


def offline(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - as canary
    base = {
        "target": {"namespace": "shop", "stable": "orders"},
        "image": "orders:3",
        "window": {"startAt": "2026-12-20 18:00", "timezone": "UTC", "duration": "1h"},
        "gate": {"route": {"name": "orders"}, "allow": ["192.0.2.1"]},
        "acceptUnproven": True,
        "tests": [{"name": "health", "http": {"url": "http://orders/healthz"}}],
        **spec,
    }
    return {"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}, "spec": base}


def keys(document: object) -> list[str]:
    plan, located = check_document(document, check)
    assert (plan is None) == bool(located)
    return sorted(one.problem.key for one in located)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # An unknown key, a contradiction, a floor and a cap, each of which used to wait for the one before.
        (
            canary(sok="1h", replicas={"initial": 5, "max": 3}, maxBlind="9h", maxShare="60%"),
            ["spec.maxBlind", "spec.maxPartlyBlind", "spec.maxShare", "spec.replicas.initial", "spec.replicas.initial", "spec.sok"],
        ),
        # A required value is not there: the rest is judged all the same.
        (canary(image=7, soak="1h", maxSoak="30m"), ["spec.image", "spec.maxSoak", "spec.maxSoak", "spec.soak"]),
        ({**canary(soak="1h"), "metadata": {}}, ["metadata.name", "spec.soak"]),
        # An inner contradiction hides no outer one.
        (canary(promotion={"pace": "1h"}, maxSoak="1h"), ["spec.maxSoak", "spec.maxSoak", "spec.promotion.progressDeadline"]),
        # The number of an entry stays that of the file when one before it cannot be read.
        (canary(signals=[7, {"preset": "x"}, "apisix-5xx", {"preset": "apisix-5xx", "limit": "800ms"}]),
         ["spec.signals[0]", "spec.signals[1].preset", "spec.signals[3].limit"]),
        (offline(onFailure="hope", schemaChange=True, stop=False), ["spec.backup", "spec.onFailure", "spec.restore", "spec.stop"]),
        (offline(gate={"route": {"name": "a"}, "service": {"name": "b"}, "allow": ["0.0.0.0/0"], "messag": "x"}),
         ["spec.gate.allow", "spec.gate.messag", "spec.gate.service"]),
        (offline(watch="x", window={"startAt": "2026-01-20 18:00", "timezone": "UTC", "duration": "1h"}),
         ["spec.watch", "spec.window.startAt"]),
        (offline(tests=[{"name": "a"}, {"name": "b", "http": {"url": "nowhere"}}], margin="3h"),
         ["spec.tests[0]", "spec.tests[1].http.url", "spec.window.duration"]),
    ],
)  # fmt: skip
def test_every_error_of_one_file_is_told_at_once(document: dict[str, Any], expected: list[str]) -> None:
    assert keys(document) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (canary(soak="x", maxSoak="20h"), ["spec.soak"]),
        (canary(sok="6h", maxSoak="20h"), ["spec.sok"]),
        (canary(replicas={"initial": 5, "max": "x"}), ["spec.replicas.initial", "spec.replicas.max"]),
        (offline(schemaChange="yes", backup="postgresql-backup", restore="x"), ["spec.schemaChange"]),
        (offline(tests=[7]), ["spec.tests[0]"]),
        (offline(gate={"route": {"name": 5}, "allow": [[]]}), ["spec.gate.allow[0]", "spec.gate.route.name"]),
        (offline(window="tonight"), ["spec.window"]),
    ],
)
def test_what_rests_on_a_value_that_cannot_be_read_is_not_guessed(document: dict[str, Any], expected: list[str]) -> None:
    found = keys(document)
    assert [key for key in found if key not in expected] == []
    assert expected[0] in found


def test_the_limits_of_the_policy_are_told_beside_a_contradiction_of_the_same_key() -> None:
    _, located = check_document(canary(soak="2h", maxSoak="1h", replicas={"max": 1, "every": "1h"}), check)
    words = sorted(one.problem.message for one in located)
    assert words == [
        "1h is below the policy's minimumInterval (6h)",
        "1h is shorter than soak (2h)",
        "2h is below the policy's minimumSoak (24h)",
    ]


def places(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Go through the paths of every value below `spec` and `metadata`."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if path or key in {"spec", "metadata"}:
                yield from places(inner, (*path, key)) if key != "manifest" else ()
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def broken(document: Any, *paths: KeyPath) -> Any:  # noqa: ANN401 - a YAML document
    """Give a copy in which these values are something that cannot be read."""
    copied = copy.deepcopy(document)
    for path in paths:
        holder = copied
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = BROKEN
    return copied


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_value_that_cannot_be_read_brings_no_second_complaint(name: str) -> None:
    document = EXAMPLES[name]
    assert check_document(document, check)[1] == ()
    for path in places(document):
        _, located = check_document(broken(document, path), check)
        assert located
        assert [one.path for one in located if one.path[: len(path)] != path] == [], path


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_two_values_that_cannot_be_read_are_both_told_and_nothing_else(data: st.DataObject) -> None:
    document = EXAMPLES[data.draw(st.sampled_from(sorted(EXAMPLES)))]
    whole = sorted(places(document), key=str)
    one = data.draw(st.sampled_from(whole))
    apart = [path for path in whole if path[: len(one)] != one and one[: len(path)] != path]
    two = data.draw(st.sampled_from(apart or [one]))
    _, located = check_document(broken(document, one, two), check)
    told = {path for path in (one, two) for found in located if found.path[: len(path)] == path}
    assert told == {one, two}
    assert [found.path for found in located if one != found.path[: len(one)] and two != found.path[: len(two)]] == []


def models(model: type[BaseModel], met: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Collect every model that a plan is made of."""
    met.add(model)
    inner = [found for info in model.model_fields.values() for found in _inside(info.annotation)]
    for found in inner:
        if found not in met:
            models(found, met)
    return met


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - an annotation can be any object
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def test_there_is_a_stand_in_for_every_value_that_is_required() -> None:
    found = {model for kind in KINDS.values() for model in models(kind, set())}
    required = {info.alias or name for model in found for name, info in model.model_fields.items() if info.is_required()}
    assert required - set(STAND_INS) == {"kind"}, "without its kind nothing of a plan is judged"


def test_a_path_is_read_as_it_is_written() -> None:
    assert path_of("tests.*.job.deadline") == ("tests", "*", "job", "deadline")


@pytest.mark.parametrize(
    "spec",
    [{"signals": [7] * 19_000}, {"signals": [{"presett": "x"}] * 6_000}, {f"k{number}": 1 for number in range(9_000)}],
    ids=["entries", "keys of entries", "keys"],
)
def test_thousands_of_errors_hide_nothing(spec: dict[str, Any]) -> None:
    _, located = check_document(canary(soak="1h", **spec), check)
    assert any("minimumSoak" in one.problem.message for one in located)


ODD: tuple[Any, ...] = (
    None, True, 7, -1, "", "1h", "0s", "0%", "100%", [], {}, ["a"], {"a": 1}, "9999-12-31 23:59", "0001-01-01 00:00",
    "2026-03-29 02:30", "Europe/Berlin", "0.0.0.0/0", "a" * 300, {"template": "x"}, {"preset": "nope"},
    {"promql": {"events": "x", "gauge": "y"}}, BROKEN,
)  # fmt: skip
"""Values that are right in one place and wrong, or contradictory, in others."""


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_left_of_a_plan_can_be_judged(data: st.DataObject) -> None:
    document = copy.deepcopy(EXAMPLES[data.draw(st.sampled_from(sorted(EXAMPLES)))])
    for _ in range(data.draw(st.integers(1, 5))):
        path = data.draw(st.sampled_from([("kind",), *sorted(places(document), key=str)]))
        holder = document
        for part in path[:-1]:
            holder = holder[part]
        if path == ("kind",) or data.draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        else:
            del holder[path[-1]]
    plan, located = check_document(document, check)
    assert (plan is None) == bool(located)
    assert all(str(one.problem) for one in located)


@pytest.mark.parametrize("start", ["9999-12-31 23:59", "0001-01-01 00:00"])
def test_a_window_at_the_end_of_the_calendar_is_refused_and_no_surprise(start: str) -> None:
    window = {"startAt": start, "timezone": "Pacific/Kiritimati", "duration": "31d"}
    assert keys(offline(window=window)) == ["spec.window.startAt"]


@pytest.mark.parametrize("head", [{"kind": "canary"}, {"kind": "Canery"}, {"kind": "Canary", "apiVersion": "v1"},
                                  {"kind": "canary", "apiVersion": "v1"}])  # fmt: skip
def test_a_slip_in_the_head_hides_nothing_below_it(head: dict[str, Any]) -> None:
    found = keys({**canary(soak="1h", initialShare=30), **head})
    assert found == sorted([*(key for key, value in head.items() if value != "Canary"), "spec.initialShare", "spec.soak"])


def test_a_slip_in_the_word_kind_itself_hides_nothing_below_it() -> None:
    document = canary(soak="1h")
    document["knid"] = document.pop("kind")
    assert keys(document) == ["kind", "knid", "spec.soak"]


def test_a_manifest_of_another_kind_is_told_its_kind_and_nothing_else() -> None:
    assert keys({"apiVersion": "rollout/v1", "kind": "Deployment", "spec": {"replicas": 3, "template": {}}}) == ["kind"]
    assert keys({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}}) == ["apiVersion", "kind"]
