"""What `rollout signals test` asks: each signal's question as sent, its answer now, and the verdict that the judge would give.

There is no canary yet, so one stable pod plays its part: the last windows of that pod are judged against the other stable pods
by the very code that will judge the canary. A signal that says anything but `healthy` here would hold a good canary as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.core.cohorts import Cohorts, Pod
from rollout.core.decision import Execution
from rollout.core.evidence import absorb
from rollout.core.evidence_counts import Setting
from rollout.core.evidence_state import Verdict
from rollout.core.plan import CanaryPlan
from rollout.core.signals import Alarms, Answer, Counts, Gauges, NoData, Question, Reading, Unreachable, Window
from rollout.core.signals_compiled import Signal, SignalKind
from rollout.core.wording import counted, number
from rollout.engine.preflight import Preflight
from rollout.ports import Clock, Cluster, SignalSource, Store

LOOK = timedelta(seconds=10)
WINDOWS = 10
REACH = timedelta(minutes=30)
"""So far back windows are judged, at most `WINDOWS` of them."""

FOLLOWS = {
    Verdict.HEALTHY: "time is credited",
    Verdict.SUSPECT: "it holds, no time is credited",
    Verdict.FAILING: "it steps back",
    Verdict.NO_DATA: "it holds; the preflight refuses a plan whose signal knows nothing of the stable pods",
    Verdict.UNREACHABLE: "it holds, and steps back after maxBlind",
    Verdict.IDLE: "it holds until there are requests",
    Verdict.WARMING: "it holds until the first window",
    Verdict.SHARED: "it holds, and does not step back",
}


@dataclass(frozen=True, slots=True)
class SignalTrial:
    """One signal's trial. `answers`: a line a pod or alarm, of the last window. `windows`: how many were judged.

    `stand_in`: the stable pod that played the canary, empty where nothing could be judged. `follows`: what the verdict does.
    """

    signal: str
    backend: str
    window: Window | None
    pods: int
    query: str
    answers: tuple[str, ...]
    stand_in: str
    windows: int
    verdict: Verdict
    why: str
    follows: str


def try_signals(
    execution: Execution, cluster: Cluster, sources: Mapping[str, SignalSource], store: Store, clock: Clock
) -> Iterator[SignalTrial]:
    """Ask and judge each signal in the plan's order. Raises Unavailable when the cluster does not answer."""
    view = cluster.look(execution.target, timeout=LOOK)
    preflight = Preflight({execution.target.cluster: cluster}, sources, store, clock)
    stable = tuple(sorted((p for p in view.pods if p.ready and p.deployment == execution.target.stable), key=lambda p: p.name))
    for signal in execution.signals:
        source = sources.get(signal.backend)
        if source is None:
            why = f"no backend {signal.backend!r} is configured"
            yield _untried(signal, why, "add it to the daemon's configuration")
        elif not stable:
            yield _untried(signal, f"{execution.target.stable} has no ready pod to ask about", "start it first")
        else:
            question = preflight.question(execution, signal, view)
            yield _trial(execution, signal, source, question, stable, clock.now())


def _untried(signal: Signal, why: str, follows: str) -> SignalTrial:
    return SignalTrial(signal.name, signal.backend, None, 0, "", (), "", 0, Verdict.UNREACHABLE, why, follows)


def _trial(
    execution: Execution, signal: Signal, source: SignalSource, question: Question, stable: tuple[Pod, ...], now: datetime
) -> SignalTrial:
    count = 1 if signal.kind is SignalKind.ALARMS else max(1, min(WINDOWS, REACH // signal.window))
    questions = [_earlier(question, number_back) for number_back in range(count)]
    found = source.read(questions)
    last = found[question]
    known = [found[q] for q in questions if not isinstance(found[q].reading, NoData | Unreachable)]
    judged = known or [last]
    stand_in = _stand_in(stable, last.reading)
    others = tuple(pod for pod in stable if pod is not stand_in)
    plan = execution.plan
    hours = plan.spec.max_soak.total_seconds() / 3600 if isinstance(plan, CanaryPlan) else 24.0
    setting = Setting(execution.id, hours)
    (state,) = absorb(setting, (signal,), (), judged, Cohorts((stand_in,), others), now)
    follows = FOLLOWS[state.verdict]
    if not signal.counts:
        follows = "nothing: a dry run is only shown" if signal.dry_run else "nothing: an advisory signal is only told"
    return SignalTrial(
        signal=signal.name,
        backend=signal.backend,
        window=question.window,
        pods=len(question.pods),
        query=last.query,
        answers=tuple(_lines(last)),
        stand_in=stand_in.name,
        windows=len(known),
        verdict=state.verdict,
        why=state.why.replace("candidate ", "", 1) if known else state.why,
        follows=follows,
    )


def _earlier(question: Question, back: int) -> Question:
    window = question.window
    return replace(question, window=Window(window.start - back * window.length, window.end - back * window.length))


def _stand_in(stable: tuple[Pod, ...], reading: Reading) -> Pod:
    """Choose the first pod that the backend knows, else the first."""
    known = set(reading.by_pod) if isinstance(reading, Counts | Gauges) else set()
    return next((pod for pod in stable if pod.name in known), stable[0])


def _lines(answer: Answer) -> Iterator[str]:
    asked = sorted(pod.name for pod in answer.question.pods)
    match answer.reading:
        case Counts(by_pod):
            for pod in asked:
                count = by_pod.get(pod)
                if count is None:
                    yield f"{pod}: not known there"
                    continue
                requests = "requests not measured" if count.requests is None else counted(count.requests, "request")
                kinds = f" ({', '.join(count.kinds[:3])})" if count.kinds else ""
                yield f"{pod}: {counted(count.events, 'event')}{kinds}, {requests}"
        case Gauges(values):
            for pod in asked:
                yield f"{pod}: {number(values[pod])}" if pod in values else f"{pod}: not known there"
        case Alarms(firing):
            yield f"{counted(len(firing), 'alarm')} firing"
            for alarm in firing:
                yield f"{alarm.name}: {alarm.message}"
        case NoData(why) | Unreachable(why):
            yield why
