"""From readings to verdicts: each window's counts are used once, pods are turned into cohorts here, and silence is never good.

One signal's reading becomes `healthy`, `suspect`, `failing`, `no data`, `unreachable`, `idle` or `shared incident`. The test
itself is core/judge_counts.py and its neighbours; this module decides what may enter it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rollout.core.cohorts import Cohorts
from rollout.core.evidence_counts import Setting, guard_pods, judge_counts, learn_baseline
from rollout.core.evidence_gauges import judge_gauges
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.history import Evidence
from rollout.core.replacing import replace
from rollout.core.signals import Alarm, Alarms, Answer, Counts, Gauges, NoData, Reading, Unreachable
from rollout.core.signals_compiled import JudgeKind, Signal
from rollout.core.windows import OLDEST, ceiling, floor, warm_from, young
from rollout.core.wording import listed, span

STALE_WINDOWS = 4
"""A signal that brought nothing for this many windows beyond its delay is not known any more."""
LATE_WINDOWS = 3
"""A window without data is asked again until it is this many windows old; then it is given up as no data."""

MOST = 1e15
"""No pod counts so many events or requests in a window; sums of less are exact, and their evidence stays finite."""

_BAD_WHILE_YOUNG = frozenset({Verdict.FAILING, Verdict.SUSPECT, Verdict.SHARED})


def absorb(
    setting: Setting,
    signals: Iterable[Signal],
    states: Iterable[SignalState],
    answers: Iterable[Answer],
    cohorts: Cohorts,
    now: datetime,
) -> tuple[SignalState, ...]:
    """Bring every signal's memory up to date with the answers that came. Deterministic: the same answers, the same verdicts."""
    by_name = {state.name: state for state in states}
    by_signal: dict[str, list[Answer]] = {}
    for answer in answers:
        by_signal.setdefault(answer.question.signal, []).append(answer)
    absorbed: list[SignalState] = []
    for signal in signals:
        state = by_name.get(signal.name) or SignalState(signal.name, since=now)
        for answer in sorted(by_signal.get(signal.name, ()), key=lambda a: a.question.window):
            state = _use(setting, signal, state, answer, cohorts, now)
        absorbed.append(_age(signal, _never_answered(setting, signal, state, cohorts, now), now))
    return tuple(absorbed)


def _use(setting: Setting, signal: Signal, state: SignalState, answer: Answer, cohorts: Cohorts, now: datetime) -> SignalState:
    window = answer.question.window
    if state.used_until is not None and window.start < state.used_until:
        return state
    if wrong := _impossible(answer.reading):
        answer = replace(answer, reading=Unreachable(f"its answer cannot be: {wrong}"))
    parts = _parts(setting, answer, cohorts)
    if not parts.candidate:
        return _use_young(setting, signal, state, answer, parts)
    return _use_warm(setting, signal, state, answer, parts, now)


def _impossible(reading: Reading) -> str:
    """Name a figure that no source can have measured: a count below 0 or beyond MOST, a gauge that is no number; else empty."""
    figures: list[tuple[str, float | None]]
    match reading:
        case Counts(by_pod):
            figures = [(name, value) for name, count in by_pod.items() for value in (count.events, count.requests)]
        case Gauges(values):
            figures = [(name, value) for name, value in values.items() if not math.isfinite(value)]
        case _:
            return ""
    wrong = (f"{value:g} for {name}" for name, value in figures if value is not None and not 0 <= value < MOST)
    return next(wrong, "")


def _use_warm(setting: Setting, signal: Signal, state: SignalState, answer: Answer, parts: _Parts, now: datetime) -> SignalState:
    window, blind = answer.question.window, state.blind_since
    state = replace(state, query=answer.query, window_start=window.start, window_end=window.end)
    match answer.reading:
        case Unreachable(why):
            return _turn(state, Verdict.UNREACHABLE, why, now)
        case NoData(why):
            return _without(signal, state, why, window.end, now)
        case Counts(by_pod):
            missing = tuple(name for name in parts.candidate if name not in by_pod)
            if missing and len(missing) == len(parts.candidate):
                return _without(signal, state, f"knows nothing of {listed(missing)}", window.end, now)
            state = judge_counts(setting, signal, state, by_pod, parts.candidate, parts.baseline, window)
            if state.verdict not in {Verdict.FAILING, Verdict.SHARED}:
                state = guard_pods(state, by_pod, (*parts.candidate, *parts.young), parts.baseline, window)
            return _partial(_seen(state, window.end), missing, blind or now)
        case Gauges(values):
            missing = tuple(name for name in parts.candidate if name not in values)
            if missing and len(missing) == len(parts.candidate):
                return _without(signal, state, f"has no value for {listed(missing)}", window.end, now)
            state = judge_gauges(setting, signal, state, values, parts.candidate, parts.baseline, window)
            return _partial(_seen(state, window.end), missing, blind or now)
        case Alarms(firing):
            return _seen(_judge_alarms(replace(state, used_until=window.end), firing, parts), window.end)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Names of the pods that were asked about: to be compared, their baseline, and those that only the guards look at."""

    candidate: tuple[str, ...]
    baseline: tuple[str, ...]
    young: tuple[str, ...] = ()


def _parts(setting: Setting, answer: Answer, cohorts: Cohorts) -> _Parts:
    """Sort the pods of an answer."""
    asked = {key.name for key in answer.question.pods}
    window = answer.question.window
    candidate = [pod for pod in cohorts.candidate if pod.name in asked]
    fresh = [pod.name for pod in candidate if young(pod, window, setting.warm_up)]
    warm = [pod.name for pod in candidate if pod.name not in fresh]
    return _Parts(tuple(warm), tuple(p.name for p in cohorts.baseline if p.name in asked), tuple(fresh))


def _use_young(setting: Setting, signal: Signal, state: SignalState, answer: Answer, parts: _Parts) -> SignalState:
    """A window before the first new pod was warm: guards, alarms and people's own limits look at it; no credit is earned."""
    window, reading = answer.question.window, answer.reading
    if isinstance(reading, Unreachable):
        return state
    used = replace(state, used_until=window.end)
    if isinstance(reading, Alarms):
        told = replace(used, query=answer.query, window_start=window.start, window_end=window.end)
        rung = _judge_alarms(told, reading.firing, parts)
        return _seen(rung, window.end) if rung.verdict in _BAD_WHILE_YOUNG else used
    if not isinstance(reading, Counts):
        return used
    seen = replace(used, query=answer.query, window_start=window.start, window_end=window.end)
    if parts.young and signal.judge is JudgeKind.LIMIT:
        judged = judge_counts(setting, signal, seen, reading.by_pod, parts.young, parts.baseline, window)
        used = replace(used, bad=judged.bad)
    else:
        judged = guard_pods(seen, reading.by_pod, parts.young, parts.baseline, window)
        used = learn_baseline(setting, signal, used, reading.by_pod, parts.baseline, window)
    return _seen(judged, window.end) if judged.verdict in _BAD_WHILE_YOUNG else used


def _judge_alarms(state: SignalState, firing: tuple[Alarm, ...], parts: _Parts) -> SignalState:
    mine = [a for a in firing if set(a.pods) & {*parts.candidate, *parts.young}]
    shared = [a for a in firing if not a.pods or set(a.pods) & set(parts.baseline)]
    shared_names = {a.name for a in shared}
    alone = [a for a in mine if a.name not in shared_names]
    if alone:
        words = "; ".join(f"{a.name} fires for {listed(a.pods)}: {a.message}" for a in alone[:3])
        return _verdict(state, Verdict.FAILING, words)
    if mine or shared:
        return _verdict(state, Verdict.SHARED, f"{listed(a.name for a in (*mine, *shared))} fires for the whole service")
    return _verdict(state, Verdict.HEALTHY, "no alarm fires")


def _verdict(state: SignalState, verdict: Verdict, why: str) -> SignalState:
    return replace(state, verdict=verdict, why=why)


def _turn(state: SignalState, verdict: Verdict, why: str, now: datetime) -> SignalState:
    """Note that nothing is known; a failing verdict stays until knowledge says otherwise."""
    if state.verdict is Verdict.FAILING:
        return state
    return replace(state, verdict=verdict, why=why, blind_since=state.blind_since or now)


def _without(signal: Signal, state: SignalState, why: str, window_end: datetime, now: datetime) -> SignalState:
    """No data for one window: asked again while it is young, then given up; either way nothing is known."""
    state = _turn(state, Verdict.NO_DATA, why, now)
    if now - window_end > signal.delay + LATE_WINDOWS * signal.window:
        return replace(state, used_until=window_end)
    return state


def _seen(state: SignalState, window_end: datetime) -> SignalState:
    return replace(state, seen_at=window_end, blind_since=None)


def _partial(state: SignalState, missing: tuple[str, ...], since: datetime) -> SignalState:
    """A reading that lacks some candidate pods may condemn but never acquit."""
    if not missing or state.verdict in {Verdict.FAILING, Verdict.SUSPECT}:
        return state
    return replace(state, verdict=Verdict.NO_DATA, why=f"knows nothing of {listed(missing)}", blind_since=since)


def _age(signal: Signal, state: SignalState, now: datetime) -> SignalState:
    """Turn a verdict that is too old into not knowing, and give up windows that no backend answers exactly any more."""
    oldest = floor(now - OLDEST, signal.window)
    if state.used_until is not None and state.used_until < oldest:
        state = replace(state, used_until=oldest)
    if state.seen_at is None or state.verdict.blind or state.verdict is Verdict.FAILING:
        return state
    old = now - state.seen_at
    if old > signal.delay + STALE_WINDOWS * signal.window:
        why = f"no answer about the last {span(old)}"
        return replace(state, verdict=Verdict.UNREACHABLE, why=why, blind_since=state.blind_since or state.seen_at)
    return state


def _never_answered(setting: Setting, signal: Signal, state: SignalState, cohorts: Cohorts, now: datetime) -> SignalState:
    """Turn waiting for a first answer that is long overdue into not knowing: a source that hangs from the start is blind too."""
    ready_from = warm_from(cohorts.candidate, setting.warm_up) if setting.looking else None
    if ready_from is None or state.seen_at is not None or state.verdict is not Verdict.WARMING:
        return state
    due = ceiling(ready_from, signal.window) + signal.window + signal.delay
    if now - due <= STALE_WINDOWS * signal.window:
        return state
    return replace(state, verdict=Verdict.UNREACHABLE, why=f"no answer yet, due for {span(now - due)}", blind_since=due)


def restart(states: Iterable[SignalState], now: datetime) -> tuple[SignalState, ...]:
    """Begin every signal anew (start again from step 1), keeping nothing but its name."""
    return tuple(SignalState(state.name, since=now) for state in states)


def as_evidence(state: SignalState) -> Evidence | None:
    """Write a signal's present verdict as evidence, None before the first window."""
    if state.window_start is None or state.window_end is None:
        return None
    counts = (*state.last, ("E", min(state.e_value, 1e12)))
    return Evidence(state.name, state.window_start, state.window_end, state.query, counts, state.verdict.value, state.why)


def evidence_of(states: Iterable[SignalState]) -> tuple[Evidence, ...]:
    """Write several signals' verdicts as evidence."""
    found = (as_evidence(state) for state in states)
    return tuple(item for item in found if item is not None)


@dataclass(frozen=True, slots=True)
class Summary:
    """What all signals say together. Only required signals that are not dry runs count; each field lists those concerned."""

    failing: tuple[SignalState, ...]
    suspect: tuple[SignalState, ...]
    blind: tuple[SignalState, ...]
    idle: tuple[SignalState, ...]
    warming: tuple[SignalState, ...]
    shared: tuple[SignalState, ...]
    required: int

    @property
    def healthy(self) -> bool:
        """Say whether every required signal is healthy, so that time may be credited."""
        return not (self.failing or self.suspect or self.blind or self.idle or self.warming or self.shared)


def summarise(signals: Iterable[Signal], states: Iterable[SignalState], together: float) -> Summary:
    """Put the verdicts together. `together`: the E-value of all ratio signals combined has reached the line (else 0).

    An advisory signal (not required) is shown and told, but neither holds nor fails; a dry run is only shown.
    """
    by_name: Mapping[str, SignalState] = {state.name: state for state in states}
    counted = [by_name[s.name] for s in signals if s.counts and s.name in by_name]
    pick: dict[Verdict, tuple[SignalState, ...]] = {}
    for one in counted:
        pick[one.verdict] = (*pick.get(one.verdict, ()), one)
    failing = pick.get(Verdict.FAILING, ())
    if together and not failing:
        strongest = max(counted, key=lambda s: s.e_value)
        failing = (replace(strongest, verdict=Verdict.FAILING),)
    return Summary(
        failing=failing,
        suspect=pick.get(Verdict.SUSPECT, ()),
        blind=tuple(s for s in counted if s.verdict.blind),
        idle=pick.get(Verdict.IDLE, ()),
        warming=pick.get(Verdict.WARMING, ()),
        shared=pick.get(Verdict.SHARED, ()),
        required=len(counted),
    )
