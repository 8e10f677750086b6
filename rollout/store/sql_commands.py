"""Commands: what people asked, until a decision takes it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from rollout.core.commands import Command, Verb
from rollout.core.history import Outcome
from rollout.store import tables as t
from rollout.store.codec import Undecodable
from rollout.store.rows import command_row, resting, unknown

CHANNEL = "rollout"
"""NOTIFY channel; the payload is the id of the rollout that has a new command, or is new."""

log = structlog.get_logger("rollout.store")


def record(connection: Connection, rollout: str, verb: Verb, actor: str, reason: str, at: datetime,
           arguments: Sequence[tuple[str, str]]) -> int:  # fmt: skip
    """Write a command to an active rollout; the row is locked, so it cannot end in between."""
    outcome = connection.scalar(sa.select(t.rollout.c.outcome).where(t.rollout.c.id == rollout).with_for_update(read=True))
    if outcome is None:
        raise unknown(rollout)
    if outcome != Outcome.ACTIVE.value:
        raise resting(rollout, outcome, verb)
    values = {"rollout": rollout, "verb": verb.value, "actor": actor, "reason": reason, "at": at, "arguments": tuple(arguments)}
    id_: int = connection.execute(sa.insert(t.command).values(values).returning(t.command.c.id)).scalar_one()
    notify(connection, rollout)
    return id_


def notify(connection: Connection, rollout: str) -> None:
    """Wake the daemons that listen, when this transaction commits (PostgreSQL)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, rollout)))


_WAITING = sa.select(t.command).where(t.command.c.consumed_at.is_(None)).order_by(t.command.c.id)
_WAITING_FOR_THE_ACTIVE = _WAITING.join(t.rollout, t.rollout.c.id == t.command.c.rollout).where(
    t.rollout.c.outcome == Outcome.ACTIVE.value
)


def waiting(connection: Connection, rollouts: Sequence[str] | None) -> Mapping[str, Sequence[Command]]:
    """Read what waits. One of a newer version is left, and logged: it waits for a daemon that knows it."""
    chosen = _WAITING if rollouts is not None else _WAITING_FOR_THE_ACTIVE
    wanted = None if rollouts is None else set(rollouts)
    found: dict[str, list[Command]] = defaultdict(list)
    for row in connection.execute(chosen):
        if wanted is not None and row.rollout not in wanted:
            continue
        try:
            found[row.rollout].append(command_row(row))
        except Undecodable as error:
            log.warning("command-left", rollout=row.rollout, command=row.id, why=str(error))
    return dict(found)
