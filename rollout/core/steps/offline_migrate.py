"""The migration Job. That it may run is in the database before it is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions_offline import stop_target
from rollout.core.decision import Move, Scene, Wait
from rollout.core.offline_facts import POLL, memory_of, plan_in, remember, views, writers
from rollout.core.state import State
from rollout.core.state_offline import Migrating
from rollout.core.steps import offline_decide, offline_ways
from rollout.core.steps.offline_jobs import attempts, halted, standing


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Wait for the migration; an earlier attempt must be at rest first."""
    plan, step, seen = plan_in(scene.execution), state.step, views(scene)
    assert isinstance(step, Migrating)  # noqa: S101 - chosen by type
    assert plan.spec.migrate is not None  # noqa: S101 - the way here
    left = writers(seen) if seen is not None else ""
    if left and seen is not None:
        return _stop_again(scene, state, left)
    job = standing(scene, "migrate", step.attempt, step.since, plan.spec.migrate.deadline, known=step.seen)
    if job.there and not step.seen:
        state = replace(state, step=replace(step, seen=True))
    if job.result is None:
        if job.late:
            return offline_decide.ask(scene, state, f"the migration is not done in time: {job.why}", "migrate", step.attempt)
        quiet, halts, why = halted(scene, attempts("migrate", step.attempt - 1))
        if not quiet:
            return Move(state, why, tasks=halts, wake_in=POLL)
        asked = scene.seen.tasks.get(job.task.key) is not None
        if not asked and (waits or seen is None):
            return Move(state, f"the migration waits: {waits[0].why if waits else 'the targets cannot be seen'}")
        return Move(state, job.why, tasks=(job.task,), holds=job.holds, wake_in=POLL)
    if not job.result.ok:
        return offline_decide.ask(scene, state, f"the migration failed: {job.result.why}", "migrate", step.attempt, job.result)
    if waits or seen is None:
        return Move(state, f"migrated; held: {waits[0].why if waits else 'the targets cannot be seen'}")
    item = offline_ways.done(scene, "migrated", f"migrated: {job.result.why}", tuple(sorted(job.result.facts.items())))
    return Move(offline_ways.to_upgrade(scene, state), item.why, tells=(item,), wake_in=timedelta())


def _stop_again(scene: Scene, state: State, left: str) -> Move:
    """Somebody started the old version against a schema that changes: stop it; going back by itself could lose what it wrote."""
    seen = views(scene) or ()
    patches = tuple(stop_target(scene.execution, view) for view in seen if view.stable is not None and view.stable.replicas)
    why = f"somebody started writers during the migration ({left}): they are stopped; only a person decides about a way back now"
    tells = () if memory_of(state).disturbed else (offline_ways.done(scene, "disturbed", why),)
    state = remember(state, disturbed=memory_of(state).disturbed or why)
    return Move(state, why, forward=patches, tells=tells, wake_in=timedelta(seconds=2))
