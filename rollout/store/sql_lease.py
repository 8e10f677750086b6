"""Who looks after which rollout: one lease per daemon, and the daemon's name in each row that it has taken.

A rollout is taken in two locks: first the dead daemon's own row (so that a renewal that is just under way is waited for or
left alone), then the rollouts. Whoever lost rows learns it in three ways: `renew` says False, `commit` writes nothing for
them, `owned` does not list them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollout.core.history import Outcome
from rollout.ports import RolloutRow
from rollout.store import tables as t
from rollout.store.rows import rollout_row
from rollout.store.sql_history import AT_ONCE

_ACTIVE = t.rollout.c.outcome == Outcome.ACTIVE.value


def claim(connection: Connection, daemon: str, now: datetime, *, limit: int, lease: timedelta) -> Sequence[RolloutRow]:
    """Take what no living daemon owns, longest due first. A daemon whose own lease ran out gets nothing: it renews first."""
    if not _hold(connection, daemon, now, lease, about=""):
        return []
    ids = list(connection.scalars(_NOBODYS, {"most": limit}))
    takeable = _dead_owners(connection, now)
    if takeable and len(ids) < limit:
        ids += connection.scalars(_OF_THE_DEAD, {"owners": takeable, "most": limit - len(ids)})
    if not ids:
        return []
    rows: list[RolloutRow] = []
    for start in range(0, len(ids), AT_ONCE):
        these = t.rollout.c.id.in_(ids[start : start + AT_ONCE])
        connection.execute(sa.update(t.rollout).where(these).values(owner=daemon))
        rows += (rollout_row(row) for row in connection.execute(sa.select(t.rollout).where(these)))
    return sorted(rows, key=lambda row: (row.wake_at is not None, row.wake_at or now, row.id))


def _longest_due(whose: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    """Lock and name active rollouts, longest due first; written so that SQLite goes by owner and not through every row."""
    wake_at = t.rollout.c.wake_at
    return (
        sa.select(t.rollout.c.id)
        .where(_ACTIVE, whose)
        .order_by(wake_at.is_not(None), wake_at, t.rollout.c.id)
        .limit(sa.bindparam("most"))
        .with_for_update(of=t.rollout, skip_locked=True)
    )


# What is asked every second is built once.
_NOBODYS = _longest_due(t.rollout.c.owner.is_(None))
_OF_THE_DEAD = _longest_due(t.rollout.c.owner.in_(sa.bindparam("owners", expanding=True)))
_OWNERS = sa.select(t.rollout.c.owner).where(_ACTIVE, t.rollout.c.owner.is_not(None)).group_by(t.rollout.c.owner)
_EXPIRED = sa.select(t.daemon.c.id).where(t.daemon.c.lease_until <= sa.bindparam("now")).with_for_update(skip_locked=True)
_REMEMBERED = sa.select(t.daemon.c.id)
_LEASE = sa.select(t.daemon.c.lease_until).where(t.daemon.c.id == sa.bindparam("daemon"))
_LEASE_LOCKED = _LEASE.with_for_update()
_KNOWN = sa.select(t.daemon.c.id).where(t.daemon.c.id == sa.bindparam("daemon"))
_OWNED = sa.select(t.rollout.c.id).where(_ACTIVE, t.rollout.c.owner == sa.bindparam("daemon"))
_EXTENDED = sa.update(t.daemon).where(t.daemon.c.id == sa.bindparam("daemon"))


def _dead_owners(connection: Connection, now: datetime) -> list[str]:
    """Name owners whose lease has run out (their rows are locked by this), and owners that nobody remembers."""
    expired = connection.scalars(_EXPIRED, {"now": now}).all()
    owners = connection.scalars(_OWNERS).all()
    # Read after the owners: a daemon whose first claim commits in between is in both, never among the owners alone.
    remembered = set(connection.scalars(_REMEMBERED))
    return [name for name in owners if name in expired or name not in remembered]


def renew(connection: Connection, daemon: str, now: datetime, *, lease: timedelta, about: str) -> bool:
    """Renew; a lease that had run out begins anew, with what nobody took meanwhile, and the answer is False."""
    if _hold(connection, daemon, now, lease, about):
        return True
    _write(connection, daemon, now, lease, about)
    return False


def release(connection: Connection, daemon: str) -> None:
    """Give every rollout back, and the lease."""
    let_go(connection, daemon)
    connection.execute(sa.delete(t.daemon).where(t.daemon.c.id == daemon))


def let_go(connection: Connection, daemon: str) -> None:
    """Own nothing any more."""
    connection.execute(sa.update(t.rollout).where(_ACTIVE, t.rollout.c.owner == daemon).values(owner=None))


def known(connection: Connection, daemon: str) -> bool:
    """Say whether this daemon has a row, living or dead."""
    return connection.scalar(_KNOWN, {"daemon": daemon}) is not None


def owned(connection: Connection, daemon: str, now: datetime) -> frozenset[str]:
    """List what this daemon owns; nothing once its lease has run out."""
    if not alive(connection, daemon, now):
        return frozenset()
    return frozenset(connection.scalars(_OWNED, {"daemon": daemon}))


def living(connection: Connection, now: datetime) -> tuple[str, ...]:
    """Name the daemons whose lease holds."""
    return tuple(connection.scalars(sa.select(t.daemon.c.id).where(t.daemon.c.lease_until > now).order_by(t.daemon.c.id)))


def silent(connection: Connection, now: datetime) -> list[str]:
    """Name the daemons whose lease has run out, whether or not their row is locked."""
    return list(connection.scalars(sa.select(t.daemon.c.id).where(t.daemon.c.lease_until <= now)))


def alive(connection: Connection, daemon: str, now: datetime) -> bool:
    """Say whether this daemon's lease holds."""
    until = connection.scalar(_LEASE, {"daemon": daemon})
    return until is not None and until > now


def _hold(connection: Connection, daemon: str, now: datetime, lease: timedelta, about: str) -> bool:
    """Begin a lease, or extend one that has not run out; else say False and write nothing."""
    row = connection.execute(_LEASE_LOCKED, {"daemon": daemon}).one_or_none()
    if row is not None and row.lease_until <= now:
        return False
    _write(connection, daemon, now, lease, about, first=row is None)
    return True


def _write(connection: Connection, daemon: str, now: datetime, lease: timedelta, about: str, *, first: bool = False) -> None:
    if first:
        values = {"id": daemon, "lease_until": now + lease, "started_at": now, "about": about}
        connection.execute(sa.insert(t.daemon).values(values))
        return
    changed = {"lease_until": now + lease} | ({"about": about} if about else {})
    connection.execute(_EXTENDED, {"daemon": daemon, **changed})
