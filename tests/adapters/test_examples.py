"""The examples that ship are plans, and say everything that a plan can say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from rollout.adapters.planfile import load_planfile
from rollout.core.plan import CanaryPlan, OfflinePlan
from rollout.core.plan_canary import CanarySpec
from rollout.core.plan_gate import Gate
from rollout.core.plan_offline import OfflineSpec
from rollout.core.plan_signals import SignalSpec
from rollout.core.policy import Policy

PLANS = Path(__file__).parents[2] / "config" / "plans"
FULL = (PLANS / "canary-full.yaml").read_text(encoding="utf-8")
OFFLINE = (PLANS / "offline-postgresql.yaml").read_text(encoding="utf-8") + (PLANS / "offline-mysql.yaml").read_text(
    encoding="utf-8"
)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_plan_that_the_default_policy_allows(path: Path) -> None:
    plan = load_planfile(path).plan
    assert Policy().check(plan) == ()
    if isinstance(plan, OfflinePlan):
        assert plan.problems_at(plan.spec.window.starts_at - timedelta(days=4)) == ()


def test_the_full_example_changes_nothing_but_what_it_is_about() -> None:
    plan = load_planfile(PLANS / "canary-full.yaml").plan
    assert isinstance(plan, CanaryPlan)
    said = set(plan.as_document()["spec"])
    assert said == {"target", "image", "description", "approvals", "signals", "notify", "timezone"}


@pytest.mark.parametrize("model", [CanarySpec, SignalSpec])
def test_the_full_example_names_every_key_of_a_canary_plan(model: type[BaseModel]) -> None:
    assert [field.alias for field in model.model_fields.values() if f"{field.alias}:" not in FULL] == []


@pytest.mark.parametrize("model", [OfflineSpec, Gate])
def test_the_offline_examples_name_every_key_but_the_rare(model: type[BaseModel]) -> None:
    rare = {"follows", "service", "pluginConfig", "allowConsumers"}
    assert {field.alias for field in model.model_fields.values() if f"{field.alias}:" not in OFFLINE} <= rare
