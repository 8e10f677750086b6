"""The canary procedure: what is asked at every look, in which order.

Stepping back comes first and needs nothing but the cluster. Then what holds. Only then the step itself may go forward.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from rollout.core import canary_holds, canary_stops, findings, guards
from rollout.core.decision import Move, Scene, Tell, Wait
from rollout.core.evidence import evidence_of
from rollout.core.findings import Findings
from rollout.core.history import Evidence, NoticeKind
from rollout.core.plan import CanaryPlan, Plan
from rollout.core.plan_canary import Mode
from rollout.core.replacing import replace
from rollout.core.state import (
    Certifying,
    Observing,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Retreating,
    Soaking,
    Starting,
    State,
    Step,
    Watching,
)
from rollout.core.steps import certify, observe, preflight, promote, retire, retreat, soak, start, watch

StepFunction = Callable[[Scene, State, Findings, tuple[Wait, ...]], Move]

STEPS: dict[type[Step], StepFunction] = {
    Preflight: preflight.decide,
    Starting: start.decide,
    Soaking: soak.decide,
    Certifying: certify.decide,
    Promoting: promote.decide,
    Watching: watch.decide,
    Retiring: retire.decide,
    Observing: observe.decide,
}
"""The steps in their order (observing stands for all of them in `mode: observe`). A new one is a file and a line."""

PREFLIGHT_DEADLINE = timedelta(minutes=15)
SUMMARY_EVERY = timedelta(hours=1)


def first(plan: Plan) -> tuple[Step, timedelta]:
    """Begin with the checks; they must be answered within a quarter of an hour."""
    del plan
    return Preflight(), PREFLIGHT_DEADLINE


def absorb(scene: Scene, state: State) -> tuple[State, Findings]:
    """Take in what was seen."""
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - procedures.py chose this module by the plan's type
    hours = (plan.spec.max_soak + plan.spec.promotion.watch).total_seconds() / 3600 + 6
    return findings.find(scene, state, hours)


def ladder(scene: Scene, state: State, found: Findings, stop: Reason | None) -> Move:
    """Ask in order: stepping back already? a reason to step back? reasons to wait? else the step."""
    if isinstance(state.step, Retreating):
        return retreat.decide(scene, state)
    plan = scene.execution.plan
    assert isinstance(plan, CanaryPlan)  # noqa: S101 - as above
    if plan.spec.mode is Mode.OBSERVE:
        return _again(scene, _summarised(scene, _advised(scene, found, observe.ladder(scene, state, found, stop))))
    reason = canary_stops.tombstone(scene, state) or stop or canary_stops.reason_to_stop(scene, state, found)
    if reason is not None:
        return retreat.begin(scene, state, reason)
    waits = canary_holds.waits(scene, state, found)
    move = STEPS[type(state.step)](scene, state, found, waits)
    if not isinstance(move.state.step, Retreating):
        taken = canary_holds.displaced_tells(scene, state, found)
        if waits or taken:
            move = replace(move, holds=(*waits, *move.holds), tells=(*taken, *move.tells))
    return _again(scene, _summarised(scene, _advised(scene, found, move)))


def _again(scene: Scene, move: Move) -> Move:
    """Look again no later than a pod that lost its readiness runs out of grace."""
    left = guards.grace_left(move.state.guards, scene.now)
    return move if left is None or (move.wake_in is not None and move.wake_in <= left) else replace(move, wake_in=left)


def _advised(scene: Scene, found: Findings, move: Move) -> Move:
    """Tell what signals without a word in the decision have found; a dry run is only written down."""
    if not found.advice:
        return move
    told = dict(move.state.told)
    tells: list[Tell] = []
    dry = {signal.name for signal in scene.execution.signals if signal.dry_run}
    for signal in found.advice:
        last = told.get(f"advice {signal.name}")
        if last is not None and scene.now - last < SUMMARY_EVERY:
            continue
        told[f"advice {signal.name}"] = scene.now
        what = "a dry run" if signal.name in dry else "advisory"
        tells.append(
            Tell(
                "advice",
                f"{canary_stops.told_of(scene, signal)}; {what}: nothing is done about it",
                notice=None if signal.name in dry else NoticeKind.STEP,
                title=f"{scene.execution.target}: {signal.name} would step back",
                next_action="`rollout abort` steps back; without a word it goes on.",
                evidence=evidence_of((signal,)),
            )
        )
    return replace(move, state=replace(move.state, told=tuple(sorted(told.items()))), tells=(*move.tells, *tells))


def _summarised(scene: Scene, move: Move) -> Move:
    """Add an hourly row with every signal's counts, so that a quiet day can be looked at afterwards."""
    state = move.state
    if not state.signals:
        return move
    if state.summarised_at is None:
        return replace(move, state=replace(state, summarised_at=scene.now))
    if scene.now - state.summarised_at < SUMMARY_EVERY:
        return move
    evidence = tuple(_hour(item, state) for item in evidence_of(state.signals))
    cleared = tuple(replace(s, since_summary=(0.0, 0.0, 0.0, 0.0)) for s in state.signals)
    item = Tell("hourly-summary", move.why, evidence=evidence)
    return replace(move, state=replace(state, summarised_at=scene.now, signals=cleared), tells=(*move.tells, item))


def _hour(item: Evidence, state: State) -> Evidence:
    """Replace the last window's counts by the hour's; query and words are in the rows of changed verdicts."""
    signal = next(s for s in state.signals if s.name == item.signal)
    item = replace(item, why="")
    if not any(signal.since_summary):
        return replace(item, query="")
    words = ("candidate events", "candidate requests", "baseline events", "baseline requests")
    counts = (*zip(words, signal.since_summary, strict=True), ("E", min(signal.e_value, 1e12)))
    return replace(item, query="", counts=counts, window_start=state.summarised_at or item.window_start)
