"""The JSON that `-o json` prints: stable keys, documented in the README; a key is added, never renamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rollout.core.evidence_counts import NOT_MEASURED
from rollout.core.history import Event, Evidence
from rollout.ports import HistoryRow, RolloutRow


def time(at: datetime | None) -> str | None:
    """Write a time as ISO 8601 with Z, None for none."""
    return at.isoformat().replace("+00:00", "Z") if at is not None else None


def rollout_document(row: RolloutRow) -> dict[str, Any]:
    """Describe one rollout: identity, target, where it stands, times, why."""
    return {
        "name": row.plan_name,
        "id": row.id,
        "target": row.target,
        "cluster": row.cluster,
        "kind": row.kind,
        "image": row.image,
        "state": row.outcome.value,
        "step": row.step,
        "reason": row.why,
        "createdAt": time(row.created_at),
        "updatedAt": time(row.updated_at),
        "endedAt": time(row.ended_at),
        "follows": row.follows,
        "relation": row.relation or None,
    }


def figures(counts: Iterable[tuple[str, float]]) -> dict[str, float | None]:
    """Give counts by their words; requests that nobody measured, which are stored as -1, are null."""
    return {name: None if value == NOT_MEASURED and name.endswith(" requests") else value for name, value in counts}


def evidence_document(item: Evidence) -> dict[str, Any]:
    """Describe one judged answer."""
    return {
        "signal": item.signal,
        "windowStart": time(item.window_start),
        "windowEnd": time(item.window_end),
        "query": item.query,
        "counts": figures(item.counts),
        "verdict": item.verdict,
        "why": item.why,
    }


def event_document(event: Event) -> dict[str, Any]:
    """Describe one row of history."""
    return {
        "at": time(event.at),
        "kind": event.kind,
        "step": event.step,
        "actor": event.actor,
        "why": event.why,
        "facts": dict(event.facts),
        "evidence": [evidence_document(item) for item in event.evidence],
    }


def history_document(rows: Sequence[HistoryRow]) -> list[dict[str, Any]]:
    """Describe a history, in order."""
    return [event_document(row.event) for row in rows]


def notice_document(notice: Mapping[str, Any]) -> dict[str, Any]:
    """Describe one owed notice and where it stands."""
    return {_camel(key): time(value) if isinstance(value, datetime) else value for key, value in notice.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
