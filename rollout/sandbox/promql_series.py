"""Time series as the pretend Prometheus has them: values computed on demand, sampled on the grid of the scrapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollout.sandbox.promql_syntax import Matcher, QueryError

LOOKBACK = 300.0
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: `value(t)` for Unix times in `[since, until)`; `until` is when its target vanished (the series goes stale).

    `monotone` says that it is a counter without resets, so that growth needs its ends only.
    """

    labels: Labels
    value: Callable[[float], float]
    since: float
    until: float = math.inf
    monotone: bool = False


Family = Callable[[], Iterable[Series]]
"""Every series of one metric, those that have vanished lately too; labels without `__name__`."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One series within a window: first and last sample, their number, and on demand all of them.

    `monotone`: a counter without resets, whose growth lies between the two.
    """

    labels: Labels
    first: tuple[float, float]
    last: tuple[float, float]
    number: int
    samples: Callable[[], Sequence[tuple[float, float]]]
    monotone: bool = False


def regexes(matchers: Iterable[Matcher]) -> Callable[[Labels], bool]:
    """Compile matchers; a label that is absent counts as empty. Raises QueryError for a bad regular expression."""
    tests: list[tuple[str, Callable[[str], bool]]] = []
    for matcher in matchers:
        if matcher.op in {"=", "!="}:
            wanted, value = matcher.op == "=", matcher.value
            tests.append((matcher.label, lambda found, value=value, wanted=wanted: (found == value) == wanted))  # type: ignore[misc]
            continue
        try:
            pattern = re.compile(f"(?:{matcher.value})")
        except re.error as error:
            raise QueryError(f"error parsing regexp: {error}: `{matcher.value}`") from None
        wanted = matcher.op == "=~"
        tests.append((matcher.label, lambda found, p=pattern, w=wanted: (p.fullmatch(found) is not None) == w))  # type: ignore[misc]
    return lambda labels: all(test(labels.get(label, "")) for label, test in tests)


@dataclass(frozen=True, slots=True)
class Scrapes:
    """When there are samples: at the multiples of `interval` seconds, up to `now`."""

    interval: float
    now: float = math.inf

    def last(self, at: float) -> int:
        """The number of the last scrape at or before a time."""
        return math.floor(min(at, self.now) / self.interval)


def newest(series: Series, at: float, scrapes: Scrapes) -> float | None:
    """The value of an instant selector: the newest sample within the look-back, nothing once the series is stale."""
    scrape = scrapes.last(at) * scrapes.interval
    if scrape < series.since or scrape >= series.until or at - scrape >= LOOKBACK:
        return None
    return series.value(scrape)


def sampled(series: Series, end: float, window: float, scrapes: Scrapes) -> Sampled | None:
    """The samples in `(end - window, end]`; None when there is none."""
    interval = scrapes.interval
    low = max(math.floor((end - window) / interval) + 1, math.ceil(series.since / interval))
    high = scrapes.last(end)
    if not math.isinf(series.until):
        high = min(high, math.ceil(series.until / interval) - 1)
    if high < low:
        return None

    def every() -> Sequence[tuple[float, float]]:
        return [(n * interval, series.value(n * interval)) for n in range(low, high + 1)]

    first, last = (low * interval, series.value(low * interval)), (high * interval, series.value(high * interval))
    return Sampled(series.labels, first, last, high - low + 1, every, series.monotone)
