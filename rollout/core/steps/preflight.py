"""First step: nothing is changed before every check has been answered and none refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.plan import CanaryPlan
from rollout.core.plan_canary import Mode
from rollout.core.shares import Refusal, start_share
from rollout.core.state import Ended, HoldKind, Observing, Starting, State
from rollout.core.windows import floor
from rollout.core.wording import percent, plural

RETRY = timedelta(seconds=15)
ASKED_AGAIN = timedelta(hours=1)
FRESH = timedelta(minutes=15)
"""So long the answer to the checks is believed."""


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Ask for the checks; refuse with all remedies at once, or go on to the start."""
    del found
    result, task = _checks(scene)
    # No answer at all is one that a daemon took with it when it died: it is asked for again before anything is refused.
    patience = ASKED_AGAIN if result is None and scene.view is not None else timedelta()
    late = state.deadline is not None and scene.now >= state.deadline + patience
    if scene.view is None or result is None or result.state == "unavailable":
        why = _why_not_yet(scene, result)
        if late:
            return _refuse(scene, state, (Line("preflight", "refused", f"the checks could not be answered: {why}"),))
        return Move(state, why, tasks=(task,) if task is not None else (), wake_in=RETRY)
    lines = (*_policy(scene), *result.lines, *_share(scene), *_paused(scene))
    if any(line.level == "refused" for line in lines):
        return _refuse(scene, state, tuple(line for line in lines if line.level == "refused"))
    if waits:
        return Move(state, f"ready to start, but {waits[0].why}", wake_in=RETRY)
    if task is not None:
        return Move(state, "the start was held for long: the checks run again", tasks=(task,), wake_in=RETRY)
    return _start(scene, state, lines)


def _checks(scene: Scene) -> tuple[TaskResult | None, Task | None]:
    """Find the newest answer, and the task that would bring a fresh one, None where the answer is fresh.

    Whoever waited for the end of a freeze or a pause starts on what is true now, not on what was checked days ago.
    """
    results = scene.seen.tasks
    again = Task(f"preflight {floor(scene.now, FRESH):%Y-%m-%dT%H:%M}", "preflight")
    first = Task("preflight", "preflight")
    for task in (again, first):
        result = results.get(task.key)
        if result is not None and result.state != "unavailable":
            return result, None if scene.now - result.at < FRESH else again
    return results.get(first.key), first


def _why_not_yet(scene: Scene, result: TaskResult | None) -> str:
    if scene.view is None:
        return "the cluster cannot be seen yet"
    return result.why if result is not None else "the checks are running"


def _policy(scene: Scene) -> tuple[Line, ...]:
    """Refuse what the daemon's own policy does not allow: whoever submitted the plan may have known another one."""
    return tuple(Line("policy", "refused", str(problem)) for problem in scene.policy.check(scene.execution.plan))


def _share(scene: Scene) -> tuple[Line, ...]:
    """Refuse a first replica that would take more than its share, with the arithmetic."""
    plan = scene.execution.plan
    view = scene.view
    if not isinstance(plan, CanaryPlan) or view is None or view.stable is None or plan.spec.mode is Mode.OBSERVE:
        return ()
    answer = start_share(plan, view.stable)
    return (Line("share", "refused", answer.why, answer.remedy),) if isinstance(answer, Refusal) else ()


def _paused(scene: Scene) -> tuple[Line, ...]:
    """Refuse a canary Deployment that somebody paused: scaled up, it would start pods of the version that it had before."""
    canary = scene.view.canary if scene.view is not None else None
    if canary is None or not canary.paused or _observes(scene):
        return ()
    remedy = f"find out who holds it, then kubectl rollout resume -n {canary.namespace} deployment/{canary.name}"
    return (Line("canary", "refused", f"{canary.name} is paused (spec.paused): it would not take the new image", remedy),)


def _observes(scene: Scene) -> bool:
    plan = scene.execution.plan
    return isinstance(plan, CanaryPlan) and plan.spec.mode is Mode.OBSERVE


def _refuse(scene: Scene, state: State, lines: tuple[Line, ...]) -> Move:
    why = f"preflight refused it: {lines[0].message}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
    words = tuple(f"{line.name}: {line.message}" + (f"; {line.remedy}" if line.remedy else "") for line in lines)
    item = Tell(
        "refused",
        why,
        notice=NoticeKind.NEEDS_PERSON,
        title=f"{scene.execution.target}: not started",
        next_action="Nothing was changed. Mend what is listed, then `rollout retry`.",
        lines=words,
        facts=tuple((f"check {index}", text) for index, text in enumerate(words, 1)),
    )
    state = enter(state, Ended(Outcome.REFUSED, "; ".join(words), scene.now), scene.now, None)
    return Move(state, why, tells=(item,))


def _start(scene: Scene, state: State, lines: tuple[Line, ...]) -> Move:
    plan = scene.execution.plan
    view = scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert view is not None  # noqa: S101 - checked by the caller
    warnings = tuple(f"{line.name}: {line.message}" for line in lines if line.level == "warning")
    old = view.stable.images.get(scene.execution.target.container, "") if view.stable is not None else ""
    state = replace(state, stable_image=old, started_at=scene.now)
    if plan.spec.mode is Mode.OBSERVE:
        why = (
            f"observing {scene.execution.target}: people drive {view.target.canary}, everything is judged and told, nothing changed"
        )
        item = Tell("observing", why, notice=NoticeKind.STARTED, title=f"{scene.execution.target}: observing", lines=warnings)
        return Move(enter(state, Observing(scene.now), scene.now, plan.spec.max_soak), why, tells=(item,))
    replicas = plan.spec.replicas.initial
    stable = view.stable.replicas if view.stable is not None else 0
    share = replicas / (replicas + stable)
    why = (
        f"{view.target.canary} gets {scene.execution.image} with {plural(replicas, 'replica')}, {percent(share)} of the ready pods"
    )
    item = Tell(
        "started",
        why,
        notice=NoticeKind.STARTED,
        title=f"{scene.execution.target}: canary started",
        lines=(f"from {old} to {scene.execution.image}", *warnings),
        next_action="It soaks as soon as it is ready; any trouble takes it to 0 at once.",
        facts=(("replicas", str(replicas)), ("share", f"{share:.4f}"), ("old_image", old)),
        post_on=view.target.canary,
    )
    return Move(enter(state, Starting(), scene.now, plan.spec.start_deadline), why, tells=(item,), wake_in=timedelta())


__all__ = ["HoldKind", "decide"]
