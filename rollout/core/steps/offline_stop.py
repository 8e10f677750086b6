"""The writers stop: hooks while they still run, then to 0, until no pod and no foreign session is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions_offline import stop_target
from rollout.core.decision import Move, Scene, Wait
from rollout.core.observation import Task
from rollout.core.offline_facts import POLL, plan_in, remember, views, writers
from rollout.core.plan_offline import Quiesce
from rollout.core.state import State
from rollout.core.state_offline import Stopping
from rollout.core.steps import offline_decide, offline_ways
from rollout.core.steps.offline_jobs import hook_mark, standing, troubled
from rollout.core.wording import plural, span

SESSIONS_AGAIN = timedelta(seconds=10)


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Hooks, then 0, then nobody left; whatever takes too long asks."""
    plan, step, seen = plan_in(scene.execution), state.step, views(scene)
    assert isinstance(step, Stopping)  # noqa: S101 - chosen by type
    if waits or seen is None:
        return Move(state, f"the stop waits: {waits[0].why if waits else 'the targets cannot be seen'}", wake_in=POLL)
    quiesce = plan.spec.quiesce
    if step.hook < len(quiesce.hooks):
        return _hook(scene, state, step, quiesce)
    patches = tuple(stop_target(scene.execution, view) for view in seen if view.stable is not None and view.stable.replicas)
    if patches:
        return Move(state, "the targets go to 0", forward=patches, wake_in=POLL)
    left = writers(seen)
    late = scene.now - step.since >= quiesce.deadline
    if left:
        if late:
            return offline_decide.ask(scene, state, f"after {span(scene.now - step.since)} {left}", "stop", step.attempt)
        return Move(state, f"stopping: {left}", wake_in=timedelta(seconds=2))
    if quiesce.sessions is not None:
        move = _sessions(scene, state, step, quiesce, late=late)
        if move is not None:
            return move
    state = remember(state, stopped_at=scene.now)
    why = f"stopped in {span(scene.now - step.since)}: no pod left" + (", no foreign session" if quiesce.sessions else "")
    return Move(offline_ways.to_backup(scene, state), why, tells=(offline_ways.done(scene, "stopped", why),), wake_in=timedelta())


def _hook(scene: Scene, state: State, step: Stopping, quiesce: Quiesce) -> Move:
    work = quiesce.hooks[step.hook]
    course = hook_mark(step)
    arguments = (("attempt", str(step.attempt)), ("index", str(step.hook)), ("list", "hooks"), ("mark", course))
    task = Task(f"hook-{course}-{step.hook}-{step.attempt}", "work", arguments)
    result = scene.seen.tasks.get(task.key)
    if result is None or result.state != "done":
        why = f"hook {work.name}: {result.why if result is not None else 'runs'}"
        return Move(state, why, tasks=(task,), holds=troubled(result, f"the Job of hook {work.name}"), wake_in=POLL)
    item = offline_ways.done(scene, "hook", f"hook {work.name}: {result.why}", tuple(sorted(result.facts.items())))
    item = replace(item, notice=None)
    if result.ok:
        # The deadline is for pods and sessions to be gone; hooks have their own.
        state = replace(state, step=replace(step, hook=step.hook + 1, attempt=1, since=scene.now))
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    if step.attempt > work.retries:
        return offline_decide.ask(scene, state, f"hook {work.name} failed: {result.why}", "stop", step.attempt, result)
    if scene.now - result.at < work.pause:
        return Move(state, f"{item.why}; again in a moment", wake_in=work.pause)
    state = replace(state, step=replace(step, attempt=step.attempt + 1))
    return Move(state, item.why, tells=(item,), wake_in=timedelta())


def _sessions(scene: Scene, state: State, step: Stopping, quiesce: Quiesce, *, late: bool) -> Move | None:
    assert quiesce.sessions is not None  # noqa: S101 - checked by the caller
    job = standing(scene, "sessions", step.sessions, step.since, quiesce.sessions.deadline)
    if job.result is None:
        if late:
            return offline_decide.ask(scene, state, f"nobody knows whether sessions are left: {job.why}", "stop", step.sessions)
        return Move(state, job.why, tasks=(job.task,), holds=job.holds, wake_in=POLL)
    if job.result.ok and job.result.facts.get("sessions") == "0":
        return None
    seen = job.result.facts.get("sessions", "")
    left = (
        f"{plural(int(seen), 'foreign database session')} left"
        if job.result.ok and seen
        else f"the session query failed: {job.why}"
    )
    if late:
        return offline_decide.ask(scene, state, left, "stop", step.sessions, job.result)
    if scene.now - job.result.at < SESSIONS_AGAIN:
        return Move(state, left, wake_in=SESSIONS_AGAIN)
    return Move(replace(state, step=replace(step, sessions=step.sessions + 1)), left, wake_in=timedelta())
