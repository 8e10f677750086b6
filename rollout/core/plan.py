"""Every kind of plan, and the way from a map to a plan: strict, with all problems at once, without reading a clock or a file.

Reading YAML is outside (adapters/planfile.py); what comes in here is maps, lists, texts and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from rollout.core.errors import Refused
from rollout.core.plan_base import API_VERSION
from rollout.core.plan_canary import CanaryPlan, Mode, SupersedeBy, compile_signals
from rollout.core.plan_errors import Located, explain, wrong_kind
from rollout.core.plan_offline import OfflinePlan

__all__ = ["API_VERSION", "KINDS", "CanaryPlan", "Mode", "OfflinePlan", "Plan", "SupersedeBy", "check_document",
           "compile_signals", "plan_of"]  # fmt: skip

Plan = CanaryPlan | OfflinePlan
KINDS: Mapping[str, type[CanaryPlan | OfflinePlan]] = {"Canary": CanaryPlan, "Offline": OfflinePlan}


def check_document(document: object) -> tuple[Plan | None, tuple[Located, ...]]:
    """Validate a document; either a plan and no problems, or no plan and every problem with its path."""
    found = wrong_kind(document, tuple(KINDS), API_VERSION)
    if found or not isinstance(document, Mapping):
        return None, found
    model = KINDS[document["kind"]]
    try:
        return model.model_validate(document, by_alias=True, by_name=False), ()
    except ValidationError as error:
        return None, explain(error, model, document)


def plan_of(document: object) -> Plan:
    """Make a plan of a document (for example a stored one). Raises Refused with every problem."""
    plan, problems = check_document(document)
    if plan is None:
        raise Refused("the plan is not valid", tuple(located.problem for located in problems))
    return plan
