"""The invariant of time running out in a maintenance: each step has a deadline of its own, or a person is asked.

What counts is the time in which a daemon that may write watches, with the database and the cluster there, and nothing holds. The
product loses at most one look's interval each time that this is interrupted, and what a daemon that died had not stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rollout.core.decision import Timing
from rollout.core.plan import OfflinePlan
from rollout.core.state import State
from rollout.core.state_offline import (
    Announcing,
    Assessing,
    BackingUp,
    BackStage,
    ClosingGate,
    Deciding,
    Migrating,
    OfflineMemory,
    OpeningGate,
    RollingBack,
    Stopping,
    Testing,
    Upgrading,
    WatchingOpen,
)
from tests.simulation.offline_invariants import UNDER_WAY, Broken, Rule
from tests.simulation.offline_tale import GRACE, WINDOW_START, M

if TYPE_CHECKING:
    from tests.simulation.offline_story import Story

STANDS_STILL = frozenset({"paused", "cluster-unseen", "foreign-pause", "database-away"})
"""What keeps a maintenance waiting that is nobody's delay: no deadline runs, and people are told."""
ASKS = frozenset({"held", "needs-a-person"})
REMINDED = 15 * M
"""Behind a closed gate the same question is asked again after this time, and not before."""
LOOK_EVERY = Timing().look_every + 5 * timedelta(seconds=1)
JOB = 10 * M
"""Every Job of the story's plan has this deadline."""
UNHEARD = 5 * M
"""So much longer waits a daemon that has no answer about a Job yet."""
SOON = 2 * M


@dataclass(frozen=True)
class Phase:
    """A part of a maintenance that must end by itself, or (not `leaves`) after which a person is asked. `key`: which one."""

    key: tuple[object, ...]
    bound: timedelta
    leaves: bool = True


def phase_of(state: State, plan: OfflinePlan) -> Phase:
    """Derive the deadline of the phase that a maintenance is in from its plan."""
    step, memory, spec = state.step, state.offline or OfflineMemory(), plan.spec
    name = type(step).__name__
    match step:
        case ClosingGate():
            return Phase((name, bool(memory.saved_gate), memory.closed_at is not None), 5 * M, leaves=False)
        case BackingUp(attempt=attempt) | Migrating(attempt=attempt):
            return Phase((name, state.entered_at, attempt), JOB + UNHEARD)
        case Upgrading(index=index):
            return Phase((name, state.entered_at, index), spec.start_deadline)
        case Testing(course=course, index=index, attempt=attempt):
            return Phase((name, course, index, attempt), SOON if index < len(spec.tests) else spec.start_deadline)
        case RollingBack():
            return _way_back(step, plan)
        case _:
            pass
    fixed: dict[type, Phase] = {
        Assessing: Phase((name,), 15 * M),
        Announcing: Phase((name,), GRACE),
        Stopping: Phase((name, state.entered_at), spec.quiesce.deadline),
        Deciding: Phase((name, state.entered_at), SOON, leaves=False),
        OpeningGate: Phase((name,), SOON, leaves=False),
        WatchingOpen: Phase((name,), spec.watch + 8 * M, leaves=False),
    }
    return fixed[type(step)]


def _way_back(step: RollingBack, plan: OfflinePlan) -> Phase:
    key = ("RollingBack", step.stage, step.attempt, step.index, step.course, bool(step.stuck), bool(step.spoiled))
    if step.stuck:
        return Phase(key, SOON, leaves=False)
    bounds = {
        BackStage.HALT: plan.spec.quiesce.deadline,
        BackStage.RESTORE: JOB + UNHEARD,
        BackStage.START: plan.spec.start_deadline,
        BackStage.TEST: SOON if step.index < len(plan.spec.tests) else plan.spec.start_deadline,
    }
    return Phase(key, bounds[step.stage], leaves=False)


class EveryStepIsLeft:
    """Every step is left by its deadline, or a person is asked; and what can go back has begun to by the last moment for it."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._version = -1
        self._state: State | None = None
        self._phase: Phase | None = None
        self._spent = self._stored = self._late = timedelta()
        self._began: datetime = story.world.now
        self._interruptions = 0
        self._counting = False
        self._guardian = ""

    def passed(self, span: timedelta) -> None:
        """So much time has passed; raise Broken where it was too much."""
        story = self._story
        guardian = story.guardian()
        able = bool(guardian) and not any(story.outages.now(what, story.world.now) for what in ("store", "cluster"))
        self._read(guardian if able else "")
        if self._phase is None or self._state is None:
            return
        held = any(hold.kind.value in STANDS_STILL for hold in self._state.holds) or self._state.paused is not None
        counting = able and not held and not (isinstance(self._state.step, Announcing) and story.world.now <= WINDOW_START)
        self._interruptions += counting != self._counting
        self._counting = counting
        if counting:
            self._spent += span
            self._judge(self._phase)
            self._judge_the_last_moment(span, self._state)
            self._judge_the_restore(self._state)

    def _judge(self, phase: Phase) -> None:
        allowed = phase.bound + LOOK_EVERY * (1 + self._interruptions)
        if self._spent <= allowed or (not phase.leaves and self._asked()):
            return
        said = "it must be left by then" if phase.leaves else "nobody was asked"
        raise Broken(Rule.LEFT, f"{phase.key} has had {self._spent} where {phase.bound} are its deadline, and {said}")

    def _judge_the_last_moment(self, span: timedelta, state: State) -> None:
        """Where nothing can be lost it goes back by itself, in every weather: as soon as somebody can see to it."""
        memory, story = state.offline or OfflineMemory(), self._story
        safe = memory.gate_proven and memory.stopped_at is not None and not (memory.disturbed or memory.breached)
        last = story.plan.latest_rollback_start(None, extended=memory.extended)
        if not safe or type(state.step).__name__ not in UNDER_WAY or story.world.now <= last:
            self._late = timedelta()
            return
        self._late += span
        if self._late > LOOK_EVERY * (1 + self._interruptions):
            raise Broken(Rule.IN_TIME, f"still {type(state.step).__name__} {self._late} after the last moment for a way back")

    def _judge_the_restore(self, state: State) -> None:
        """What outsiders wrote while somebody had opened the gate is given up by a person alone, where it could be seen."""
        step, story = state.step, self._story
        unseen = story.tale.trouble or story.outages.spans.get("gateway") or story.tale.person != "nobody"
        if not story.database.written or unseen or not isinstance(step, RollingBack):
            return
        if step.stage is BackStage.RESTORE and step.actor == "rollout":
            raise Broken(Rule.NOTHING_LOST, "nobody asked for a restore, and outsiders have used the new version")

    def _read(self, guardian: str) -> None:
        """See what the database knows by now, and who watches; whoever takes over goes on from the last commit."""
        if guardian and guardian != self._guardian:
            self._guardian, self._spent = guardian, self._stored
            self._interruptions += 1
        row = self._story.row()
        if row.version == self._version:
            return
        self._version = row.version
        self._state = None if row.outcome.at_rest else self._story.state()
        phase = phase_of(self._state, self._story.plan) if self._state is not None else None
        if phase is None or self._phase is None or phase.key != self._phase.key:
            self._spent, self._interruptions, self._began = timedelta(), 0, self._story.world.now
        self._phase, self._stored = phase, self._spent

    def _asked(self) -> bool:
        since = self._began - REMINDED
        return any(str(n["kind"]) in ASKS and n["at"] >= since for n in self._story.inner.notices(self._story.rollout))
