"""The steps of the offline procedure and what it keeps from one to the next, as stored.

Fields are never renamed or reordered; a new one has a default. Everything in here is text, numbers, times and tuples of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rollout.core.history import Outcome


@dataclass(frozen=True, slots=True)
class TargetBefore:
    """One target as it was found just before the first write to it. `target` is its key."""

    target: str
    image: str
    replicas: int
    new_image: str


@dataclass(frozen=True, slots=True)
class Backup:
    """The verified artifact: `id` finds it again, `size` is bytes, `sha256` lower-case hexadecimal."""

    id: str
    size: int
    sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Tested:
    """One test's last word. `round`: `new` for the new version, `old` after the way back."""

    name: str
    critical: bool
    passed: bool
    why: str
    round: str = "new"


class Wish(StrEnum):
    """What a person asked for that a step has to answer. Stored: never rename."""

    CANCEL = "cancel"
    ROLLBACK = "rollback"
    OPEN = "open"
    EXTEND = "extend"
    """Only where there is nothing left to extend: it is answered with a no."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish with who and why."""

    wish: Wish
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OfflineMemory:
    """What an offline rollout keeps across its steps.

    `saved_gate`: what stood on the gate before the first write, as `SavedGate.to_json` writes it; empty: nothing was written.
    `touched`: the database may be newer than the backup from here on. `disturbed`: somebody started writers again while they
    had to be stopped, so the way back may lose data. `guard_told`: the last key of the guard's looks that was told.
    """

    announced: tuple[timedelta, ...] = ()
    impact: tuple[str, ...] = ()
    acknowledged: str = ""
    extended: timedelta = timedelta()
    extended_told: timedelta = timedelta()
    rehearsed_at: datetime | None = None
    unannounced_accepted: str = ""
    saved_gate: str = ""
    closed_at: datetime | None = None
    gate_proven: bool = False
    before: tuple[TargetBefore, ...] = ()
    stopped_at: datetime | None = None
    backup: Backup | None = None
    touched: bool = False
    disturbed: str = ""
    tests: tuple[Tested, ...] = ()
    asked: Asked | None = None
    guard_told: str = ""
    migrations: int = 0
    """How many migration Jobs were asked for: every one of them must be at rest before a restore."""
    announced_late: bool = False
    """Nobody was told before the start: the first announcement went out when it should have begun."""
    overrun_told: datetime | None = None
    """The window's end of which it was told that it is not kept."""
    gate_reach: str = ""
    """Hosts and paths of a route that the plan names by its id, as JSON: by them it is found again under another id."""
    successors: tuple[str, ...] = ()
    """What stood on objects that took the gate's place in the window, before the first write to each; as `saved_gate`."""
    breached: str = ""
    """How outsiders may have reached the new version: the backup may lack what they wrote, until a person says go on."""


@dataclass(frozen=True, slots=True)
class Assessing:
    """Who will be hurt: the checks are made and the report is written. Nothing is changed."""


@dataclass(frozen=True, slots=True)
class Announcing:
    """The rollout is announced at its offsets until the window begins. Nothing is changed."""

    since: datetime


@dataclass(frozen=True, slots=True)
class ClosingGate:
    """The gate is saved, closed, and proven to be closed."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Stopping:
    """Hooks in order, then the targets go to 0 until no pod and no foreign session is left. `hook`: the next one's index."""

    since: datetime
    hook: int = 0
    attempt: int = 1
    sessions: int = 1
    mark: int = 0
    """What the hooks' Jobs are named by, where `since` has moved since they began; 0: by `since`, in seconds."""


@dataclass(frozen=True, slots=True)
class BackingUp:
    """The backup Job runs. `attempt` is in its name."""

    since: datetime
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Migrating:
    """The migration Job runs. `seen`: this attempt's Job was there; one that is gone again is not begun anew."""

    since: datetime
    attempt: int = 1
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Upgrading:
    """The targets get their new images and replicas, in order. `index`: the target that is under way."""

    since: datetime
    index: int = 0


@dataclass(frozen=True, slots=True)
class Testing:
    """The tests run, in order. `course` counts how often they were started from the beginning."""

    since: datetime
    index: int = 0
    attempt: int = 1
    course: int = 1


@dataclass(frozen=True, slots=True)
class Deciding:
    """Something critical failed behind the closed gate. `origin`: the step to which `approve` goes back for another attempt."""

    since: datetime
    problem: str
    origin: str
    attempt: int = 1


class BackStage(StrEnum):
    """The stages of the way back, in their order. Stored: never rename."""

    HALT = "halt"
    RESTORE = "restore"
    START = "start"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class RollingBack:
    """The way back behind the closed gate. `stuck`: what a person must put right first; empty while it goes on.

    `running`: name and attempt of Jobs that ran when it began; they are at rest before the database is restored.
    `spoiled`: somebody started writers beside the restore, so that it is made again.
    """

    since: datetime
    why: str
    kind: str
    ends_as: Outcome
    actor: str = "rollout"
    stage: BackStage = BackStage.HALT
    attempt: int = 1
    index: int = 0
    course: int = 1
    stuck: str = ""
    running: tuple[tuple[str, int], ...] = ()
    spoiled: str = ""


@dataclass(frozen=True, slots=True)
class Undoing:
    """Behind the closed gate, before it is opened: hooks that undo what was quiesced. `hook`: the next one's index.

    `problem`: one failed, and a person is asked. The others are handed on to `OpeningGate`; `words` is why it is opened.
    """

    since: datetime
    ends_as: Outcome
    why: str
    words: str
    actor: str = "rollout"
    hook: int = 0
    attempt: int = 1
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OpeningGate:
    """What was saved of the gate is put back and proven. `ends_as`, `why`: how the rollout will end."""

    since: datetime
    ends_as: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class WatchingOpen:
    """The gate is as it was found; pods and gate are watched. The database is never restored from here."""

    since: datetime
    ends_as: Outcome
    why: str
    credited: timedelta = field(default_factory=timedelta)


OfflineStep = (
    Assessing | Announcing | ClosingGate | Stopping | BackingUp | Migrating | Upgrading | Testing | Deciding | RollingBack
    | Undoing | OpeningGate | WatchingOpen
)  # fmt: skip
