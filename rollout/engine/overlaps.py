"""Which active rollouts have a hand in a plan's targets. The database keeps one rollout to a first target; a plan may have more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime

from rollout.core.errors import Problem, RolloutError
from rollout.core.history import Outcome
from rollout.core.plan import CanaryPlan, OfflinePlan, Plan, stored_plan
from rollout.core.plan_gate import Gate
from rollout.core.wording import moment, placed
from rollout.ports import RolloutFilter, RolloutRow, Store

MOST = 10_000


def overlapping(store: Store, plan: Plan, *, but: str = "") -> tuple[Problem, ...]:
    """List the targets that another active rollout works on; the one called `but`, and those of this very plan, are its own.

    A first target that is another's first target is left to the database, which refuses it in one transaction.
    """
    mine = {f"{target.cluster}/{target}" for target in plan.targets}
    first = f"{plan.target.cluster}/{plan.target}"
    problems = []
    for row in store.rollouts(RolloutFilter(outcomes=(Outcome.ACTIVE,), limit=MOST)):
        own = row.id == but or (row.plan_name, row.plan_hash) == (plan.name, plan.hash())
        canaries = row.kind == "Canary" and isinstance(plan, CanaryPlan)
        if own or canaries or f"{row.cluster}/{row.target}" == first:
            continue
        if shared := mine.intersection(_targets(store, row)):
            words = f"rollout {row.id} is active on {', '.join(placed(*key.split('/', 1)) for key in sorted(shared))}"
            problems.append(Problem(words, key="spec.targets", remedy="wait for its end, or abort it"))
    return tuple(problems)


def gates_shared(
    store: Store, plan: Plan, now: datetime, *, but: str = "", same: Callable[[Gate], str] | None = None
) -> tuple[Problem, ...]:
    """List the active maintenances that close this plan's gate in its window: each would put back what the other wrote.

    `same` names the object of another's gate where it is this plan's; by default both plans must word it alike. One that has begun
    keeps its gate until it has ended, however late that is.
    """
    if not isinstance(plan, OfflinePlan):
        return ()
    gate, window = plan.spec.gate, plan.spec.window
    named = same or (lambda theirs: str(gate.target) if theirs.target == gate.target else "")
    problems = []
    for row in store.rollouts(RolloutFilter(outcomes=(Outcome.ACTIVE,), limit=MOST)):
        own = row.id == but or (row.plan_name, row.plan_hash) == (plan.name, plan.hash())
        other = _plan(store, row) if row.kind != "Canary" and not own else None
        if not isinstance(other, OfflinePlan) or other.spec.gate.gateway != gate.gateway:
            continue
        begins, ends = other.spec.window.starts_at, other.spec.window.ends_at
        together = begins < window.ends_at and (begins <= now or window.starts_at < ends)
        if together and (what := named(other.spec.gate)):
            words = (
                f"rollout {row.id} closes {what} from {moment(begins)} to {moment(ends)}: each would put back what the other wrote"
            )
            problems.append(Problem(words, key="spec.gate", remedy="one after the other, or one plan with both targets"))
    return tuple(problems)


def _targets(store: Store, row: RolloutRow) -> Iterator[str]:
    yield f"{row.cluster}/{row.target}"
    plan = _plan(store, row) if row.kind != "Canary" else None
    for target in plan.targets if plan is not None else ():
        yield f"{target.cluster}/{target}"


def _plan(store: Store, row: RolloutRow) -> Plan | None:
    """Read a rollout's plan; None where a newer version wrote it: its first target is known, more cannot be."""
    stored = store.plan(row.plan_name, row.plan_hash)
    if stored is None:
        return None
    try:
        return stored_plan(json.loads(stored.document))
    except (RolloutError, ValueError):
        return None
