"""A baseline that vanishes: the soak's counts stand in for it while the stable pods are replaced one by one, and afterwards.

**What is kept.** During the soak every baseline window is added to its hour of day: events and requests, 24 pairs of numbers.

**How it is compared.** Each candidate window of promotion and bake gets a *slice* of the frozen counts of the same hour of day
as its baseline, and goes through the count test of judge_counts.py as if the slice had been measured now. A slice of m out
of the M requests that are left in the hour takes each of the S events that are left with probability m/M, and what was taken
is gone. No frozen event is ever counted twice.

**Why it is valid.** Counts of independent events that are divided at random are again independent counts of the same rate (the
splitting property of the Poisson process). So slices are to the test what live windows are: how uncertain the frozen rate is
is in them, window by window, and Ville's inequality holds as before. Comparing every window with the one frozen rate S/M, as
if it were known, would not be valid: S/M is off by some chance amount, and that error would be counted again in each window.
The price: evidence ends when the counts are spent. m is as much as makes the window's baseline as large as its candidate, so a
day's soak at a tenth of the traffic lasts about one hour of promotion for each hour of day, and a soak of three days three.

**What must be respected.**
- A fresh state, `begin(...)`: the soak's own evidence has used these counts. Soak and promotion are two tests, with alpha each.
- r0 >= 1.5: the counts are of yesterday, and traffic is not.
- Live baseline pods that remain come first; frozen counts only fill up what is missing. How much is taken is decided by
  requests, never by events.
- The clumping that the soak learned stays as it is: slices are spread evenly and would hide it.
- An hour without counts takes from the nearest hour with some, at most 3 hours away; beyond, there is no comparison and the
  absolute limits and hard guards stand alone.

Worked example: at 14:05 the candidate has 300 requests and the baseline 60. The 14 o'clock hour holds 400 events in 36,000
requests: 240 of them are taken, with Binomial(400, 240/36000) events, 2.7 on average; 35,760 requests are left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollout.core import judge_counts
from rollout.core.judge_counts import UNMEASURED_R0, CountParameters, CountState, CountWindow
from rollout.core.judge_seed import binomial, uniform

HOURS = 24
REACH = 3
"""How many hours away frozen counts may be taken from."""


@dataclass(frozen=True, slots=True)
class FrozenBaseline:
    """What is left of the soak's baseline counts, by hour of day (UTC, 24 entries): events and requests."""

    events: tuple[float, ...] = (0.0,) * HOURS
    requests: tuple[float, ...] = (0.0,) * HOURS

    @property
    def rate(self) -> float:
        """Events per request over all hours, 0.0 when nothing is left."""
        total = sum(self.requests)
        return sum(self.events) / total if total else 0.0


def freeze(frozen: FrozenBaseline, hour: int, events: float, requests: float) -> FrozenBaseline:
    """Add one baseline window of the soak to its hour of day (0 to 23); a window without requests adds nothing."""
    if requests <= 0:
        return frozen
    return _put(frozen, hour, frozen.events[hour] + events, frozen.requests[hour] + requests)


def parameters_for(soak: CountParameters, planned_windows: int) -> CountParameters:
    """Derive the parameters of promotion and bake from the soak's: r0 at least 1.5, and their own number of windows."""
    return replace(soak, r0=max(soak.r0, UNMEASURED_R0), planned_windows=planned_windows)


def begin(parameters: CountParameters, soak: CountState) -> CountState:
    """Begin the test of promotion and bake: no evidence is carried over, only how events clump."""
    return judge_counts.start(parameters, soak.clumping)


def update(
    parameters: CountParameters, state: CountState, frozen: FrozenBaseline, window: CountWindow, *, hour: int, seed: str
) -> tuple[CountState, FrozenBaseline]:
    """Add one window of promotion or bake, and return what is left of the frozen counts.

    `seed` names the rollout, the signal and the window's start; `hour` is the window's hour of day, in UTC.
    """
    left, filled = stand_in(frozen, window, hour=hour, seed=seed)
    judged = judge_counts.update(parameters, state, filled)
    return replace(judged, clumping=state.clumping), left


def stand_in(frozen: FrozenBaseline, window: CountWindow, *, hour: int, seed: str) -> tuple[FrozenBaseline, CountWindow]:
    """Fill the window's baseline up to the candidate's requests from the frozen counts, and take that away from them."""
    wanted = window.candidate_requests - window.baseline_requests
    source = _nearest(frozen, hour)
    if wanted <= 0 or source is None:
        return frozen, window
    events, requests = frozen.events[source], frozen.requests[source]
    taken = min(wanted, requests)
    chance = uniform(seed, "frozen", source)
    found = events if taken >= requests else float(binomial(chance, int(events), taken / requests))
    filled = replace(
        window,
        baseline_events=window.baseline_events + found,
        baseline_requests=window.baseline_requests + taken,
    )
    return _put(frozen, source, events - found, requests - taken), filled


def _nearest(frozen: FrozenBaseline, hour: int) -> int | None:
    """Find the nearest hour that has requests left, the earlier one of two equally near."""
    for distance in range(REACH + 1):
        for step in (-distance, distance):
            found = (hour + step) % HOURS
            if frozen.requests[found] > 0:
                return found
    return None


def _put(frozen: FrozenBaseline, hour: int, events: float, requests: float) -> FrozenBaseline:
    """Replace one hour."""
    return FrozenBaseline(
        (*frozen.events[:hour], events, *frozen.events[hour + 1 :]),
        (*frozen.requests[:hour], requests, *frozen.requests[hour + 1 :]),
    )
