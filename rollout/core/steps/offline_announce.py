"""Announced at each offset, once; then the last conditions before the gate is closed.

Offsets that were missed (a late submission, a daemon that was down) are merged into one announcement. A start later than the
grace is cancelled and announced, never run late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import Task
from rollout.core.offline_facts import memory_of, newest, plan_in, remember, repeated, views, when, window_end
from rollout.core.offline_wishes_end import ended_untouched
from rollout.core.quantities import format_duration
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import Announcing, ClosingGate
from rollout.core.steps.offline_rehearse import rehearse
from rollout.core.wording import moment, span

ASK_EVERY = timedelta(seconds=30)


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Announce what is due; begin when the time has come and nothing is in the way."""
    plan, step = plan_in(scene.execution), state.step
    assert isinstance(step, Announcing)  # noqa: S101 - chosen by type
    start, grace = plan.spec.window.starts_at, plan.spec.window.start_grace
    if scene.now > start + grace:
        reasons = (*(wait.why for wait in waits), *(hold.why for hold in state.holds))
        because = f": {reasons[0]}" if reasons else ": nobody was there to start it"
        why = f"it did not start within {format_duration(grace)} of {when(scene, start)}{because}"
        return ended_untouched(scene, state, Outcome.CANCELLED, why)
    due = tuple(o for o, at in plan.announcements if at <= scene.now and o not in memory_of(state).announced)
    # Who submits a plan that begins now knows it; a daemon that was away until now kept everybody from knowing.
    missed = state.started_at < start and not memory_of(state).announced
    if due and (scene.now < start or missed):
        return _announce(scene, state, due)
    state, holds, tasks, tells = _conditions(scene, state)
    if scene.now < start:
        nexts = [at for _, at in plan.announcements if at > scene.now]
        left = min([start, *nexts]) - scene.now
        why = f"begins at {moment(start)}, in {span(start - scene.now)}"
        return Move(state, why, tasks=tasks, tells=tells, holds=holds, wake_in=left)
    held = (*waits, *holds)
    if held or tells:
        why = f"the start waits: {held[0].why}" if held else tells[0].why
        return Move(state, why, tasks=tasks, tells=tells, holds=holds, wake_in=timedelta(seconds=5))
    if tasks or views(scene) is None:
        return Move(state, "the last checks before the gate is closed are under way", tasks=tasks, wake_in=timedelta(seconds=5))
    return _begin(scene, state)


def _announce(scene: Scene, state: State, due: tuple[timedelta, ...]) -> Move:
    plan = plan_in(scene.execution)
    start = plan.spec.window.starts_at
    late = scene.now >= start
    merged = f" (with those of {', '.join(format_duration(o) for o in due[:-1])} before, which were missed)" if due[1:] else ""
    why = (
        f"{', '.join(map(str, plan.targets))} will be out of service from {when(scene, start)} "
        f"to {when(scene, window_end(scene, state))} at most: upgrade to {plan.image}"
    )
    item = Tell(
        "announced",
        why + merged,
        notice=NoticeKind.ANNOUNCEMENT,
        title=f"{scene.execution.target}: out of service {'from now on' if late else f'in {span(start - scene.now)}'}",
        lines=_about(scene, state),
        next_action=f"From then on requests are answered: {plan.spec.gate.message}",
        facts=(("offset", format_duration(due[-1])), ("merged", str(len(due) - 1))),
    )
    state = remember(state, announced=(*memory_of(state).announced, *due), announced_late=late)
    return Move(state, item.why, tells=(item,), wake_in=timedelta())


def _about(scene: Scene, state: State) -> tuple[str, ...]:
    """Begin with what the plan says of itself, for those who know neither target nor image."""
    said = " ".join(plan_in(scene.execution).spec.description.split())
    return (*((said,) if said else ()), *memory_of(state).impact)


def _conditions(scene: Scene, state: State) -> tuple[State, tuple[Wait, ...], tuple[Task, ...], tuple[Tell, ...]]:
    """Look at the report's acknowledgement, the rehearsal, and whether the announcements arrived."""
    plan, memory = plan_in(scene.execution), memory_of(state)
    start = plan.spec.window.starts_at
    holds: list[Wait] = []
    if plan.spec.impact.acknowledgement and not memory.acknowledged:
        why = "nobody has acknowledged the report of who will notice"
        holds.append(Wait(HoldKind.ACKNOWLEDGEMENT, why, f"`rollout acknowledge {scene.execution.id}`"))
    state, tasks, failing, tells = rehearse(scene, state)
    holds.extend(failing)
    if scene.now >= start:
        state, more = _delivered(scene, state, tasks)
        holds.extend(more)
    if scene.now >= start and (freeze := scene.policy.frozen(scene.now)) is not None:
        holds.append(Wait(HoldKind.FROZEN, f"freeze window {freeze.name!r} until {moment(freeze.until)}: nothing is begun"))
    return state, tuple(holds), tuple(tasks), tuple(tells)


def _delivered(scene: Scene, state: State, tasks: list[Task]) -> tuple[State, Iterator[Wait]]:
    """Ask the store where the announcements stand; a person may go on without them."""
    memory = memory_of(state)
    if not memory.announced or memory.unannounced_accepted:
        return state, iter(())
    result = newest(scene, "announcements", plan_in(scene.execution).spec.window.starts_at)
    if result is not None and result.ok and not memory.announced_late:
        return state, iter(())
    if state.approval is not None:
        return replace(remember(state, unannounced_accepted=state.approval.actor), approval=None), iter(())
    tasks.append(repeated(scene, "announcements", ASK_EVERY))
    late = "it was announced only now: nobody was told before its start" if memory.announced_late else ""
    undelivered = result.why if result is not None and not result.ok else ""
    why = "; ".join(filter(None, (late, undelivered)))
    action = "`rollout approve` begins all the same; otherwise it waits until the grace is over."
    return state, iter((Wait(HoldKind.UNANNOUNCED, why, action),) if why else ())


def _begin(scene: Scene, state: State) -> Move:
    plan = plan_in(scene.execution)
    why = f"{', '.join(map(str, plan.targets))}: the upgrade begins; the gate is closed now"
    item = Tell(
        "begun",
        why,
        notice=NoticeKind.ANNOUNCEMENT,
        title=f"{scene.execution.target}: out of service now, until {when(scene, window_end(scene, state))} at most",
        lines=_about(scene, state),
        next_action=f"Until it is open again requests are answered: {plan.spec.gate.message}",
        post_on=scene.execution.target.stable,
    )
    every = tuple(o for o, _ in plan.announcements)
    state = remember(state, announced=tuple(dict.fromkeys((*memory_of(state).announced, *every))))
    return Move(
        enter(replace(state, approval=None), ClosingGate(scene.now), scene.now, None), why, tells=(item,), wake_in=timedelta()
    )
