"""The fixed-threshold rules of peers, for comparison: what each says of the same windows as the e-process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

from rollout.core.judge_counts import CountWindow
from tests.bench.judge_worlds import World, windows_of

LIMIT = 0.02
"""A window is bad when the canary's error rate is above this."""
Z_LINE = 2.3263
"""One-sided p < 0.01."""

Rule = Callable[[Iterator[CountWindow]], int | None]


def cumulative(windows: Iterator[CountWindow]) -> int | None:
    """Fail at the fifth bad window of the whole run (Argo Rollouts' failureLimit, Flagger's threshold)."""
    bad = 0
    for t, window in enumerate(windows, start=1):
        bad += _bad(window)
        if bad >= 5:
            return t
    return None


def consecutive(needed: int) -> Rule:
    """Fail at so many bad windows in a row."""

    def rule(windows: Iterator[CountWindow]) -> int | None:
        row = 0
        for t, window in enumerate(windows, start=1):
            row = row + 1 if _bad(window) else 0
            if row >= needed:
                return t
        return None

    return rule


def repeated_z_test(windows: Iterator[CountWindow]) -> int | None:
    """Fail when a two-proportion z-test of everything so far gives p < 0.01, asked again every minute."""
    c = n = s = m = 0.0
    for t, window in enumerate(windows, start=1):
        c, n = c + window.candidate_events, n + window.candidate_requests
        s, m = s + window.baseline_events, m + window.baseline_requests
        if not n or not m:
            continue
        pooled = (c + s) / (n + m)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        if spread and (c / n - s / m) / spread > Z_LINE:
            return t
    return None


RULES: tuple[tuple[str, Rule], ...] = (
    ("5 bad windows, cumulative", cumulative),
    ("3 consecutive bad windows", consecutive(3)),
    ("5 consecutive bad windows", consecutive(5)),
    ("z-test, p < 0.01, every minute", repeated_z_test),
)


def rule_alarms(rule: Rule, world: World, runs: int, seed: int) -> list[int | None]:
    """Run one rule often."""
    random = Random(seed)
    return [rule(windows_of(world, random)) for _ in range(runs)]


def _bad(window: CountWindow) -> bool:
    return window.candidate_requests > 0 and window.candidate_events > LIMIT * window.candidate_requests
