"""The backup: a Job whose artifact is verified and written down. Without it nothing is migrated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions_offline import stop_target
from rollout.core.decision import Move, Scene, Wait
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import POLL, memory_of, plan_in, remember, views, writers
from rollout.core.state import State
from rollout.core.state_offline import BackingUp, Backup
from rollout.core.steps import offline_decide, offline_ways
from rollout.core.steps.offline_jobs import attempts, halted, standing


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Wait for the artifact; writers that came back spoil it."""
    plan, step, seen = plan_in(scene.execution), state.step, views(scene)
    assert isinstance(step, BackingUp)  # noqa: S101 - chosen by type
    assert plan.spec.backup is not None  # noqa: S101 - the way here
    left = writers(seen) if seen is not None and plan.spec.stop else ""
    if left and seen is not None:
        return _stop_again(scene, state, left)
    if memory_of(state).disturbed and seen is not None:
        step = replace(step, since=scene.now, attempt=step.attempt + 1)
        state = remember(replace(state, step=step), disturbed="")
        return Move(state, f"stopped again; backup, attempt {step.attempt}", wake_in=timedelta())
    job = standing(scene, "backup", step.attempt, step.since, plan.spec.backup.deadline)
    if job.result is None:
        if job.late:
            return offline_decide.ask(scene, state, f"the backup is not done in time: {job.why}", "backup", step.attempt)
        if waits and scene.seen.tasks.get(job.task.key) is None:
            return Move(state, f"the backup waits: {waits[0].why}")
        quiet, halts, why = halted(scene, attempts("backup", step.attempt - 1))
        if not quiet:
            return Move(state, why, tasks=halts, wake_in=POLL)
        return Move(state, job.why, tasks=(job.task,), holds=job.holds, wake_in=POLL)
    backup = _verified(job.result)
    if backup is None:
        why = job.result.why if not job.result.ok else "the Job ended well, but printed no artifact with id, size and sha256"
        return offline_decide.ask(scene, state, f"there is no verified backup: {why}", "backup", step.attempt, job.result)
    if waits or seen is None:
        return Move(state, f"backed up; held: {waits[0].why if waits else 'the targets cannot be seen'}")
    state = remember(state, backup=backup)
    why = f"backup {backup.id}: {backup.size} bytes, sha256 {backup.sha256[:12]}"
    item = offline_ways.done(scene, "backed-up", why, tuple(sorted(job.result.facts.items())))
    return Move(offline_ways.to_migration(scene, state), why, tells=(item,), wake_in=timedelta())


def _verified(result: TaskResult) -> Backup | None:
    facts = result.facts
    if not result.ok or not facts.get("artifact") or not facts.get("sha256") or int(facts.get("size") or 0) <= 0:
        return None
    return Backup(facts["artifact"], int(facts["size"]), facts["sha256"], result.at)


def _stop_again(scene: Scene, state: State, left: str) -> Move:
    """Somebody started writers: what was backed up so far may be older than what they wrote. Once more, from 0."""
    seen = views(scene) or ()
    patches = tuple(stop_target(scene.execution, view) for view in seen if view.stable is not None and view.stable.replicas)
    why = f"somebody started writers during the backup ({left}): they are stopped, and the backup is made again"
    tells = () if memory_of(state).disturbed else (offline_ways.done(scene, "disturbed", why),)
    state = remember(state, disturbed=memory_of(state).disturbed or why)
    return Move(state, why, forward=patches, tells=tells, wake_in=timedelta(seconds=2))
