"""What people's commands do to a rollout, before anything else is looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rollout.core.commands import Command, Verb
from rollout.core.decision import Tell, step_name
from rollout.core.history import Outcome
from rollout.core.replacing import replace
from rollout.core.state import Approval, Certifying, HoldKind, Paused, Promoting, Reason, Retreating, State, Watching
from rollout.core.state_offline import Announcing, ClosingGate, Deciding, OpeningGate, RollingBack, Undoing, WatchingOpen
from rollout.core.wording import step_words


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


def rule(state: State, commands: Sequence[Command]) -> Ruling:
    """Apply every command in order; one that makes no sense now is recorded as such, and never lost without a word."""
    ruling = Ruling(state)
    for command in commands:
        ruling = _one(ruling, command)
    return ruling


def moot(state: State, command: Command) -> str:
    """Say why a command changes nothing in this state; empty where it does, or where only a step can tell."""
    match command.verb:
        case Verb.PAUSE if isinstance(state.step, Retreating):
            return "it is stepping back, which nothing pauses"
        case Verb.PAUSE if state.paused is not None:
            because = f": {state.paused.reason}" if state.paused.reason else ""
            return f"it is paused already, by {state.paused.actor}{because}"
        case Verb.RESUME if state.paused is None:
            return "it is not paused"
        case Verb.APPROVE if not _asks(state, {hold.kind for hold in state.holds}):
            return f"it is {step_words(step_name(state))} and asks nobody: approve again when it does"
        case Verb.ABORT | Verb.SUPERSEDE if isinstance(state.step, Retreating):
            return "it is already stepping back"
        case _:
            return ""


def _one(ruling: Ruling, command: Command) -> Ruling:
    state = ruling.state
    because = command.because
    if why := moot(state, command):
        return _with(ruling, state, command, f"{command.actor} asked to {command.verb.value}{because}; {why}")
    match command.verb:
        case Verb.PAUSE:
            paused = Paused(command.actor, command.reason, command.at)
            why = f"{command.actor} paused it{because}; watching goes on, and stepping back"
            return _with(ruling, replace(state, paused=paused), command, why)
        case Verb.RESUME:
            return _with(ruling, replace(state, paused=None), command, f"{command.actor} resumed it{because}")
        case Verb.APPROVE:
            unproven = bool({hold.kind for hold in state.holds} & {HoldKind.EVIDENCE, HoldKind.OVERDUE})
            approval = Approval(command.actor, command.reason, command.at, unproven)
            return _with(ruling, replace(state, approval=approval), command, f"{command.actor} approved{because}")
        case Verb.ABORT | Verb.SUPERSEDE:
            adopt = command.argument("by") == "adopt" and isinstance(state.step, Promoting | Watching)
            kind = "superseded-adopt" if adopt else command.verb.value
            reason = Reason(f"{command.actor} {_DONE[command.verb]}{because}", kind, Outcome.ABORTED, command.actor)
            return replace(_with(ruling, state, command, reason.why), stop=ruling.stop or reason)
        case _:
            return replace(_with(ruling, state, command, f"{command.actor}: {command.verb.value}{because}"),
                           pending=(*ruling.pending, command))  # fmt: skip


_DONE = {
    Verb.PAUSE: "paused it",
    Verb.RESUME: "resumed it",
    Verb.APPROVE: "approved",
    Verb.ABORT: "aborted it",
    Verb.SUPERSEDE: "superseded it",
}


def _asks(state: State, held: Collection[HoldKind]) -> bool:
    """Say whether the step waits, or may wait in this look, for something that a person's approval answers."""
    match state.step:
        case Certifying() | Deciding():
            return True
        case Watching():
            return HoldKind.OVERDUE in held
        case Announcing():
            return HoldKind.UNANNOUNCED in held
        case ClosingGate() | OpeningGate() | WatchingOpen():
            return HoldKind.GATE in held
        case RollingBack(stuck=problem) | Undoing(problem=problem):
            return bool(problem)
        case _:
            return False


def _with(ruling: Ruling, state: State, command: Command, why: str) -> Ruling:
    item = Tell(f"command-{command.verb.value}", why, actor=command.actor)
    return replace(ruling, state=state, tells=(*ruling.tells, item))
