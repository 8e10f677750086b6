"""SkyWalking's clock: its durations are texts in the time zone of the OAP's JVM, and both ends are inclusive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from rollout.core.signals import Window

MINUTE = timedelta(minutes=1)
_ZONE = re.compile(r"([+-])(\d{2}):?(\d{2})")


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The server's offset from UTC, and how far its clock is ahead of ours."""

    offset: timedelta
    skew: timedelta

    def text(self, at: datetime) -> str:
        """Write a minute as the server does: `2026-11-22 1307`."""
        return at.astimezone(timezone(self.offset)).strftime("%Y-%m-%d %H%M")

    def minutes(self, first: datetime, end: datetime) -> dict[str, object]:
        """Write the minutes of `[first, end)` as a Duration; records are taken up to the last one's 59th second."""
        return {"start": self.text(first), "end": self.text(end - MINUTE), "step": "MINUTE"}

    def now(self, ours: datetime) -> datetime:
        """Tell what the server's clock shows now."""
        return ours + self.skew


def parse_zone(text: str) -> timedelta | None:
    """Read `+0800`, `-0330`, `+0000`; None when it is none."""
    match = _ZONE.fullmatch(text.strip())
    if match is None or int(match[2]) > 18 or int(match[3]) > 59:  # noqa: PLR2004 - java.util's own bounds
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -offset if match[1] == "-" else offset


def server_time(zone: object, milliseconds: object, ours: datetime) -> ServerTime | None:
    """Read `getTimeInfo{timezone currentTimestamp}`; None when it is not what it should be."""
    offset = parse_zone(zone) if isinstance(zone, str) else None
    if offset is None or isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        return None
    try:
        theirs = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return ServerTime(offset, theirs - ours)


def whole_minutes(window: Window) -> int:
    """Count the minutes of a window; 0 when it does not begin and end on one."""
    whole = all(not at.second and not at.microsecond for at in (window.start, window.end))
    return round(window.length / MINUTE) if whole else 0
