"""Chance that a replay agrees with: numbers between 0 and 1 that follow from what they are for.

Ties in a rank test and the division of frozen counts need chance to be fair, and the same chance again when the same window
is judged again. So it is computed from the rollout's id and the window, never drawn.
"""

from __future__ import annotations

import hashlib
import math


def uniform(seed: str, *parts: str | int) -> float:
    """Compute a number in (0, 1), evenly spread over seeds; the same for the same seed and parts, on every machine."""
    text = "\x1f".join((seed, *(str(part) for part in parts)))
    whole = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
    return (whole + 0.5) / 2.0**48


def binomial(chance: float, trials: int, probability: float) -> int:
    """Turn an even `chance` in (0, 1) into a binomial count of `trials` of `probability` each.

    The values are gone through from the most likely one outwards, so the cost is about the standard deviation.
    """
    if trials <= 0 or probability <= 0:
        return 0
    if probability >= 1:
        return trials
    odds = probability / (1 - probability)
    mode = min(trials, int((trials + 1) * probability))
    top = math.exp(_log_choose(trials, mode) + mode * math.log(probability) + (trials - mode) * math.log1p(-probability))
    low, high, at_low, at_high = mode, mode, top, top
    left = chance - top
    while left > 0 and (low > 0 or high < trials):
        if high < trials:
            at_high *= (trials - high) / (high + 1) * odds
            high += 1
            left -= at_high
            if left <= 0:
                return high
        if low > 0:
            at_low *= low / (trials - low + 1) / odds
            low -= 1
            left -= at_low
            if left <= 0:
                return low
        if max(at_low, at_high) <= 0:
            break
    return mode


def _log_choose(n: int, k: int) -> float:
    """Take the log of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
