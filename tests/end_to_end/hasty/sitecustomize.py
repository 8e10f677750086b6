"""Makes the clock of an installed command run faster: python imports this by itself where PYTHONPATH leads to it.

Only the time of day is hurried. Timeouts and leases are about real waiting, and stay real.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from rollout.adapters.clock import SystemClock

ORIGIN = datetime.fromisoformat(os.environ["HASTY_ORIGIN"])
SPEED = float(os.environ["HASTY_SPEED"])
_real_now = SystemClock.now


def now(self: SystemClock) -> datetime:
    """Tell the time of everybody who began at the same origin with the same speed, also after a restart."""
    return ORIGIN + timedelta(seconds=(_real_now(self) - ORIGIN).total_seconds() * SPEED)


SystemClock.now = now  # type: ignore[method-assign]
