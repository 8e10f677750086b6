"""The canary plan: defaults that are the documented procedure, one identity, contradictions named."""

from __future__ import annotations

import copy
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.yamlfile import read_yaml
from rollout.core.errors import Refused
from rollout.core.plan import CanaryPlan, Mode, check_document, plan_of
from rollout.core.plan_schema import plan_json_schema
from rollout.core.target import Target

PLANS = Path(__file__).parents[2] / "config" / "plans"
H, M = timedelta(hours=1), timedelta(minutes=1)


def document(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any value may be tried
    """Build the shortest canary plan with these keys in its spec (`_` for a key that is to be left out)."""
    base: dict[str, Any] = {"target": {"namespace": "shop", "stable": "orders"}, "image": "orders:2.14"}
    base.update(spec)
    return {"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": "orders"}, "spec": base}


def canary(**spec: Any) -> CanaryPlan:  # noqa: ANN401 - as document
    plan = plan_of(document(**spec))
    assert isinstance(plan, CanaryPlan)
    return plan


def keys_of(document_: object) -> list[str]:
    """Give the keys that are complained about."""
    plan, located = check_document(document_)
    assert plan is None
    return [entry.problem.key for entry in located]


def test_the_defaults_are_the_documented_procedure() -> None:
    spec = canary().spec
    assert (spec.replicas.initial, spec.replicas.max, spec.replicas.step, spec.replicas.every) == (1, 3, 1, 6 * H)
    assert (spec.soak, spec.max_soak, spec.initial_share, spec.max_share) == (24 * H, 72 * H, 0.10, 0.25)
    assert (spec.promotion.pace, spec.promotion.watch) == (7 * M, 60 * M)
    assert (spec.max_blind, spec.max_partly_blind, spec.warm_up, spec.start_deadline) == (30 * M, 2 * H, 3 * M, 10 * M)
    assert spec.mode is Mode.ENFORCE
    assert not spec.approvals.before_promotion


def test_names_that_are_left_out_follow_the_stable_deployment() -> None:
    assert canary().target == Target("default", "shop", "orders", "orders", "orders-canary", "orders")


def test_identity_does_not_depend_on_order_spelling_or_defaults_written_out() -> None:
    short = canary()
    spelled = canary(
        soak="1d",
        replicas={"max": 3, "every": "360m"},
        approvals={},
        maxShare="25.0%",
        notify=[],
        target={"stable": "orders", "namespace": "shop", "canary": "orders-canary", "cluster": "default"},
    )
    assert spelled.hash() == short.hash()
    assert len(short.hash()) == 64
    assert canary(image="orders:2.15").hash() != short.hash()
    assert canary(description="x").hash() != short.hash()


def test_a_preset_by_name_and_as_a_map_is_the_same_plan() -> None:
    assert canary(signals=["apisix-5xx"]).hash() == canary(signals=[{"preset": "apisix-5xx", "kOfN": "3 of 5"}]).hash()
    assert canary(signals=["apisix-5xx"]).hash() != canary(signals=[{"preset": "apisix-5xx", "kOfN": "2 of 5"}]).hash()


def test_a_stored_plan_is_read_back_as_it_was() -> None:
    plan = canary(signals=[{"preset": "apisix-latency", "limit": "800ms"}], maxShare="12.5%", soak="25h30m")
    again = plan_of(json.loads(plan.canonical()))
    assert again == plan
    assert again.hash() == plan.hash()


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        canary().spec.replicas.max = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"soak": "80h"}, "spec.maxSoak"),
        ({"replicas": {"max": 20}}, "spec.maxSoak"),
        ({"replicas": {"initial": 4}}, "spec.replicas.initial"),
        ({"initialShare": "30%"}, "spec.initialShare"),
        ({"initialShare": "0%"}, "spec.initialShare"),
        ({"maxBlind": "3h"}, "spec.maxPartlyBlind"),
        ({"supersedeBy": "adopt"}, "spec.supersedeBy"),
        ({"promotion": {"pace": "30m"}}, "spec.promotion.progressDeadline"),
        ({"target": {"namespace": "shop", "stable": "orders", "canary": "orders"}}, "spec.target.canary"),
        ({"target": {"namespace": "Shop", "stable": "orders"}}, "spec.target.namespace"),
        ({"target": {"namespace": "shop", "stable": "orders\n"}}, "spec.target.stable"),
        ({"signals": ["apisix-5xx", "apisix-5xx"]}, "spec.signals"),
        ({"notify": ["chat", "chat"]}, "spec.notify"),
        ({"mode": None}, "spec.mode"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(spec: dict[str, Any], key: str) -> None:
    assert keys_of(document(**spec)) == [key]


def test_contradictions_in_several_places_are_told_together() -> None:
    keys = keys_of(document(replicas={"initial": 5}, promotion={"pace": "1h"}, signals=["nothing-like-it"]))
    assert keys == ["spec.replicas.initial", "spec.promotion.progressDeadline", "spec.signals[0].preset"]


def test_what_was_refused_says_everything_in_one_exception() -> None:
    with pytest.raises(Refused) as caught:
        plan_of(document(soak="x", image="orders", sok=1))
    assert [p.key for p in caught.value.problems] == ["spec.image", "spec.soak", "spec.sok"]


@pytest.mark.parametrize("head", [None, [], "x", {}, {"kind": "Canary"}, {"kind": None, "apiVersion": 1}, {"kind": {}}])
def test_no_head_of_a_document_is_a_surprise(head: object) -> None:
    assert keys_of(head)


def test_the_schema_knows_every_key_and_writes_defaults_as_plans_do() -> None:
    schema = plan_json_schema()
    spec = schema["$defs"]["CanarySpec"]
    fields = {field.alias for field in CanaryPlan.model_fields["spec"].annotation.model_fields.values()}  # type: ignore[union-attr]
    assert set(spec["properties"]) == fields
    assert spec["properties"]["maxShare"]["default"] == "25%"
    assert spec["properties"]["soak"]["default"] == "24h"
    assert schema["$defs"]["Announce"]["properties"]["offsets"]["default"] == ["72h", "24h", "1h", "10m"]
    assert spec["additionalProperties"] is False
    json.dumps(schema)


def fits(value: Any, schema: Any, root: dict[str, Any]) -> bool:  # noqa: ANN401, C901 - any JSON; a validator is one table of kinds
    """Check the part of JSON Schema that the schema of plans uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return any(fits(value, option, root) for option in schema[key])
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    match schema.get("type"):
        case "object":
            extra = schema.get("additionalProperties", True)
            known = schema.get("properties", {})
            return (
                isinstance(value, dict)
                and set(schema.get("required", ())) <= set(value)
                and all(fits(v, known.get(k, extra), root) if known.get(k, extra) not in (True, False) else k in known or extra
                        for k, v in value.items())
            )  # fmt: skip
        case "array":
            return isinstance(value, list) and all(fits(item, schema["items"], root) for item in value)
        case "string":
            return isinstance(value, str) and re.search(schema.get("pattern", ""), value) is not None
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "number":
            return isinstance(value, (int, float))
        case "null":
            return value is None
        case kind:
            return kind is None


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_accepts_every_example_and_no_key_beside(path: Path) -> None:
    schema = plan_json_schema()
    example = read_yaml(path.read_bytes(), path.name).value
    assert isinstance(example, dict)
    assert fits(example, schema, schema)
    assert not fits({**example, "spec": {**example["spec"], "sok": "1h"}}, schema, schema)
    assert not fits({**example, "spec": {**example["spec"], "image": 1, "targets": [1]}}, schema, schema)
    assert not fits({**example, "kind": "Other"}, schema, schema)


spans = st.integers(24, 72).map(lambda h: f"{h}h")


@given(soak=spans, step=st.integers(1, 2), share=st.integers(10, 25), blind=st.integers(1, 120), rest=st.randoms())
def test_any_order_of_keys_is_the_same_plan(soak: str, step: int, share: int, blind: int, rest: Any) -> None:  # noqa: ANN401 - Random
    one = document(soak=soak, replicas={"step": step, "max": 3}, maxShare=f"{share}%", maxBlind=f"{blind}m")
    items = list(copy.deepcopy(one)["spec"].items())
    rest.shuffle(items)
    other = {**one, "spec": dict(items)}
    assert plan_of(one).canonical() == plan_of(other).canonical()
