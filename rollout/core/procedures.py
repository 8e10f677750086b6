"""The procedures as data: which step comes first, how a look is absorbed, and the ladder of what is asked in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rollout.core import canary
from rollout.core.commands import Command
from rollout.core.decision import Move, Scene
from rollout.core.findings import Findings
from rollout.core.plan import CanaryPlan, Plan
from rollout.core.state import Reason, State, Step


@dataclass(frozen=True, slots=True)
class Procedure:
    """One documented procedure. `ladder` gets the reason for stepping back that a command gave, if any."""

    first: Callable[[Plan], tuple[Step, timedelta]]
    absorb: Callable[[Scene, State], tuple[State, Findings]]
    ladder: Callable[[Scene, State, Findings, Reason | None], Move]
    obey: Callable[[State, Sequence[Command]], State] = lambda state, _: state
    """Take in the commands that only this procedure understands."""


CANARY = Procedure(canary.first, canary.absorb, canary.ladder)


def procedure_of(plan: Plan) -> Procedure:
    """Choose the procedure that a plan describes."""
    if isinstance(plan, CanaryPlan):
        return CANARY
    from rollout.core import offline  # noqa: PLC0415 - a canary's daemon does not pay for it

    return Procedure(offline.first, offline.absorb, offline.ladder, offline.obey)
