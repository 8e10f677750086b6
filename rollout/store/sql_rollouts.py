"""Submitting, finding and forgetting rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from rollout.core.history import Event, Outcome
from rollout.ports import PlanRow, RolloutFilter, RolloutRow, Submission
from rollout.store import tables as t
from rollout.store.rows import PREFIX_LENGTH, ambiguous, busy, plan_row, plan_values, rollout_row, rollout_values
from rollout.store.sql_commands import notify
from rollout.store.sql_history import write_events

PRUNE_AT_ONCE = 50


def insert_or_skip(connection: Connection, table: sa.Table) -> Any:  # noqa: ANN401 - each dialect has its own Insert
    """Begin an INSERT that leaves a row alone which is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def submit(connection: Connection, plan: PlanRow, rollout: RolloutRow, events: Sequence[Event], *, again: bool) -> Submission:
    """Write plan and rollout, or find what stands in the way. A race for the target ends in IntegrityError: ask again."""
    same = connection.execute(sa.select(t.rollout).where(t.rollout.c.id == rollout.id)).one_or_none()
    if same is not None:
        return Submission(rollout_row(same), created=True)
    if not again:
        earlier = _of_plan(connection, plan)
        if earlier is not None:
            return Submission(earlier, created=False)
    active = connection.execute(
        sa.select(t.rollout).where(
            t.rollout.c.cluster == rollout.cluster,
            t.rollout.c.target == rollout.target,
            t.rollout.c.outcome == Outcome.ACTIVE.value,
        )
    ).first()
    if active is not None and not again and (active.plan_name, active.plan_hash) == (plan.name, plan.hash):
        return Submission(rollout_row(active), created=False)  # another daemon found the same file at the same moment
    if active is not None:
        raise busy(rollout_row(active), rollout.kind)
    connection.execute(insert_or_skip(connection, t.plan).values(plan_values(plan)))
    connection.execute(sa.insert(t.rollout).values(rollout_values(rollout)))
    write_events(connection, [(rollout.id, event) for event in events])
    notify(connection, rollout.id)
    return Submission(rollout, created=True)


def _of_plan(connection: Connection, plan: PlanRow) -> RolloutRow | None:
    """Find the rollout that speaks for a plan: the active one, else the newest."""
    row = connection.execute(
        sa.select(t.rollout)
        .where(t.rollout.c.plan_name == plan.name, t.rollout.c.plan_hash == plan.hash)
        .order_by((t.rollout.c.outcome != Outcome.ACTIVE.value), t.rollout.c.created_at.desc(), t.rollout.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else rollout_row(row)


def find(connection: Connection, wanted: str) -> RolloutRow | None:
    """Find by id, else by prefix. Raises Refused where the prefix fits several."""
    exact = connection.execute(sa.select(t.rollout).where(t.rollout.c.id == wanted)).one_or_none()
    if exact is not None or len(wanted) < PREFIX_LENGTH:
        return None if exact is None else rollout_row(exact)
    rows = connection.execute(sa.select(t.rollout).where(t.rollout.c.id.startswith(wanted, autoescape=True)).limit(20)).all()
    fitting = [row for row in rows if row.id.startswith(wanted)]
    if len(fitting) > 1:
        raise ambiguous(wanted, sorted(row.id for row in fitting))
    return rollout_row(fitting[0]) if fitting else None


def listing(connection: Connection, wanted: RolloutFilter) -> Sequence[RolloutRow]:
    """List, newest first. `target` is `namespace/name`, or `cluster/namespace/name`."""
    c = t.rollout.c
    query = sa.select(t.rollout).order_by(c.created_at.desc(), c.id.desc()).limit(wanted.limit)
    if wanted.outcomes:
        query = query.where(c.outcome.in_([outcome.value for outcome in wanted.outcomes]))
    if wanted.plan:
        query = query.where(c.plan_name == wanted.plan)
    if wanted.target:
        query = query.where(sa.or_(c.target == wanted.target, c.cluster + "/" + c.target == wanted.target))
    return [rollout_row(row) for row in connection.execute(query)]


def find_plan(connection: Connection, name: str, plan_hash: str) -> PlanRow | None:
    """Find a plan."""
    row = connection.execute(sa.select(t.plan).where(t.plan.c.name == name, t.plan.c.hash == plan_hash)).one_or_none()
    return None if row is None else plan_row(row)


def prune_some(connection: Connection, before: datetime) -> dict[str, int]:
    """Forget up to PRUNE_AT_ONCE rollouts that ended before; empty when none is left.

    The newest rollout of every plan stays, without its history: otherwise a plan file that still lies in the daemon's folder
    would look new, and an upgrade of last year would be carried out again.
    """
    c = t.rollout.c
    newer = t.rollout.alias("newer")
    last_of_plan = ~sa.exists().where(
        newer.c.plan_name == c.plan_name,
        newer.c.plan_hash == c.plan_hash,
        sa.tuple_(newer.c.created_at, newer.c.id) > sa.tuple_(c.created_at, c.id),
    )
    ended = sa.and_(c.outcome != Outcome.ACTIVE.value, c.ended_at < before)
    history = sa.exists().where(t.event.c.rollout == c.id)
    leftovers = sa.or_(history, *(sa.exists().where(table.c.rollout == c.id) for table in (t.notice, t.command)))
    rows = connection.execute(
        sa.select(c.id, last_of_plan.label("stays")).where(ended, sa.or_(~last_of_plan, leftovers)).limit(PRUNE_AT_ONCE)
    ).all()
    ids = [row.id for row in rows]
    going = [row.id for row in rows if not row.stays]
    if not ids:
        return {}
    deleted = {"reading": connection.execute(
        sa.delete(t.reading).where(t.reading.c.event.in_(sa.select(t.event.c.id).where(t.event.c.rollout.in_(ids))))
    ).rowcount}  # fmt: skip
    for table in (t.event, t.query, t.notice, t.command):
        deleted[table.name] = connection.execute(sa.delete(table).where(table.c.rollout.in_(ids))).rowcount
    deleted["rollout"] = connection.execute(sa.delete(t.rollout).where(c.id.in_(going))).rowcount if going else 0
    return deleted


def prune_daemons(connection: Connection, before: datetime) -> int:
    """Forget daemons whose lease ran out before."""
    return connection.execute(sa.delete(t.daemon).where(t.daemon.c.lease_until < before)).rowcount
