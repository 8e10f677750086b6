"""One active rollout in memory, between two looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.decision import Execution
from rollout.core.history import Event, Notice
from rollout.core.state import State
from rollout.ports import RolloutRow, Transition


@dataclass(frozen=True, slots=True)
class Sent:
    """One commit under way. `adopt`: its state becomes the memory's when written; `owed`: how much of what was owed it holds."""

    state: State
    transition: Transition
    adopt: bool
    owed: tuple[int, int, int]
    then: Callable[[], None]
    quiet: bool = False

    def stands_in(self, row: RolloutRow) -> bool:
        """Say whether the row is what this commit wrote, although its answer was lost."""
        x = self.transition
        return (row.version, row.updated_at, row.step, row.why) == (x.seen_version + 1, x.at, x.step, x.why)


@dataclass(slots=True)
class Active:
    """A rollout that this daemon owns. Guarded by its own lock.

    `version` is the row's as last known. `committing`: a commit is under way; until it is answered only stepping back is acted
    upon. `unanswered`: commits that may have been written, or not. `owed_*`: what was decided while the database did not take
    it; it goes into the next commit. `last_command`: commands up to this id were applied already, even where their commit waits.
    """

    execution: Execution
    state: State
    version: int
    why: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    committing: bool = False
    overlooked: bool = False
    """Something was seen while a commit was under way, and could not be acted upon."""
    backing: bool = False
    unsaved: bool = False
    dropped: bool = False
    forwarding: set[str] = field(default_factory=set)
    unanswered: tuple[Sent, ...] = ()
    owed_events: tuple[Event, ...] = ()
    owed_notices: tuple[Notice, ...] = ()
    owed_commands: tuple[int, ...] = ()
    last_command: int = 0
    looked: bool = False
    """This daemon has looked at it before, so the time since the last look was its own."""
    failures: int = 0
    refused: int = 0
    """Commits in a row that the database did not take: each waits longer for the next."""
    trouble: str = ""
    """Why the last write to the cluster was not made, empty where it was."""
    tries: int = 0
    """Writes of a step back in a row that were not seen to be enough."""
    unsaved_since: datetime | None = None
    """When the first commit was sent that has not been written, None while all were."""
