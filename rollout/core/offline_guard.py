"""The guard of a closed gate: it is read again and again in the whole window, closed again where somebody opened it, and told.

It needs nothing but memory: with the database away the gate is guarded all the same, and history gets the rows afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait
from rollout.core.history import NoticeKind
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import memory_of, plan_in, remember, repeated, stable_of, views, writers
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import (
    BackingUp,
    BackStage,
    ClosingGate,
    Deciding,
    Migrating,
    RollingBack,
    Stopping,
    Testing,
    Undoing,
    Upgrading,
)
from rollout.core.wording import moment

EVERY = timedelta(seconds=10)
UNSEEN = timedelta(minutes=3)
QUIET = timedelta(minutes=10)
"""A gate that is opened again and again owes one notice in this time; history has every time."""
NAME = "guard"
GUARDED = (ClosingGate, Stopping, BackingUp, Migrating, Upgrading, Testing, Deciding, RollingBack, Undoing)


def is_guarded(state: State) -> bool:
    """Say whether the gate has to be closed now."""
    return isinstance(state.step, GUARDED) and memory_of(state).closed_at is not None


def guarded(scene: Scene, before: State, move: Move) -> Move:
    """Add the next look at the gate, and what the looks before have brought."""
    if not is_guarded(before) or not is_guarded(move.state):
        return move
    task = repeated(scene, "gate-guard", EVERY, name=NAME)
    state, tells = _told(scene, move.state)
    wake = EVERY if move.wake_in is None else min(EVERY, move.wake_in)
    holds = (*move.holds, *_unseen(scene, state))
    return replace(move, state=state, tasks=(*move.tasks, task), tells=(*move.tells, *tells), holds=holds, wake_in=wake)


def breach_taken(scene: Scene, state: State) -> State:
    """Remember that outsiders could reach pods of the new version: a restore that starts by itself could lose what they wrote."""
    if not _may_be_written(scene, state) or memory_of(state).breached:
        return state
    last = memory_of(state).guard_told
    found = next((r for r in _results(scene) if r.key > last and lets_in(r)), None)
    if found is None:
        return state
    words = f"the gate let somebody in at {moment(found.at)} while the new version ran: they may have written what the backup lacks"
    return remember(state, breached=words)


def lets_in(look: TaskResult) -> bool:
    """Say whether somebody from outside could pass until this look at the closed gate."""
    return not look.ok and look.facts.get("gate") in _LET_IN


_LET_IN = ("open", "moved", "followed")
"""What was closed where it was made anew had been open until then, for the first time or again."""


def _may_be_written(scene: Scene, state: State) -> bool:
    """Say whether a pod that outsiders reach may change a database that would be put back."""
    halting = isinstance(state.step, RollingBack) and state.step.stage is BackStage.HALT
    serving = halting or isinstance(state.step, Upgrading | Testing | Deciding | Undoing)
    if not serving or not is_guarded(state) or not memory_of(state).touched:
        return False
    seen = views(scene)
    if seen is None or writers(seen):
        return True
    plan = plan_in(scene.execution)  # of pods that are gone by now a look may still tell
    return halting and any(stable_of(v).images.get(v.target.container) == plan.image_of(v.target) for v in seen)


def _results(scene: Scene) -> list[TaskResult]:
    looks = (r for key, r in scene.seen.tasks.items() if key.rpartition("-")[0] == NAME and r.at <= scene.now)
    return sorted(looks, key=lambda r: r.key)


def _told(scene: Scene, state: State) -> tuple[State, tuple[Tell, ...]]:
    last = memory_of(state).guard_told
    found = [r for r in _results(scene) if r.key > last and r.state == "done" and not r.ok]
    if not found:
        return state, ()
    told = dict(state.told)
    tells: list[Tell] = []
    for result in found:
        state = _followed(state, result)
        gate = result.facts.get("gate", "")
        name = f"{NAME}-{gate}" if gate in _TITLES else NAME
        quiet = name in told and scene.now - told[name] < QUIET
        tells.append(_breach(scene, result, gate, quiet=quiet))
        if not quiet:
            told[name] = scene.now
    state = replace(state, told=tuple(sorted(told.items())))
    return remember(state, guard_told=found[-1].key), tuple(tells)


def _followed(state: State, result: TaskResult) -> State:
    """Write down what stands on an object that took the gate's place: with that in the row the next look closes it."""
    saved, known = result.facts.get("successor", ""), memory_of(state)
    if not saved or saved in known.successors:
        return state
    return remember(state, successors=(*known.successors, saved))


_TITLES = {
    "unknown": "the closed gate cannot be looked at",
    "moved": "the closed gate was made anew elsewhere",
    "followed": "the gate is closed again, where it was made anew",
}
_ACTIONS = {
    "unknown": "Look at the gateway: the object may have been deleted or made anew, or the key may have been changed.",
    "moved": "It is closed there within ten seconds, and later opened as found. Find out who makes the route anew, and stop that.",
    "followed": "It is opened as it was found. Find out who made the route anew: it must not happen again before that.",
}
_WHO = "Find out who writes it or leads past it (a controller, a sync, another route), and stop that."


def _breach(scene: Scene, result: TaskResult, gate: str, *, quiet: bool) -> Tell:
    """Word one look: somebody was or could have been let in, or nobody can say because the gate cannot be read any more."""
    return Tell(
        "gate-guard",
        result.why,
        notice=None if quiet else NoticeKind.GATE,
        title=f"{scene.execution.target}: {_TITLES.get(gate, 'the closed gate was not closed')}",
        next_action=result.facts.get("advice", "") or _ACTIONS.get(gate, _WHO),
        facts=tuple((key, result.facts[key]) for key in ("found", "successor") if key in result.facts),
        post_on=scene.execution.target.stable,
        warning=True,
    )


def _unseen(scene: Scene, state: State) -> tuple[Wait, ...]:
    closed = memory_of(state).closed_at
    seen = max((r.at for r in _results(scene) if r.state == "done"), default=closed)
    if seen is None or closed is None or scene.now - max(seen, closed, state.watched_since or closed) < UNSEEN:
        return ()
    why = "the closed gate cannot be looked at: the gateway's Admin API does not answer"
    return (Wait(HoldKind.GATE, why, "It is tried again every ten seconds; look at the gateway."),)
