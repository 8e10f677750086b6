"""The tests of the new version, through the allow-list."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Wait
from rollout.core.history import Outcome
from rollout.core.offline_facts import POLL, before, plan_in, runs, stable_of, views
from rollout.core.state import State
from rollout.core.state_offline import Testing
from rollout.core.steps import offline_course, offline_decide, offline_open
from rollout.core.wording import plural


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Run them; open when no critical one failed and every pod still runs what was tested."""
    step = state.step
    assert isinstance(step, Testing)  # noqa: S101 - chosen by type
    if step.index == 0 and step.attempt == 1:
        state = offline_course.begin(state, "new")
    ran = offline_course.go_on(scene, state, offline_course.Course("new", step.course, step.index, step.attempt), step.since)
    if ran.course is not None:
        if waits and ran.tasks and scene.seen.tasks.get(ran.tasks[0].key) is None:
            return Move(state, f"the tests wait: {waits[0].why}")
        moved = replace(ran.state, step=replace(step, index=ran.course.index, attempt=ran.course.attempt))
        wake = timedelta() if ran.tells else POLL
        return Move(moved, ran.why, tasks=ran.tasks, tells=ran.tells, holds=ran.holds, wake_in=wake)
    failed = offline_course.failed(state, "new")
    if failed:
        names = ", ".join(t.name for t in failed)
        why = f"{plural(len(failed), 'critical test')} failed: {names} ({failed[0].why})"
        return offline_decide.ask(scene, state, why, "tests", step.course)
    seen = views(scene)
    if waits or seen is None:
        return Move(state, f"tested; held: {waits[0].why if waits else 'the targets cannot be seen'}")
    plan = plan_in(scene.execution)
    for view in seen:
        found = before(state, view)
        replicas = found.replicas if found is not None and plan.spec.stop else stable_of(view).replicas
        lacks = runs(view, plan.image_of(view.target), replicas)
        if lacks:
            return offline_decide.ask(scene, state, f"the tests passed, but then {lacks}", "upgrade", 1)
    passed = f"{plural(len(plan.spec.tests), 'test')} done, no critical failure"
    return offline_open.begin(scene, state, Outcome.SUCCEEDED, f"{scene.execution.target} runs {plan.image}: {passed}", passed)
