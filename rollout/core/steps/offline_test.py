"""The tests of the new version, through the allow-list."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.cohorts import TargetView
from rollout.core.decision import Move, Scene, Wait
from rollout.core.history import Outcome
from rollout.core.offline_facts import POLL, before, plan_in, serves, stable_of, views
from rollout.core.state import HoldKind, State
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
    lacks = next(filter(None, (serves(view, plan.image_of(view.target)) for view in seen)), "")
    if lacks:
        return _unwell(scene, state, f"the tests passed, but then {lacks}")
    passed = f"{plural(len(plan.spec.tests), 'test')} done, no critical failure{_fewer(state, seen)}"
    return offline_open.begin(scene, state, Outcome.SUCCEEDED, f"{scene.execution.target} runs {plan.image}: {passed}", passed)


def _unwell(scene: Scene, state: State, why: str) -> Move:
    """Wait as long as a start may take: a pod that is evicted just now is no failed upgrade."""
    since = next((hold.since for hold in state.holds if hold.kind is HoldKind.NOT_READY), scene.now)
    if scene.now - since >= plan_in(scene.execution).spec.start_deadline:
        return offline_decide.ask(scene, state, why, "upgrade", 1)
    return Move(state, why, holds=(Wait(HoldKind.NOT_READY, why, "It is waited for with the gate closed; look at the pods."),),
                wake_in=POLL)  # fmt: skip


def _fewer(state: State, seen: tuple[TargetView, ...]) -> str:
    """Name the targets that an autoscaler (or a person) has made smaller behind the closed gate, where there is no load."""
    found = [(stable_of(view), before(state, view)) for view in seen]
    smaller = [f"{now.name} has {plural(now.replicas, 'pod')}, {old.replicas} before" for now, old in found
               if old is not None and now.replicas < old.replicas]  # fmt: skip
    return f" ({'; '.join(smaller)})" if smaller else ""
