"""The long, quiet part: time is credited only while all is seen and well, and one replica is added at a time.

Growing needs the interval both credited at this size and passed on the clock, no reason to wait, and room under the share. We
never cause an excess share; when the stable shrinks, one replica at a time is taken away, down to one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout.core.actions import scale_canary
from rollout.core.cohorts import Deployment, TargetView
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.holds import credit_is_due
from rollout.core.plan_canary import CanaryPlan, CanarySpec
from rollout.core.replacing import replace
from rollout.core.shares import excess_now, growth_refused
from rollout.core.state import Certifying, HoldKind, Reason, Soaking, State
from rollout.core.steps import hands, retreat
from rollout.core.wording import percent, plural, span

POLL = timedelta(seconds=5)
UNSEEN = timedelta(seconds=45)
"""How long a write of ours may be done and not be seen: its answer is late (10 s), and a watch must connect again (30 s)."""


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Credit the time since the last look, then confirm, shrink, grow or end the soak."""
    plan, step, view = scene.execution.plan, state.step, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert isinstance(step, Soaking)  # noqa: S101 - chosen by type
    if view is None or view.canary is None or view.stable is None:
        return Move(state, "the cluster cannot be seen; nothing is credited")
    step = _credit(scene, step, waits, well=found.signals.healthy)
    state = replace(state, step=step)
    return (
        (hands.answer(scene, state, step, view.canary) if step.confirmed else None)
        or _reach_size(scene, state, step, view.canary, waits)
        or _shrink(scene, state, step, view)
        or _go_on(scene, state, step, view, waits)
    )


def _credit(scene: Scene, step: Soaking, waits: tuple[Wait, ...], *, well: bool) -> Soaking:
    ready = [pod for pod in scene.cohorts.candidate if pod.ready and pod.deleting_since is None]
    complete = step.grown_at is not None and len(ready) >= step.size
    if not (complete and well and credit_is_due(waits)):
        return step
    return replace(step, credited=step.credited + scene.gap, credited_at_size=step.credited_at_size + scene.gap)


def _reach_size(scene: Scene, state: State, step: Soaking, canary: Deployment, waits: tuple[Wait, ...]) -> Move | None:
    """Bring the canary to the size that was chosen, and confirm it by looking; upwards only while nothing holds."""
    if canary.replicas < step.size and waits:
        return _status(scene, state, step, (), waits)
    if canary.replicas < step.size and (refused := _no_room_any_more(scene, step)) is not None:
        if step.sized_at is not None and timedelta() <= scene.now - step.sized_at < UNSEEN:
            return Move(state, f"whether the addition was performed is not certain yet; {refused}", wake_in=POLL)
        return _take_back(scene, state, step, canary.replicas, refused)
    if canary.replicas != step.size:
        patch = scale_canary(scene.execution, canary, step.size)
        if step.sized_at is not None:  # its pod has the whole startDeadline, however late it is asked for
            state = replace(state, step=replace(step, sized_at=scene.now))
        return Move(state, f"scaling {canary.name} to {step.size}", forward=(patch,), wake_in=POLL)
    if not step.confirmed:
        step = replace(step, confirmed=True)
        state = replace(state, step=step)
    if step.grown_at is not None:
        return None
    ready = [pod for pod in scene.cohorts.candidate if pod.ready]
    if len(ready) < step.size:
        return _awaited(scene, state, step, len(ready))
    share = scene.cohorts.share
    why = f"{canary.name} serves with {plural(step.size, 'replica')}, {percent(share)} of the ready pods"
    item = Tell(
        "replica-added",
        why,
        notice=NoticeKind.REPLICA_ADDED,
        title=f"{scene.execution.target}: canary at {plural(step.size, 'replica')}",
        facts=(("replicas", str(step.size)), ("share", f"{share:.4f}")),
        post_on=canary.name,
    )
    return Move(replace(state, step=replace(step, grown_at=scene.now, sized_at=None)), why, tells=(item,), wake_in=timedelta())


def _no_room_any_more(scene: Scene, step: Soaking) -> str | None:
    """Ask for the share once more: hours may lie between the decision and its performance (a crash, a pause, a freeze)."""
    plan, view = scene.execution.plan, scene.view
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    assert view is not None  # noqa: S101 - checked by the caller
    return growth_refused(plan, view, scene.cohorts, step.size)


def _take_back(scene: Scene, state: State, step: Soaking, size: int, refused: str) -> Move:
    """Stay at the size that is there; the interval that it had earned when the addition was decided stays earned."""
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    earned = plan.spec.replicas.every if step.sized_at is not None else timedelta()
    grown_at = (step.sized_at or scene.now) - earned
    kept = replace(step, size=size, grown_at=grown_at, credited_at_size=earned, confirmed=True, sized_at=None)
    why = f"the addition that was decided is not performed: {refused}"
    item = Tell("replica-not-added", why, facts=(("replicas", str(size)),), post_on=scene.execution.target.canary)
    return Move(replace(state, step=kept), why, tells=(item,), wake_in=timedelta())


def _awaited(scene: Scene, state: State, step: Soaking, ready: int) -> Move:
    """Wait for the added pod; one that starts but never becomes ready is the version's fault, one without a place is not."""
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    late = step.sized_at is not None and scene.now - step.sized_at >= plan.spec.start_deadline
    why = f"{ready} of {step.size} canary pods are ready"
    there = [p for p in scene.cohorts.candidate if p.deployment == scene.execution.target.canary and p.deleting_since is None]
    if len(there) < step.size and late:  # no container was started: a quota, an admission webhook
        why = f"the cluster has made {len(there)} of {step.size} canary pods"
        action = "`kubectl describe replicaset` says why (a quota? an admission webhook?); it goes on by itself."
        return Move(state, why, wake_in=POLL, holds=(Wait(HoldKind.OVERDUE, why, action),))
    homeless = [pod for pod in scene.cohorts.candidate if pod.unschedulable]
    if homeless:
        why = f"{why}; {homeless[0].name} cannot be scheduled: {homeless[0].unschedulable}"
        kind = HoldKind.OVERDUE if late else HoldKind.NOT_READY
        return Move(state, why, wake_in=POLL, holds=(Wait(kind, why, "Make room for one pod; it goes on by itself."),))
    if late:
        why = f"{why}, {span(plan.spec.start_deadline)} after the last one was added"
        return retreat.begin(scene, state, Reason(why, "start-deadline", Outcome.FAILED))
    return Move(state, why, wake_in=POLL, holds=(Wait(HoldKind.NOT_READY, why),))


def _shrink(scene: Scene, state: State, step: Soaking, view: TargetView) -> Move | None:
    """Take one replica away when the stable has shrunk under it; at one, hold and tell."""
    assert isinstance(scene.execution.plan, CanaryPlan)  # noqa: S101 - a canary's step
    excess = excess_now(scene.execution.plan, view, step.size)
    if excess is None:
        return None
    if step.size == 1:
        if state.paused is not None:
            return None
        wait = Wait(HoldKind.SHARE, f"{excess}; one replica is the least there is")
        return _status(scene, state, step, (wait,))
    smaller = replace(step, size=step.size - 1, grown_at=scene.now, credited_at_size=timedelta(), confirmed=False)
    item = hands.shrinking(scene, excess, step.size)
    return Move(replace(state, step=smaller), item.why, tells=(item,), wake_in=timedelta())


def _go_on(scene: Scene, state: State, step: Soaking, view: TargetView, waits: tuple[Wait, ...]) -> Move:
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    spec = plan.spec
    assert step.grown_at is not None  # noqa: S101 - _reach_size has answered otherwise
    due = step.credited_at_size >= spec.replicas.every and scene.now - step.grown_at >= spec.replicas.every
    extra: tuple[Wait, ...] = ()
    if due and step.size < spec.replicas.max:
        size = min(step.size + spec.replicas.step, spec.replicas.max)
        refused = growth_refused(plan, view, scene.cohorts, size)
        if refused is None:
            return _grow(state, step, size, scene.now) if not waits else _status(scene, state, step, (), waits)
        extra = (Wait(HoldKind.SHARE, refused),) if step.credited < spec.soak else ()
    elif step.size < spec.replicas.max and not _enough(step, spec):
        return _status(scene, state, step, _overdue(scene, state), waits)
    if due and _enough(step, spec):
        return _certify(scene, state, step)
    return _status(scene, state, step, (*extra, *_overdue(scene, state)), waits)


def _enough(step: Soaking, spec: CanarySpec) -> bool:
    return step.credited >= spec.soak


def _grow(state: State, step: Soaking, size: int, now: datetime) -> Move:
    grown = replace(step, size=size, grown_at=None, credited_at_size=timedelta(), confirmed=False, sized_at=now)
    why = f"{span(step.credited_at_size)} credited at {plural(step.size, 'replica')}: one more, {size}"
    item = Tell("growing", why, facts=(("replicas", str(size)), ("credited_seconds", str(round(step.credited.total_seconds())))))
    return Move(replace(state, step=grown), why, tells=(item,), wake_in=timedelta())


def _certify(scene: Scene, state: State, step: Soaking) -> Move:
    why = f"soaked {span(step.credited)}, {span(step.credited_at_size)} of it with {plural(step.size, 'replica')}"
    item = Tell(
        "soaked", why, facts=(("credited_seconds", str(round(step.credited.total_seconds()))), ("replicas", str(step.size)))
    )
    certifying = Certifying(step.size, scene.now, step.credited)
    deadline = state.deadline
    state = enter(state, certifying, scene.now, None)
    return Move(replace(state, deadline=deadline), why, tells=(item,), wake_in=timedelta())


def _overdue(scene: Scene, state: State) -> tuple[Wait, ...]:
    """After maxSoak, ask: it goes on being watched, and goes on by itself if the evidence arrives."""
    if state.deadline is None or scene.now < state.deadline:
        return ()
    why = f"the soak has lasted {span(scene.now - state.entered_at)} without enough evidence"
    return (Wait(HoldKind.OVERDUE, why, "`rollout show` says what is missing; `rollout abort` steps back, or let it go on."),)


def _status(scene: Scene, state: State, step: Soaking, holds: tuple[Wait, ...], waits: tuple[Wait, ...] = ()) -> Move:
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - a canary's step
    spec = plan.spec
    credited = f"{span(step.credited)} of {span(spec.soak)} credited"
    if waits:
        return Move(state, f"{credited}; held: {waits[0].why}", holds=holds)
    if step.size < spec.replicas.max and not holds:
        left = max(spec.replicas.every - step.credited_at_size, timedelta())
        return Move(state, f"{credited}; {span(left)} until the next replica", holds=holds, wake_in=left or None)
    left = max(spec.soak - step.credited, spec.replicas.every - step.credited_at_size, timedelta())
    held = f"; {holds[0].why}" if holds else ""
    return Move(state, f"{credited}; {span(left)} to go{held}", holds=holds, wake_in=left or None)
