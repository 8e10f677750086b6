"""What one window means: from counts and e-values to a verdict, with the sentence for whoever is on call.

The judge is a family of pure functions over plain numbers:

    judge_counts.py       the count test: candidate against baseline, valid however often it is looked at
    judge_bursts.py       what clumps and single windows may count for
    judge_certificate.py  good enough to promote, with evidence
    judge_frozen.py       the soak's counts in place of a baseline that vanishes
    judge_rank.py         gauges per pod, by rank
    judge_rules.py        hard guards, limits, k of n, shared incidents
    judge_mixture.py      the arithmetic of e-processes with restarts

Here the order is kept in which they speak: hard guard, test at its line, shared incident, suspect, idle, healthy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core import judge_counts, judge_rules
from rollout.core.evidence_state import Verdict
from rollout.core.judge_counts import SUSPECT_LINE, CountParameters, CountState, CountWindow
from rollout.core.wording import counted, number, percent


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its evidence: `why` names the signal, what was seen, what was expected and what follows."""

    verdict: Verdict
    e_value: float
    line: float
    why: str


def combined(e_values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Average e-values of several signals into one; 0.0 for none.

    An average of e-processes is an e-process whatever their dependence, so the signals share one alpha; the weights must be
    fixed before the first window. `combined([1, 298, 1]) == 100`: one signal alone must reach the line times their number.
    """
    if not e_values:
        return 0.0
    parts = weights if weights is not None else (1.0,) * len(e_values)
    total = sum(parts)
    return sum(w * e for w, e in zip(parts, e_values, strict=True)) / total if total else 0.0


def judge_window(name: str, parameters: CountParameters, before: CountState, window: CountWindow, after: CountState) -> Judgement:
    """Judge the window that led from `before` to `after`; `name` is the signal's name for the sentence."""
    e = judge_counts.e_value(parameters, after)
    verdict, words = _ladder(parameters, before, window, e)
    return Judgement(verdict, e, parameters.line, f"{name}: {_seen(parameters, window, after)}; {words}")


def _ladder(parameters: CountParameters, before: CountState, window: CountWindow, e: float) -> tuple[Verdict, str]:
    """Decide, the gravest word first."""
    line = number(parameters.line)
    if parameters.measured and judge_rules.mostly_failing(window.candidate_events, window.candidate_requests):
        return _gross(window)
    if e >= parameters.line:
        return Verdict.FAILING, f"E = {number(e)} reached {line}: the candidate is worse, stepping back"
    if parameters.measured and judge_rules.both_mostly_failing(window):
        return Verdict.SHARED, "at least half of the baseline's requests fail as well: holding, not stepping back"
    if judge_rules.shared_incident(before, window, parameters.r0):
        now = percent(window.baseline_events / window.baseline_requests)
        was = percent(before.baseline_rate)
        return Verdict.SHARED, f"the baseline went from {was} to {now} and the candidate is no worse: holding until it is over"
    if e >= SUSPECT_LINE:
        return Verdict.SUSPECT, f"E = {number(e)} (suspect from {number(SUSPECT_LINE)}, fails at {line}): holding, no credit"
    if not window.informative:
        idle = "candidate" if window.candidate_requests <= 0 else "baseline"
        return Verdict.IDLE, f"the {idle} had no traffic in this window: nothing learned, no credit"
    return Verdict.HEALTHY, f"E = {number(e)} of {line}: no worse than the baseline so far"


def _gross(window: CountWindow) -> tuple[Verdict, str]:
    """Decide about a candidate of which at least half fails: no statistics, unless the baseline does alike."""
    if judge_rules.baseline_as_bad(window):
        return Verdict.SHARED, "at least half of the requests fail, on the baseline alike: holding, not stepping back"
    return Verdict.FAILING, "at least half of the requests fail: stepping back"


def _seen(parameters: CountParameters, window: CountWindow, after: CountState) -> str:
    """Word the window and the run so far: `3 of 41 requests failed (7.3 %), 1.2 % so far, baseline 0.2 %`."""
    if not parameters.measured:
        return (
            f"candidate {counted(window.candidate_events, 'event')} in {counted(window.candidate_requests, 'pod-minute')},"
            f" {number(after.candidate_rate)} a pod-minute so far, baseline {number(after.baseline_rate)}"
        )
    share = window.candidate_events / window.candidate_requests if window.candidate_requests > 0 else 0.0
    return (
        f"candidate {number(window.candidate_events)} of {number(window.candidate_requests)} requests failed ({percent(share)}),"
        f" {percent(after.candidate_rate)} so far, baseline {percent(after.baseline_rate)}"
    )
