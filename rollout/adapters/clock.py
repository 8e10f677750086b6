"""The real clock: the only place that reads it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Tell the wall clock, aware, UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the adapter that the ban points to

    def monotonic(self) -> float:
        """Tell seconds that never jump."""
        return time.monotonic()  # noqa: TID251 - this is the adapter that the ban points to
