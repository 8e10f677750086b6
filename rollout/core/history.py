"""What a decision leaves behind: history, evidence and notices, as values; the store writes them with the transition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """Where a rollout stands, as people and `list -o json` see it. Stored: never rename."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def at_rest(self) -> bool:
        """Say whether nothing will happen any more."""
        return self is not Outcome.ACTIVE


class NoticeKind(StrEnum):
    """What a notice is about; channels may choose by it. Stored: never rename."""

    STARTED = "started"
    REPLICA_ADDED = "replica-added"
    HELD = "held"
    RESUMED = "resumed"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    STEPPING_BACK = "stepping-back"
    STEPPED_BACK = "stepped-back"
    SUCCEEDED = "succeeded"
    NEEDS_PERSON = "needs-a-person"
    ANNOUNCEMENT = "announcement"
    GATE = "gate"
    STEP = "step"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One judged answer: what was asked, of which window, what came, what was concluded.

    `counts` maps words to figures, e.g. `candidate events`, `candidate requests`, `E`, `line`. `query` as it was sent.
    """

    signal: str
    window_start: datetime
    window_end: datetime
    query: str
    counts: tuple[tuple[str, float], ...]
    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """One row of history. `kind` is a stable word (`replica-added`), `why` the sentence, `actor` a person or `rollout`.

    `facts` are figures worth querying (`replicas`, `share`, `credited_seconds`), as text.
    """

    at: datetime
    kind: str
    step: str
    why: str
    actor: str = "rollout"
    facts: tuple[tuple[str, str], ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is owed. `key` is unique in its rollout, so that owing it twice is owing it once.

    `title` is one line; `why` the sentence of the decision; `evidence` a few short lines; `next_action` what happens or what
    the reader is to do.
    """

    key: str
    kind: NoticeKind
    title: str
    why: str
    at: datetime
    evidence: tuple[str, ...] = ()
    next_action: str = ""
    channels: tuple[str, ...] = ()
    """Where it is owed; empty: where all notices of its rollout go. Not stored: each channel has a row of its own."""
