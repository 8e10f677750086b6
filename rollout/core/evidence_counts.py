"""Counts of one window: the hard guard, the absolute limit, and the count test against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rollout.core import judge_counts as test
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.judge_bursts import BurstCap
from rollout.core.judge_counts import SUSPECT_LINE, CountParameters, CountWindow
from rollout.core.signals import PodCount, Window
from rollout.core.signals_compiled import JudgeKind, Signal
from rollout.core.wording import number, percent

HARD_SHARE = 0.5
HARD_REQUESTS = 20
BUSY_REQUESTS = 20
"""Requests that a candidate's equal part of the traffic would have brought it: below this, none at all proves nothing."""
MISROUTED_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """What the judge must know of the rollout: its id (ties are broken by it) and how many hours its test may last."""

    rollout: str
    planned_hours: float
    rolling: bool = False
    """The stable is being or has been promoted: the baseline vanishes."""


@dataclass(frozen=True, slots=True)
class _Sum:
    events: float
    requests: float
    measured: bool


def _add(by_pod: Mapping[str, PodCount], names: tuple[str, ...], minutes: float) -> _Sum:
    counts = [by_pod[name] for name in names if name in by_pod]
    measured = all(count.requests is not None for count in counts)
    requests = sum(count.requests or 0.0 for count in counts) if measured else len(counts) * minutes
    return _Sum(sum(count.events for count in counts), requests, measured)


def judge_counts(
    setting: Setting,
    signal: Signal,
    state: SignalState,
    by_pod: Mapping[str, PodCount],
    candidate: tuple[str, ...],
    baseline: tuple[str, ...],
    window: Window,
) -> SignalState:
    """Use one window of counts: sums per cohort, then the rules in the order hard guard, limit or ratio, traffic."""
    minutes = window.length.total_seconds() / 60
    mine, theirs = _add(by_pod, candidate, minutes), _add(by_pod, baseline, minutes)
    last = (
        ("candidate events", mine.events),
        ("candidate requests", mine.requests if mine.measured else -1.0),
        ("baseline events", theirs.events),
        ("baseline requests", theirs.requests if theirs.measured else -1.0),
    )
    sums = (mine.events, mine.requests, theirs.events, theirs.requests)
    totals = tuple(a + b for a, b in zip(state.since_summary, sums, strict=True))
    state = replace(state, used_until=window.end, last=last, since_summary=(totals[0], totals[1], totals[2], totals[3]))
    seen = f"{number(mine.events)} of {number(mine.requests)} requests" if mine.measured else f"{number(mine.events)} events"
    hard = _hard(signal, mine, theirs)
    if hard is not None:
        verdict, words = hard
        return replace(state, verdict=verdict, why=f"candidate {seen} failed in a window; {words}")
    state = _limit(signal, state, mine, theirs) if signal.judge is JudgeKind.LIMIT else _ratio(setting, signal, state, mine, theirs)
    if state.verdict in {Verdict.FAILING, Verdict.SUSPECT, Verdict.SHARED}:
        return state
    return _traffic(signal, state, mine, theirs, len(candidate), len(baseline))


def _rate(part: _Sum) -> float:
    return part.events / part.requests if part.requests else 0.0


def _hard(signal: Signal, mine: _Sum, theirs: _Sum) -> tuple[Verdict, str] | None:
    """At least half of 20 requests: no statistics needed, unless the baseline fails alike."""
    if not mine.measured or mine.requests < HARD_REQUESTS or _rate(mine) < HARD_SHARE or signal.dry_run:
        return None
    words = f"baseline {percent(_rate(theirs))}"
    if theirs.requests >= HARD_REQUESTS and _rate(theirs) >= HARD_SHARE / 2:
        return Verdict.SHARED, words
    return Verdict.FAILING, words


def _limit(signal: Signal, state: SignalState, mine: _Sum, theirs: _Sum) -> SignalState:
    limit = signal.limit if signal.limit is not None else 0.0
    if mine.measured and mine.requests < max(1, signal.min_requests):
        return state
    rate = _rate(mine)
    words = (
        f"candidate {percent(rate)} over the limit of {percent(limit)}"
        if mine.measured
        else (f"candidate {number(rate)} a pod and minute, limit {number(limit)}")
    )
    if rate > limit and theirs.requests >= signal.min_requests and _rate(theirs) > limit:
        return replace(state, verdict=Verdict.SHARED, why=f"{words}; baseline {percent(_rate(theirs))} as well")
    bad = (*state.bad, rate > limit)[-signal.n :]
    state = replace(state, bad=bad)
    times = sum(bad)
    if times >= signal.k:
        return replace(state, verdict=Verdict.FAILING, why=f"{words}, {times} of the last {len(bad)} windows")
    if rate > limit:
        return replace(state, verdict=Verdict.SUSPECT, why=f"{words}, {times} of {signal.k} windows that fail")
    return replace(state, verdict=Verdict.HEALTHY, why=f"candidate {percent(rate)}, limit {percent(limit)}", certified=True)


def parameters(setting: Setting, signal: Signal, *, measured: bool) -> CountParameters:
    """Compile a signal's settings to the count test's; always the same for one rollout and signal."""
    planned = max(1, int(setting.planned_hours * 3600 / signal.window.total_seconds()))
    r0 = signal.r0 if measured else max(signal.r0, test.UNMEASURED_R0)
    cap = BurstCap(signal.burst_candidate, signal.burst_baseline)
    return CountParameters(planned, alpha=signal.alpha, r0=r0, measured=measured, cap=cap)


def _ratio(setting: Setting, signal: Signal, state: SignalState, mine: _Sum, theirs: _Sum) -> SignalState:
    rules = parameters(setting, signal, measured=mine.measured)
    count = state.count if state.count is not None else test.start(rules)
    count = test.update(rules, count, CountWindow(mine.events, mine.requests, theirs.events, theirs.requests))
    e = test.e_value(rules, count)
    state = replace(state, count=count, e_value=min(e, 1e300))
    unit = "" if mine.measured else " a pod-minute"
    words = (
        f"candidate {number(count.candidate_events)} of {number(count.candidate_requests)} ({percent(count.candidate_rate)}{unit}), "
        f"baseline {percent(count.baseline_rate)}, E = {number(e)} of {number(rules.line)}"
    )
    if e >= rules.line and not signal.dry_run:
        return replace(state, verdict=Verdict.SUSPECT, why=words)
    if e >= SUSPECT_LINE:
        return replace(state, verdict=Verdict.SUSPECT, why=words)
    return replace(state, verdict=Verdict.HEALTHY, why=words)


def _traffic(signal: Signal, state: SignalState, mine: _Sum, theirs: _Sum, pods: int, others: int) -> SignalState:
    """Without enough requests nothing is healthy; a busy baseline beside an idle candidate is a routing fault."""
    if not mine.measured:
        return replace(state, idle_windows=0)
    if mine.requests >= max(1, signal.min_requests):
        return replace(state, idle_windows=0)
    expected = theirs.requests / others * pods if others else 0.0
    if mine.requests == 0 and expected >= BUSY_REQUESTS:
        idle = state.idle_windows + 1
        words = f"candidate got no request where {number(expected)} were its part: is it in the Service?"
        return replace(state, idle_windows=idle, verdict=Verdict.IDLE, why=words)
    words = f"{number(mine.requests)} candidate requests in the window, {signal.min_requests} are needed"
    return replace(state, idle_windows=0, verdict=Verdict.IDLE, why=words)
