"""What people ask of a running rollout: recorded with actor and reason, consumed by the next decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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

    def argument(self, key: str, default: str = "") -> str:
        """Look up one argument."""
        return dict(self.arguments).get(key, default)
