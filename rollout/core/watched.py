"""One measure for whatever must last: time counts only while somebody looked.

Two looks count the time between them when they lie close together. Of a longer time (a daemon that was down, a laptop that
slept, a machine that froze, a wall clock that was set) nothing is known, so nothing runs out in it: every `since` and every
deadline in the state moves along, and "for longer than" then compares watched time. What people have agreed by the clock (a
window's beginning, its grace, its end, the last moment for a way back, the six hours between two replicas) keeps its own time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout.core import holds
from rollout.core.decision import Scene, Timing
from rollout.core.evidence_state import SignalState
from rollout.core.replacing import replace
from rollout.core.state import Certifying, GuardMemory, HoldKind, PodMemory, Promoting, Soaking, Starting, State, Step
from rollout.core.state_offline import (
    BackingUp,
    ClosingGate,
    Migrating,
    OpeningGate,
    RollingBack,
    Stopping,
    Upgrading,
    WatchingOpen,
)

LATENESS = timedelta(seconds=5)
"""So much later than asked for a look may come and still count whole."""


def missed(looked_at: datetime | None, now: datetime, gap: timedelta, timing: Timing) -> timedelta:
    """Tell by how much the clock went on without anybody looking; negative where it was set back.

    `gap`: the creditable time since the last look. No look is asked for later than `look_every`, so no more than that counts.
    """
    if looked_at is None:
        return timedelta()
    return now - looked_at - min(gap, timing.look_every + LATENESS)


def keep_time(scene: Scene, state: State) -> State:
    """Bring the state's times to this look: what nobody watched, and what was held, runs nothing out."""
    by = scene.missed
    anew = state.watched_since is None or scene.unwatched
    state = replace(state, watched_since=scene.now if anew else _moved(state.watched_since, by))
    if state.looked_at is None:  # submitted while no daemon was there: its first step has its whole time from now on
        waited = max(scene.now - state.entered_at, timedelta())
        return replace(state, deadline=_moved(state.deadline, waited))
    passed = by + scene.watched
    # A database that takes nothing lets nothing go on: neither what a step has reached is kept, nor can a person answer.
    unsaved = scene.seen.unsaved_since is not None
    stands = holds.stop_the_clock(state) or unsaved or _cannot_write(scene, state)
    if state.deadline is not None:
        state = replace(state, deadline=state.deadline + (passed if stands else by))
    kinds = {hold.kind for hold in state.holds} | ({HoldKind.UNSAVED} if unsaved else set())
    step = _step(state.step, by, passed if kinds & stands_still(state.step) else by)
    if by and isinstance(step, WatchingOpen):  # its `since` begins anew whenever a pod is not well
        state = replace(state, entered_at=state.entered_at + by)
    if not by:
        return state if step is state.step else replace(state, step=step)
    return replace(
        state,
        step=step,
        holds=tuple(hold if hold.told else replace(hold, since=hold.since + by) for hold in state.holds),
        signals=tuple(_signal(signal, by) for signal in state.signals),
        blind_since=_moved(state.blind_since, by),
        guards=GuardMemory(tuple(_pod(pod, by) for pod in state.guards.pods), state.guards.displaced),
    )


def _cannot_write(scene: Scene, state: State) -> bool:
    """Say whether the step waits for our own write, which must not be made without the lease: no delay of the version's."""
    return not scene.seen.leased and isinstance(state.step, Starting | Promoting) and state.step.confirmed_at is None


def blind_no_longer_than_watched(
    before: tuple[SignalState, ...], after: tuple[SignalState, ...], watched_since: datetime | None
) -> tuple[SignalState, ...]:
    """Time in which we did not look is no blindness of a backend: what it answered last may be older than our own looking."""
    known = {signal.name: signal.blind_since for signal in before}
    if watched_since is None:
        return after
    return tuple(
        replace(signal, blind_since=watched_since)
        if signal.blind_since is not None and signal.blind_since < watched_since and signal.blind_since != known.get(signal.name)
        else signal
        for signal in after
    )


def _moved(at: datetime | None, by: timedelta) -> datetime | None:
    return at + by if at is not None else None


def _signal(signal: SignalState, by: timedelta) -> SignalState:
    return replace(signal, blind_since=signal.blind_since + by) if signal.blind_since is not None else signal


def _pod(pod: PodMemory, by: timedelta) -> PodMemory:
    return replace(pod, first_seen=pod.first_seen + by, unready_since=_moved(pod.unready_since, by))


def stands_still(step: Step) -> frozenset[HoldKind]:
    """Tell which holds keep a step that measures its own time from going on, and so take nothing from that time."""
    match step:
        case Certifying():
            return holds.CLOCK_STOPS
        case ClosingGate() | Stopping() | BackingUp() | Migrating() | Upgrading() | OpeningGate():
            return frozenset({HoldKind.PAUSED, HoldKind.CLUSTER_UNSEEN})
        case RollingBack():  # a pause does not hold the way back
            return frozenset({HoldKind.CLUSTER_UNSEEN})
        case _:
            return frozenset()


def _step(step: Step, by: timedelta, mine: timedelta) -> Step:
    """Move the beginning of a step where something in it may take only so long; `mine`: by how much, with what held it."""
    match step:
        case Soaking(sized_at=datetime() as sized_at) if by:
            return replace(step, sized_at=sized_at + by)
        case Stopping() if mine:
            return replace(step, since=step.since + mine, mark=step.mark or int(step.since.timestamp()))
        case Certifying() | ClosingGate() | BackingUp() | Migrating() | Upgrading() | RollingBack() | OpeningGate() if mine:
            return replace(step, since=step.since + mine)
        case WatchingOpen() if by:
            return replace(step, since=step.since + by)
        case _:
            return step
