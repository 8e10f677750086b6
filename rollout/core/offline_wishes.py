"""What people ask of an offline rollout, and what each step can answer: cancel, abort, rollback, open, extend, acknowledge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from rollout.core.commands import Command, Verb
from rollout.core.decision import Move, Scene, Tell, Wait
from rollout.core.history import NoticeKind, Outcome
from rollout.core.offline_facts import memory_of, remember, when, window_end
from rollout.core.offline_wishes_end import ended_untouched
from rollout.core.quantities import format_duration, parse_duration
from rollout.core.signals import Unreachable
from rollout.core.state import Ended, HoldKind, Reason, State
from rollout.core.state_offline import (
    Announcing,
    Asked,
    Assessing,
    BackStage,
    Deciding,
    OpeningGate,
    RollingBack,
    Undoing,
    WatchingOpen,
    Wish,
)
from rollout.core.steps import offline_open, offline_retreat, offline_watch
from rollout.core.wording import moment

WISHES = {Verb.CANCEL: Wish.CANCEL, Verb.ROLLBACK: Wish.ROLLBACK, Verb.OPEN: Wish.OPEN}
OPEN_ALREADY = "the gate is being opened or open already: from here the database is never restored"


def take(state: State, commands: Sequence[Command]) -> State:
    """Remember what was asked; the step answers in the same decision."""
    for command in commands:
        if command.verb is Verb.ACKNOWLEDGE:
            state = remember(state, acknowledged=command.actor)
        elif command.verb is Verb.EXTEND and isinstance(state.step, OpeningGate | WatchingOpen):
            state = remember(state, asked=Asked(Wish.EXTEND, command.actor, command.reason))
        elif command.verb is Verb.EXTEND:
            state = remember(state, extended=memory_of(state).extended + _by(command))
        elif command.verb in WISHES:
            state = remember(state, asked=Asked(WISHES[command.verb], command.actor, command.reason))
    return state


def _by(command: Command) -> timedelta:
    """Read `by`; what cannot be read adds nothing (the command line has refused it already)."""
    try:
        return parse_duration(command.argument("by"))
    except Exception:  # noqa: BLE001 - pydantic's own error type; a wrong word in a row must not stop the rollout
        return timedelta()


def waits(scene: Scene, state: State) -> tuple[Wait, ...]:
    """List what keeps an offline rollout from going forward, whatever its step."""
    return tuple(_waits(scene, state))


def _waits(scene: Scene, state: State) -> Iterator[Wait]:
    if state.paused is not None:
        because = f": {state.paused.reason}" if state.paused.reason else ""
        why = f"paused by {state.paused.actor}{because}"
        yield Wait(HoldKind.PAUSED, why, "`rollout resume` goes on; a closed gate is guarded all the same, and the window runs.")
    action = offline_retreat.LEAVES if isinstance(state.step, RollingBack) else ""
    for view in (scene.seen.view, *scene.seen.others):
        if isinstance(view, Unreachable):
            yield Wait(HoldKind.CLUSTER_UNSEEN, f"the cluster cannot be seen: {view.why}", action)
            break
        if view.stable is None:
            yield Wait(HoldKind.CLUSTER_UNSEEN, f"there is no Deployment {view.target}", action)
            break


def answered(scene: Scene, state: State, stop: Reason | None) -> Move | None:
    """Answer a wish (or an abort); None where nobody asked for anything."""
    asked = memory_of(state).asked
    if stop is None and asked is None:
        return None
    state = remember(state, asked=None)
    if why := impossible(state, None if stop is not None or asked is None else asked.wish):
        return _not(scene, state, why)
    match state.step:
        case Assessing() | Announcing():
            return _before(scene, state, stop, asked)
        case WatchingOpen() as watch:
            return _watched(scene, state, watch, stop)
        case RollingBack():
            return _going_back(scene, state, state.step, stop, asked)
        case _:
            return _closed(scene, state, stop, asked)


def impossible(state: State, wish: Wish | None) -> str:
    """Say why a step cannot do what was asked (None: to abort); empty where it can."""
    match state.step:
        case Assessing() | Announcing():
            return "the gate has not been closed" if wish is Wish.OPEN else ""
        case Undoing() as undoing:
            return _impossible_when_undoing(undoing, wish)
        case OpeningGate():
            return f"{OPEN_ALREADY}; a hotfix goes with --follows when it is open"
        case WatchingOpen(ends_as=Outcome.SUCCEEDED):
            return f"{OPEN_ALREADY}; `rollout abort` ends the watch, a hotfix goes with --follows" if wish is not None else ""
        case WatchingOpen():
            return f"{OPEN_ALREADY}; it ends by itself in a few minutes"
        case RollingBack(stuck="") as back:
            return (
                "" if offline_retreat.waits_long(state) and wish is None else f"it is on its way back already ({back.stage.value})"
            )
        case RollingBack() as back:
            return _impossible_when_stuck(back, wish)
        case Deciding(origin="tests"):
            return ""
        case _:
            return "a half upgraded service is never opened; `rollout rollback` goes back" if wish is Wish.OPEN else ""


def _impossible_when_stuck(step: RollingBack, wish: Wish | None) -> str:
    if wish is Wish.CANCEL:
        words = "`rollout rollback` tries the way back again, `rollout abort` ends it with the gate closed"
        return f"there is nothing left to cancel, it is stuck on its way back: {words}"
    half = wish is Wish.OPEN and step.stage is not BackStage.TEST
    return f"a half restored service is never opened: {step.stuck}" if half else ""


def _impossible_when_undoing(step: Undoing, wish: Wish | None) -> str:
    if wish is Wish.OPEN:
        return "" if step.problem else "what was quiesced is being undone; after that it is opened"
    if step.ends_as is Outcome.SUCCEEDED:
        return ""
    ways = "; `rollout approve` tries the undo hook again, `rollout open` opens without it" if step.problem else ""
    return f"the old version runs and has passed its tests, the gate is about to be opened{ways}"


def _before(scene: Scene, state: State, stop: Reason | None, asked: Asked | None) -> Move:
    if stop is not None:
        return ended_untouched(scene, state, stop.ends_as, stop.why, stop.actor)
    assert asked is not None  # noqa: S101 - checked by the caller
    because = f": {asked.reason}" if asked.reason else ""
    return ended_untouched(scene, state, Outcome.CANCELLED, f"{asked.actor} cancelled it{because}", asked.actor)


def _not(scene: Scene, state: State, why: str) -> Move:
    item = Tell("not-possible", why, notice=NoticeKind.HELD, title=f"{scene.execution.target}: not done as asked")
    return Move(state, why, tells=(item,), wake_in=timedelta())


def _watched(scene: Scene, state: State, step: WatchingOpen, stop: Reason | None) -> Move:
    assert stop is not None  # noqa: S101 - nothing else can be asked of it
    assert step.ends_as is Outcome.SUCCEEDED  # noqa: S101 - after a way back not even that
    if offline_open.may_close_late(scene, state) and scene.now - state.entered_at < offline_open.LATE:
        until = moment(state.entered_at + offline_open.LATE)
        return _not(scene, state, f"a write that closes the gate may still be on its way: it is watched until {until}; then again")
    return offline_watch.ended_early(scene, state, stop)


def _going_back(scene: Scene, state: State, step: RollingBack, stop: Reason | None, asked: Asked | None) -> Move:
    if stop is not None:
        return offline_retreat.left_closed(scene, state, step, stop)
    if asked is not None and asked.wish is Wish.OPEN:
        why = f"{asked.actor} opens it although the old version's tests fail: {step.stuck}"
        return offline_open.begin(scene, state, step.ends_as, f"{step.why}; {why}", why, asked.actor)
    return offline_retreat.again(scene, state, step, asked.actor if asked is not None else "rollout")


def _closed(scene: Scene, state: State, stop: Reason | None, asked: Asked | None) -> Move:
    failed = isinstance(state.step, Deciding)
    if stop is not None:
        return offline_retreat.begin(scene, state, stop.why, stop.kind, Outcome.FAILED if failed else stop.ends_as, stop.actor)
    assert asked is not None  # noqa: S101 - checked by the caller
    because = f": {asked.reason}" if asked.reason else ""
    if asked.wish is Wish.OPEN and isinstance(state.step, Undoing):
        step, why = state.step, f"{asked.actor} opens it although {state.step.problem}{because}"
        return offline_open.opening(scene, state, step.ends_as, f"{step.why}; {why}", why, asked.actor)
    if asked.wish is Wish.OPEN:
        assert isinstance(state.step, Deciding)  # noqa: S101 - nothing else can be opened as it is
        why = f"{asked.actor} opens it although {state.step.problem}{because}"
        return offline_open.begin(scene, state, Outcome.SUCCEEDED, why, why, asked.actor)
    ends = Outcome.FAILED if failed else Outcome.ABORTED
    return offline_retreat.begin(scene, state, f"{asked.actor} asked for the way back{because}", "rollback", ends, asked.actor)


def extension_told(scene: Scene, move: Move) -> Move:
    """Announce that the window was made longer, once for each time."""
    memory = memory_of(move.state)
    if memory.extended == memory.extended_told or isinstance(move.state.step, Ended):
        return move
    more = format_duration(memory.extended - memory.extended_told)
    why = f"the window is {more} longer, until {when(scene, window_end(scene, move.state))}"
    item = Tell("extended", why, notice=NoticeKind.ANNOUNCEMENT, title=f"{scene.execution.target}: {why}")
    return replace(move, state=remember(move.state, extended_told=memory.extended), tells=(*move.tells, item))
