"""The count test finds out whether the candidate produces more bad events per request than the baseline.

For error traces, 5xx answers, slow requests, ERROR log lines: anything counted in disjoint windows. In window i the candidate
shows c_i events among n_i requests, the baseline s_i among m_i; w_i = n_i / (n_i + m_i) is the candidate's share of the
*measured* requests. If the candidate's event rate is r times the baseline's, an event that happened is the candidate's with
probability

    theta(r, w) = r w / (r w + 1 - w)

so the base rate, the daily load and incidents shared by both cancel out. H0 is r <= r0; the alternatives are r_j = r0 g_j. One
window's likelihood ratio for alternative j, with D_r = r w + 1 - w:

    L_ij = (theta(r_j,w)/theta(r0,w))^c * ((1-theta(r_j,w))/(1-theta(r0,w)))^s = g_j^c * (D_r0/D_rj)^(c+s)

The mixture over j, with restarts, is judge_mixture.py; what bursts do to c and s is judge_bursts.py. The alarm line is 1/alpha:
a healthy candidate crosses it with a chance of at most alpha, in a whole rollout, looked at in every window.

Worked example (share 1/11, r0 = 1, baseline without an error so far): one candidate error gives W = 4.5, two 28, three 202.

Sources: Lindon & Malek, NeurIPS 2022, arXiv:2011.03567; Turner, Ly & Gruenwald, arXiv:2106.02693 (the conditional test).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from rollout.core import judge_bursts, judge_mixture
from rollout.core.errors import Refused
from rollout.core.judge_bursts import BurstCap, Clumping, Weighed
from rollout.core.judge_mixture import Mixture
from rollout.core.replacing import replace

JUMP = 5.0
"""The baseline's rate is this many times its own history: an incident of the whole service."""
JUMP_EVENTS = 10.0
UNMEASURED_R0 = 1.5
"""The least r0 where requests per cohort are not measured: a share of 12.5 % taken for 9.1 % gives 100 % alarms at r0 = 1."""
STANDARD_CAP = BurstCap()
SUSPECT_LINE = 10.0
"""From this E-value a signal is suspect: the rollout holds and earns no credit, but does not step back."""


@dataclass(frozen=True, slots=True)
class CountParameters:
    """How one count signal is judged. Stored with the rollout: it must not change while a state that it began lives.

    `alpha` is the false alarm chance of a whole rollout, `r0` the ratio of rates that is still tolerated, `ratios` the
    alternatives as multiples of r0, `planned_windows` how many windows the plan foresees. `measured` says whether requests per
    cohort are measured; where they are not, the caller passes ready pod-minutes as requests (the replica share) and `r0` is
    at least 1.5. `cap` None means that events are known to be independent (deduplicated by trace id, say).
    Certificate: `alpha_good`, `r_bad` (how much worse must be ruled out), `good_ratios` (alternatives), `absolute_limit` (an
    event rate of the candidate that is good enough by itself; 0.01 is 1 %).
    Raises `Refused` for values that would make the test meaningless.
    """

    planned_windows: int
    alpha: float = 0.01
    r0: float = 1.5
    ratios: tuple[float, ...] = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)
    measured: bool = True
    cap: BurstCap | None = STANDARD_CAP
    alpha_good: float = 0.05
    r_bad: float = 3.0
    good_ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    absolute_limit: float = 0.01

    def __post_init__(self) -> None:
        if self.planned_windows < 1:
            raise Refused(f"planned_windows is {self.planned_windows}; the test needs at least one window")
        if not (0 < self.alpha < 1 and 0 < self.alpha_good < 1 and 0 < self.absolute_limit < 1):
            raise Refused("alpha, alpha_good and absolute_limit are chances and rates: between 0 and 1, neither included")
        if self.r0 < 1:
            raise Refused(f"r0 is {self.r0}; below 1 a candidate that equals the baseline would be an alarm")
        if not self.measured and self.r0 < UNMEASURED_R0:
            raise Refused(
                f"r0 is {self.r0}, but requests per cohort are not measured: the replica share is only an estimate,"
                f" so r0 must be at least {UNMEASURED_R0}"
            )
        if min(self.ratios, default=0.0) <= 1 or not self.good_ratios or min(self.good_ratios) <= 0:
            raise Refused("ratios must all lie above 1, good_ratios above 0, and neither may be empty")
        if max(self.good_ratios) >= self.r_bad:
            raise Refused(f"good_ratios reach {max(self.good_ratios)}, which must lie below r_bad ({self.r_bad})")

    @property
    def line(self) -> float:
        """The E-value at which the candidate is judged worse: 1/alpha."""
        return 1 / self.alpha


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Raw deltas of one window, summed over each cohort's pods that are past their warm-up.

    Events may be fractional (a backend that extrapolates) but not negative. Requests are pod-minutes where not measured.
    """

    candidate_events: float
    candidate_requests: float
    baseline_events: float
    baseline_requests: float

    @property
    def informative(self) -> bool:
        """Say whether both cohorts had traffic; without it a comparison has nothing to say."""
        return self.candidate_requests > 0 and self.baseline_requests > 0


@dataclass(frozen=True, slots=True)
class CountState:
    """Everything that the test remembers: plain numbers, about thirty floats, safe to store as JSON.

    `evidence` is about "worse than r0", `good` the logs of the certificate's alternatives ("better than r_bad"). The totals
    are of informative windows, uncapped.
    """

    evidence: Mixture
    good: tuple[float, ...]
    clumping: Clumping = field(default_factory=Clumping)
    candidate_events: float = 0.0
    candidate_requests: float = 0.0
    baseline_events: float = 0.0
    baseline_requests: float = 0.0
    incident: bool = False
    """The baseline jumped in the last informative window."""
    incident_events: float = 0.0
    incident_requests: float = 0.0
    """The candidate's part in windows in which the baseline jumped."""

    @property
    def calm(self) -> tuple[float, float]:
        """The candidate's events and requests outside of the baseline's incidents."""
        return self.candidate_events - self.incident_events, self.candidate_requests - self.incident_requests

    @property
    def baseline_rate(self) -> float:
        """The baseline's events per request so far, 0.0 before any request."""
        return self.baseline_events / self.baseline_requests if self.baseline_requests else 0.0

    @property
    def candidate_rate(self) -> float:
        """The candidate's events per request so far, 0.0 before any request."""
        return self.candidate_events / self.candidate_requests if self.candidate_requests else 0.0


def start(parameters: CountParameters, clumping: Clumping | None = None) -> CountState:
    """Begin a test: no evidence in either direction.

    `clumping` is what the baseline's windows before the rollout showed (`judge_bursts.watch`, window by window); it saves
    the test the first windows with events, in which it is most careful.
    """
    evidence = judge_mixture.begin(len(parameters.ratios))
    return CountState(evidence, (0.0,) * len(parameters.good_ratios), clumping or Clumping())


def update(parameters: CountParameters, state: CountState, window: CountWindow) -> CountState:
    """Add one window. It must be disjoint from every window before it, past warm-up, and used once (the caller's key).

    A window without requests on either arm adds no evidence, but time passes: `t` advances.
    """
    if min(window.candidate_events, window.baseline_events, window.candidate_requests, window.baseline_requests) < 0:
        raise ValueError(f"a window's counts cannot be negative: {window}")
    planned = parameters.planned_windows
    clumping = judge_bursts.watch(state.clumping, window.baseline_events, window.baseline_requests)
    if not window.informative:
        return replace(state, evidence=judge_mixture.advance(state.evidence, None, planned), clumping=clumping)
    factors = None
    good = state.good
    if window.candidate_events or window.baseline_events:
        share = window.candidate_requests / (window.candidate_requests + window.baseline_requests)
        counted = _weigh(parameters, state, window, share)
        others = _alternatives(parameters.r0, parameters.ratios)
        factors = log_factors(parameters.r0, others, share, counted.candidate, counted.baseline)
        better = log_factors(parameters.r_bad, parameters.good_ratios, share, counted.good_candidate, counted.good_baseline)
        good = tuple([g + f for g, f in zip(good, better, strict=True)])
    jumped = baseline_jumped(state, window)
    return CountState(
        judge_mixture.advance(state.evidence, factors, planned),
        good,
        clumping,
        state.candidate_events + window.candidate_events,
        state.candidate_requests + window.candidate_requests,
        state.baseline_events + window.baseline_events,
        state.baseline_requests + window.baseline_requests,
        jumped,
        state.incident_events + window.candidate_events * jumped,
        state.incident_requests + window.candidate_requests * jumped,
    )


def baseline_jumped(before: CountState, window: CountWindow) -> bool:
    """Say whether the baseline suffers as it did not before: whatever the candidate shows, this is not of its making alone.

    At least 10 clumps of events, and 5 times what the history before this window predicts (one clump is added to the history,
    so that a first error is no jump). What has begun needs 10 events to go on, because its own beginning looks like a clump;
    it ends at the latest when it makes up a fifth of the history.
    """
    if not window.informative or before.baseline_requests <= 0:
        return False
    clump = 1.0 if before.incident else before.clumping.phi
    predicted = (before.baseline_events + clump) / before.baseline_requests * window.baseline_requests
    return window.baseline_events >= max(JUMP_EVENTS * clump, JUMP * predicted)


def e_value(parameters: CountParameters, state: CountState) -> float:
    """E = W/2 + R/2: evidence that the candidate's rate is more than r0 times the baseline's. The line is 1/alpha."""
    return judge_mixture.e_value(state.evidence, parameters.planned_windows)


def whole_run_e_value(state: CountState) -> float:
    """W: the same without restarts; quicker by a factor 2 for faults from the start, blind for hours to late ones."""
    return judge_mixture.whole_run(state.evidence)


def log_factors(null: float, others: tuple[float, ...], share: float, candidate: float, baseline: float) -> list[float]:
    """Logs of one window's likelihood ratios of the rate ratios `others` against the ratio `null`.

    `log L = c log(r/null) - (c+s) log(D_r/D_null)`, `D_r = r w + 1 - w`.
    """
    rest = 1 - share
    under_null = null * share + rest
    events = candidate + baseline
    log = math.log
    return [
        candidate * gain - events * log((r * share + rest) / under_null)
        for r, gain in zip(others, _gains(null, others), strict=True)
    ]


def _weigh(parameters: CountParameters, state: CountState, window: CountWindow, share: float) -> Weighed:
    """Take clumping out and cap, with what the windows before this one showed."""
    candidate, baseline = window.candidate_events, window.baseline_events
    if parameters.cap is None:
        return Weighed(candidate, baseline, candidate, baseline)
    rate = state.baseline_rate
    predicted = (parameters.r0 * rate * window.candidate_requests, rate * window.baseline_requests)
    return judge_bursts.weigh(parameters.cap, state.clumping, (candidate, baseline), predicted, share)


@lru_cache(maxsize=256)
def _alternatives(r0: float, ratios: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(r0 * g for g in ratios)


@lru_cache(maxsize=256)
def _gains(null: float, others: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(math.log(r / null) for r in others)
