"""After opening: pods and gate are watched for a while. Nothing is undone by itself any more; what is wrong is told.

After a way back only the gate is watched, and only where a write that closes it may still land: until it was seen as it was left.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.holds import QUIET
from rollout.core.observation import Task, TaskResult
from rollout.core.offline_facts import memory_of, newest, plan_in, remember, repeated, serves, trouble, views
from rollout.core.state import Ended, HoldKind, Reason, State
from rollout.core.state_offline import WatchingOpen
from rollout.core.steps import offline_course, offline_open
from rollout.core.wording import span

EVERY = timedelta(minutes=1)
UNSEEN = timedelta(minutes=3)
"""So much later than it should be a look at the open gate is asked about."""
CHANGED = "gate-watch"
TO_DO = "The watch begins again when it is well. `rollout abort` ends it, nothing is undone; then a hotfix goes with --follows."


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Let the watch pass while every pod serves; a gate that a late write closed once more is opened again."""
    del waits
    step, seen, plan = state.step, views(scene), plan_in(scene.execution)
    assert isinstance(step, WatchingOpen)  # noqa: S101 - chosen by type
    task = repeated(scene, "gate-watch", EVERY, name="watch")
    tells: tuple[Tell, ...] = ()
    looked = newest(scene, "watch", step.since)
    if looked is not None and not looked.ok and looked.key > memory_of(state).guard_told:
        state, item = _changed(scene, state, looked)
        tells = (item,)
    if step.ends_as is not Outcome.SUCCEEDED:
        return _after_the_way_back(scene, state, step, task, tells)
    lacks = "the cluster cannot be seen"
    if seen is not None:
        lacks = next(filter(None, (serves(v, plan.image_of(v.target)) for v in seen)), "")
    if lacks:
        wait = Wait(HoldKind.NOT_READY, lacks, TO_DO)
        if scene.now - step.since >= EVERY:
            state = replace(state, step=replace(step, since=scene.now))
        return Move(state, f"open, but {lacks}", tasks=(task,), tells=tells, holds=(wait,), wake_in=EVERY)
    lasted = scene.now - step.since
    if lasted < plan.spec.watch or (looked is None and plan.spec.watch):
        return Move(
            state, f"open and well for {span(lasted)} of {span(plan.spec.watch)}", tasks=(task,), tells=tells, wake_in=EVERY
        )
    unsure = _not_stable_yet(scene, state, step, task)
    if unsure is not None:
        return replace(unsure, tells=tells)
    why = f"{step.why}; watched {span(lasted)} after opening"
    minor = offline_course.minor(state)
    item = Tell(
        "succeeded",
        why,
        notice=NoticeKind.SUCCEEDED,
        title=f"{scene.execution.target}: upgraded to {scene.execution.image}",
        lines=minor,
        next_action=f"Minor failures: a hotfix canary with `--follows {scene.execution.id}`." if minor else "",
        post_on=scene.execution.target.stable,
    )
    return Move(enter(state, Ended(step.ends_as, step.why, scene.now), scene.now, None), why, tells=(*tells, item))


def _changed(scene: Scene, state: State, looked: TaskResult) -> tuple[State, Tell]:
    """Tell what became of the open gate: a change that stays once an hour, a late write that was taken back every time."""
    told = dict(state.told)
    quiet = CHANGED in told and scene.now - told[CHANGED] < QUIET and offline_open.REOPENED not in looked.facts
    title = f"{scene.execution.target}: the open gate changed"
    if not quiet:
        told[CHANGED] = scene.now
        state = replace(state, told=tuple(sorted(told.items())))
    item = Tell(CHANGED, looked.why, notice=None if quiet else NoticeKind.GATE, title=title)
    return remember(state, guard_told=looked.key), item


def ended_early(scene: Scene, state: State, stop: Reason) -> Move:
    """End the watch on a person's word: the target is free for a hotfix. What was opened stays as it is."""
    why = f"{stop.why}; the gate is open and {scene.execution.image} stays: after opening nothing is undone"
    item = Tell(
        stop.ends_as.value,
        why,
        notice=NoticeKind.STEPPED_BACK,
        title=f"{scene.execution.target}: the watch is over, {scene.execution.image} stays",
        actor=stop.actor,
        next_action=f"A hotfix goes with `--follows {scene.execution.id}`.",
        post_on=scene.execution.target.stable,
    )
    return Move(enter(state, Ended(stop.ends_as, why, scene.now), scene.now, None), why, tells=(item,))


def _after_the_way_back(scene: Scene, state: State, step: WatchingOpen, task: Task, tells: tuple[Tell, ...]) -> Move:
    """Keep an eye on the gate as long as a write that closes it may still land; then it is over."""
    unsure = _not_stable_yet(scene, state, step, task)
    if unsure is not None:
        return replace(unsure, tells=tells)
    over = offline_open.gone_back(scene, step)
    return Move(enter(state, Ended(step.ends_as, step.why, scene.now), scene.now, None), over.why, tells=(*tells, over))


def is_stable(scene: Scene, state: State, step: WatchingOpen) -> bool:
    """Say whether no write can close the gate behind us any more."""
    watching = step.ends_as is not Outcome.SUCCEEDED or offline_open.may_close_late(scene, state)
    return not watching or offline_open.stable(newest(scene, "watch", step.since), state.entered_at)


def _not_stable_yet(scene: Scene, state: State, step: WatchingOpen, task: Task) -> Move | None:
    """Look on while a write that closes the gate may land, and until the gate was seen open after that; a person may end it."""
    lasted = scene.now - state.entered_at
    if is_stable(scene, state, step) or state.approval is not None:
        return None
    if lasted < offline_open.LATE + UNSEEN:
        late = span(offline_open.LATE)
        why = f"open; a write that closes the gate may still be on its way, it is looked at for {late} after opening"
        return Move(state, why, tasks=(task,), wake_in=EVERY)
    why = f"nobody has seen the gate open for {span(lasted)}: {trouble(scene, 'watch', step.since) or 'no answer'}"
    action = "A write that closes it may have landed: look at the gateway; `rollout approve` ends the rollout."
    return Move(state, why, tasks=(task,), holds=(Wait(HoldKind.GATE, why, action),), wake_in=EVERY)
