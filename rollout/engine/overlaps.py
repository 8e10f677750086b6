"""Which active rollouts have a hand in a plan's targets. The database keeps one rollout to a first target; a plan may have more."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rollout.core.errors import Problem, RolloutError
from rollout.core.history import Outcome
from rollout.core.plan import CanaryPlan, Plan, stored_plan
from rollout.core.wording import placed
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


def _targets(store: Store, row: RolloutRow) -> Iterator[str]:
    yield f"{row.cluster}/{row.target}"
    stored = store.plan(row.plan_name, row.plan_hash) if row.kind != "Canary" else None
    if stored is None:
        return
    try:
        for target in stored_plan(json.loads(stored.document)).targets:
            yield f"{target.cluster}/{target}"
    except (RolloutError, ValueError):
        return  # a newer version wrote it: its first target is known, more cannot be
