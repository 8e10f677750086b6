"""How long restores took in earlier rollouts: what a plan hopes for gives way to what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.core.decision import Execution
from rollout.core.plan import OfflinePlan, Plan
from rollout.core.steps.offline_retreat import RESTORED
from rollout.ports import RolloutFilter, Store

LOOKED_AT = 20
"""The newest rollouts of a target whose history is read: databases grow, so what was measured long ago says little."""


@dataclass(frozen=True, slots=True)
class MeasuredRestore:
    """How long a restore took, in which rollout."""

    rollout: str
    took: timedelta


def with_measured_restore(store: Store, execution: Execution, before: datetime) -> Execution:
    """Give an offline rollout what earlier ones measured. `before`: its own submission, so that it never changes for it."""
    if not isinstance(execution.plan, OfflinePlan):
        return execution
    return replace(execution, earlier_restore=measured_restore(store, execution.plan, before))


def measured_restore(store: Store, plan: Plan, before: datetime) -> timedelta | None:
    """Tell the longest restore of the target's earlier rollouts, None where none was measured. Raises Unavailable."""
    longest = longest_restore(store, plan, before)
    return longest.took if longest is not None else None


def longest_restore(store: Store, plan: Plan, before: datetime) -> MeasuredRestore | None:
    """Find the longest restore of the target's earlier rollouts, and which of them it was. Raises Unavailable."""
    if not isinstance(plan, OfflinePlan) or plan.spec.restore is None:
        return None
    wanted = RolloutFilter(target=f"{plan.target.cluster}/{plan.target}", limit=LOOKED_AT)
    earlier = [row for row in store.rollouts(wanted) if row.kind == plan.kind and row.created_at < before and row.outcome.at_rest]
    found = (MeasuredRestore(row.id, took) for row in earlier for took in _restores(store, row.id))
    return max(found, key=lambda one: one.took, default=None)


def _restores(store: Store, rollout: str) -> Iterator[timedelta]:
    for row in store.history(rollout, limit=100_000):
        seconds = dict(row.event.facts).get("seconds", "") if row.event.kind == RESTORED else ""
        if seconds.isdigit():
            yield timedelta(seconds=int(seconds))
