"""What comes next in a maintenance and in how long, if all goes well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.plan import OfflinePlan
from rollout.core.quantities import format_duration
from rollout.core.state import State, Step
from rollout.core.state_offline import (
    Announcing,
    Assessing,
    BackingUp,
    ClosingGate,
    Deciding,
    Migrating,
    OfflineMemory,
    OpeningGate,
    RollingBack,
    Stopping,
    Testing,
    Undoing,
    Upgrading,
    WatchingOpen,
)
from rollout.core.wording import span


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next thing; `within` is None where time is not what it waits for."""

    what: str
    within: timedelta | None = None

    def __str__(self) -> str:
        if self.within is None:
            return self.what
        return f"{self.what} in {span(self.within)}" if self.within > timedelta() else f"{self.what} now"


WORDS: dict[type[Step], str] = {
    Assessing: "the announcements, when the checks pass",
    ClosingGate: "the writers stop, when the gate is proven closed",
    BackingUp: "the upgrade, when the backup is verified",
    Migrating: "the new version, when the schema is migrated",
    Upgrading: "the tests, when every pod runs the new version",
    Testing: "the gate is opened, when no critical test fails",
    RollingBack: "the gate is opened, when the old version has passed the tests",
    Undoing: "the gate is opened, when what was quiesced is undone",
    OpeningGate: "done, when the gate is proven open",
}
"""The steps in which it is not time that is waited for."""


def in_maintenance(plan: OfflinePlan, earlier_restore: timedelta | None, state: State, now: datetime) -> Upcoming:
    """Tell the next step."""
    memory = state.offline or OfflineMemory()
    match state.step:
        case Announcing():
            left = [(at, offset) for offset, at in plan.announcements if offset not in memory.announced and at > now]
            start = plan.spec.window.starts_at
            if left and min(left)[0] < start:
                at, offset = min(left)
                return Upcoming(f"the announcement {format_duration(offset)} before the start", at - now)
            return Upcoming("the gate is closed", max(start - now, timedelta()))
        case Deciding():
            latest = plan.latest_rollback_start(earlier_restore, extended=memory.extended)
            return Upcoming("the last moment for a way back", max(latest - now, timedelta()))
        case WatchingOpen(since=since):
            return Upcoming("done", max(since + plan.spec.watch - now, timedelta()))
        case Stopping():
            following = "the backup" if plan.spec.backup is not None else "the new version"
            return Upcoming(f"{following}, when no pod and no session is left")
        case step:
            return Upcoming(WORDS.get(type(step), ""))
