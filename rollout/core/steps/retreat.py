"""Stepping back: the canary to 0 at once, the stable to what it was, only where it still is what we wrote.

Acts before it is committed. The canary's way to 0 needs nothing but the cluster; the stable's also needs our lease. It is done
when the world shows it: no ready endpoint runs the new version, and the stable is whole. Until then it is tried for ever.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.actions import restore_stable, restore_unseen, stop_canary
from rollout.core.cohorts import ANNOTATION_BY_HAND, ANNOTATION_STOPPED, Deployment, Pod, TargetView
from rollout.core.decision import Move, Scene, Tell, enter
from rollout.core.effects import PatchDeployment
from rollout.core.history import NoticeKind
from rollout.core.state import Ended, Preflight, Promoting, Reason, Retiring, Retreating, Snapshot, State, Watching
from rollout.core.tombstone import read
from rollout.core.wording import listed, plural, span

POLL = timedelta(seconds=2)
STUCK = timedelta(minutes=5)
"""So long may a step back take before people are told; it is the deadline of the step, which never stops trying."""
REMIND = timedelta(hours=1)
SUPERSEDED = frozenset({"supersede", "superseded-adopt"})
LEAVES_STABLE = frozenset({"stable-image-changed", "stable-deleted", "superseded-adopt"})


def begin(scene: Scene, state: State, reason: Reason) -> Move:
    """Start stepping back now, with the first writes in the same decision."""
    if isinstance(state.step, Preflight):
        why = f"{reason.why}; nothing had been changed"
        title = f"{scene.execution.target}: {reason.ends_as.value}"
        item = Tell(reason.ends_as.value, why, notice=NoticeKind.STEPPED_BACK, title=title,
                    actor=reason.actor, evidence=reason.evidence)  # fmt: skip
        return Move(enter(state, Ended(reason.ends_as, reason.why, scene.now), scene.now, None), why, tells=(item,))
    snapshot = _snapshot(state)
    leave = reason.kind in LEAVES_STABLE
    retreating = Retreating(reason, scene.now, snapshot, leave_stable=leave)
    page = leave and snapshot is not None and reason.kind not in SUPERSEDED
    back = f"; {scene.execution.target.stable} goes back to {snapshot.old_image}" if snapshot is not None and not leave else ""
    item = Tell(
        "stepping-back",
        f"{reason.why}; canary scaled to 0{back}",
        notice=NoticeKind.NEEDS_PERSON if page else NoticeKind.STEPPING_BACK,
        title=f"{scene.execution.target}: stepping back",
        next_action=_next(scene, reason),
        actor=reason.actor,
        facts=(("reason", reason.kind), ("ends_as", reason.ends_as.value)),
        evidence=reason.evidence,
        post_on=scene.execution.target.canary,
        warning=True,
    )
    move = decide(scene, enter(replace(state, holds=(), paused=None), retreating, scene.now, STUCK))
    return replace(move, tells=(item, *move.tells))


def _next(scene: Scene, reason: Reason) -> str:
    if reason.kind == "stable-image-changed":
        return f"{scene.execution.target.stable} is left exactly as somebody made it: look at it now."
    if reason.kind in SUPERSEDED:
        return "The plan that supersedes it can begin then; `rollout submit --wait` and the folder of plans see to that."
    return f"Mend it, then `rollout retry {scene.execution.id}` starts again from step 1."


def _snapshot(state: State) -> Snapshot | None:
    match state.step:
        case Promoting(snapshot=snapshot) | Watching(snapshot=snapshot) | Retiring(snapshot=snapshot):
            return snapshot
        case _:
            return None


def decide(scene: Scene, state: State) -> Move:
    """Ask for what is still to be undone; end when the world shows that nothing is."""
    step, view = state.step, scene.view
    assert isinstance(step, Retreating)  # noqa: S101 - chosen by type
    if view is None:
        return Move(state, "stepping back without seeing the cluster", backward=_unseen(scene, step), wake_in=POLL)
    patches = _patches(scene, step, view)
    missing = _missing(scene, step, view, patches)
    if missing:
        return _not_yet(scene, state, step, view, patches, missing)
    return _end(scene, state, step, view)


def _unseen(scene: Scene, step: Retreating) -> tuple[PatchDeployment, ...]:
    """Write without seeing: the server itself tests that what is overwritten still is ours."""
    found = [stop_canary(scene.execution, None, step.reason)]
    if step.snapshot is not None and not step.leave_stable and scene.seen.leased:
        found.append(restore_unseen(scene.execution, step.snapshot))
    return tuple(patch for patch in found if patch is not None)


def _patches(scene: Scene, step: Retreating, view: TargetView) -> tuple[PatchDeployment, ...]:
    found: list[PatchDeployment] = []
    if view.canary is not None:
        patch = stop_canary(scene.execution, view.canary, step.reason)
        if patch is not None:
            found.append(patch)
    if step.snapshot is not None and not step.leave_stable and view.stable is not None and scene.seen.leased:
        patch = restore_stable(scene.execution, view.stable, step.snapshot)
        if patch is not None:
            found.append(patch)
    return tuple(found)


def _missing(scene: Scene, step: Retreating, view: TargetView, patches: tuple[PatchDeployment, ...]) -> str:
    """Say what is not yet undone; empty when all is."""
    if patches:
        return patches[0].why + (f" ({scene.seen.write_trouble})" if scene.seen.write_trouble else "")
    if step.snapshot is not None and not step.leave_stable and view.stable is not None:
        if not scene.seen.leased and restore_stable(scene.execution, view.stable, step.snapshot) is not None:
            return "the stable waits: this daemon's lease is not certain"
        if _is_old(scene, view.stable, step.snapshot) and not view.stable.rolled_out:
            return f"{view.stable.name} is rolling back, {view.stable.available} of {view.stable.replicas} available"
    serving = [pod.name for pod in _still_new(scene, step, view)]
    return f"{listed(serving)} still serves the new version" if serving else _counted(scene, view)


def _counted(scene: Scene, view: TargetView) -> str:
    """Ask the Deployment's own count too: the watch of its pods may be behind, and show none where one serves."""
    canary = view.canary
    if canary is None or canary.replicas or canary.annotations.get(ANNOTATION_STOPPED) != scene.execution.id:
        return ""
    behind = canary.observed_generation < canary.generation
    return f"{canary.name} still counts {plural(canary.status_replicas, 'pod')}" if canary.status_replicas or behind else ""


def _is_old(scene: Scene, stable: Deployment, snapshot: Snapshot) -> bool:
    return stable.images.get(scene.execution.target.container) == snapshot.old_image


def _still_new(scene: Scene, step: Retreating, view: TargetView) -> list[Pod]:
    """Pods of the new version that still get requests; where the stable is left alone, only the canary's concern us."""
    mine = [pod for pod in scene.cohorts.candidate if pod.ready or pod.serving]
    owner = view.canary.annotations.get(ANNOTATION_STOPPED) if view.canary is not None else None
    if view.canary is not None and view.canary.replicas > 0 and owner != scene.execution.id:
        mine = [pod for pod in mine if pod.deployment != view.target.canary]
    if step.leave_stable or step.snapshot is None:
        return [pod for pod in mine if pod.deployment == view.target.canary]
    if view.stable is not None and not _is_old(scene, view.stable, step.snapshot):
        return [pod for pod in mine if pod.deployment == view.target.canary]
    return mine


def _not_yet(
    scene: Scene, state: State, step: Retreating, view: TargetView, patches: tuple[PatchDeployment, ...], missing: str
) -> Move:
    since = step.stuck_told_at
    long = state.deadline is None or scene.now >= state.deadline
    if not long or (since is not None and scene.now - since < REMIND):
        return Move(state, f"stepping back: {missing}", backward=patches, wake_in=POLL)
    stuck = [pod for pod in view.pods if pod.deleting_since is not None and scene.now - pod.deleting_since > timedelta(minutes=2)]
    names = listed(f"{pod.name} on {pod.node}" for pod in stuck)
    why = f"stepping back is not done after {span(scene.now - step.since)}: {missing}" + (
        f"; stuck Terminating: {names}" if stuck else ""
    )
    item = Tell(
        "retreat-stuck",
        why,
        notice=NoticeKind.NEEDS_PERSON,
        title=f"{scene.execution.target}: stepping back is not done",
        next_action="It is tried without end; look at the cluster now.",
        post_on=view.target.stable,
        warning=True,
    )
    state = replace(state, step=replace(step, stuck_told_at=scene.now))
    return Move(state, why, backward=patches, tells=(item,), wake_in=POLL)


def _end(scene: Scene, state: State, step: Retreating, view: TargetView) -> Move:
    lasted = span(scene.now - step.since)
    stable = view.stable
    image = stable.images.get(scene.execution.target.container, "") if stable is not None else ""
    words = f"stepped back in {lasted}: the canary is at 0, {scene.execution.target.stable} runs {image or 'nothing (it is gone)'}"
    foreign = (
        step.snapshot is not None and stable is not None and not step.leave_stable and not _is_old(scene, stable, step.snapshot)
    )
    if foreign:
        words += ", which is neither the old nor our image: somebody's change was left alone"
    by_hand = _by_hand(scene, step, view)
    also = tuple(Tell("break-glass", one.why, actor=one.actor) for one in by_hand)
    item = Tell(
        step.reason.ends_as.value,
        "; ".join((step.reason.why, *(one.why for one in by_hand), words)),
        notice=NoticeKind.NEEDS_PERSON if foreign else NoticeKind.STEPPED_BACK,
        title=f"{scene.execution.target}: {step.reason.ends_as.value}, stepped back",
        next_action=_next(scene, step.reason),
        facts=(("reason", step.reason.kind), ("seconds", str(round((scene.now - step.since).total_seconds())))),
        post_on=scene.execution.target.stable,
        warning=True,
    )
    ended = Ended(step.reason.ends_as, step.reason.why, scene.now, step.reason.evidence)
    return Move(enter(state, ended, scene.now, None), item.why, tells=(*also, item))


def _by_hand(scene: Scene, step: Retreating, view: TargetView) -> tuple[Reason, ...]:
    """Find who broke the glass where that is not why it steps back: a command that a dead daemon left was decided upon first."""
    marks = view.canary.annotations if view.canary is not None else {}
    told = read(marks.get(ANNOTATION_BY_HAND, "")) if marks.get(ANNOTATION_STOPPED) == scene.execution.id else None
    return (told,) if told is not None and step.reason.kind != told.kind else ()
