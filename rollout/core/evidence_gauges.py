"""Gauges of one window: absolute limit, k of n times; the rank test against the baseline's pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from rollout.core.evidence_counts import Setting
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.signals import Window
from rollout.core.signals_compiled import Signal
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
    """Use one window of gauges: the worst candidate pod counts; a baseline that is as bad shares it."""
    del setting
    mine = [values[name] for name in candidate if name in values]
    theirs = [values[name] for name in baseline if name in values]
    worst = max(mine)
    middle = median(theirs) if theirs else None
    last = (("candidate", worst), *((("baseline", middle),) if middle is not None else ()))
    state = replace(state, used_until=window.end, last=last, certified=True)
    if signal.limit is None:
        return replace(state, verdict=Verdict.HEALTHY, why=f"candidate {number(worst)}, no limit set")
    over = worst > signal.limit
    words = f"candidate {number(worst)}, limit {number(signal.limit)}"
    if over and middle is not None and middle > signal.limit:
        return replace(state, verdict=Verdict.SHARED, why=f"{words}; baseline {number(middle)} as well")
    bad = (*state.bad, over)[-signal.n :]
    state = replace(state, bad=bad)
    times = sum(bad)
    if times >= signal.k:
        return replace(state, verdict=Verdict.FAILING, why=f"{words}, over it in {times} of the last {len(bad)} windows")
    if over:
        return replace(state, verdict=Verdict.SUSPECT, why=f"{words}, over it {times} of {signal.k} times that fail")
    return replace(state, verdict=Verdict.HEALTHY, why=words)
