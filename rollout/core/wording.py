"""Durations, shares and lists in the words of the messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

STEPS = {
    "closinggate": "closing gate",
    "backingup": "backing up",
    "rollingback": "rolling back",
    "undoing": "undoing the quiesce",
    "openinggate": "opening gate",
    "watchingopen": "watching",
}


def step_words(step: str) -> str:
    """Word a step's stored name for people: `closinggate` is `closing gate`; most are words already."""
    return STEPS.get(step, step)


def placed(cluster: str, target: str) -> str:
    """Word where a target is: the cluster only where it is not the one called `default`."""
    return target if cluster == "default" else f"{target} in cluster {cluster}"


def span(duration: timedelta) -> str:
    """Word a duration with its two largest units: `3 d 4 h`, `4 h 12 m`, `90 s` -> `1 m 30 s`, `0 s`."""
    seconds = max(0, round(duration.total_seconds()))
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts: list[str] = []
    for size, unit in units:
        amount, seconds = divmod(seconds, size)
        if amount:
            parts.append(f"{amount} {unit}")
        if len(parts) == 2:  # noqa: PLR2004 - two units say enough
            break
    return " ".join(parts) or "0 s"


def percent(share: float) -> str:
    """Word a ratio: `9.1 %`, `10 %`, `0.04 %`."""
    value = share * 100
    text = f"{value:.1f}" if value >= 0.1 or value == 0 else f"{value:.2g}"  # noqa: PLR2004 - below, one digit is nothing
    return f"{text.removesuffix('.0')} %"


def number(value: float) -> str:
    """Word a figure: whole numbers without a point, others with three digits: `0.41`, `12.3`, `3304`, `1.02e+18`."""
    if abs(value) < 1e15 and (value == int(value) or 1000 <= abs(value) < 1e6):  # noqa: PLR2004 - a mantissa is for what nobody reads
        return str(round(value))
    return f"{value:.3g}"


def listed(names: Iterable[str], limit: int = 5) -> str:
    """Word a list: `a, b and 3 more`."""
    everything = list(names)
    if len(everything) <= limit:
        return ", ".join(everything)
    return f"{', '.join(everything[:limit])} and {len(everything) - limit} more"


def plural(count: int, noun: str) -> str:
    """Word a count: `1 replica`, `3 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def counted(value: float, noun: str) -> str:
    """Word a measured count: `1 event`, `0 events`, `0.5 events`."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def moment(at: datetime) -> str:
    """Word a point in time: `2026-11-22 13:05 UTC`."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def local_moment(at: datetime, zone: str) -> str:
    """Word a point in time where people live, and in UTC: `2026-11-22 14:05 CET (13:05 UTC)`; UTC alone is told once."""
    local, universal = at.astimezone(ZoneInfo(zone)), at.astimezone(UTC)
    name = local.strftime("%Z")
    if name == "UTC":
        return moment(universal)
    offset = local.strftime("%z")
    name = name if name.isalpha() else f"UTC{offset[:3]}:{offset[3:5]}"
    day = "" if local.date() == universal.date() else f"{universal:%Y-%m-%d} "
    return f"{local:%Y-%m-%d %H:%M} {name} ({day}{universal:%H:%M} UTC)"
