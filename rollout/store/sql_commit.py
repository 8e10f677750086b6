"""Writing decisions: state, history and outbox of many rollouts in one transaction, each only if still ours and unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollout.core.commands import too_late
from rollout.core.history import Outcome
from rollout.ports import Transition
from rollout.store import sql_commands
from rollout.store import tables as t
from rollout.store.sql_history import write_events
from rollout.store.sql_lease import alive
from rollout.store.sql_outbox import write_notices


def commit(connection: Connection, daemon: str, now: datetime, transitions: Sequence[Transition]) -> frozenset[str]:
    """Write each transition whose version and owner hold, if the daemon's lease does; return the ids that were written."""
    if not alive(connection, daemon, now):
        return frozenset()
    accepted = _still_ours(connection, daemon, transitions)
    if not accepted:
        return frozenset()
    connection.execute(
        _WRITTEN,
        [_columns(transition, daemon) for transition in accepted],
    )
    write_events(connection, [(transition.rollout, event) for transition in accepted for event in transition.events])
    write_notices(connection, accepted)
    consumed = [{"this": id_, "to": transition.rollout, "consumed_at": transition.at}
                for transition in accepted for id_ in transition.consumed]  # fmt: skip
    if consumed:
        c = t.command.c
        connection.execute(
            sa.update(t.command).where(c.id == sa.bindparam("this"), c.rollout == sa.bindparam("to"), c.consumed_at.is_(None)),
            consumed,
        )
    _answer_the_rest(connection, [transition for transition in accepted if transition.outcome.at_rest])
    return frozenset(transition.rollout for transition in accepted)


_MINE = (
    sa.select(t.rollout.c.id, t.rollout.c.version)
    .where(
        t.rollout.c.id.in_(sa.bindparam("these", expanding=True)),
        t.rollout.c.owner == sa.bindparam("daemon"),
        t.rollout.c.outcome == Outcome.ACTIVE.value,
    )
    .order_by(t.rollout.c.id)
    .with_for_update(key_share=True)
)
_WRITTEN = sa.update(t.rollout).where(t.rollout.c.id == sa.bindparam("this"), t.rollout.c.version == sa.bindparam("seen"))


def _answer_the_rest(connection: Connection, ended: Sequence[Transition]) -> None:
    """What people asked in the moment in which a rollout ended is answered as well: the rows are locked, none comes after."""
    if not ended:
        return
    by_rollout = {transition.rollout: transition for transition in ended}
    late = [
        (id_, command, by_rollout[id_])
        for id_, commands in sql_commands.waiting(connection, list(by_rollout)).items()
        for command in commands
    ]
    if not late:
        return
    write_events(connection, [(id_, too_late(command, x.outcome, x.step, x.at)) for id_, command, x in late])
    connection.execute(
        sa.update(t.command).where(t.command.c.id == sa.bindparam("this")),
        [{"this": command.id, "consumed_at": x.at} for _, command, x in late],
    )


def _still_ours(connection: Connection, daemon: str, transitions: Sequence[Transition]) -> list[Transition]:
    """Lock the rows, and keep the transitions that follow from what stands there; several of one rollout in their order."""
    rows = connection.execute(_MINE, {"these": sorted({x.rollout for x in transitions}), "daemon": daemon})
    versions: dict[str, int] = {row.id: row.version for row in rows}
    accepted = []
    for transition in transitions:
        if versions.get(transition.rollout) != transition.seen_version:
            continue
        accepted.append(transition)
        if transition.outcome.at_rest:
            del versions[transition.rollout]
        else:
            versions[transition.rollout] += 1
    return accepted


def _columns(transition: Transition, daemon: str) -> dict[str, object]:
    rest = transition.outcome.at_rest
    return {
        "this": transition.rollout,
        "seen": transition.seen_version,
        "version": transition.seen_version + 1,
        "state": transition.state,
        "outcome": transition.outcome.value,
        "step": transition.step,
        "why": transition.why,
        "wake_at": None if rest else transition.wake_at,
        "updated_at": transition.at,
        "ended_at": transition.at if rest else None,
        "owner": None if rest else daemon,
    }
