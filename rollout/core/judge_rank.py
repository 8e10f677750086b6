"""The rank test: a gauge per pod (p95, CPU, memory), judged by where the candidate's pod stands among the baseline's.

Nothing is assumed about the gauge's distribution, only that a healthy candidate pod is one pod like the others. In each window,
with the candidate's score c divided by 1 + tol first and m baseline scores s,

    p = (#{s > c} + U * (#{s = c} + 1)) / (m + 1)          U even in (0, 1), from the seed

is evenly spread over (0, 1) under H0, and small when the candidate stands above. For each eps in (0.1, 0.2, 0.4, 0.6, 0.8)
eps * p^(eps-1) has mean 1, so its products over windows are e-processes; they are averaged and restarted as in
judge_mixture.py. Several candidate pods: the mean of their factors, which is again an e-value.

**tol** must be at least twice the spread seen among the baseline's pods: pods differ for reasons of their own (node, age,
cache), in the same direction in every window. With a spread of 5 % tol = 0 gives 26 % false alarms, tol = 0.2 none.

Higher is worse. A gauge of which lower is worse enters as its complement (1 - success rate).

Worked example: candidate 260 ms, baseline 100, 110, 120 ms, tol 0.2: 216.7 stands above all, p = U/4; with U = 0.5 the factor
for eps = 0.4 is 0.4 * 0.125^-0.6 = 1.39.

Sources: Vovk & Wang, "E-values", arXiv:1912.06116 (calibrators); Shin, Ramdas & Rinaldo, arXiv:2203.03532 (restarts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core import judge_mixture
from rollout.core.errors import Refused
from rollout.core.judge_mixture import Mixture
from rollout.core.judge_seed import uniform


@dataclass(frozen=True, slots=True)
class RankParameters:
    """How one gauge is judged: false alarm chance, `tolerance` (0.2 is 20 %), planned windows, exponents eps in (0, 1)."""

    planned_windows: int
    alpha: float = 0.01
    tolerance: float = 0.2
    exponents: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8)

    def __post_init__(self) -> None:
        if self.planned_windows < 1 or not 0 < self.alpha < 1 or self.tolerance < 0:
            raise Refused("the rank test needs planned_windows >= 1, alpha between 0 and 1, and a tolerance of at least 0")
        if not self.exponents or min(self.exponents) <= 0 or max(self.exponents) >= 1:
            raise Refused("the rank test's exponents lie between 0 and 1")

    @property
    def line(self) -> float:
        """The E-value at which the candidate is judged worse: 1/alpha."""
        return 1 / self.alpha


@dataclass(frozen=True, slots=True)
class RankState:
    """Everything that the rank test remembers: about ten floats, safe to store as JSON."""

    evidence: Mixture


def start(parameters: RankParameters) -> RankState:
    """Begin a test: no evidence."""
    return RankState(judge_mixture.begin(len(parameters.exponents)))


def update(
    parameters: RankParameters, state: RankState, candidate: Sequence[float], baseline: Sequence[float], *, seed: str
) -> RankState:
    """Add one window: a score per candidate pod and per baseline pod, in any one unit, higher is worse.

    `seed` names the rollout, the signal and the window's start. Without a score on either side nothing is learned, but time
    passes. Scores must be finite.
    """
    if not candidate or not baseline:
        return RankState(judge_mixture.advance(state.evidence, None, parameters.planned_windows))
    places = [rank(score, baseline, parameters.tolerance, uniform(seed, "rank", number)) for number, score in enumerate(candidate)]
    factors = [math.log(sum(eps * p ** (eps - 1) for p in places) / len(places)) for eps in parameters.exponents]
    return RankState(judge_mixture.advance(state.evidence, factors, parameters.planned_windows))


def e_value(parameters: RankParameters, state: RankState) -> float:
    """E = W/2 + R/2: evidence that the candidate's pods stand above the baseline's. The line is 1/alpha."""
    return judge_mixture.e_value(state.evidence, parameters.planned_windows)


def rank(score: float, baseline: Sequence[float], tolerance: float, chance: float) -> float:
    """Compute p for one candidate score; `chance` in (0, 1) breaks ties: `rank(9, [1, 2, 3], 0, 0.5) == 0.125`."""
    if not all(map(math.isfinite, (score, *baseline))):
        raise ValueError("the rank test needs finite scores")
    eased = score / (1 + tolerance) if score > 0 else score
    above = sum(other > eased for other in baseline)
    level = sum(other == eased for other in baseline)
    return (above + chance * (level + 1)) / (len(baseline) + 1)
