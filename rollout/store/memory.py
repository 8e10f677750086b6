"""The store in dictionaries, for tests and the simulation: it behaves like the others, and passes the same contract suite."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rollout.core.commands import Command, Verb, too_late
from rollout.core.errors import Unavailable
from rollout.core.history import Event
from rollout.ports import (
    Clock,
    HistoryRow,
    OwedNotice,
    PlanRow,
    RolloutFilter,
    RolloutRow,
    Submission,
    Transition,
)
from rollout.ports_standing import Standing
from rollout.store.memory_outbox import Outbox
from rollout.store.rows import PREFIX_LENGTH, ambiguous, busy, resting, unknown


@dataclass(slots=True)
class _Waiting:
    rollout: str
    command: Command
    consumed: bool = False


@dataclass(slots=True)
class _Rows:
    """Everything that is stored."""

    plans: dict[tuple[str, str], PlanRow] = field(default_factory=dict)
    rollouts: dict[str, RolloutRow] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    leases: dict[str, datetime] = field(default_factory=dict)
    history: dict[str, list[HistoryRow]] = field(default_factory=dict)
    commands: dict[int, _Waiting] = field(default_factory=dict)
    events: int = 0
    issued: int = 0


class MemoryStore:
    """Implements ports.Store. From any thread; gone with the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows = _Rows()
        self._outbox = Outbox()
        self._daemons: set[str] = set()
        self._subscribers: list[Callable[[str], None]] = []
        self._lock = threading.RLock()
        self._closed = False

    def submit(self, plan: PlanRow, rollout: RolloutRow, *, events: Sequence[Event] = (), again: bool = False) -> Submission:
        """Write plan and rollout at once; see the port."""
        with self._open() as rows:
            if rollout.id in rows.rollouts:
                return Submission(rows.rollouts[rollout.id], created=True)
            same = [r for r in rows.rollouts.values() if (r.plan_name, r.plan_hash) == (plan.name, plan.hash)]
            if same and not again:
                spokesman = max(same, key=lambda r: (not r.outcome.at_rest, r.created_at, r.id))
                return Submission(spokesman, created=False)
            for other in rows.rollouts.values():
                if not other.outcome.at_rest and (other.cluster, other.target) == (rollout.cluster, rollout.target):
                    raise busy(other, rollout.kind)
            rows.plans.setdefault((plan.name, plan.hash), plan)
            rows.rollouts[rollout.id] = rollout
            self._write_events(rollout.id, events)
        self._tell(rollout.id)
        return Submission(rollout, created=True)

    def rollout(self, rollout: str) -> RolloutRow | None:
        """Find one by id or unambiguous prefix. Raises Refused where several fit."""
        with self._open() as rows:
            if rollout in rows.rollouts or len(rollout) < PREFIX_LENGTH:
                return rows.rollouts.get(rollout)
            fitting = sorted(id_ for id_ in rows.rollouts if id_.startswith(rollout))
            if len(fitting) > 1:
                raise ambiguous(rollout, fitting)
            return rows.rollouts[fitting[0]] if fitting else None

    def rollouts(self, wanted: RolloutFilter) -> Sequence[RolloutRow]:
        """List, newest first."""
        with self._open() as rows:
            chosen = [r for r in rows.rollouts.values() if _wanted(r, wanted)]
        return sorted(chosen, key=lambda r: (r.created_at, r.id), reverse=True)[: wanted.limit]

    def plan(self, name: str, plan_hash: str) -> PlanRow | None:
        """Find a plan."""
        with self._open() as rows:
            return rows.plans.get((name, plan_hash))

    def claim(self, daemon: str, *, limit: int, lease: timedelta) -> Sequence[RolloutRow]:
        """Take active rollouts that no living daemon owns; nothing where our own lease has run out: renew first."""
        with self._open() as rows:
            self._daemons.add(daemon)
            now = self._clock.now()
            if rows.leases.get(daemon, now + lease) <= now:
                return []
            rows.leases[daemon] = now + lease
            living = {name for name, until in rows.leases.items() if until > now}
            free = [r for r in self._active() if rows.owners.get(r.id) not in living]
            free.sort(key=lambda r: (r.wake_at is not None, r.wake_at or now, r.id))
            for row in free[:limit]:
                rows.owners[row.id] = daemon
            return free[:limit]

    def renew(self, daemon: str, *, lease: timedelta, about: str = "") -> bool:  # noqa: ARG002 - nobody reads it back here
        """Renew the lease; False when it had run out or its row was gone: the new one begins with what nobody took meanwhile."""
        with self._open() as rows:
            now = self._clock.now()
            first = daemon not in self._daemons
            self._daemons.add(daemon)
            held = first or rows.leases.get(daemon, now) > now
            rows.leases[daemon] = now + lease
            return held

    def release(self, daemon: str) -> None:
        """Give everything back."""
        with self._open() as rows:
            self._let_go(daemon)
            rows.leases.pop(daemon, None)
            self._daemons.discard(daemon)

    def owned(self, daemon: str) -> frozenset[str]:
        """Tell what this daemon owns."""
        with self._open() as rows:
            if not self._alive(daemon):
                return frozenset()
            return frozenset(r.id for r in self._active() if rows.owners.get(r.id) == daemon)

    def standing(self) -> Standing:
        """Tell which daemons live, and whose notices were given up."""
        with self._open() as rows:
            return Standing(tuple(sorted(name for name in rows.leases if self._alive(name))), self._outbox.dead_letters())

    def commit(self, daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        """Commit each transition whose version, owner and unexpired lease still hold."""
        with self._open() as rows:
            written = set()
            for transition in transitions if self._alive(daemon) else ():
                row = rows.rollouts.get(transition.rollout)
                ours = row is not None and not row.outcome.at_rest and rows.owners.get(row.id) == daemon
                if row is not None and ours and row.version == transition.seen_version:
                    self._write(row, transition)
                    written.add(row.id)
            return frozenset(written)

    def command(self, rollout: str, verb: Verb, actor: str, reason: str, at: datetime,
                arguments: Sequence[tuple[str, str]] = ()) -> int:  # fmt: skip
        """Record a command and wake whoever subscribed. Raises Refused when the rollout is unknown or at rest."""
        with self._open() as rows:
            row = rows.rollouts.get(rollout)
            if row is None:
                raise unknown(rollout)
            if row.outcome.at_rest:
                raise resting(rollout, row.outcome.value, verb)
            rows.issued += 1
            id_ = rows.issued
            rows.commands[id_] = _Waiting(rollout, Command(id_, verb, actor, reason, at, tuple(arguments)))
        self._tell(rollout)
        return id_

    def commands(self, rollouts: Sequence[str] | None = None) -> Mapping[str, Sequence[Command]]:
        """Read commands not yet consumed; only rollouts that have some are in the answer."""
        with self._open() as rows:
            wanted = {r.id for r in self._active()} if rollouts is None else set(rollouts)
            found: dict[str, list[Command]] = {}
            for one in rows.commands.values():
                if not one.consumed and one.rollout in wanted:
                    found.setdefault(one.rollout, []).append(one.command)
            return found

    def history(self, rollout: str, *, after: int = 0, limit: int = 1000) -> Sequence[HistoryRow]:
        """Read history in order, with evidence."""
        with self._open() as rows:
            return [row for row in rows.history.get(rollout, ()) if row.id > after][:limit]

    def owed(self, now: datetime, *, limit: int) -> Sequence[OwedNotice]:
        """Take up notices due now."""
        with self._open() as rows:
            return self._outbox.due(rows.rollouts, now, limit)

    def delivered(self, notice: int, at: datetime) -> None:
        """Mark as delivered."""
        with self._open():
            self._outbox.settle(notice, at, dead=False, error="")

    def postponed(self, notice: int, next_attempt_at: datetime, error: str) -> None:
        """Count one failed attempt, and say when to try again."""
        with self._open():
            self._outbox.postpone(notice, next_attempt_at, error)

    def dead(self, notice: int, at: datetime, error: str) -> None:
        """Give up on a notice; it stays, and shows."""
        with self._open():
            self._outbox.settle(notice, at, dead=True, error=error)

    def notices(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        """Tell where every notice of a rollout stands."""
        with self._open():
            return self._outbox.standing(rollout)

    def prune(self, before: datetime) -> Mapping[str, int]:
        """Delete what ended before this; the newest rollout of each plan stays, without history."""
        deleted: Counter[str] = Counter(rollout=0, event=0)
        with self._open() as rows:
            newest: dict[tuple[str, str], RolloutRow] = {}
            for row in sorted(rows.rollouts.values(), key=lambda r: (r.created_at, r.id)):
                newest[row.plan_name, row.plan_hash] = row
            for row in list(rows.rollouts.values()):
                if row.ended_at is not None and row.ended_at < before:
                    deleted.update(self._forget(row.id, stays=newest[row.plan_name, row.plan_hash].id == row.id))
            gone = [name for name, until in rows.leases.items() if until < before]
            for name in gone:
                del rows.leases[name]
            deleted["daemon"] = len(gone)
        return dict(deleted)

    def ping(self) -> None:
        """Do nothing, as long as the store is open."""
        with self._open():
            pass

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(rollout)` after each command and submission."""
        with self._lock:
            self._subscribers.append(changed)

    def changed(self) -> bool:
        """Say no: there are no other processes."""
        return False

    def close(self) -> None:
        """Refuse to serve any longer."""
        self._closed = True

    def _open(self) -> _Transaction:
        if self._closed:
            raise Unavailable("database", "the store in memory was closed")
        return _Transaction(self._lock, self._rows)

    def _active(self) -> Iterator[RolloutRow]:
        return (row for row in self._rows.rollouts.values() if not row.outcome.at_rest)

    def _alive(self, daemon: str) -> bool:
        until = self._rows.leases.get(daemon)
        return until is not None and until > self._clock.now()

    def _let_go(self, daemon: str) -> None:
        self._rows.owners = {rollout: owner for rollout, owner in self._rows.owners.items() if owner != daemon}

    def _write(self, row: RolloutRow, x: Transition) -> None:
        rest = x.outcome.at_rest
        self._rows.rollouts[row.id] = replace(
            row, state=x.state, outcome=x.outcome, step=x.step, why=x.why, version=row.version + 1, updated_at=x.at,
            wake_at=None if rest else x.wake_at, ended_at=x.at if rest else None,
        )  # fmt: skip
        if rest:
            self._rows.owners.pop(row.id, None)
        self._write_events(row.id, x.events)
        self._outbox.owe(x)
        for id_ in x.consumed:
            waiting = self._rows.commands.get(id_)
            if waiting is not None and waiting.rollout == row.id:
                waiting.consumed = True
        left = [one for one in self._rows.commands.values() if rest and one.rollout == row.id and not one.consumed]
        for one in left:
            one.consumed = True
            self._write_events(row.id, [too_late(one.command, x.outcome, x.step, x.at)])

    def _write_events(self, rollout: str, events: Sequence[Event]) -> None:
        for event in events:
            self._rows.events += 1
            self._rows.history.setdefault(rollout, []).append(HistoryRow(self._rows.events, rollout, event))

    def _forget(self, rollout: str, *, stays: bool) -> Mapping[str, int]:
        rows = self._rows
        history = rows.history.pop(rollout, [])
        commands = [id_ for id_, one in rows.commands.items() if one.rollout == rollout]
        for id_ in commands:
            del rows.commands[id_]
        deleted = {"event": len(history), "command": len(commands), "notice": self._outbox.forget(rollout),
                   "reading": sum(len(row.event.evidence) for row in history),
                   "query": len({one.query for row in history for one in row.event.evidence})}  # fmt: skip
        if not stays:
            del rows.rollouts[rollout]
            deleted["rollout"] = 1
            for other in [r for r in rows.rollouts.values() if r.follows == rollout]:
                rows.rollouts[other.id] = replace(other, follows=None)
        return deleted

    def _tell(self, rollout: str) -> None:
        with self._lock:
            subscribers = tuple(self._subscribers)
        for changed in subscribers:
            changed(rollout)


@dataclass(slots=True)
class _Transaction:
    """The lock, held over the rows."""

    lock: threading.RLock
    rows: _Rows

    def __enter__(self) -> _Rows:
        self.lock.acquire()
        return self.rows

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def _wanted(row: RolloutRow, wanted: RolloutFilter) -> bool:
    return (
        (not wanted.outcomes or row.outcome in wanted.outcomes)
        and (not wanted.plan or row.plan_name == wanted.plan)
        and (not wanted.target or wanted.target in {row.target, f"{row.cluster}/{row.target}"})
    )
