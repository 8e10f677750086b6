"""The outbox of the store in memory: the rules of sql_outbox.py over a list."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollout.core.history import Notice
from rollout.ports import Message, OwedNotice, RolloutRow, Transition
from rollout.store.rows import DEAD, DELIVERED, ERROR_LENGTH, OWED


@dataclass(slots=True)
class _Entry:
    id: int
    rollout: str
    channel: str
    sequence: int
    notice: Notice
    step: str
    next_attempt_at: datetime
    state: str = OWED
    attempts: int = 0
    error: str = ""
    settled_at: datetime | None = None


class Outbox:
    """Who calls holds the store's lock."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._by_key: dict[tuple[str, str, str], int] = {}
        self._queues: dict[tuple[str, str], deque[int]] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._issued = 0

    def owe(self, x: Transition) -> None:
        """Owe every notice of a transition once to each of its channels."""
        for notice in x.notices:
            for channel in notice.channels or x.channels:
                key = (x.rollout, channel, notice.key)
                if key in self._by_key:
                    continue
                self._issued += 1
                self._queues.setdefault((x.rollout, channel), deque()).append(self._issued)
                self._by_key[key] = self._issued
                sequence = self._sequences[x.rollout, channel] = self._sequences.get((x.rollout, channel), 0) + 1
                self._entries[self._issued] = _Entry(self._issued, x.rollout, channel, sequence, notice, x.step, x.at)

    def due(self, rollouts: Mapping[str, RolloutRow], now: datetime, limit: int) -> Sequence[OwedNotice]:
        """Find the first undelivered notice of each rollout and channel, where it is due."""
        firsts = (self._entries[queue[0]] for queue in self._queues.values() if queue)
        due = [entry for entry in firsts if entry.next_attempt_at <= now]
        due.sort(key=lambda entry: (entry.next_attempt_at, entry.id))
        return [_owed(entry, rollouts[entry.rollout]) for entry in due[:limit]]

    def settle(self, notice: int, at: datetime, *, dead: bool, error: str) -> None:
        """Mark as delivered, or as given up; what is settled stays settled."""
        entry = self._entries.get(notice)
        if entry is not None and entry.state == OWED:
            entry.state, entry.settled_at = DEAD if dead else DELIVERED, at
            entry.attempts, entry.error = entry.attempts + 1, error[:ERROR_LENGTH]
            self._queues[entry.rollout, entry.channel].remove(notice)

    def postpone(self, notice: int, next_attempt_at: datetime, error: str) -> None:
        """Count a failed attempt."""
        entry = self._entries.get(notice)
        if entry is not None and entry.state == OWED:
            entry.attempts, entry.next_attempt_at, entry.error = entry.attempts + 1, next_attempt_at, error[:ERROR_LENGTH]

    def dead_letters(self) -> dict[str, int]:
        """Count the notices that were given up, by rollout."""
        return dict(Counter(entry.rollout for entry in self._entries.values() if entry.state == DEAD))

    def standing(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        """Tell of every notice of a rollout where it stands; keys as sql_outbox.SHOWN."""
        return [
            {"id": e.id, "kind": e.notice.kind.value, "key": e.notice.key, "title": e.notice.title, "why": e.notice.why,
             "next_action": e.notice.next_action,
             "channel": e.channel, "sequence": e.sequence, "state": e.state, "attempts": e.attempts,
             "error": e.error, "at": e.notice.at, "next_attempt_at": e.next_attempt_at, "settled_at": e.settled_at}
            for e in self._entries.values() if e.rollout == rollout
        ]  # fmt: skip

    def forget(self, rollout: str) -> int:
        """Delete every notice of a rollout; say how many."""
        ids = [entry.id for entry in self._entries.values() if entry.rollout == rollout]
        for id_ in ids:
            entry = self._entries.pop(id_)
            del self._by_key[rollout, entry.channel, entry.notice.key]
            self._queues.pop((rollout, entry.channel), None)
            self._sequences.pop((rollout, entry.channel), None)
        return len(ids)


def _owed(entry: _Entry, row: RolloutRow) -> OwedNotice:
    message = Message(entry.notice, row.id, row.plan_name, row.target, row.cluster, row.image, entry.step)
    return OwedNotice(entry.id, row.id, entry.channel, entry.sequence, message, entry.attempts, entry.next_attempt_at)
