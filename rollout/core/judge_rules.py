"""Rules without statistics: gross faults that are acted upon at once, and limits that people set themselves.

They are deterministic and immediate. They come before the anytime-valid test and need no patience; what they cannot tell
(3 % instead of 1 %) is the test's grey zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollout.core.judge_counts import CountState, CountWindow, baseline_jumped

HARD_SHARE = 0.5
HARD_REQUESTS = 20.0
NOT_WORSE = 2.0
"""In an incident the candidate may show this many times the baseline's rate and three events of bad luck."""
SLACK_EVENTS = 3.0


def mostly_failing(events: float, requests: float) -> bool:
    """Hard guard: at least half of at least 20 requests failed. One of one is no such thing."""
    return requests >= HARD_REQUESTS and events >= HARD_SHARE * requests


def k_of_n(history: Sequence[bool], k: int, n: int) -> bool:
    """Say whether at least `k` of the last `n` outcomes (oldest first, True is bad) were bad: `k_of_n([1, 0, 1], 2, 3)`."""
    return sum(history[-n:]) >= k


def consecutive(history: Sequence[bool], n: int) -> bool:
    """Say whether the last `n` outcomes (oldest first, True is bad) were all bad; fewer than `n` outcomes are not enough."""
    return len(history) >= n and all(history[-n:])


def remember(history: Sequence[bool], outcome: bool, n: int) -> tuple[bool, ...]:  # noqa: FBT001 - the outcome is the datum itself
    """Add an outcome and keep the last `n`."""
    return (*history, outcome)[-n:]


def over_limit(events: float, requests: float, limit: float, least_requests: float) -> bool:
    """Absolute limit: more than `limit` events per request, among enough requests for the ratio to mean something."""
    return requests >= max(1.0, least_requests) and events > limit * requests


def baseline_as_bad(window: CountWindow) -> bool:
    """Say whether the baseline, with enough requests of its own, shows at least half of the candidate's rate.

    Then a gross fault or a limit that the candidate trips is the service's, not the version's: hold, do not step back.
    """
    if not window.informative or window.baseline_requests < HARD_REQUESTS:
        return False
    theirs = window.baseline_events / window.baseline_requests
    return theirs > 0 and theirs >= window.candidate_events / window.candidate_requests / 2


def both_mostly_failing(window: CountWindow) -> bool:
    """Say whether the baseline mostly fails and the candidate shows at least half of its rate: no time to credit anything."""
    if not window.informative or not mostly_failing(window.baseline_events, window.baseline_requests):
        return False
    theirs = window.baseline_events / window.baseline_requests
    return window.candidate_events / window.candidate_requests >= theirs / 2


def shared_incident(before: CountState, window: CountWindow, r0: float) -> bool:
    """Say whether the whole service suffers: the baseline jumped against its own past, and the candidate is no worse.

    Jumped: judge_counts.baseline_jumped. No worse: at most 2 r0 times the baseline's rate, and 3 events.
    Example: history 60 events in 60,000 requests; now 120 in 1,000 on the baseline and 14 in 100 on the candidate: shared.
    """
    if not baseline_jumped(before, window):
        return False
    part = window.baseline_events * window.candidate_requests / window.baseline_requests
    return window.candidate_events <= NOT_WORSE * r0 * part + SLACK_EVENTS


def unseen_kinds(soak: frozenset[str], now: Mapping[str, float]) -> tuple[str, ...]:
    """List the kinds of error (an exception class, a normalised message) that occur now and that the soak never showed."""
    return tuple(sorted(kind for kind, events in now.items() if events > 0 and kind not in soak))
