"""Reasons to wait: since when they stand, whether time is credited meanwhile, when people are told, and that they are over.

Nothing here stops the watching: a rollout that holds steps back as fast as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.decision import Move, Scene, Tell, Wait
from rollout.core.history import NoticeKind
from rollout.core.replacing import replace
from rollout.core.state import Ended, Hold, HoldKind, Retreating, State
from rollout.core.wording import span

QUIET = timedelta(hours=1)
"""A reason that comes and goes owes one notice in this time; history has every change."""
LONG = timedelta(minutes=5)
"""The end of a wait that lasted so long is told."""
REMIND = timedelta(hours=24)
"""Where a person is needed, the notice is owed again after this time."""
REMIND_CLOSED = timedelta(minutes=15)
"""The same while a service is kept from its users: every minute of it hurts."""


@dataclass(frozen=True, slots=True)
class HoldRule:
    """How one kind of hold behaves. `after`: how long it must stand before people are told."""

    credits: bool
    after: timedelta
    notice: NoticeKind = NoticeKind.HELD


_M = timedelta(minutes=1)
RULES = {
    HoldKind.PAUSED: HoldRule(credits=True, after=0 * _M),
    HoldKind.CLUSTER_UNSEEN: HoldRule(credits=False, after=2 * _M),
    HoldKind.FOREIGN_PAUSE: HoldRule(credits=False, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.DISPLACED: HoldRule(credits=False, after=0 * _M),
    HoldKind.SHARED_INCIDENT: HoldRule(credits=False, after=2 * _M),
    HoldKind.BLIND: HoldRule(credits=False, after=5 * _M),
    HoldKind.SUSPECT: HoldRule(credits=False, after=0 * _M),
    HoldKind.MISROUTED: HoldRule(credits=False, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.NOT_READY: HoldRule(credits=False, after=5 * _M),
    HoldKind.IDLE: HoldRule(credits=False, after=30 * _M),
    HoldKind.FROZEN: HoldRule(credits=True, after=0 * _M),
    HoldKind.SHARE: HoldRule(credits=True, after=0 * _M),
    HoldKind.APPROVAL: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.EVIDENCE: HoldRule(credits=True, after=0 * _M),
    HoldKind.WARMING: HoldRule(credits=False, after=30 * _M),
    HoldKind.OVERDUE: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.OBSERVED_FAILING: HoldRule(credits=False, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.ACKNOWLEDGEMENT: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.UNANNOUNCED: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.GATE: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.WORK: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.DECISION: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.STUCK: HoldRule(credits=True, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
    HoldKind.UNSAVED: HoldRule(credits=True, after=2 * _M),
    HoldKind.ALONE: HoldRule(credits=False, after=0 * _M, notice=NoticeKind.NEEDS_PERSON),
}
_DEADLINE_RUNS = frozenset(
    {HoldKind.OVERDUE, HoldKind.NOT_READY, HoldKind.APPROVAL, HoldKind.EVIDENCE, HoldKind.IDLE, HoldKind.WARMING}
)


CLOCK_STOPS = frozenset(HoldKind) - _DEADLINE_RUNS


def stop_the_clock(state: State) -> bool:
    """Say whether the step's deadline stands still: somebody or something else keeps the rollout from moving."""
    return any(hold.kind in CLOCK_STOPS for hold in state.holds)


def credit_is_due(waits: tuple[Wait, ...]) -> bool:
    """Say whether time counts as soaked although something is waited for."""
    return all(RULES[wait.kind].credits for wait in waits)


def settle(scene: Scene, move: Move) -> Move:
    """Remember the reasons to wait that this look found, tell those that have stood long enough and those that are over."""
    state = move.state
    if isinstance(state.step, Ended | Retreating):
        return replace(move, state=replace(state, holds=()))
    if not move.holds and not state.holds:
        return move
    known = {hold.kind: hold for hold in state.holds}
    kept: list[Hold] = []
    tells: list[Tell] = []
    told = dict(state.told)
    remind = _remind(state)
    for wait in move.holds:
        rule = RULES[wait.kind]
        hold = known.get(wait.kind) or Hold(wait.kind, wait.why, wait.since or scene.now)
        if hold.why != wait.why:
            hold = replace(hold, why=wait.why)
        if scene.now - hold.since >= rule.after and _owed(scene, hold, rule, told, remind):
            quiet = (last := told.get(wait.kind.value)) is not None and scene.now - last < min(QUIET, remind)
            tells.append(_held(scene, hold, wait, None if quiet else rule.notice))
            if not quiet:
                told[wait.kind.value] = scene.now
            hold = replace(hold, told=True)
        kept.append(hold)
    standing = {hold.kind for hold in kept}
    over = [hold for hold in state.holds if hold.kind not in standing and hold.told]
    going = any(tell.notice is not None for tell in move.tells)
    tells.extend(_over(scene, hold, told, kept, going=going) for hold in over)
    if not tells and tuple(kept) == state.holds:
        return move
    state = replace(state, holds=tuple(kept), told=tuple(sorted(told.items())))
    return replace(move, state=state, tells=(*move.tells, *tells))


def _remind(state: State) -> timedelta:
    closed = state.offline is not None and state.offline.closed_at is not None
    return REMIND_CLOSED if closed else REMIND


def _owed(scene: Scene, hold: Hold, rule: HoldRule, told: Mapping[str, datetime], remind: timedelta) -> bool:
    if not hold.told:
        return True
    if rule.notice is not NoticeKind.NEEDS_PERSON:
        return False
    last = told.get(hold.kind.value)
    return last is None or scene.now - last >= remind


def _held(scene: Scene, hold: Hold, wait: Wait, notice: NoticeKind | None) -> Tell:
    target = scene.execution.target
    return Tell(
        "held",
        hold.why,
        notice=notice,
        title=f"{target}: held, {hold.kind.value.replace('-', ' ')}",
        next_action=wait.next_action or "It is watched all the same, and goes on by itself when this is over.",
        facts=(("hold", hold.kind.value),),
        post_on=target.canary or target.stable,
    )


def _over(scene: Scene, hold: Hold, told: Mapping[str, datetime], left: Sequence[Hold], *, going: bool) -> Tell:
    """Tell that a reason to wait is over. `left`: what it waits for still. `going`: what it does next is told in the same breath.

    Whoever was called, or heard that somebody paused it, also hears of the end of it, however short it was.
    """
    lasted = span(scene.now - hold.since)
    last = told.get(hold.kind.value)
    called = RULES[hold.kind].notice is NoticeKind.NEEDS_PERSON or hold.kind is HoldKind.PAUSED
    owed = last is not None and scene.now - hold.since >= LONG
    owed = owed or (called and last is not None and last >= hold.since and not going)
    kind = hold.kind.value.replace("-", " ")
    return Tell(
        "hold-over",
        f"no longer held: {kind} lasted {lasted}",
        notice=NoticeKind.RESUMED if owed else None,
        title=f"{scene.execution.target}: {f'no longer held, {kind}; it still waits' if left else 'goes on'}",
        next_action=f"Still held: {left[0].why}" if left else "",
        facts=(("hold", hold.kind.value), ("seconds", str(round((scene.now - hold.since).total_seconds())))),
        post_on=scene.execution.target.canary or scene.execution.target.stable,
    )
