"""History and its evidence: written with the decision, read back in order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from rollout.core.history import Event, Evidence
from rollout.ports import HistoryRow
from rollout.store import tables as t
from rollout.store.columns import storable

AT_ONCE = 500


def write_events(connection: Connection, events: Sequence[tuple[str, Event]]) -> None:
    """Write events with their evidence; `events` are pairs of rollout id and event, in order."""
    if not events:
        return
    rows = [{"rollout": rollout, "at": e.at, "kind": e.kind, "step": e.step, "why": e.why, "actor": e.actor, "facts": e.facts}
            for rollout, e in events]  # fmt: skip
    insert = sa.insert(t.event).returning(t.event.c.id, sort_by_parameter_order=True)
    ids = connection.scalars(insert, rows).all()
    evidence = [(rollout, (id_, place), one) for (rollout, event), id_ in zip(events, ids, strict=True)
                for place, one in enumerate(event.evidence, 1)]  # fmt: skip
    if not evidence:
        return
    queries = _queries(connection, {(rollout, storable(one.query)) for rollout, _, one in evidence})
    connection.execute(sa.insert(t.reading), [
        {"event": event, "place": place, "signal": one.signal, "window_start": one.window_start,
         "window_seconds": (one.window_end - one.window_start).total_seconds(),
         "query": queries[rollout, storable(one.query)], "counts": one.counts, "verdict": one.verdict, "why": one.why}
        for rollout, (event, place), one in evidence
    ])  # fmt: skip


def _queries(connection: Connection, texts: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Find or make the ids of questions. Each text stands once per rollout, because the same are asked for days."""
    keys = {(rollout, hashlib.sha256(text.encode()).hexdigest()[:16]): (rollout, text) for rollout, text in texts}
    found = _known_queries(connection, keys)
    missing = [{"rollout": rollout, "hash": digest, "text": keys[rollout, digest][1]}
               for rollout, digest in sorted(keys.keys() - found.keys())]  # fmt: skip
    if missing:
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(t.query).on_conflict_do_nothing(), missing)
        found = _known_queries(connection, keys)
    return {keys[key]: id_ for key, id_ in found.items()}


def _known_queries(connection: Connection, keys: dict[tuple[str, str], tuple[str, str]]) -> dict[tuple[str, str], int]:
    digests = sorted({digest for _, digest in keys})
    rollouts = sorted({rollout for rollout, _ in keys})
    found: dict[tuple[str, str], int] = {}
    for start in range(0, len(digests), AT_ONCE):
        chosen = sa.select(t.query.c.id, t.query.c.rollout, t.query.c.hash).where(
            t.query.c.rollout.in_(rollouts), t.query.c.hash.in_(digests[start : start + AT_ONCE])
        )
        found |= {(row.rollout, row.hash): row.id for row in connection.execute(chosen)}
    return {key: id_ for key, id_ in found.items() if key in keys}


def history(connection: Connection, rollout: str, after: int, limit: int) -> Sequence[HistoryRow]:
    """Read history in order, with evidence in the order in which it was given."""
    e = t.event.c
    chosen = sa.select(t.event).where(e.rollout == rollout, e.id > after).order_by(e.id).limit(limit)
    rows = connection.execute(chosen).all()
    evidence = _evidence(connection, rollout, rows)
    return [HistoryRow(row.id, rollout, Event(row.at, row.kind, row.step, row.why, row.actor, row.facts,
                                              tuple(evidence[row.id]))) for row in rows]  # fmt: skip


def _evidence(connection: Connection, rollout: str, rows: Sequence[Row[Any]]) -> dict[int, list[Evidence]]:
    found: dict[int, list[Evidence]] = defaultdict(list)
    if not rows:
        return found
    chosen = (
        sa.select(t.reading, t.query.c.text)
        .join(t.event, t.event.c.id == t.reading.c.event)
        .join(t.query, t.query.c.id == t.reading.c.query)
        .where(t.event.c.rollout == rollout, t.event.c.id.between(rows[0].id, rows[-1].id))
        .order_by(t.reading.c.event, t.reading.c.place)
    )
    for row in connection.execute(chosen):
        end = row.window_start + timedelta(seconds=row.window_seconds)
        found[row.event].append(Evidence(row.signal, row.window_start, end, row.text, row.counts, row.verdict, row.why))
    return found
