"""One active rollout in memory, between two looks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rollout.core.decision import Execution
from rollout.core.history import Event, Notice
from rollout.core.state import State


@dataclass(slots=True)
class Active:
    """A rollout that this daemon owns. Guarded by its own lock.

    `version` is the row's as last known. `committing`: a commit is under way; until it is answered only stepping back is acted
    upon. `owed_*`: what was decided while the database did not take it; it goes into the next commit. `last_command`: commands
    up to this id were applied already, even where their commit still waits.
    """

    execution: Execution
    state: State
    version: int
    why: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    committing: bool = False
    backing: bool = False
    unsaved: bool = False
    dropped: bool = False
    forwarding: set[str] = field(default_factory=set)
    owed_events: tuple[Event, ...] = ()
    owed_notices: tuple[Notice, ...] = ()
    owed_commands: tuple[int, ...] = ()
    last_command: int = 0
    failures: int = 0
