"""What people's commands do to a rollout, before anything else is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.commands import Command, Verb
from rollout.core.decision import Scene, Tell, step_name
from rollout.core.history import Outcome
from rollout.core.replacing import replace
from rollout.core.state import (
    Approval,
    Ended,
    HoldKind,
    Observing,
    Paused,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Retreating,
    Soaking,
    Starting,
    State,
    Watching,
)

NEVER_ASKS = (Preflight, Starting, Soaking, Promoting, Retiring, Observing)
"""Steps of a canary that wait for nobody's approval."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the commands led to: the state after them, what to tell, and a reason to step back where somebody asked for it.

    `leave_stable`: the stable is kept as it is although promotion had begun (supersede by adopt). `pending`: commands that only
    a step understands (extend, acknowledge, ...).
    """

    state: State
    tells: tuple[Tell, ...] = ()
    stop: Reason | None = None
    pending: tuple[Command, ...] = ()


def rule(scene: Scene, state: State, commands: Sequence[Command]) -> Ruling:
    """Apply every command in order; one that makes no sense now is recorded as such, and never lost without a word."""
    del scene
    ruling = Ruling(state)
    for command in commands:
        ruling = _one(ruling, command)
    return ruling


def too_late(step: Ended, commands: Sequence[Command]) -> tuple[Tell, ...]:
    """Tell of commands that found the rollout at rest: they change nothing, and stand in history all the same."""
    return tuple(
        Tell(f"command-{command.verb.value}", f"{command.actor} asked to {command.verb.value}{_because(command)}; "
             f"it had ended already ({step.outcome.value})", actor=command.actor)
        for command in commands
    )  # fmt: skip


def _because(command: Command) -> str:
    return f": {command.reason}" if command.reason else ""


def _one(ruling: Ruling, command: Command) -> Ruling:
    state = ruling.state
    because = _because(command)
    match command.verb:
        case Verb.PAUSE:
            paused = Paused(command.actor, command.reason, command.at)
            why = f"{command.actor} paused it{because}; watching goes on, and stepping back"
            return _with(ruling, replace(state, paused=paused), command, why)
        case Verb.RESUME:
            return _with(ruling, replace(state, paused=None), command, f"{command.actor} resumed it{because}")
        case Verb.APPROVE:
            return _approve(ruling, command, because)
        case Verb.ABORT | Verb.SUPERSEDE:
            if isinstance(state.step, Retreating):
                return _with(ruling, state, command, f"{command.actor} aborted it{because}; it is already stepping back")
            adopt = command.argument("by") == "adopt" and isinstance(state.step, Promoting | Watching)
            kind = "superseded-adopt" if adopt else command.verb.value
            verb = "aborted it" if command.verb is Verb.ABORT else "superseded it"
            reason = Reason(f"{command.actor} {verb}{because}", kind, Outcome.ABORTED, command.actor)
            return replace(_with(ruling, state, command, reason.why), stop=ruling.stop or reason)
        case _:
            return replace(_with(ruling, state, command, f"{command.actor}: {command.verb.value}{because}"),
                           pending=(*ruling.pending, command))  # fmt: skip


def _approve(ruling: Ruling, command: Command, because: str) -> Ruling:
    """Take an approval where a step of the canary asks for one; a word given in advance approves nothing that was not seen."""
    state = ruling.state
    asked = {hold.kind for hold in state.holds}
    nothing_asked = isinstance(state.step, NEVER_ASKS) or (isinstance(state.step, Watching) and HoldKind.OVERDUE not in asked)
    if nothing_asked:
        why = f"{command.actor} approved{because}; it is {step_name(state)} and asks nobody: approve again when it does"
        return _with(ruling, state, command, why)
    unproven = bool(asked & {HoldKind.EVIDENCE, HoldKind.OVERDUE})
    approval = Approval(command.actor, command.reason, command.at, unproven)
    return _with(ruling, replace(state, approval=approval), command, f"{command.actor} approved{because}")


def _with(ruling: Ruling, state: State, command: Command, why: str) -> Ruling:
    item = Tell(f"command-{command.verb.value}", why, actor=command.actor)
    return replace(ruling, state=state, tells=(*ruling.tells, item))
