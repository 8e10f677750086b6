"""Rows of the tables to the records of ports.py and back, in one place, so that both stores speak of the same things."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy.engine import Row

from rollout.core.commands import Command, Verb
from rollout.core.errors import Problem, Refused
from rollout.core.history import Notice, NoticeKind, Outcome
from rollout.core.wording import placed, step_words
from rollout.ports import Message, OwedNotice, PlanRow, RolloutRow
from rollout.store.codec import Undecodable
from rollout.store.columns import dumps

E = TypeVar("E", bound=Enum)

PLAN_FIELDS = ("name", "hash", "kind", "document", "source", "submitted_by", "submitted_at")
ROLLOUT_FIELDS = (
    "id", "plan_name", "plan_hash", "kind", "cluster", "target", "image", "outcome", "step", "why", "state", "version",
    "wake_at", "created_at", "updated_at", "ended_at", "follows", "relation",
)  # fmt: skip
OWED, DELIVERED, DEAD = "owed", "delivered", "dead"
"""The states of a notice. Stored: never rename."""


def word(cls: type[E], value: str, row: str, column: str) -> E:
    """Read a stored word; raise Undecodable for one of a newer version."""
    try:
        return cls(value)
    except ValueError:
        raise Undecodable(row, column, f"{value!r:.60} is no {cls.__name__}") from None


def plan_values(plan: PlanRow) -> dict[str, Any]:
    """Make the columns of a plan."""
    return {name: getattr(plan, name) for name in PLAN_FIELDS}


def rollout_values(rollout: RolloutRow) -> dict[str, Any]:
    """Make the columns of a rollout; nobody owns it."""
    return {name: getattr(rollout, name) for name in ROLLOUT_FIELDS} | {"outcome": rollout.outcome.value, "owner": None}


def plan_row(row: Row[Any]) -> PlanRow:
    """Read a plan."""
    return PlanRow(*(getattr(row, name) for name in PLAN_FIELDS))


def rollout_row(row: Row[Any]) -> RolloutRow:
    """Read a rollout."""
    values = {name: getattr(row, name) for name in ROLLOUT_FIELDS}
    return RolloutRow(**values | {"outcome": word(Outcome, row.outcome, f"rollout {row.id}", "outcome")})


def command_row(row: Row[Any]) -> Command:
    """Read a command."""
    verb = word(Verb, row.verb, f"command {row.id} of rollout {row.rollout}", "verb")
    return Command(row.id, verb, row.actor, row.reason, row.at, row.arguments)


def notice_values(notice: Notice) -> dict[str, Any]:
    """Make the columns that hold the message itself."""
    return {"key": notice.key, "kind": notice.kind.value, "title": notice.title, "why": notice.why, "at": notice.at,
            "evidence": dumps(notice.evidence), "next_action": notice.next_action}  # fmt: skip


def owed_row(row: Row[Any]) -> OwedNotice:
    """Read an outbox row joined with its rollout."""
    name = f"notice {row.id} of rollout {row.rollout}"
    try:
        evidence = tuple(str(line) for line in json.loads(row.evidence))
    except (ValueError, TypeError):
        raise Undecodable(name, "evidence", "not a JSON list") from None
    notice = Notice(key=row.key, kind=word(NoticeKind, row.kind, name, "kind"), title=row.title, why=row.why, at=row.at,
                    evidence=evidence, next_action=row.next_action)  # fmt: skip
    message = Message(notice, row.rollout, row.plan_name, row.target, row.cluster, row.image, row.step)
    return OwedNotice(row.id, row.rollout, row.channel, row.sequence, message, row.attempts, row.next_attempt_at)


def busy(active: RolloutRow, kind: str) -> Refused:
    """Refuse a second rollout on a target, of this `kind`, and name the first. Only canaries supersede each other."""
    where = placed(active.cluster, active.target)
    seen = f"{where} has a rollout already, and a target has one at a time: {active.id}, {step_words(active.step)}"
    replaced = f", or say `supersede: {active.id}` in the plan" if active.kind == kind == "Canary" else ""
    remedy = f"wait for it (`rollout watch {active.id}`), or abort it: `rollout abort {active.id}`{replaced}"
    return Refused(seen, (Problem(message=seen, remedy=remedy),))


def unknown(rollout: str) -> Refused:
    """Refuse a command to nobody."""
    return Refused(f"there is no rollout {rollout}; `rollout list --all` shows every one", (Problem("unknown rollout"),))


def resting(rollout: str, outcome: str, verb: Verb) -> Refused:
    """Refuse a command to a rollout that has ended."""
    return Refused(f"rollout {rollout} has ended ({outcome}): there is nothing left to {verb.value}", (Problem("it has ended"),))


def ambiguous(prefix: str, ids: list[str]) -> Refused:
    """Refuse a prefix that fits several."""
    shown = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")  # noqa: PLR2004 - enough to recognise the one that is meant
    return Refused(f"{prefix} can be any of {shown}: give more characters", (Problem("ambiguous id"),))


PREFIX_LENGTH = 6
ERROR_LENGTH = 500
