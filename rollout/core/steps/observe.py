"""`mode: observe`: judge beside a canary that people drive by hand. Everything is asked, recorded and told, nothing is changed."""

from __future__ import annotations

from dataclasses import replace

from rollout.core import canary_holds
from rollout.core.canary_stops import pod_evidence
from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.evidence import evidence_of
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind, Outcome
from rollout.core.state import Ended, HoldKind, Observing, Preflight, Reason, State
from rollout.core.steps import preflight
from rollout.core.wording import plural, span


def ladder(scene: Scene, state: State, found: Findings, stop: Reason | None) -> Move:
    """Ask in the canary's order, but only tell."""
    if stop is not None:
        item = Tell("aborted", stop.why, actor=stop.actor)
        return Move(enter(state, Ended(Outcome.ABORTED, stop.why, scene.now), scene.now, None), stop.why, tells=(item,))
    waits = tuple(w for w in canary_holds.waits(scene, state, found) if w.kind is not HoldKind.FROZEN)
    if isinstance(state.step, Preflight):
        return preflight.decide(scene, state, found, waits)
    return decide(scene, state, found, waits)


def decide(scene: Scene, state: State, found: Findings, waits: tuple[Wait, ...]) -> Move:
    """Record what people do with the canary and what it does; end when it is gone again."""
    step, view = state.step, scene.view
    assert isinstance(step, Observing)  # noqa: S101 - chosen by type
    if view is None or view.canary is None or view.stable is None:
        return Move(state, "the canary cannot be seen", holds=waits)
    tells: list[Tell] = []
    replicas = view.canary.replicas
    if replicas != step.replicas:
        words = f"{view.canary.name} went from {step.replicas} to {plural(replicas, 'replica')} by hand"
        tells.append(Tell("observed-scale", words, facts=(("replicas", str(replicas)),)))
    step = replace(step, replicas=replicas, seen_candidate=step.seen_candidate or replicas > 0)
    failing = _failing(scene, found)
    if failing is not None and not step.told_failing:
        tells.append(failing)
    step = replace(step, told_failing=failing is not None)
    state = replace(state, step=step)
    if step.seen_candidate and replicas == 0 and not any(p.deployment == view.target.canary for p in view.pods):
        return _end(scene, state, tuple(tells))
    if state.deadline is not None and scene.now >= state.deadline:
        why = f"{view.target.canary} has been observed for {span(scene.now - step.since)}"
        waits = (*waits, Wait(HoldKind.OVERDUE, why, "It ends when the canary is at 0 again; `rollout abort` ends it now."))
    words = failing.why if failing is not None else (waits[0].why if waits else "all well")
    return Move(state, f"observing: {words}", tells=tuple(tells), holds=waits)


def _failing(scene: Scene, found: Findings) -> Tell | None:
    trips = found.pods.failing if found.pods is not None else ()
    if trips:
        why, evidence = trips[0].why, tuple(pod_evidence(scene, trip) for trip in trips)
    elif found.signals.failing:
        why = f"{found.signals.failing[0].name}: {found.signals.failing[0].why}"
        evidence = evidence_of(found.signals.failing)
    else:
        return None
    return Tell(
        "observed-failing",
        f"it would be stepped back now: {why}",
        notice=NoticeKind.NEEDS_PERSON,
        title=f"{scene.execution.target}: the canary that you drive fails",
        next_action="Nothing was changed (mode: observe): scale it to 0 yourself.",
        evidence=evidence,
    )


def _end(scene: Scene, state: State, tells: tuple[Tell, ...]) -> Move:
    view = scene.view
    assert view is not None  # noqa: S101 - checked by the caller
    image = view.stable.images.get(view.target.container) if view.stable is not None else None
    promoted = image == scene.execution.image
    outcome = Outcome.SUCCEEDED if promoted else Outcome.ABORTED
    why = f"the canary is at 0 again and the stable {'runs' if promoted else 'does not run'} {scene.execution.image}"
    item = Tell(outcome.value, why, notice=NoticeKind.SUCCEEDED if promoted else NoticeKind.STEPPED_BACK)
    return Move(enter(state, Ended(outcome, why, scene.now), scene.now, None), why, tells=(*tells, item))
