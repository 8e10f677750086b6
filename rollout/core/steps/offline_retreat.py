"""The way back behind the closed gate: to 0, the database restored, the old image, replicas back, the same tests, open.

Each stage is committed before it is acted upon: with the gate closed nothing is urgent, and a restore must never be made twice by
two daemons. What cannot be done leaves the gate closed, loudly, until a person says how to go on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions_offline import fence_target, return_target
from rollout.core.cohorts import TargetView
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.offline_facts import (
    POLL,
    before,
    fenced,
    memory_of,
    plan_in,
    remember,
    runs,
    saved_facts,
    serves,
    stable_of,
    views,
    writers,
)
from rollout.core.offline_wishes_end import ended_untouched
from rollout.core.state import Ended, HoldKind, Reason, State
from rollout.core.state_offline import BackStage, RollingBack, Stopping, Testing, Undoing
from rollout.core.steps import offline_course, offline_open, offline_undo, offline_ways
from rollout.core.steps.offline_jobs import attempts, halted, hook_mark, standing, work_job
from rollout.core.wording import plural, span

Facts = tuple[tuple[str, str], ...]
LEAVES = "`rollout abort` ends the rollout with the gate closed, for who finishes by hand."
RESTORED = "back-restore"
"""The history row of a restore that ended well; its fact `seconds` is how long it took, for the plans to come."""


def begin(scene: Scene, state: State, why: str, kind: str, ends_as: Outcome, actor: str = "rollout") -> Move:
    """Start the way back; where only the gate was written, only the gate goes back."""
    memory = memory_of(state)
    if not memory.saved_gate:
        return ended_untouched(scene, state, ends_as, why, actor)
    restore = offline_ways.must_restore(plan_in(scene.execution), state)
    what = "the database is restored, the old version started and tested" if restore else "the old version is started and tested"
    words = what if memory.before else "the gate is opened again"
    item = Tell(
        "stepping-back",
        f"{why}; {words}",
        notice=NoticeKind.STEPPING_BACK,
        title=f"{scene.execution.target}: going back",
        actor=actor,
        facts=(("reason", kind), ("ends_as", ends_as.value), ("restore", str(restore).lower())),
        next_action="The gate stays closed until the old version has passed the tests.",
        post_on=scene.execution.target.stable,
        warning=True,
    )
    state = replace(state, approval=None, paused=None)
    if actor != "rollout":
        state = remember(state, breached="")  # they were told what may be lost, and decide
    if not memory.before:
        move = offline_open.begin(scene, state, ends_as, why, words, actor)
        return replace(move, tells=(item, *move.tells))
    back = RollingBack(scene.now, why, kind, ends_as, actor, running=_running_test(scene, state))
    state = enter(state, back, scene.now, None)
    return Move(state, item.why, tells=(item,), wake_in=timedelta())


def _running_test(scene: Scene, state: State) -> tuple[tuple[str, int], ...]:
    """Name the Job of the test or hook that runs now: it must not write into what is being restored, nor outlive its undoing."""
    step, tests, quiesce = state.step, plan_in(scene.execution).spec.tests, plan_in(scene.execution).spec.quiesce
    if isinstance(step, Undoing):
        return offline_undo.running_job(scene, step)
    if isinstance(step, Stopping) and quiesce.undo and step.hook < len(quiesce.hooks):
        running = quiesce.hooks[step.hook].job is not None
        return ((work_job("hooks", hook_mark(step), step.hook), step.attempt),) if running else ()
    if not isinstance(step, Testing) or step.index >= len(tests) or tests[step.index].job is None:
        return ()
    return ((work_job("tests", f"new{step.course}", step.index), step.attempt),)


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Do the next stage; a pause does not hold it, an unseen cluster does."""
    del waits
    step, seen = state.step, views(scene)
    assert isinstance(step, RollingBack)  # noqa: S101 - chosen by type
    if step.stuck:
        if state.approval is not None:
            return again(scene, state, step, state.approval.actor)
        ways = "`rollout rollback` tries it again, `rollout abort` ends the rollout with the gate closed"
        opens = ", `rollout open` opens it as it is" if step.stage is BackStage.TEST else ""
        wait = Wait(HoldKind.STUCK, f"the way back is stuck, the gate stays closed: {step.stuck}", f"Put it right; {ways}{opens}.")
        return Move(state, wait.why, holds=(wait,))
    if seen is None:
        return Move(state, "the way back waits: the targets cannot be seen", wake_in=POLL)
    match step.stage:
        case BackStage.HALT:
            return _halt(scene, state, step, seen)
        case BackStage.RESTORE:
            return _restore(scene, state, step, seen)
        case BackStage.START:
            return _start(scene, state, step, seen)
        case BackStage.TEST:
            return _test(scene, state, step, seen)


def _next(scene: Scene, state: State, step: RollingBack, stage: BackStage, why: str, facts: Facts = ()) -> Move:
    state = enter(state, replace(step, stage=stage, attempt=1, index=0, since=scene.now), scene.now, None)
    item = replace(offline_ways.done(scene, f"back-{step.stage.value}", why, facts), title=f"{scene.execution.target}: {why}")
    return Move(state, why, tells=(item,), wake_in=timedelta())


def _stuck(scene: Scene, state: State, step: RollingBack, why: str, facts: Facts = ()) -> Move:
    item = Tell("stuck", f"the way back is stuck in {step.stage.value}, the gate stays closed: {why}", facts=facts,
                post_on=scene.execution.target.stable, warning=True)  # fmt: skip
    stuck = replace(state, step=replace(step, stuck=why), approval=None)
    return Move(stuck, item.why, tells=(item,), wake_in=timedelta())


def again(scene: Scene, state: State, step: RollingBack, actor: str) -> Move:
    """Try the stuck stage again, as a person asked."""
    why = f"{actor} lets the way back go on: {step.stage.value} again"
    state = remember(state, breached="")
    course = step.course + 1 if step.stage is BackStage.TEST else step.course
    attempt = step.attempt + 1 if step.stage is BackStage.RESTORE else 1
    fresh = replace(step, stuck="", attempt=attempt, index=0, course=course, since=scene.now)
    return Move(replace(state, step=fresh, approval=None), why, tells=(Tell("again", why, actor=actor),), wake_in=timedelta())


def _downs(scene: Scene, state: State, seen: tuple[TargetView, ...]) -> bool:
    """Say whether no pod may run before the next stage: a database is put back, or new and old code must not meet."""
    plan = plan_in(scene.execution)
    if not plan.spec.stop:
        return False
    new = any(stable_of(view).images.get(view.target.container) == plan.image_of(view.target) for view in seen)
    return offline_ways.must_restore(plan, state) or new


def _halt(scene: Scene, state: State, step: RollingBack, seen: tuple[TargetView, ...]) -> Move:
    down = _downs(scene, state, seen)
    patches = tuple(
        fence_target(scene.execution, view, down=down)
        for view in seen
        if not fenced(scene, view) or (down and stable_of(view).replicas)
    )
    quiet, halts, why = halted(scene, (*step.running, *attempts("migrate", memory_of(state).migrations)))
    if patches or not quiet:
        words = patches[0].why if patches else why
        return Move(state, words, forward=patches, tasks=halts, holds=_late(scene, step, words), wake_in=POLL)
    left = writers(seen) if down else ""
    if left:
        return Move(state, f"way back: {left}", holds=_late(scene, step, left), wake_in=timedelta(seconds=2))
    if offline_ways.must_restore(plan_in(scene.execution), state):
        if memory_of(state).breached:
            return _stuck(scene, state, step, memory_of(state).breached)
        return _next(scene, state, step, BackStage.RESTORE, "everything is at 0; now the database is restored")
    return _next(scene, state, step, BackStage.START, "the database was not touched; the old version is started")


def waits_long(state: State) -> str:
    """Say for what people were told that the way back waits; empty where it does not. Time in which nobody sees counts here too."""
    kinds = {HoldKind.STUCK, HoldKind.CLUSTER_UNSEEN}
    return next((hold.why for hold in state.holds if hold.kind in kinds and hold.told), "")


def _late(scene: Scene, step: RollingBack, why: str) -> tuple[Wait, ...]:
    """Tell that something does not come to rest: a pod on a dead node, a Job that does not end."""
    long = scene.now - step.since
    if long < plan_in(scene.execution).spec.quiesce.deadline:
        return ()
    words = f"the way back waits for {span(long)}, the gate is closed: {why}"
    return (Wait(HoldKind.STUCK, words, f"It goes on by itself when that is over; look at pods and nodes. {LEAVES}"),)


def _restore(scene: Scene, state: State, step: RollingBack, seen: tuple[TargetView, ...]) -> Move:
    plan, memory = plan_in(scene.execution), memory_of(state)
    assert plan.spec.restore is not None  # noqa: S101 - must_restore has looked
    if memory.backup is None:
        return _stuck(scene, state, step, "there is no verified backup to restore")
    left = writers(seen)
    if left:
        return _spoiled(scene, state, step, seen, left)
    if step.spoiled:
        step = replace(step, spoiled="", attempt=step.attempt + 1, since=scene.now)
        why = f"everything is at 0 again; the database is restored once more, attempt {step.attempt}"
        return Move(replace(state, step=step), why, wake_in=timedelta())
    quiet, halts, why = halted(scene, attempts("restore", step.attempt - 1))
    if not quiet:
        return Move(state, why, tasks=halts, holds=_late(scene, step, why), wake_in=POLL)
    job = standing(scene, "restore", step.attempt, step.since, plan.spec.restore.deadline)
    if job.result is None:
        if job.late:
            return _stuck(scene, state, step, f"the restore is not done in time: {job.why}")
        return Move(state, job.why, tasks=(job.task,), holds=job.holds, wake_in=POLL)
    if not job.result.ok:
        return _stuck(scene, state, step, f"the restore failed: {job.result.why}", tuple(sorted(job.result.facts.items())))
    why = f"backup {memory.backup.id} is restored: {job.result.why}"
    return _next(scene, state, step, BackStage.START, why, tuple(sorted(job.result.facts.items())))


def _spoiled(scene: Scene, state: State, step: RollingBack, seen: tuple[TargetView, ...], left: str) -> Move:
    """Somebody started writers beside the restore: what it brings back may be mixed with theirs. Once more, from 0."""
    patches = tuple(fence_target(scene.execution, view, down=True) for view in seen if stable_of(view).replicas)
    why = f"somebody started writers during the restore ({left}): they are stopped, and the database is restored again"
    tells = () if step.spoiled else (offline_ways.done(scene, "disturbed", why),)
    state = replace(state, step=replace(step, spoiled=step.spoiled or why))
    holds = _late(scene, step, left)
    return Move(state, f"way back: {left}", forward=patches, tells=tells, holds=holds, wake_in=timedelta(seconds=2))


def _start(scene: Scene, state: State, step: RollingBack, seen: tuple[TargetView, ...]) -> Move:
    view = seen[len(seen) - 1 - step.index]
    found = before(state, view)
    if found is None:
        return _stuck(scene, state, step, f"nobody knows how {view.target} was before")
    plan, stable = plan_in(scene.execution), stable_of(view)
    replicas = found.replicas if plan.spec.stop else stable.replicas
    lacks = runs(view, found.image, replicas)
    if lacks:
        late = scene.now - step.since >= plan.spec.start_deadline
        why = f"the old version is not up after {span(scene.now - step.since)}: {lacks}"
        holds = (Wait(HoldKind.STUCK, why, f"It is waited for with the gate closed; look at the pods. {LEAVES}"),) if late else ()
        if stable.images.get(view.target.container) != found.image or stable.replicas != replicas or stable.paused:
            patch = return_target(scene.execution, view, found.image, replicas)
            return Move(state, patch.why, forward=(patch,), holds=holds, wake_in=POLL)
        return Move(state, f"way back: {lacks}", holds=holds, wake_in=POLL)
    if step.index + 1 < len(seen):
        state = replace(state, step=replace(step, index=step.index + 1, since=scene.now))
        item = offline_ways.done(scene, "back-start", f"{view.target} runs {found.image} again")
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    return _next(scene, state, step, BackStage.TEST, f"the old version runs again: {found.image} on {plural(replicas, 'pod')}")


def _test(scene: Scene, state: State, step: RollingBack, seen: tuple[TargetView, ...]) -> Move:
    if step.index == 0 and step.attempt == 1:
        state = offline_course.begin(state, "old")
    ran = offline_course.go_on(scene, state, offline_course.Course("old", step.course, step.index, step.attempt), step.since)
    if ran.course is not None:
        moved = replace(ran.state, step=replace(step, index=ran.course.index, attempt=ran.course.attempt))
        wake = timedelta() if ran.tells else POLL
        return Move(moved, ran.why, tasks=ran.tasks, tells=ran.tells, holds=ran.holds, wake_in=wake)
    failed = offline_course.failed(state, "old")
    if failed:
        return _stuck(scene, state, step, f"the old version fails test {failed[0].name}: {failed[0].why}")
    found = ((view, before(state, view)) for view in seen)
    lacks = next(filter(None, (serves(view, old.image) for view, old in found if old is not None)), "")
    if lacks:
        why = f"the old version has passed the tests, but then {lacks}"
        return Move(state, why, holds=_late(scene, step, why), wake_in=POLL)
    return offline_open.begin(scene, state, step.ends_as, step.why, "the old version runs and has passed the tests", step.actor)


def left_closed(scene: Scene, state: State, step: RollingBack, stop: Reason) -> Move:
    """End with the gate closed, because a person wants to finish by hand; say so as loudly as there is."""
    left = step.stuck or waits_long(state)
    why = f"{stop.why}; THE GATE IS STILL CLOSED and the way back is not done ({step.stage.value}: {left})"
    item = Tell(
        "left-closed",
        why,
        notice=NoticeKind.NEEDS_PERSON,
        title=f"{scene.execution.target}: ended with the gate closed",
        actor=stop.actor,
        next_action="Finish by hand; what stood on the gate before is in this rollout's history (left-closed).",
        facts=saved_facts(state),
        post_on=scene.execution.target.stable,
        warning=True,
    )
    return Move(enter(state, Ended(Outcome.FAILED, why, scene.now), scene.now, None), why, tells=(item,))
