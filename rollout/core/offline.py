"""The offline procedure: what is asked at every look, in which order.

The gate is guarded first, in every step in which it may be closed, and with nothing but memory: a database that is away opens
no gate. Then a person's wish to go back, then the last moment for it, and only then the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from rollout.core import offline_guard, offline_late, offline_wishes
from rollout.core.commands import Command
from rollout.core.decision import Move, Scene, Wait
from rollout.core.evidence import Summary
from rollout.core.findings import Findings
from rollout.core.plan import Plan
from rollout.core.state import Ended, Reason, State, Step
from rollout.core.state_offline import (
    Announcing,
    Assessing,
    BackingUp,
    ClosingGate,
    Deciding,
    Migrating,
    OfflineMemory,
    OpeningGate,
    RollingBack,
    Stopping,
    Testing,
    Undoing,
    Upgrading,
    WatchingOpen,
)
from rollout.core.steps import (
    offline_announce,
    offline_assess,
    offline_backup,
    offline_close,
    offline_decide,
    offline_migrate,
    offline_open,
    offline_retreat,
    offline_stop,
    offline_test,
    offline_undo,
    offline_upgrade,
    offline_watch,
)

StepFunction = Callable[[Scene, State, tuple[Wait, ...]], Move]

STEPS: dict[type[Step], StepFunction] = {
    Assessing: offline_assess.decide,
    Announcing: offline_announce.decide,
    ClosingGate: offline_close.decide,
    Stopping: offline_stop.decide,
    BackingUp: offline_backup.decide,
    Migrating: offline_migrate.decide,
    Upgrading: offline_upgrade.decide,
    Testing: offline_test.decide,
    Deciding: offline_decide.decide,
    RollingBack: offline_retreat.decide,
    Undoing: offline_undo.decide,
    OpeningGate: offline_open.decide,
    WatchingOpen: offline_watch.decide,
}
"""The steps in their order. A new one is a file and a line."""

ASSESS_DEADLINE = timedelta(minutes=15)


def first(plan: Plan) -> tuple[Step, timedelta]:
    """Begin with the checks and the report; they must be answered within a quarter of an hour."""
    del plan
    return Assessing(), ASSESS_DEADLINE


def absorb(scene: Scene, state: State) -> tuple[State, Findings]:
    """Take in what was seen: an offline rollout is judged by its tests, so there are no signals."""
    del scene
    kept = state if state.offline is not None else replace(state, offline=OfflineMemory())
    return kept, Findings(None, Summary((), (), (), (), (), (), 0))


def obey(state: State, commands: Sequence[Command]) -> State:
    """Take in the commands that only this procedure understands."""
    return offline_wishes.take(state, commands)


def ladder(scene: Scene, state: State, found: Findings, stop: Reason | None) -> Move:
    """Ask in order: a person's wish? the last moment for a way back? reasons to wait? else the step; the gate is guarded always."""
    del found
    before, state = state, offline_guard.breach_taken(scene, state)
    waits = offline_wishes.waits(scene, state)
    move = offline_wishes.answered(scene, state, stop)
    if move is None:
        move = offline_decide.last_moment(scene, state)
    if move is None:
        move = STEPS[type(state.step)](scene, state, waits)
        move = replace(move, holds=(*waits, *offline_decide.too_late(scene, state), *move.holds))
    if isinstance(move.state.step, Ended):
        return move
    return offline_guard.guarded(scene, before, offline_late.overrun_told(scene, offline_wishes.extension_told(scene, move)))
