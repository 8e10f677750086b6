"""What one look means before anybody decides: the pods' guards and the signals' verdicts, put together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core import guards
from rollout.core.decision import Scene
from rollout.core.evidence import Summary, absorb, summarise
from rollout.core.evidence_counts import Setting
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.guards import PodFindings
from rollout.core.plan import CanaryPlan
from rollout.core.replacing import replace
from rollout.core.signals_compiled import JudgeKind, Signal
from rollout.core.state import Preflight, Promoting, Retiring, State, Watching
from rollout.core.watched import blind_no_longer_than_watched


@dataclass(frozen=True, slots=True)
class Findings:
    """The guards' and the signals' word of one look. `pods` is None while the cluster cannot be seen."""

    pods: PodFindings | None
    signals: Summary
    advice: tuple[SignalState, ...] = ()
    """Signals without a word in the decision that have just begun to fail."""


def find(scene: Scene, state: State, planned_hours: float) -> tuple[State, Findings]:
    """Bring the memory of guards and signals up to date and say what they mean."""
    execution = scene.execution
    pods = None
    if scene.view is not None:
        pods = guards.watch(state.guards, scene.cohorts, execution.target.container, scene.now)
    rolling = isinstance(state.step, Promoting | Watching | Retiring)
    warm_up = execution.plan.spec.warm_up if isinstance(execution.plan, CanaryPlan) else timedelta()
    looking = not scene.unwatched and not isinstance(state.step, Preflight)  # before the start nobody is asked
    setting = Setting(execution.id, planned_hours, rolling=rolling, warm_up=warm_up, looking=looking)
    signals = absorb(setting, execution.signals, state.signals, scene.seen.answers, scene.cohorts, scene.now)
    signals = blind_no_longer_than_watched(state.signals, signals, state.watched_since)
    advice = _advice(execution.signals, state.signals, signals)
    summary = summarise(execution.signals, signals, together(scene, signals))
    if summary.failing:
        failing = {signal.name: signal for signal in summary.failing}
        signals = tuple(failing.get(signal.name, signal) for signal in signals)
    memory = pods.memory if pods is not None else state.guards
    state = replace(state, guards=memory, signals=signals, blind_since=_cluster_unseen_since(scene, state))
    return state, Findings(pods, summary, advice)


def _advice(
    configured: tuple[Signal, ...], before: tuple[SignalState, ...], after: tuple[SignalState, ...]
) -> tuple[SignalState, ...]:
    silent = {signal.name for signal in configured if not signal.counts}
    failed = {signal.name for signal in before if signal.verdict is Verdict.FAILING}
    return tuple(s for s in after if s.verdict is Verdict.FAILING and s.name in silent - failed)


def _cluster_unseen_since(scene: Scene, state: State) -> datetime | None:
    if scene.view is not None:
        return None
    return state.blind_since or scene.now


def together(scene: Scene, signals: tuple[SignalState, ...]) -> float:
    """Average the E-values of all signals that are tested against the baseline; 0 below the line.

    An average of e-processes is an e-process, so several signals share one alpha (the smallest of theirs).
    """
    tested = {s.name: s for s in execution_tests(scene)}
    values = [(tested[s.name].weight, s.e_value) for s in signals if s.name in tested]
    weight = sum(w for w, _ in values)
    if not weight:
        return 0.0
    mean = sum(w * e for w, e in values) / weight
    line = 1 / min(s.alpha for s in tested.values())
    return mean if mean >= line else 0.0


def execution_tests(scene: Scene) -> tuple[Signal, ...]:
    """List the signals that take part in the combined test."""
    return tuple(
        s for s in scene.execution.signals
        if s.counts and s.judge in {JudgeKind.RATIO, JudgeKind.RANK}
    )  # fmt: skip
