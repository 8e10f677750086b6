"""From rows to what the engine works with: states decoded, plans parsed and compiled."""

from __future__ import annotations

import json

from rollout.core.decision import Execution
from rollout.core.errors import Refused
from rollout.core.plan import CanaryPlan, stored_plan
from rollout.core.state import State
from rollout.ports import RolloutRow, Store
from rollout.store.codec import decode, encode


class StoredCodec:
    """Reads and writes states; reads plans from the store, once per content."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def state(self, text: str, row: str) -> State:
        """Read a state. Raises Undecodable."""
        return decode(State, text, row=f"rollout {row}")

    def text(self, state: State) -> str:
        """Write a state."""
        return encode(state)

    def execution(self, row: RolloutRow) -> Execution:
        """Read the plan of a rollout and compile it. Raises Refused when it is missing or cannot be read."""
        stored = self._store.plan(row.plan_name, row.plan_hash)
        if stored is None:
            raise Refused(f"rollout {row.id}: its plan {row.plan_name!r} ({row.plan_hash[:12]}) is not in the database")
        plan = stored_plan(json.loads(stored.document))
        signals = plan.signals if isinstance(plan, CanaryPlan) else ()
        return Execution(row.id, plan, signals, stored.submitted_by)
