"""Why one burst is not many events: counts are divided by how they clump, and capped per window.

The count test takes events for independent of each other. A failing dependency or one retrying client makes them come in
clumps, and clumps of five gave 56 to 100 % false alarms. Two measures, both decided from the windows *before* the one that
they treat (a test may not choose its weights after looking at the events that it weighs):

1. **Clumping** phi: the variance of the baseline's counts over their mean, from pairs of neighbouring windows with an event in
   at least one of them. Requests m and events s of the window before are scaled to the present one by k = m_i / m_(i-1):

       phi = (5 + sum (s_i - k s_(i-1))^2) / (5 + sum (s_i + k^2 s_(i-1)))         at least 1

   Independent events give 1, clumps of size b give b (a compound Poisson count has variance/mean = E[b^2]/E[b]); the 5 pull
   towards 1 at the start. Neighbours, so that a daily cycle does not look like clumping; one pair counts for at most 25 (or 9
   phi), so that an outage does not blunt the test for the rest of the day; pairs fade after 200. From 5 pairs on phi counts
   as learned, and its uncertainty is added: phi * (1 + 2 sqrt(2/pairs)). Both arms' counts are divided by it: for clumps of
   a fixed size b the likelihood ratio to the power 1/b is exactly the likelihood ratio of the clumps.
2. **A cap per window.** With the plan's caps of 2 candidate and 20 baseline events

       c <= max(4, 3 r0 * rate * n / phi)          s <= max(40, 4 (1-w)/w, 3 * rate * m / phi)

   so that no single window convicts and yet a busy service keeps its sight: at 6,000 requests a minute a fixed cap of 2 and
   20 would never see 1 % become 10 %. The baseline's cap is never below the candidate's in proportion to the traffic: with
   both arms at their caps the evidence is for "no difference".

**As long as phi is not learned**, half of the caps counts, or a tenth of the events where that is more (as if they came in tens),
and nothing counts for the certificate. With 2 and 20 from the start, clumps of five gave false alarms in 1.3 to 1.7 % of
healthy days at r0 = 1, nearly all of them in the first windows. A rollout therefore reads the half hour of the baseline before
its own beginning (core/windows.py): a fault that is there from the start is then found after 17 instead of 28 minutes (1 % to
3 %) or 2 instead of 10 (1 % to 10 %), at 60 requests a minute. Where the backend cannot tell the past, this care is the price.

Worked example: 600 requests a minute on the candidate, 6,000 on the baseline, 1 % independent errors, r0 = 1, an hour seen
(59 pairs, phi = 1.37): 6 and 60 events are expected, 4.4 and 44 are counted, the caps are 13 and 131; a burst of 300 errors on
the candidate counts as 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PRIOR_EVENTS = 5.0
WIDEST_CLUMP = 25.0
LEARNED_PAIRS = 5.0
MEMORY_PAIRS = 200.0
FEARED_CLUMP = 10.0
"""What clumps are taken for as long as nothing is known of them."""
HEADROOM = 3.0
"""How often the number of events that H0 predicts a window may count for."""


@dataclass(frozen=True, slots=True)
class BurstCap:
    """Events of one window that count: half of this before the clumping is learned, twice this or what is predicted after."""

    candidate: float = 2.0
    baseline: float = 20.0


@dataclass(frozen=True, slots=True)
class Clumping:
    """What the baseline's neighbouring windows showed.

    `squares`: the sum of squared differences, `expected`: what independent events would have given, over `pairs` pairs.
    """

    pairs: float = 0.0
    squares: float = 0.0
    expected: float = 0.0
    last_events: float = 0.0
    last_requests: float = 0.0

    @property
    def learned(self) -> bool:
        """Say whether enough pairs were seen to trust the figure."""
        return self.pairs >= LEARNED_PAIRS

    @property
    def estimate(self) -> float:
        """How many events come together, as seen, at least 1."""
        return max(1.0, (PRIOR_EVENTS + self.squares) / (PRIOR_EVENTS + self.expected))

    @property
    def phi(self) -> float:
        """What counts are divided by: the estimate, with its uncertainty added once it is learned."""
        return self.estimate * (1 + 2 * math.sqrt(2 / self.pairs)) if self.learned else self.estimate


@dataclass(frozen=True, slots=True)
class Weighed:
    """One window's events as the test counts them, and as the certificate of "good enough" counts them.

    For the certificate the candidate's events are not capped: capping the arm that is to be shown good would be flattery.
    """

    candidate: float
    baseline: float
    good_candidate: float
    good_baseline: float


def watch(clumping: Clumping, events: float, requests: float) -> Clumping:
    """Add a baseline window. One without requests breaks the chain of neighbours, a pair without events says nothing."""
    pairs, squares, expected = clumping.pairs, clumping.squares, clumping.expected
    if requests > 0 and clumping.last_requests > 0:
        scale = requests / clumping.last_requests
        independent = events + scale * scale * clumping.last_events
        if independent > 0:
            widest = max(WIDEST_CLUMP, 9 * clumping.estimate)
            fade = 0.5 if pairs > MEMORY_PAIRS else 1.0
            pairs = pairs * fade + 1
            squares = squares * fade + min((events - scale * clumping.last_events) ** 2, widest * independent)
            expected = expected * fade + independent
    return Clumping(pairs, squares, expected, events, requests)


def weigh(
    cap: BurstCap, clumping: Clumping, observed: tuple[float, float], predicted: tuple[float, float], share: float
) -> Weighed:
    """Take clumping out of the events `observed` (candidate's, baseline's) and cap them.

    `predicted` are the events that the past and H0 predict for this window, `share` the candidate's part of its requests
    (above 0).
    """
    phi = clumping.phi
    candidate, baseline = observed[0] / phi, observed[1] / phi
    if not clumping.learned:
        least_mine = cap.candidate / 2
        least_theirs = max(cap.baseline / 2, least_mine * (1 - share) / share)
        mine = max(min(candidate, least_mine), observed[0] / FEARED_CLUMP)
        theirs = max(min(baseline, least_theirs), observed[1] / FEARED_CLUMP)
        return Weighed(mine, theirs, 0.0, 0.0)
    least_mine = 2 * cap.candidate
    mine = min(candidate, max(least_mine, HEADROOM * predicted[0] / phi))
    in_proportion = least_mine * (1 - share) / share
    theirs = min(baseline, max(2 * cap.baseline, in_proportion, HEADROOM * predicted[1] / phi))
    return Weighed(mine, theirs, candidate, theirs)
