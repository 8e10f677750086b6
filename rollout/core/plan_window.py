"""When an offline upgrade may happen: a window in local time, and whether the way there and back fits into it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from rollout.core.freeze import LocalTime, format_local
from rollout.core.plan_base import Contradiction, Part
from rollout.core.quantities import Duration, DurationOrZero, Zone, format_duration, wrong

LEAST_GRACE = timedelta(minutes=1)


FIRST_YEAR, LAST_YEAR = 2000, 2999


def local_to_utc(local: datetime, zone: str) -> datetime | str:
    """Turn a local time into UTC, or say why it names no one moment: the clocks are set back or forward then.

    >>> local_to_utc(datetime(2026, 10, 25, 2, 30), "Europe/Berlin")
    'happens twice in Europe/Berlin, at 00:30 and 01:30 UTC: the clocks are set back'
    """
    first, second = (local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    if first.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local:
        return f"happens twice in {zone}, at {first:%H:%M} and {second:%H:%M} UTC: the clocks are set back"
    return f"does not happen in {zone}: the clocks are set forward"


def _within_reach(local: datetime) -> datetime:
    """Refuse a year with which no calendar could reckon further."""
    if not FIRST_YEAR <= local.year <= LAST_YEAR:
        raise wrong(f"{format_local(local)} is not a time to plan for", f"a year from {FIRST_YEAR} to {LAST_YEAR}")
    return local


class Window(Part):
    """From `startAt` (local time in `timezone`) for `duration`. A start later than `startGrace` is cancelled, not run late."""

    start_at: Annotated[LocalTime, AfterValidator(_within_reach)]
    timezone: Zone
    duration: Duration
    start_grace: DurationOrZero = timedelta(minutes=15)

    def contradictions(self) -> Iterator[Contradiction]:
        """A moment that exists once, and a grace within the window."""
        moment = local_to_utc(self.start_at, self.timezone)
        if isinstance(moment, str):
            remedy = "choose another time, or give it with timezone: UTC"
            yield Contradiction("startAt", f"{format_local(self.start_at)} {moment}", remedy, ("timezone",))
        if self.start_grace < LEAST_GRACE:
            words = f"{format_duration(self.start_grace)} is too short: the last checks are made at the start, and take a moment"
            yield Contradiction("startGrace", words, f"at least {format_duration(LEAST_GRACE)}")
        if self.start_grace >= self.duration:
            words = f"{format_duration(self.start_grace)} is not shorter than the window ({format_duration(self.duration)})"
            yield Contradiction("startGrace", words, also=("duration",))

    @property
    def exists(self) -> bool:
        """Say whether `startAt` names one moment; a window of which it does not is refused."""
        return isinstance(local_to_utc(self.start_at, self.timezone), datetime)

    @property
    def starts_at(self) -> datetime:
        """The beginning, UTC."""
        moment = local_to_utc(self.start_at, self.timezone)
        assert isinstance(moment, datetime)  # noqa: S101 - validated above
        return moment

    @property
    def ends_at(self) -> datetime:
        """The end, UTC."""
        return self.starts_at + self.duration
