"""Enough positive evidence that the candidate is not worse, and a person's word where the plan wants one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions import scale_canary
from rollout.core.cohorts import TargetView
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.evidence import evidence_of
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.pace import pace_of
from rollout.core.plan_canary import CanaryPlan
from rollout.core.shares import excess_now
from rollout.core.signals_compiled import JudgeKind
from rollout.core.state import Certifying, HoldKind, Promoting, Reason, Snapshot, State
from rollout.core.steps import hands, retreat
from rollout.core.steps.hands import shrinking
from rollout.core.wording import listed, span


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Promote when it is certified and approved; otherwise say what is missing, and go on watching."""
    plan, step, view = scene.execution.plan, state.step, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert isinstance(step, Certifying)  # noqa: S101 - chosen by type
    if view is None or view.stable is None:
        return Move(state, "the cluster cannot be seen; the promotion waits")
    resized = _resize(scene, state, step, view)
    if resized is not None:
        return resized
    missing = _uncertified(scene, state)
    holds: list[Wait] = []
    if missing and (state.approval is None or not state.approval.unproven):
        why = f"not enough evidence yet: {missing[0]}"
        late = state.deadline is not None and scene.now >= state.deadline
        action = (
            "It goes on by itself when the evidence is there; `rollout approve` takes what there is, `rollout abort` steps back."
        )
        holds.append(Wait(HoldKind.OVERDUE if late else HoldKind.EVIDENCE, why, action))
    if plan.spec.approvals.before_promotion and state.approval is None:
        waited = scene.now - step.since
        if waited >= plan.spec.approvals.within:
            why = f"nobody approved the promotion within {span(plan.spec.approvals.within)}"
            return retreat.begin(scene, state, Reason(why, "not-approved", Outcome.ABORTED))
        action = f"`rollout approve {scene.execution.id}` promotes, `rollout abort` steps back."
        holds.append(Wait(HoldKind.APPROVAL, "the soak is over; the promotion waits for a person's approval", action))
    if holds or waits:
        first = (*holds, *waits)[0]
        return Move(state, first.why, holds=tuple(holds))
    if not found.signals.healthy:
        return Move(state, "the promotion waits until every signal is healthy")
    return _promote(scene, state, step)


def _resize(scene: Scene, state: State, step: Certifying, view: TargetView) -> Move | None:
    """Keep the size and the share while a person is waited for: other hands, and a stable that shrinks at night."""
    plan = scene.execution.plan
    if view.canary is None or not isinstance(plan, CanaryPlan):
        return None
    excess = excess_now(plan, view, step.size) if step.size > 1 else None
    if excess is None:
        return hands.answer(scene, state, step, view.canary)
    smaller = replace(step, size=step.size - 1)
    item = shrinking(scene, excess, step.size)
    patch = scale_canary(scene.execution, view.canary, smaller.size)
    return Move(replace(state, step=smaller), item.why, forward=(patch,), tells=(item,), wake_in=timedelta())


def _uncertified(scene: Scene, state: State) -> list[str]:
    """Name what is not certified: only signals that compare with the baseline can be, and need to be."""
    needed = {s.name for s in scene.execution.signals if s.required and not s.dry_run and s.judge is JudgeKind.RATIO}
    return [f"{s.name}: {s.certificate or s.why}" for s in state.signals if s.name in needed and not s.certified]


def _promote(scene: Scene, state: State, step: Certifying) -> Move:
    plan, view = scene.execution.plan, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert view is not None  # noqa: S101 - checked by the caller
    assert view.stable is not None  # noqa: S101 - as above
    target, stable = view.target, view.stable
    pace = pace_of(round(plan.spec.promotion.pace.total_seconds()), stable)
    old = stable.images.get(target.container, "")
    snapshot = Snapshot(old, stable.min_ready_seconds, scene.execution.image, pace, scene.now)
    judged = span(timedelta(seconds=pace))
    why = f"certified; {stable.name} goes from {old} to {scene.execution.image}, each new pod is judged for {judged}"
    item = Tell(
        "promoting",
        why,
        notice=NoticeKind.PROMOTING,
        title=f"{scene.execution.target}: promotion begins",
        lines=tuple(f"{s.name}: {s.certificate or s.why}" for s in state.signals),
        next_action="Any trouble puts the old image back at once.",
        facts=(
            ("old_image", old),
            ("new_image", scene.execution.image),
            ("certified", listed(s.name for s in state.signals if s.certified)),
        ),
        evidence=evidence_of(state.signals),
        post_on=stable.name,
    )
    promoting = Promoting(step.size, snapshot, scene.now)
    return Move(enter(state, promoting, scene.now, plan.spec.promotion.progress_deadline), why, tells=(item,))
