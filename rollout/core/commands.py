"""What people ask of a running rollout: recorded with actor and reason, consumed by the next decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollout.core.history import Event, Outcome


class Verb(StrEnum):
    """The commands. `retry` and `submit` start new rollouts and are use cases, not commands to a running one."""

    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    ABORT = "abort"
    EXTEND = "extend"
    CANCEL = "cancel"
    ACKNOWLEDGE = "acknowledge"
    ROLLBACK = "rollback"
    OPEN = "open"
    SUPERSEDE = "supersede"


OFFLINE_ONLY = frozenset({Verb.EXTEND, Verb.CANCEL, Verb.ACKNOWLEDGE, Verb.ROLLBACK, Verb.OPEN})
"""What can only be asked of a maintenance; a canary has no window, gate or backup."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `id` grows with the order of arrival; `arguments` are verb-specific (extend: `by=30m`)."""

    id: int
    verb: Verb
    actor: str
    reason: str
    at: datetime
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def because(self) -> str:
        """The reason with its colon, empty where none was given."""
        return f": {self.reason}" if self.reason else ""

    def argument(self, key: str, default: str = "") -> str:
        """Look up one argument."""
        return dict(self.arguments).get(key, default)


DECISIVE = frozenset({Verb.ABORT, Verb.SUPERSEDE, Verb.CANCEL, Verb.ROLLBACK, Verb.OPEN})
"""What turns or ends a rollout: what was asked after it is answered by what the rollout has then become."""


def next_of(waiting: Sequence[Command]) -> tuple[Command, ...]:
    """Take the commands that one decision answers: in their order, up to the first decisive one.

    So two people who ask for different things at once get the answers that they would have got a second apart.
    """
    for number, command in enumerate(waiting, 1):
        if command.verb in DECISIVE:
            return tuple(waiting[:number])
    return tuple(waiting)


def too_late(command: Command, outcome: Outcome, step: str, at: datetime) -> Event:
    """Word a command that came when the rollout had ended, or in the same moment: it is not lost without a word."""
    why = f"{command.actor} asked to {command.verb.value}{command.because}; it had ended already ({outcome.value})"
    return Event(at, f"command-{command.verb.value}", step, why, command.actor)
