"""Every reason for which a canary steps back at once, whatever step it is in.

In this order: somebody stopped it or took it over; Kubernetes shows trouble in its pods; a signal fails; nobody can see it
any more. Deadlines belong to the steps.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from rollout.core.cohorts import ANNOTATION_ID, ANNOTATION_STOPPED, ANNOTATION_STOPPED_WHY, OURS, Deployment
from rollout.core.decision import Scene
from rollout.core.evidence import evidence_of
from rollout.core.evidence_state import SignalState
from rollout.core.findings import Findings
from rollout.core.guards import Trip
from rollout.core.history import Evidence, Outcome
from rollout.core.plan import CanaryPlan
from rollout.core.state import (
    Certifying,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Soaking,
    Starting,
    State,
    Watching,
)
from rollout.core.tombstone import read
from rollout.core.wording import listed, span


def reason_to_stop(scene: Scene, state: State, found: Findings) -> Reason | None:
    """Find the first reason to step back, None when there is none."""
    if isinstance(state.step, Preflight):
        return None
    return (
        _hands(scene, state)
        or _pods(scene, found)
        or _signals(scene, state, found)
        or _blind(scene, state, found)
    )  # fmt: skip


def tombstone(scene: Scene, state: State) -> Reason | None:
    """Find why this rollout was stepped back already, by a daemon that the database never heard of; before any later command."""
    canary = scene.view.canary if scene.view is not None else None
    if canary is None or isinstance(state.step, Preflight | Retiring):
        return None
    if canary.annotations.get(ANNOTATION_STOPPED) != scene.execution.id:
        return None
    return read(canary.annotations.get(ANNOTATION_STOPPED_WHY, "")) or _foreign(
        f"{canary.name} carries this rollout's tombstone: it was stepped back past the database", "tombstone"
    )


def _hands(scene: Scene, state: State) -> Reason | None:
    """See what somebody else did to the two Deployments."""
    view = scene.view
    if view is None or isinstance(state.step, Retiring):
        return None
    if view.canary is None:
        return _foreign(f"{scene.execution.target.canary} is gone: somebody deleted the Deployment", "canary-deleted")
    if view.stable is None:
        return _foreign(f"{scene.execution.target.stable} is gone: somebody deleted the Deployment", "stable-deleted")
    return _canary_hands(scene, state, view.canary) or _stable_hands(scene, state, view.stable)


def _canary_hands(scene: Scene, state: State, canary: Deployment) -> Reason | None:
    target = scene.execution.target
    owner = canary.annotations.get(ANNOTATION_ID, "")
    if not _canary_confirmed(state) and not (isinstance(state.step, Starting) and owner == scene.execution.id):
        return None
    if owner and owner != scene.execution.id:
        return _foreign(f"{target.canary} was taken over by rollout {owner}", "taken-over")
    image = canary.images.get(target.container, "")
    if image != scene.execution.image:
        who = _writer(canary, "image")
        return _foreign(f"{target.canary} was given {image or 'another container'} {who}", "canary-image-changed")
    if canary.replicas == 0:
        return _foreign(f"{target.canary} was scaled to 0 {_writer(canary, 'replicas')}", "canary-scaled-to-0")
    return None


def _canary_confirmed(state: State) -> bool:
    """Say whether we have seen the canary as we made it. One that carries our id was made so too, whoever changed it since."""
    match state.step:
        case Starting(confirmed_at):
            return confirmed_at is not None
        case Soaking() | Certifying() | Promoting() | Watching():
            return True
        case _:
            return False


def _stable_hands(scene: Scene, state: State, stable: Deployment) -> Reason | None:
    target = scene.execution.target
    image = stable.images.get(target.container, "")
    match state.step:
        case Promoting(snapshot=snapshot, confirmed_at=None):
            expected = {snapshot.old_image, snapshot.new_image}
        case Promoting(snapshot=snapshot) | Watching(snapshot=snapshot):
            expected = {snapshot.new_image}
        case _:
            expected = {state.stable_image} if state.stable_image else {image}
    if image in expected or _promoted_by_us(scene, stable, image):
        return None
    who = _writer(stable, "image")
    return _foreign(f"{target.stable} was given {image} {who}; it is left alone", "stable-image-changed")


def _promoted_by_us(scene: Scene, stable: Deployment, image: str) -> bool:
    """See the hand of another daemon that took this rollout over while we slept: that is nobody else's hand."""
    return image == scene.execution.image and stable.annotations.get(ANNOTATION_ID) == scene.execution.id


def _foreign(why: str, kind: str) -> Reason:
    return Reason(why, kind, Outcome.ABORTED, "somebody else")


def _writer(deployment: Deployment, field: str) -> str:
    who = deployment.writers.get(field, "")
    return f"by {who}" if who and who != OURS else "by somebody else"


def _pods(scene: Scene, found: Findings) -> Reason | None:
    if found.pods is None or not found.pods.failing:
        return None
    trips = found.pods.failing
    why = trips[0].why + (f"; also {listed(t.pod for t in trips[1:])}" if len(trips) > 1 else "")
    return Reason(why, "pod-guard", Outcome.FAILED, evidence=tuple(pod_evidence(scene, trip) for trip in trips[:5]))


def pod_evidence(scene: Scene, trip: Trip) -> Evidence:
    """Write what a guard saw as evidence."""
    target = scene.execution.target
    query = f"pods of {target.namespace}/{target.canary} and {target.stable}, watched"
    return Evidence("kubernetes", scene.now, scene.now, query, (), trip.cause, trip.why)


def told_of(scene: Scene, signal: SignalState) -> str:
    """Word what a signal says of the canary: who, which signal, what was seen, what was expected."""
    return f"{scene.execution.target.canary}: {signal.name}: {signal.why.removeprefix('candidate ')}"


def _signals(scene: Scene, state: State, found: Findings) -> Reason | None:
    failing = found.signals.failing
    if not failing:
        return None
    why = told_of(scene, failing[0])
    if len(failing) > 1:
        why += f"; also {listed(s.name for s in failing[1:])}"
    names = {s.name for s in failing}
    others = tuple(s for s in state.signals if s.name not in names)
    return Reason(why, "signal", Outcome.FAILED, evidence=evidence_of((*failing, *others)))


def spread(rollout: str) -> float:
    """Give each rollout its own part between 0 and 1, so that one backend's silence does not stop all of them at once."""
    return int.from_bytes(hashlib.sha256(rollout.encode()).digest()[:4], "big") / 2**32


def blind_limit(plan: CanaryPlan, rollout: str, *, everything: bool) -> timedelta:
    """Say how long all of its sources, or some, may be silent: up to half as long again as the plan says, spread over rollouts."""
    limit: timedelta = plan.spec.max_blind if everything else plan.spec.max_partly_blind
    return limit * (1 + spread(rollout) / 2)


def _blind(scene: Scene, state: State, found: Findings) -> Reason | None:
    """Step back when nobody has seen the candidate for too long; while some source still sees, later."""
    plan = scene.execution.plan
    if not isinstance(plan, CanaryPlan):
        return None
    since = [s.blind_since for s in found.signals.blind if s.blind_since is not None]
    everything = len(since) == found.signals.required and bool(since)
    if not found.signals.required and state.blind_since is not None:
        since, everything = [state.blind_since], True
    elif state.blind_since is not None:
        since.append(state.blind_since)
    if not since:
        return None
    longest = scene.now - (max(since) if everything else min(since))
    if longest < blind_limit(plan, scene.execution.id, everything=everything):
        return None
    names = [s.name for s in found.signals.blind] or ["the cluster"]
    words = "every source is" if everything else f"{listed(names)} is"
    because = found.signals.blind[0].why if found.signals.blind else "its watches are not current"
    why = f"{words} blind for {span(longest)}: {because}; a canary that nobody sees does not serve"
    return Reason(why, "blind", Outcome.FAILED, evidence=evidence_of(found.signals.blind))
