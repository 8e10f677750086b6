"""The outbox: notices owed, in order per rollout and channel, until they are delivered or given up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from rollout.ports import OwedNotice, Transition
from rollout.store import tables as t
from rollout.store.codec import Undecodable
from rollout.store.rows import DEAD, DELIVERED, ERROR_LENGTH, OWED, notice_values, owed_row
from rollout.store.sql_history import AT_ONCE

log = structlog.get_logger("rollout.store")

HOLD = timedelta(seconds=15)
"""For so long nobody else is given a notice that somebody has taken up; a delivery takes less."""
SHOWN = ("id", "kind", "key", "title", "why", "next_action", "channel", "sequence", "state", "attempts", "error", "at",
         "next_attempt_at", "settled_at")  # fmt: skip


def write_notices(connection: Connection, transitions: Sequence[Transition]) -> None:
    """Owe every notice once to each of its channels; one that is owed already under its key stays as it is.

    The rollouts' rows are locked by this transaction, so nobody else counts their sequence at the same time.
    """
    owing = [x for x in transitions if any(notice.channels or x.channels for notice in x.notices)]
    if not owing:
        return
    keys: set[tuple[str, str, str]] = set()
    last: dict[tuple[str, str], int] = defaultdict(int)
    c = t.notice.c
    for start in range(0, len(owing), AT_ONCE):
        ids = sorted({x.rollout for x in owing[start : start + AT_ONCE]})
        for row in connection.execute(sa.select(c.rollout, c.channel, c.key, c.sequence).where(c.rollout.in_(ids))):
            keys.add((row.rollout, row.channel, row.key))
            last[row.rollout, row.channel] = max(last[row.rollout, row.channel], row.sequence)
    rows = []
    for x in owing:
        for notice in x.notices:
            for channel in notice.channels or x.channels:
                if (x.rollout, channel, notice.key) in keys:
                    continue
                keys.add((x.rollout, channel, notice.key))
                last[x.rollout, channel] += 1
                rows.append({**notice_values(notice), "rollout": x.rollout, "channel": channel, "step": x.step, "attempts": 0,
                             "sequence": last[x.rollout, channel], "state": OWED, "next_attempt_at": x.at})  # fmt: skip
    if rows:
        connection.execute(sa.insert(t.notice), rows)


def _due() -> sa.Select[Any]:
    """Choose the first undelivered notice of each rollout and channel, where it is due by `now` and nobody else holds it.

    `clock` is the database's time, by which holds run out; `who` asks, for `most` at once.
    """
    n, first = t.notice.c, t.notice.alias("first")
    earlier = sa.exists().where(
        first.c.rollout == n.rollout, first.c.channel == n.channel, first.c.state == OWED, first.c.id < n.id
    )
    free = sa.or_(n.held_until.is_(None), n.held_until <= sa.bindparam("clock"), n.held_by == sa.bindparam("who"))
    r = t.rollout.c
    return (
        sa.select(t.notice, r.plan_name, r.target, r.cluster, r.image)
        .join(t.rollout, r.id == n.rollout)
        .where(n.state == OWED, n.next_attempt_at <= sa.bindparam("now"), ~earlier, free)
        .order_by(n.next_attempt_at, n.id)
        .limit(sa.bindparam("most"))
    )


_DUE = _due()
"""Asked every second: built once."""
_TAKEN = _DUE.with_for_update(of=t.notice, skip_locked=True)


def is_due(connection: Connection, now: datetime, clock: datetime, who: str) -> bool:
    """Say whether `take` would find anything."""
    return connection.execute(_DUE, {"now": now, "clock": clock, "who": who, "most": 1}).first() is not None


def take(connection: Connection, now: datetime, clock: datetime, who: str, limit: int) -> Sequence[OwedNotice]:
    """Take up what is due: nobody else is given it within HOLD. A row of a newer version is left, and logged."""
    taken = []
    for row in connection.execute(_TAKEN, {"now": now, "clock": clock, "who": who, "most": limit}).all():
        try:
            taken.append((row, owed_row(row)))
        except Undecodable as error:
            log.warning("notice-left", rollout=row.rollout, notice=row.id, why=str(error))
    # Written only when half of the hold is over, so that asking every second does not write every second.
    stale = [{"this": row.id} for row, _ in taken if row.held_by != who or row.held_until < clock + HOLD / 2]
    if stale:
        held = sa.update(t.notice).where(t.notice.c.id == sa.bindparam("this")).values(held_by=who, held_until=clock + HOLD)
        connection.execute(held, stale)
    return [owed for _, owed in taken]


def dead_letters(connection: Connection) -> dict[str, int]:
    """Count the notices that were given up, by rollout."""
    n = t.notice.c
    counted = sa.select(n.rollout, sa.func.count().label("times")).where(n.state == DEAD).group_by(n.rollout)
    return {row.rollout: row.times for row in connection.execute(counted)}


def settle(connection: Connection, notice: int, at: datetime, *, dead: bool, error: str) -> None:
    """Mark as delivered, or as given up; what is settled stays settled."""
    n = t.notice.c
    values = {"state": DEAD if dead else DELIVERED, "settled_at": at, "attempts": n.attempts + 1, "error": error[:ERROR_LENGTH]}
    connection.execute(sa.update(t.notice).where(n.id == notice, n.state == OWED).values(**values))


def postpone(connection: Connection, notice: int, next_attempt_at: datetime, error: str) -> None:
    """Count a failed attempt."""
    n = t.notice.c
    values = {"attempts": n.attempts + 1, "next_attempt_at": next_attempt_at, "error": error[:ERROR_LENGTH]}
    connection.execute(sa.update(t.notice).where(n.id == notice, n.state == OWED).values(**values))


def standing(connection: Connection, rollout: str) -> Sequence[Mapping[str, Any]]:
    """Tell of every notice of a rollout where it stands, in the order in which they were owed."""
    chosen = sa.select(*(t.notice.c[name] for name in SHOWN)).where(t.notice.c.rollout == rollout).order_by(t.notice.c.id)
    return [dict(row._mapping) for row in connection.execute(chosen)]  # noqa: SLF001 - SQLAlchemy's public name for a row's mapping
