"""The one pure `decide`: what one look at one rollout leads to.

It looks at commands first, then at what must never wait (stepping back), then at what holds, and only then asks the step to go
forward. The procedure (core/canary.py, core/offline.py) says what those are; this module keeps time, words and order.

Time: only the time between two looks that were close together is credited. A daemon that was down, a laptop that slept, and a
clock that jumped (either way) all show as a long or negative gap, and credit nothing; nor does anything run out in it
(core/watched.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core import holds, pictures, watched
from rollout.core.cohorts import Cohorts, TargetView, cohorts
from rollout.core.commands import Command, next_of, too_late
from rollout.core.decision import Decision, Execution, Move, Scene, Tell, Timing, posts, step_name, tell
from rollout.core.history import Outcome
from rollout.core.observation import Observation
from rollout.core.plan import CanaryPlan
from rollout.core.plan_canary import Mode
from rollout.core.policy import Policy
from rollout.core.procedures import procedure_of
from rollout.core.replacing import replace
from rollout.core.rulings import Ruling, rule
from rollout.core.state import Ended, Reason, Retreating, State
from rollout.core.steps import retreat

SAVE_SOONEST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of one decision that do not change from look to look."""

    execution: Execution
    policy: Policy
    timing: Timing


def begin(execution: Execution, now: datetime, because: str = "") -> State:
    """Make the state of a rollout that has just been submitted: in its procedure's first step. `because`: for a retry."""
    step, deadline = procedure_of(execution.plan).first(execution.plan)
    return State(step=step, entered_at=now, started_at=now, deadline=now + deadline, because=because)


def decide(question: Question, state: State, seen: Observation, commands: Sequence[Command], now: datetime) -> Decision:
    """Decide once. Pure: the same arguments bring the same decision; `wake_at` is None exactly at rest."""
    if isinstance(state.step, Ended):
        return _over(Decision(state, state, state.step.why, None, material=False), commands, now)
    scene = _scene(question, state, seen, now)
    taken = next_of(commands)
    procedure = procedure_of(question.execution.plan)
    known = pictures.newest(pictures.aged(state.pictures, seen, now, unwatched=scene.unwatched), scene.seen)
    kept = replace(watched.keep_time(scene, state), looked_at=now, pictures=known)
    kept, findings = procedure.absorb(scene, kept)
    ruling = rule(kept, taken)
    obeyed = procedure.obey(ruling.state, ruling.pending)
    move = procedure.ladder(scene, obeyed, findings, ruling.stop)
    move = holds.settle(scene, move)
    decision = _assemble(scene, state, kept, ruling, move, tuple(command.id for command in taken))
    return _over(decision, commands[len(taken) :], now) if isinstance(decision.state.step, Ended) else decision


def _over(decision: Decision, commands: Sequence[Command], now: datetime) -> Decision:
    """Answer what was asked of a rollout that has ended, or ends in this decision."""
    ended = decision.state.step
    if not commands or not isinstance(ended, Ended):
        return decision
    late = tuple(too_late(command, ended.outcome, step_name(decision.state), now) for command in commands)
    consumed = (*decision.consumed, *(command.id for command in commands))
    return replace(decision, events=(*decision.events, *late), consumed=consumed, material=True)


def give_up(question: Question, state: State, seen: Observation, why: str, now: datetime) -> Decision | None:
    """Step back from a canary that cannot be decided on (a bug of ours), asking nothing but how to step back.

    None where nothing is ours to take back: an offline rollout is never left half done by itself, an observed one is not ours.
    """
    plan = question.execution.plan
    if not isinstance(plan, CanaryPlan) or plan.spec.mode is Mode.OBSERVE:
        return None
    scene = _scene(question, state, seen, now)
    if isinstance(state.step, Retreating):
        move = retreat.decide(scene, state)
    else:
        move = retreat.begin(scene, state, Reason(f"{why}: nobody could watch the canary", "internal-error", Outcome.FAILED))
    return _assemble(scene, state, replace(state, looked_at=now), Ruling(state), move, ())


def _scene(question: Question, state: State, seen: Observation, now: datetime) -> Scene:
    elapsed = max(timedelta(), now - state.looked_at) if state.looked_at is not None else timedelta()
    near = elapsed <= question.timing.longest_gap and not seen.taken_over
    gap = elapsed if near else timedelta()
    seen = pictures.believed(seen, state.pictures, now, unwatched=not near)
    view = seen.view
    seen_cohorts = cohorts(view, question.execution.image) if isinstance(view, TargetView) else Cohorts((), ())
    missed = watched.missed(state.looked_at, now, gap, question.timing)
    return Scene(question.execution, seen, question.policy, question.timing, now, gap, seen_cohorts, elapsed, missed)


def _assemble(scene: Scene, before: State, kept: State, ruling: Ruling, move: Move, consumed: tuple[int, ...]) -> Decision:
    tells: tuple[Tell, ...] = (*ruling.tells, *move.tells)
    state, events, notices = tell(scene, move.state, tells)
    changed = bool(tells or consumed or move.forward or move.backward) or _materially(before, state)
    material = changed or (_overdue(scene, before, state) and state != before)
    if material:
        state = replace(state, saved_at=scene.now)
    at_rest = isinstance(state.step, Ended)
    return Decision(
        state=state,
        kept=kept,
        why=move.why,
        wake_at=None if at_rest else _wake_at(scene, state, move),
        material=material,
        forward=move.forward,
        backward=move.backward,
        tasks=move.tasks,
        events=events,
        notices=notices,
        posts=posts(scene, tells),
        consumed=consumed,
        periodic=not changed,
    )


def _overdue(scene: Scene, before: State, state: State) -> bool:
    """Say whether what is learned at every look must be stored by now: the sooner, the shorter it has been watched.

    Of a daemon that dies only what it stored counts. One that dies every few minutes would count nothing if it stored as seldom as
    one that lives: so it stores after half a minute, and then whenever the watched time has doubled, up to `save_every`.
    """
    saved, since = before.saved_at, state.watched_since
    if saved is None or not timedelta() <= scene.now - saved < scene.timing.save_every:
        return True
    if since is None or scene.now - since < SAVE_SOONEST:
        return False
    return scene.now - max(saved, since) >= max(SAVE_SOONEST, saved - since)


def _materially(before: State, after: State) -> bool:
    """Say whether more has changed than what credited time and used windows change at every look."""
    return (
        type(before.step) is not type(after.step)
        or before.offline != after.offline
        or (after.offline is not None and before.step != after.step)
        or before.paused != after.paused
        or before.approval != after.approval
        or {hold.kind for hold in before.holds} != {hold.kind for hold in after.holds}
        or [(s.name, s.verdict) for s in before.signals] != [(s.name, s.verdict) for s in after.signals]
    )


def _wake_at(scene: Scene, state: State, move: Move) -> datetime:
    """Look again when the step wants it, when its deadline comes, and never later than `look_every`."""
    soonest = scene.timing.look_every if move.wake_in is None else min(move.wake_in, scene.timing.look_every)
    at = scene.now + max(soonest, timedelta(milliseconds=100))
    if state.deadline is not None and scene.now < state.deadline < at:
        at = state.deadline
    return at
