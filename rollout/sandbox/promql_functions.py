"""The functions of PromQL that the sandbox knows, with Prometheus' own arithmetic (extrapolation of rates included)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rollout.sandbox.promql_series import Labels, Sampled

Vector = list[tuple[Labels, float]]


def growth(found: Sampled, end: float, window: float, *, per_second: bool, counter: bool = True) -> float | None:
    """`increase`, `rate` or `delta` of one series (promql/functions.go extrapolatedRate); None with fewer than two samples."""
    if found.number < 2:  # noqa: PLR2004 - growth needs two points
        return None
    (first_at, first), (last_at, last) = found.first, found.last
    result = last - first
    if counter and not found.monotone:
        before = first
        for _, value in found.samples():
            result += before if value < before else 0.0
            before = value
    to_start, to_end = first_at - (end - window), end - last_at
    span = last_at - first_at
    mean = span / (found.number - 1)
    if to_start >= mean * 1.1:
        to_start = mean / 2
    if counter and result > 0 and first >= 0:
        to_start = min(to_start, span * first / result)
    if to_end >= mean * 1.1:
        to_end = mean / 2
    result *= (span + to_start + to_end) / span
    return result / window if per_second else result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


OVER_TIME: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last_over_time": lambda values: values[-1],
    "avg_over_time": _mean,
    "min_over_time": min,
    "max_over_time": max,
    "sum_over_time": sum,
    "count_over_time": lambda values: float(len(values)),
}
"""Functions of all samples in a window."""

ELEMENTWISE: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": lambda value: math.floor(value + 0.5),
    "clamp_min": max,
    "clamp_max": min,
    "clamp": lambda value, least, most: min(max(value, least), most),
    "sqrt": lambda value: math.sqrt(value) if value >= 0 else math.nan,
}
"""Functions of each value (and scalar arguments)."""


def histogram_quantile(quantile: float, buckets: Vector) -> Vector:
    """Interpolate within classic buckets (promql/quantile.go bucketQuantile): one result per label set without `le`."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for labels, value in buckets:
        try:
            limit = float(labels.get("le", ""))
        except ValueError:
            continue
        key = tuple(sorted((k, v) for k, v in labels.items() if k not in {"le", "__name__"}))
        groups.setdefault(key, []).append((limit, value))
    return [(dict(key), _bucket_quantile(quantile, sorted(found))) for key, found in groups.items()]


def _bucket_quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    if quantile < 0 or quantile > 1 or math.isnan(quantile):
        return math.copysign(math.inf, quantile) if not math.isnan(quantile) else math.nan
    if len(buckets) < 2 or not math.isinf(buckets[-1][0]) or not buckets[-1][1]:  # noqa: PLR2004 - one bucket and +Inf
        return math.nan
    rank = quantile * buckets[-1][1]
    index = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    if index == len(buckets) - 1:
        return buckets[-2][0]
    limit, count = buckets[index]
    if index == 0 and limit <= 0:
        return limit
    start, below = buckets[index - 1] if index else (0.0, 0.0)
    return start + (limit - start) * ((rank - below) / (count - below)) if count > below else limit


def arithmetic(op: str, left: float, right: float) -> float:
    """Compute with IEEE rules where Python would raise: x/0 is an infinity, 0/0 is NaN."""
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if right:
                return left / right
            return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1.0, right)
        case "%":
            return math.fmod(left, right) if right else math.nan
        case _:
            try:
                return math.pow(left, right)
            except (OverflowError, ValueError):
                return math.nan


def holds(op: str, left: float, right: float) -> bool:
    """Compare."""
    return {
        "==": left == right, "!=": left != right, ">": left > right, "<": left < right, ">=": left >= right,
        "<=": left <= right,
    }[op]  # fmt: skip
