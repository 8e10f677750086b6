"""What happened at a pod in a span of time, as counts that add up, with the answer times as a mixture of distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SLOW_MS = 1_000.0
"""A request that takes longer than this counts as slow."""
_SIGMA = 0.5
_MEAN_FACTOR = math.exp(_SIGMA * _SIGMA / 2)


def _part_within(limit_ms: float, median_ms: float) -> float:
    """Say which part of a log-normal distribution (sigma 0.5) lies at or under a limit."""
    if limit_ms <= 0.0:
        return 0.0
    return 0.5 * (1.0 + math.erf(math.log(limit_ms / median_ms) / (_SIGMA * math.sqrt(2.0))))


@dataclass(frozen=True, slots=True)
class TrafficCounts:
    """One pod's traffic in a window.

    `requests`: all that reached it; `errors`: those answered 5xx; `error_logs`: error lines it wrote; `error_traces`: traces
    with an error. `latencies`: pairs of (median in ms, requests): the answer times are this mixture of log-normals.
    """

    requests: int = 0
    errors: int = 0
    error_logs: int = 0
    error_traces: int = 0
    latencies: tuple[tuple[float, int], ...] = ()

    @property
    def slow(self) -> int:
        """Requests that took longer than a second."""
        return self.requests - self.within(SLOW_MS)

    @property
    def latency_sum_ms(self) -> float:
        """All answer times together, milliseconds."""
        return sum(median * _MEAN_FACTOR * requests for median, requests in self.latencies)

    @property
    def latency_mean_ms(self) -> float:
        """The mean answer time, milliseconds; NaN without requests."""
        return self.latency_sum_ms / self.requests if self.requests else math.nan

    def within(self, limit_ms: float) -> int:
        """Requests answered within a limit: the value of a histogram bucket `le`. Grows with the limit and with time."""
        if math.isinf(limit_ms):
            return self.requests
        return sum(int(requests * _part_within(limit_ms, median) + 0.5) for median, requests in self.latencies)

    def quantile_ms(self, quantile: float) -> float:
        """Answer time that a part (0..1) of the requests stays under, milliseconds; NaN without requests."""
        if not self.requests:
            return math.nan
        low, high = 0.0, 100.0 * max(median for median, _ in self.latencies)
        for _ in range(60):
            middle = (low + high) / 2
            reached = sum(requests * _part_within(middle, median) for median, requests in self.latencies)
            low, high = (middle, high) if reached < quantile * self.requests else (low, middle)
        return high

    def __add__(self, other: TrafficCounts) -> TrafficCounts:
        return self._combined(other, 1)

    def __sub__(self, other: TrafficCounts) -> TrafficCounts:
        return self._combined(other, -1)

    def _combined(self, other: TrafficCounts, sign: int) -> TrafficCounts:
        if not other.requests:
            return self
        latencies = dict(self.latencies)
        for median, requests in other.latencies:
            latencies[median] = latencies.get(median, 0) + sign * requests
        return TrafficCounts(
            self.requests + sign * other.requests,
            self.errors + sign * other.errors,
            self.error_logs + sign * other.error_logs,
            self.error_traces + sign * other.error_traces,
            tuple(sorted((median, requests) for median, requests in latencies.items() if requests)),
        )


NOTHING = TrafficCounts()


@dataclass(slots=True)
class Tally:
    """Counts that are still being added up."""

    requests: int = 0
    errors: int = 0
    error_logs: int = 0
    error_traces: int = 0
    latencies: dict[float, int] = field(default_factory=dict)

    def took(self, median_ms: float, requests: int) -> None:
        """Note how long some requests took."""
        if requests:
            self.latencies[median_ms] = self.latencies.get(median_ms, 0) + requests

    def counts(self) -> TrafficCounts:
        """Close the tally."""
        latencies = tuple(sorted(self.latencies.items()))
        return TrafficCounts(self.requests, self.errors, self.error_logs, self.error_traces, latencies)
