"""From samples at both ends of a window to counts per pod: resets, gaps and series that appear or vanish are told apart.

Reading the raw counter at both ends, instead of `increase()`, makes windows disjoint and exact: the end of one is the start of
the next, nothing is extrapolated, and the first increments of a new series count. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.adapters.prometheus_answer import Sample, finite

Labels = tuple[tuple[str, str], ...]
Series = Mapping[Labels, float]


def by_labels(samples: Iterable[Sample]) -> dict[Labels, float]:
    """Index the samples of one pod by their full label set."""
    return {sample.labels: sample.value for sample in samples}


FALLEN = 0.5
"""A counter that still shows more than this part of itself was not restarted: it is a sum, and series in it were dropped."""


@dataclass(slots=True)
class Growth:
    """How much a pod's counters grew; `value` is None when nothing can be said. `notes` explain what was odd."""

    value: float | None
    notes: list[str] = field(default_factory=list)
    reset: bool = False


def appeared(start: Series, end: Series) -> bool:
    """Say whether a series at the end has no beginning: a young pod, a first error, or a scrape that was missed."""
    return any(labels not in start for labels in end)


def growth(start: Series, end: Series, earlier: Series | None) -> Growth:
    """Sum what each series of one pod gained in the window.

    - end < start: the counter was reset (a restart), so what it shows at the end was counted since. Where it shows more than
      half of what it did, nothing is said: a gateway that expires old series lowers their sum, and no request came for that.
    - absent at the start: counted from `earlier`, its last value before the window (the scrape was missed), or from 0 when
      there is none (it was born in the window). `earlier` None means that this could not be found out: nothing is said then,
      because the count of a whole life must not fall into one window.
    - absent at the end: its last increments were not seen; if nothing is left, nothing is said.
    """
    result = Growth(None)
    total = 0.0
    for labels, last in end.items():
        first = start.get(labels)
        if first is None and earlier is None:
            return Growth(None, ["a series has no value at the start of the window, and its past could not be read"])
        if first is None and earlier is not None and labels in earlier:
            first = earlier[labels]
            result.notes.append("not scraped at the start of the window: counted from its last value before")
        if not finite(last) or (first is not None and not finite(first)):
            return Growth(None, ["the counter is not a number"])
        if first is not None and FALLEN * first < last < first:
            return Growth(None, [f"the counter fell from {first:g} to {last:g}, which is no restart: series in it were dropped"])
        if first is not None and last < first:
            result.reset = True
            result.notes.append(f"the counter was reset within the window ({first:g} -> {last:g}): counted from 0")
            first = 0.0
        total += last - (first or 0.0)
    if any(labels not in end for labels in start):
        result.notes.append("a series vanished within the window: its last increments are not counted")
    result.value = total if end else None
    return result


def summed(end: Series) -> Growth:
    """Sum an expression that looks back by itself (`increase(x[{{window}}])`): it is the growth already."""
    if not end:
        return Growth(None)
    if not all(finite(value) for value in end.values()):
        return Growth(None, ["the expression is not a number"])
    return Growth(max(0.0, sum(end.values())))


def gauge(values: Sequence[float]) -> tuple[float | None, str]:
    """Take the one number of a pod, or say why there is none."""
    match list(values):
        case []:
            return None, "no series"
        case [value] if finite(value):
            return value, ""
        case [value] if value != value:  # noqa: PLR0124 - NaN is the one number that differs from itself
            return None, "NaN (0/0: no traffic)"
        case [value]:
            return None, f"{'+' if value > 0 else '-'}Inf (division by zero)"
        case several:
            return None, f"{len(several)} series for one pod"
