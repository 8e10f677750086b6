"""What was quiesced is undone before the gate is opened, on the way there and back: hooks in order, each with its attempts.

A queue that stays drained or a job that stays paused is an outage behind an open gate, so one that fails is a person's business.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait
from rollout.core.history import Outcome
from rollout.core.observation import Task
from rollout.core.offline_facts import POLL, plan_in, serves, views
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import Undoing
from rollout.core.steps import offline_open, offline_ways
from rollout.core.steps.offline_jobs import troubled, work_job


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Run the next hook; after the last one the gate is opened, where every pod still runs what was tested."""
    step, hooks = state.step, plan_in(scene.execution).spec.quiesce.undo
    assert isinstance(step, Undoing)  # noqa: S101 - chosen by type
    if step.problem:
        return _asking(scene, state, step, len(hooks))
    if step.hook >= len(hooks):
        return _undone(scene, state, step, waits)
    work = hooks[step.hook]
    task = Task(f"undo-{mark(step)}-{step.hook}-{step.attempt}", "work", _arguments(step))
    result = scene.seen.tasks.get(task.key)
    if result is None and state.paused is not None:
        return Move(state, f"undo hook {work.name} waits: paused by {state.paused.actor}; the gate stays closed")
    if result is None or result.state != "done":
        why = f"undo hook {work.name}: {result.why if result is not None else 'runs'}"
        return Move(state, why, tasks=(task,), holds=troubled(result, f"the Job of undo hook {work.name}"), wake_in=POLL)
    item = offline_ways.done(scene, "undo-hook", f"undo hook {work.name}: {result.why}", tuple(sorted(result.facts.items())))
    item = replace(item, notice=None)
    if result.ok:
        state = replace(state, step=replace(step, hook=step.hook + 1, attempt=1))
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    if step.attempt > work.retries:
        problem = f"undo hook {work.name} failed: {result.why}"
        item = replace(item, kind="undo-failed", why=problem, warning=True)
        return Move(replace(state, step=replace(step, problem=problem), approval=None), problem, tells=(item,), wake_in=timedelta())
    if scene.now - result.at < work.pause:
        return Move(state, f"{item.why}; again in a moment", wake_in=work.pause)
    return Move(replace(state, step=replace(step, attempt=step.attempt + 1)), item.why, tells=(item,), wake_in=timedelta())


def _undone(scene: Scene, state: State, step: Undoing, waits: tuple[Wait, ...]) -> Move:
    """Open it, unless somebody has paused it, or the new version is not what was tested any more; a person's word stands."""
    checked = step.ends_as is Outcome.SUCCEEDED and step.actor == "rollout"
    if state.paused is not None or (checked and waits):
        return Move(state, f"what was quiesced is undone; held: {waits[0].why}", wake_in=POLL)
    plan, seen = plan_in(scene.execution), views(scene) if checked else ()
    lacks = next(filter(None, (serves(view, plan.image_of(view.target)) for view in seen or ())), "")
    if not lacks:
        return offline_open.opening(scene, state, step.ends_as, step.why, step.words, step.actor)
    why = f"what was quiesced is undone, but then {lacks}"
    since = next((hold.since for hold in state.holds if hold.kind is HoldKind.NOT_READY), scene.now)
    if scene.now - since >= plan.spec.start_deadline:
        return Move(replace(state, step=replace(step, problem=why), approval=None), why, wake_in=timedelta())
    wait = Wait(HoldKind.NOT_READY, why, "It is waited for with the gate closed; look at the pods.")
    return Move(state, why, holds=(wait,), wake_in=POLL)


def mark(step: Undoing) -> str:
    """Name one run through the hooks: one that is tried again has another."""
    return str(int(step.since.timestamp()))


def running_job(scene: Scene, step: Undoing) -> tuple[tuple[str, int], ...]:
    """Name the Job of the hook that runs now: it must not work on a database that is being restored."""
    hooks = plan_in(scene.execution).spec.quiesce.undo
    if step.problem or step.hook >= len(hooks) or hooks[step.hook].job is None:
        return ()
    return ((work_job("undo", mark(step), step.hook), step.attempt),)


def _arguments(step: Undoing) -> tuple[tuple[str, str], ...]:
    return ("attempt", str(step.attempt)), ("index", str(step.hook)), ("list", "undo"), ("mark", mark(step))


def _asking(scene: Scene, state: State, step: Undoing, hooks: int) -> Move:
    undone = step.hook >= hooks
    if state.approval is not None:
        who = state.approval.actor
        why = f"{who} lets {'the pods be looked at' if undone else 'the undo hook be tried'} again"
        again = replace(step, problem="", attempt=1, since=scene.now)
        return Move(replace(state, step=again, approval=None), why, tells=(Tell("again", why, actor=who),), wake_in=timedelta())
    back = ", `rollout rollback` goes back" if step.ends_as is Outcome.SUCCEEDED else ""
    action = (
        f"The gate stays closed; look at the pods. `rollout approve` waits for them again, `rollout open` opens it as it is{back}."
        if undone
        else f"The service is well and the gate stays closed. `rollout approve` tries it again, `rollout open` opens without it "
        f"(undo it by hand first){back}."
    )
    return Move(state, f"asking: {step.problem}", holds=(Wait(HoldKind.DECISION, step.problem, action),))
