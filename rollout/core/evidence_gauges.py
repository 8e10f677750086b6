"""Gauges of one window: absolute limit, k of n times; the rank test against the baseline's pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from rollout.core import judge_rank, judge_rules
from rollout.core.evidence_counts import Setting
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.judge_counts import SUSPECT_LINE
from rollout.core.judge_rank import RankParameters
from rollout.core.signals import Window
from rollout.core.signals_compiled import JudgeKind, Signal
from rollout.core.wording import number


def judge_gauges(
    setting: Setting,
    signal: Signal,
    state: SignalState,
    values: Mapping[str, float],
    candidate: tuple[str, ...],
    baseline: tuple[str, ...],
    window: Window,
) -> SignalState:
    """Use one window of gauges: by rank among the baseline's pods, or the worst candidate pod against a limit."""
    mine = [values[name] for name in candidate if name in values]
    theirs = [values[name] for name in baseline if name in values]
    middle = median(theirs) if theirs else None
    last = (("candidate", max(mine)), *((("baseline", middle),) if middle is not None else ()))
    state = replace(state, used_until=window.end, last=last, certified=True)
    if signal.judge is JudgeKind.RANK:
        state = _rank(setting, signal, state, mine, theirs, window)
        if signal.limit is None or state.verdict is not Verdict.HEALTHY:
            return state
    return _limit(signal, state, max(mine), middle)


def _rank(
    setting: Setting, signal: Signal, state: SignalState, mine: list[float], theirs: list[float], window: Window
) -> SignalState:
    planned = max(1, int(setting.planned_hours * 3600 / signal.window.total_seconds()))
    rules = RankParameters(planned, signal.alpha, signal.tolerance)
    seed = f"{setting.rollout}/{signal.name}/{window.start.isoformat()}"
    compared = theirs if not setting.rolling else []
    rank = judge_rank.update(rules, state.rank or judge_rank.start(rules), mine, compared, seed=seed)
    e_value = judge_rank.e_value(rules, rank)
    middle = f", baseline {number(median(theirs))}" if theirs else ""
    words = f"candidate {number(max(mine))}{middle}, E = {number(e_value)} (acts at {number(rules.line)})"
    verdict = Verdict.SUSPECT if e_value >= SUSPECT_LINE else Verdict.HEALTHY
    if e_value >= rules.line and not signal.counts:
        verdict = Verdict.FAILING
    return replace(state, rank=rank, e_value=min(e_value, 1e300), verdict=verdict, why=words)


def _limit(signal: Signal, state: SignalState, worst: float, middle: float | None) -> SignalState:
    if signal.limit is None:
        return replace(state, verdict=Verdict.HEALTHY, why=f"candidate {number(worst)}, no limit set")
    over = worst > signal.limit
    words = f"candidate {number(worst)}, limit {number(signal.limit)}"
    if over and middle is not None and middle > signal.limit:
        return replace(state, verdict=Verdict.SHARED, why=f"{words}; baseline {number(middle)} as well")
    bad = judge_rules.remember(state.bad, over, signal.n)
    state = replace(state, bad=bad)
    if judge_rules.k_of_n(bad, signal.k, signal.n):
        return replace(state, verdict=Verdict.FAILING, why=f"{words}, over it in {sum(bad)} of the last {len(bad)} windows")
    if over:
        return replace(state, verdict=Verdict.SUSPECT, why=f"{words}, over it {sum(bad)} of {signal.k} times that fail")
    return replace(state, verdict=Verdict.HEALTHY, why=words)
