"""Good enough, with evidence: a candidate is not promoted because nothing was seen, but because enough good was seen.

Two claims can be certified, each with its own chance alpha' (5 %) of being wrong, however often somebody looks:

1. **Not much worse than the baseline.** H0' is "the candidate's event rate is at least r_bad = 3 times the baseline's"; the
   alternatives are the ratios 0.25, 0.5, 0.75, 1 and 1.5, of equal weight, with the likelihood of judge_counts.py:

       E' = mean over a of prod_i L_i(a against r_bad)        certified at E' >= 1/alpha' = 20

   A likelihood ratio of this family falls with r, so what holds at r = 3 holds for every r beyond it. There are no restarts:
   a certificate speaks of the whole run. The candidate's events are never capped here, and windows before it is known how
   events clump (judge_bursts.py) do not count.
2. **Seldom enough by itself.** H0'' is "the candidate's event rate is at least p" (`absolute_limit`); with c events in n
   requests and the alternatives q = 0, p/10, p/4 and p/2, of equal weight:

       E'' = mean over q of (q/p)^c ((1-q)/(1-p))^(n-c)

   It needs no events at all, which the comparison does: zero events certify less than 1 % after 354 candidate requests,
   0.5 % after 710, 0.1 % after 3,556. Where the baseline's events clump, n and c are divided by phi. Windows in which the
   baseline jumped against its own past are left out, chosen by the baseline alone: the claim is of the time between the
   incidents of the whole service, and an hour of them does not cost a day. It says nothing where requests are not measured.

Whoever promotes on either claim is told which one it was. A certificate is of now: later bad windows take it away.

Sources: facts of judge_counts.py; Robbins 1970 for the mixture against a simple bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from rollout.core.judge_counts import CountParameters, CountState
from rollout.core.judge_mixture import E_CEILING, LOG_CEILING, log_sum
from rollout.core.wording import counted, number, percent

ABSOLUTE_PARTS = (0.0, 0.1, 0.25, 0.5)
"""The alternatives of the absolute bound, as parts of the limit."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Evidence that the candidate is good enough: the e-value of the stronger claim, its line, and a sentence."""

    e_value: float
    line: float
    certified: bool
    why: str


def good_enough(parameters: CountParameters, state: CountState) -> Certificate:
    """Certify one of the two claims, or say what is missing. `state` is what judge_counts.update returned last."""
    line = 1 / parameters.alpha_good
    compared = relative_e_value(state)
    absolute = absolute_e_value(parameters, state)
    best = max(compared, absolute)
    if compared >= line:
        seen = _seen(parameters, state)
        words = f"not {number(parameters.r_bad)} times worse than the baseline: {seen}; E' = {number(compared)} of {number(line)}"
    elif absolute >= line:
        limit = percent(parameters.absolute_limit)
        words = f"below {limit} by itself: {_calm(state)}; E' = {number(absolute)} of {number(line)}"
    else:
        still = f"{number(line)} is needed{_missing(parameters, state)}"
        words = f"not certified yet: {_seen(parameters, state)}; E' = {number(best)}, {still}"
    return Certificate(best, line, best >= line, words)


def relative_e_value(state: CountState) -> float:
    """E': evidence against "at least r_bad times worse than the baseline"."""
    return _exp(log_sum(state.good) - math.log(len(state.good)))


def absolute_e_value(parameters: CountParameters, state: CountState) -> float:
    """E'': evidence against "the candidate's event rate is at least `absolute_limit`"; 0.0 where requests are not measured."""
    events, requests = state.calm
    if not parameters.measured or events > requests:
        return 0.0
    phi = state.clumping.phi if parameters.cap is not None else 1.0
    return absolute_bound(events / phi, requests / phi, parameters.absolute_limit)


def absolute_bound(events: float, requests: float, limit: float) -> float:
    """Weigh `events` in `requests` against a rate of `limit`: `absolute_bound(0, 354, 0.01) == 20.0...`."""
    fine = requests - events
    logs = [
        (events * math.log(part) if events else 0.0) + fine * (math.log1p(-part * limit) - math.log1p(-limit))
        for part in ABSOLUTE_PARTS
        if part or not events
    ]
    return _exp(log_sum(logs) - math.log(len(ABSOLUTE_PARTS)))


@lru_cache(maxsize=64)
def requests_without_events(limit: float, alpha: float = 0.05) -> int:
    """How many requests without one event certify a rate below `limit`: 354 for 1 %, 710 for 0.5 %, 3556 for 0.1 %."""
    low, high = 0, 1
    while absolute_bound(0, high, limit) < 1 / alpha:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if absolute_bound(0, middle, limit) < 1 / alpha else (low, middle)
    return high


def _seen(parameters: CountParameters, state: CountState) -> str:
    """Word what both cohorts showed."""
    unit = "requests" if parameters.measured else "pod-minutes"
    mine = f"{counted(state.candidate_events, 'event')} in {number(state.candidate_requests)} candidate {unit}"
    theirs = f"{number(state.baseline_events)} in {number(state.baseline_requests)} of the baseline"
    return f"{mine}, {theirs}"


def _calm(state: CountState) -> str:
    """Word what the absolute claim rests on."""
    events, requests = state.calm
    words = f"{counted(events, 'event')} in {number(requests)} candidate requests"
    if not state.incident_requests:
        return f"{words}, {number(state.baseline_events)} in {number(state.baseline_requests)} of the baseline"
    during = f"{number(state.incident_events)} in {number(state.incident_requests)}"
    return f"{words}, and {during} while the baseline failed as well, which are left out"


def _missing(parameters: CountParameters, state: CountState) -> str:
    """Say how many more requests would do, where that can be said: as long as the candidate shows no event."""
    events, requests = state.calm
    if events or not parameters.measured:
        return ""
    phi = state.clumping.phi if parameters.cap is not None else 1.0
    needed = requests_without_events(parameters.absolute_limit, parameters.alpha_good) * phi
    more = math.ceil(needed - requests)
    return f" (about {more} more candidate requests without an event would do)"


def _exp(x: float) -> float:
    """Take exp(x), cut off at `E_CEILING`."""
    return math.exp(x) if x < LOG_CEILING else E_CEILING
