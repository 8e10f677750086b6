"""What one look brought: the board's picture of one rollout, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rollout.core.cohorts import TargetView
from rollout.core.signals import Answer, Unreachable


@dataclass(frozen=True, slots=True)
class Task:
    """Work that needs the network and brings a result: a preflight, a probe, a test case, closing a gate.

    `key` is unique within the rollout: while it is under way, and after it has brought a result, asking for the same key
    starts nothing. A lost result (a crash) is asked for again: performers are idempotent. `arguments` as sorted pairs.
    """

    key: str
    kind: str
    arguments: tuple[tuple[str, str], ...] = ()

    def argument(self, name: str, default: str = "") -> str:
        """Look up one argument."""
        return dict(self.arguments).get(name, default)


@dataclass(frozen=True, slots=True)
class Line:
    """One finding of a task: a check, a test's result, a caller found. `level`: ok, warning, refused, failed."""

    name: str
    level: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task brought. `state`: `done` (see `ok`), or `unavailable` (try again; `why`).

    `facts` are figures and values to remember (`artifact`, `sha256`, a saved configuration as JSON).
    """

    key: str
    at: datetime
    state: str
    ok: bool
    why: str
    lines: tuple[Line, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one decision may know of the world. Nothing in here was fetched for this decision.

    `answers`: readings that came since the last look, at most one per signal and window. `tasks`: results by key.
    `leased`: this daemon's lease is unexpired by the monotonic clock, so nobody else may act for this rollout.
    `taken_over`: this daemon looks for the first time; who looked before it is gone, with what it had not stored.
    """

    view: TargetView | Unreachable
    answers: tuple[Answer, ...] = ()
    tasks: Mapping[str, TaskResult] = field(default_factory=dict)
    leased: bool = True
    others: tuple[TargetView | Unreachable, ...] = ()
    """What the cluster shows of an offline plan's further targets, in the plan's order."""
    taken_over: bool = False
    write_trouble: str = ""
    """Why the last write to the cluster was not made, in words for people; empty where it was, or nothing was written."""
    unsaved_since: datetime | None = None
    """Since when the database has taken nothing of this rollout that was offered to it; None while it takes everything."""
