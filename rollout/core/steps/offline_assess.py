"""Before anything: the checks, and the report of who will notice."""

from __future__ import annotations

from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.offline_facts import latest_rollback, plan_in, remember, views, when, words
from rollout.core.plan_offline import OfflinePlan
from rollout.core.state import Ended, State
from rollout.core.state_offline import Announcing

RETRY = timedelta(seconds=15)


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Ask for checks and report; refuse with every remedy at once, or begin to announce."""
    del waits
    checks, report = Task("preflight", "offline-preflight"), Task("assess", "assess")
    answers = [scene.seen.tasks.get(task.key) for task in (checks, report)]
    late = state.deadline is not None and scene.now >= state.deadline
    found = [answer for answer in answers if answer is not None and answer.state == "done"]
    if len(found) < len(answers) or views(scene) is None:
        why = _why_not_yet(scene, answers)
        if late:
            return _refuse(scene, state, (Line("preflight", "refused", f"the checks could not be answered: {why}"),))
        return Move(state, why, tasks=(checks, report), wake_in=RETRY)
    lines = tuple(line for answer in found for line in answer.lines)
    refused = tuple(line for line in lines if line.level in {"refused", "failed"})
    refused = refused or tuple(Line(answer.key, "refused", answer.why) for answer in found if not answer.ok)
    if refused:
        return _refuse(scene, state, refused)
    return _announce(scene, state, found[0].lines, found[1].lines)


def _why_not_yet(scene: Scene, answers: list[TaskResult | None]) -> str:
    if views(scene) is None:
        return "the cluster cannot be seen yet"
    return next((answer.why for answer in answers if answer is not None and answer.state != "done"), "the checks are running")


def _refuse(scene: Scene, state: State, lines: tuple[Line, ...]) -> Move:
    why = f"preflight refused it: {lines[0].message}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
    told = words(lines)
    item = Tell(
        "refused",
        why,
        notice=NoticeKind.NEEDS_PERSON,
        title=f"{scene.execution.target}: not started",
        next_action="Nothing was changed. Mend what is listed, then `rollout retry`.",
        lines=told,
        facts=tuple((f"check {index}", text) for index, text in enumerate(told, 1)),
    )
    return Move(enter(state, Ended(Outcome.REFUSED, "; ".join(told), scene.now), scene.now, None), why, tells=(item,))


def declared(plan: OfflinePlan) -> tuple[str, ...]:
    """Word the plan's own list of dependants."""
    return tuple(
        f"declared: {one.name}" + (f" ({one.contact})" if one.contact else "") + (f", {one.note}" if one.note else "")
        for one in plan.spec.impact.dependants
    )


def _announce(scene: Scene, state: State, checks: tuple[Line, ...], report: tuple[Line, ...]) -> Move:
    plan = plan_in(scene.execution)
    window = plan.spec.window
    impact = (*words(report), *declared(plan))
    state = remember(state, impact=impact)
    state = enter(state, Announcing(scene.now), scene.now, None)
    why = (
        f"{', '.join(map(str, plan.targets))} will be upgraded offline from {when(scene, window.starts_at)} "
        f"to {when(scene, window.ends_at)}; a way back fits until {when(scene, latest_rollback(scene, state))}"
    )
    ask = "`rollout acknowledge` first: somebody must have seen this report." if plan.spec.impact.acknowledgement else ""
    item = Tell(
        "assessed",
        why,
        notice=NoticeKind.STARTED,
        title=f"{scene.execution.target}: offline upgrade planned",
        lines=(*impact, *words(checks, "warning")),
        next_action=ask or "It is announced at the plan's offsets; `rollout cancel` ends it before anything is changed.",
        facts=tuple((f"impact {n}", text) for n, text in enumerate(impact, 1)),
    )
    return Move(state, why, tells=(item,), wake_in=timedelta())
