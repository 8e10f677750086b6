"""Every kind of plan, and the way from a map to a plan: strict, with all problems at once, without reading a clock or a file.

Reading YAML is outside (adapters/planfile.py); what comes in here is maps, lists, texts and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pydantic import BaseModel, ValidationError

from rollout.core.errors import Problem, Refused
from rollout.core.plan_base import API_VERSION, LENIENT
from rollout.core.plan_canary import CanaryPlan, Mode, SupersedeBy, compile_signals
from rollout.core.plan_draft import draft_of
from rollout.core.plan_errors import Located, explain, nearest, path_of, wrong_kind
from rollout.core.plan_offline import OfflinePlan

__all__ = ["API_VERSION", "KINDS", "CanaryPlan", "Check", "Mode", "OfflinePlan", "Plan", "SupersedeBy", "check_document",
           "compile_signals", "nothing", "plan_of", "stored_plan"]  # fmt: skip

Plan = CanaryPlan | OfflinePlan
KINDS: Mapping[str, type[CanaryPlan | OfflinePlan]] = {"Canary": CanaryPlan, "Offline": OfflinePlan}
DOCUMENT_KEYS = ("apiVersion", "kind", "metadata", "spec")
Check = Callable[[Plan], Iterable[Problem]]


def nothing(plan: Plan) -> Iterable[Problem]:
    """Find nothing wrong beyond what the file itself says."""
    del plan
    return ()


def check_document(document: object, check: Check = nothing) -> tuple[Plan | None, tuple[Located, ...]]:
    """Validate a document; either a plan and no problems, or no plan and every problem with its path.

    `check` says what else is wrong with a plan (the policy's limits, names that nobody knows). Where parts of the document cannot
    be read it is asked about the rest, which may contradict itself, and what it says of the parts that cannot is left out.
    """
    found = wrong_kind(document, tuple(KINDS), API_VERSION)
    if not isinstance(document, Mapping):
        return None, found
    if found:
        return None, _as_meant(document, found, check)
    model = KINDS[document["kind"]]
    try:
        plan = model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, (*_schema(error, model, document), *_rest(model, document, check))
    problems = tuple(Located(path_of(problem.key), problem) for problem in check(plan))
    return (None if problems else plan), problems


def _as_meant(document: Mapping[str, object], found: tuple[Located, ...], check: Check) -> tuple[Located, ...]:
    """Judge the rest of a document by the kind that was probably meant: a slip in its first lines hides nothing below them."""
    slips = (key for key in document if key not in DOCUMENT_KEYS and nearest(str(key), DOCUMENT_KEYS) == "kind")
    kind = document.get("kind" if "kind" in document else next(slips, ""))
    meant = nearest(kind, tuple(KINDS)) if isinstance(kind, str) else ""
    if not meant:
        return found
    _, rest = check_document({**document, "kind": meant}, check)
    said = {one.path for one in found}
    return (*found, *(one for one in rest if one.path not in said))


def _schema(error: ValidationError, model: type[BaseModel], document: object) -> tuple[Located, ...]:
    """Say what a value by itself is wrong; what contradicts what is told of the draft."""
    return explain(error, model, document, without=("contradictions",))


def _rest(model: type[BaseModel], document: Mapping[str, object], check: Check) -> tuple[Located, ...]:
    draft, plan = draft_of(model, document)
    if not isinstance(plan, CanaryPlan | OfflinePlan):
        return ()
    return tuple(dict.fromkeys((*draft.contradictions(plan), *draft.readable(check(plan)))))


def stored_plan(document: object) -> Plan:
    """Make a plan of a document that was accepted before: a rule that a later version adds strands no rollout. Raises Refused."""
    problems = wrong_kind(document, tuple(KINDS), API_VERSION)
    if not problems and isinstance(document, Mapping):
        model = KINDS[document["kind"]]
        try:
            return model.model_validate(document, by_alias=True, by_name=False, context=LENIENT)
        except ValidationError as error:
            problems = explain(error, model, document)
    raise Refused("the stored plan cannot be read", tuple(located.problem for located in problems))


def plan_of(document: object) -> Plan:
    """Make a plan of a document (for example a stored one). Raises Refused with every problem."""
    plan, problems = check_document(document)
    if plan is None:
        raise Refused("the plan is not valid", tuple(located.problem for located in problems))
    return plan
