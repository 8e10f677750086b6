"""Freeze windows: times in which nothing goes forward, in the zone of those who asked for them.

Weekly (`days` and `times`, which may run over midnight) or once (`from` and `to`). Where the clocks are set back, a window
covers both of the hours; where they are set forward, it begins and ends at the same moments as if they had not been.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from rollout.core.plan_base import Contradiction, Part
from rollout.core.quantities import Line, Zone, as_text, seen, wrong

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIMES = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d))?")
_DAY_MINUTES = 24 * 60
_HORIZON = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Times:
    """Minutes after midnight; `end` is at most 1,440 later than a `start` on the same day, or earlier: on the next day."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"


def _parse_times(value: object) -> Times:
    if isinstance(value, Times):
        return value
    match = _TIMES.fullmatch(str(as_text(value)))
    if match is None:
        raise wrong(f"{seen(value)} is not a span of the day", "write for example 16:00-24:00 or 22:00-06:00")
    a, b, c, d = map(int, match.groups())
    times = Times(a * 60 + b, c * 60 + d)
    if times.end > _DAY_MINUTES or times.start == times.end:
        raise wrong(f"{seen(value)} is not a span of the day", "write for example 16:00-24:00 or 22:00-06:00")
    return times


def parse_local(value: object) -> datetime:
    """Read a local date or date and time, `2026-12-20` or `2026-12-20 18:00`, as a datetime without zone."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value
    text = as_text(value)
    match = _LOCAL.fullmatch(text) if isinstance(text, str) else None
    try:
        if match is not None:
            return datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}")
    except ValueError:
        pass
    raise wrong(f"{seen(value)} is not a local date and time", "write for example 2026-12-20 18:00, without a zone")


def format_local(value: datetime) -> str:
    """Write `2026-12-20 18:00`."""
    return value.strftime("%Y-%m-%d %H:%M")


TimesOfDay = Annotated[
    Times, BeforeValidator(_parse_times), PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["22:00-06:00"]}),
]  # fmt: skip
LocalTime = Annotated[
    datetime, BeforeValidator(parse_local), PlainSerializer(format_local, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d)?$", "examples": ["2026-12-20 18:00"]}),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Freeze:
    """Forward steps are frozen by the window of this name; `until` is when they are free again (UTC)."""

    name: str
    until: datetime


class FreezeWindow(Part):
    """One freeze: `days` (default: every day) and `times` (default: all day), or `from` and `to`.

    `until`: the last day of a weekly one, local.
    """

    name: Line
    timezone: Zone = "UTC"
    days: Annotated[tuple[Day, ...], Field(max_length=7)] = ()
    times: TimesOfDay | None = None
    until: LocalTime | None = None
    from_: LocalTime | None = Field(default=None, alias="from")
    to: LocalTime | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """Weekly or once."""
        weekly, once = bool(self.days or self.times), self.from_ is not None or self.to is not None
        if weekly == once:
            keys = ("days", "times", "from", "to")
            yield Contradiction("", "either days and times, or from and to are expected", also=keys)
        elif once and (self.from_ is None or self.to is None):
            yield Contradiction("to" if self.to is None else "from", "is required", "from and to go together")
        elif self.from_ is not None and self.to is not None and self.from_ >= self.to:
            yield Contradiction("to", f"{format_local(self.to)} is not after from ({format_local(self.from_)})")
        if once and self.until is not None:
            yield Contradiction("until", "only goes with days and times")

    def end_at(self, now: datetime) -> datetime | None:
        """Say when the span that covers `now` ends (UTC); None when no span does."""
        return max((end for start, end in self._spans(now) if start <= now < end), default=None)

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        zone = ZoneInfo(self.timezone)
        if self.from_ is not None and self.to is not None:
            yield _utc(self.from_, zone, fold=0), _utc(self.to, zone, fold=1)
            return
        times = self.times or Times(0, _DAY_MINUTES)
        today = now.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            if self.days and DAYS[day.weekday()] not in self.days:
                continue
            if self.until is not None and day > self.until.date():
                continue
            over_midnight = _DAY_MINUTES if times.end < times.start else 0
            yield _at(day, times.start, zone, fold=0), _at(day, times.end + over_midnight, zone, fold=1)


def _at(day: date, minutes: int, zone: ZoneInfo, *, fold: int) -> datetime:
    return _utc(datetime.combine(day, time()) + timedelta(minutes=minutes), zone, fold=fold)


def _utc(local: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def freeze_at(windows: Sequence[FreezeWindow], now: datetime) -> Freeze | None:
    """Follow windows that touch or overlap to the end of the last; a freeze without end is given as its horizon (400 days)."""
    name, until = "", now
    while until < now + _HORIZON:
        found = [(end, window.name) for window in windows if (end := window.end_at(until)) is not None]
        if not found:
            break
        end, by = max(found)
        name, until = name or by, end
    return Freeze(name, until) if until > now else None
