"""The roles that the outside world plays for us. Adapters, the store and the sandbox implement them; the engine knows only these.

All datetimes are aware and UTC. Every method that does I/O has its own timeout and raises only `Unavailable`, `Rejected`
(`Conflict`) or `Refused`; anything else is a bug. `view`-like methods read memory and never do I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from rollout.core.cohorts import TargetView
from rollout.core.commands import Command, Verb
from rollout.core.effects import PatchDeployment, PostEvent
from rollout.core.errors import Conflict, Problem, Refused, Rejected, RolloutError, Unavailable
from rollout.core.gate import GateConfig, GateObject, GateTarget, Place, SavedGate
from rollout.core.gate_probe import ProbeResult, Vantage
from rollout.core.gate_view import RouteReach
from rollout.core.history import Event, Evidence, Notice, NoticeKind, Outcome
from rollout.core.signals import Answer, Question, Unreachable
from rollout.core.target import Target
from rollout.ports_standing import Roster

__all__ = ["Answer", "Command", "Conflict", "Event", "Evidence", "Notice", "Outcome", "Problem", "Question", "Refused",
           "Rejected", "RolloutError", "Unavailable", "Unreachable", "Verb"]  # fmt: skip


class Clock(Protocol):
    """Time. Decisions use `now`; timeouts and leases use `monotonic`."""

    def now(self) -> datetime:
        """Tell the wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Tell seconds that never jump."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One line of preflight or doctor. `level` is `ok`, `warning` or `refused`; `remedy` says what to do, empty when ok."""

    name: str
    level: str
    message: str
    remedy: str = ""


class Cluster(Protocol):
    """One Kubernetes API. Watches feed memory; `view` reads it; `apply` writes named fields only."""

    @property
    def name(self) -> str:
        """The cluster's name in the daemon's configuration."""
        ...

    def follow(self, namespace: str) -> None:
        """Start the watches of a namespace (idempotent, returns at once)."""
        ...

    def subscribe(self, changed: Callable[[str, str], None]) -> None:
        """Call `changed(namespace, deployment)` whenever something about one of its pods or itself changed. From any thread."""
        ...

    def view(self, target: Target) -> TargetView | Unreachable:
        """Read from memory what the watches show; Unreachable when they are not current (with since when and why)."""
        ...

    def look(self, target: Target, *, timeout: timedelta) -> TargetView:
        """Ask the API now, past the watches. Raises Unavailable, Rejected."""
        ...

    def apply(self, patch: PatchDeployment, *, timeout: timedelta) -> None:
        """Write. Raises Unavailable (with maybe_done), Rejected (403 names verb and resource), Conflict."""
        ...

    def post_event(self, event: PostEvent, *, timeout: timedelta) -> None:
        """Write an Event. Raises Unavailable, Rejected."""
        ...

    def preflight(self, target: Target, image: str) -> Sequence[Check]:
        """Ask all that design section 7 wants of the cluster; of a maintenance where there is no canary. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Stop the watches and give back connections."""
        ...


class SignalSource(Protocol):
    """One backend that answers questions about pods, many at once."""

    @property
    def name(self) -> str:
        """The backend's name in the daemon's configuration."""
        ...

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        """Answer every question, never raise for the world's weather: NoData and Unreachable are answers."""
        ...

    def check(self) -> Sequence[Check]:
        """Tell for doctor: reachable, which version, clock skew."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One notice on its way to one channel, with what a channel needs to word it."""

    notice: Notice
    rollout: str
    plan: str
    target: str
    cluster: str
    image: str
    step: str


class Notifier(Protocol):
    """One channel. `send` returns when the other side has confirmed in its own way (status and body)."""

    @property
    def name(self) -> str:
        """The channel's name in the daemon's configuration."""
        ...

    def send(self, message: Message) -> None:
        """Deliver. Raises Unavailable (retry, perhaps `retry_after`) or Rejected (never retry)."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A submitted plan. `hash` is the SHA-256 of the canonical document; `document` its canonical JSON; `source` as given."""

    name: str
    hash: str
    kind: str
    document: str
    source: str
    submitted_by: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One rollout as stored. `state` is the codec's JSON of the core state; `version` grows by one with each commit.

    `follows`: the rollout that this one retries, supersedes or hotfixes; `relation` says which.
    """

    id: str
    plan_name: str
    plan_hash: str
    kind: str
    cluster: str
    target: str
    image: str
    outcome: Outcome
    step: str
    why: str
    state: str
    version: int
    wake_at: datetime | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    follows: str | None = None
    relation: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """One commit of one rollout: everything in one transaction, or nothing."""

    rollout: str
    seen_version: int
    state: str
    outcome: Outcome
    step: str
    why: str
    wake_at: datetime | None
    at: datetime
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()
    channels: tuple[str, ...] = ()
    """Every notice is owed once to each of these channels, unless it names its own."""
    consumed: tuple[int, ...] = ()
    """Ids of the commands that this decision has consumed."""


@dataclass(frozen=True, slots=True)
class OwedNotice:
    """One outbox row. `sequence` orders the notices of one rollout and channel."""

    id: int
    rollout: str
    channel: str
    sequence: int
    message: Message
    attempts: int
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of history as people read it back, with its id."""

    id: int
    rollout: str
    event: Event


@dataclass(frozen=True, slots=True)
class RolloutFilter:
    """Which rollouts to list; empty fields do not filter. `outcomes` empty means all."""

    outcomes: tuple[Outcome, ...] = ()
    plan: str = ""
    target: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Submission:
    """What `Store.submit` did: `created` False means that this very plan already has a rollout (returned unchanged)."""

    rollout: RolloutRow
    created: bool
    facts: Mapping[str, str] = field(default_factory=dict)


class Store(Roster, Protocol):
    """The database: plans, rollouts, history, evidence, outbox, commands, daemons and leases.

    Every method raises Unavailable when the database is away, locked beyond its timeout, full or read-only.
    """

    def submit(self, plan: PlanRow, rollout: RolloutRow, *, events: Sequence[Event] = (), again: bool = False) -> Submission:
        """Write plan and rollout at once.

        The same plan (name + hash) with any rollout already there: `created=False`, unless `again` (retry). Another active
        rollout on `rollout.cluster` + `rollout.target`: raises Refused that names it.
        """
        ...

    def rollout(self, rollout: str) -> RolloutRow | None:
        """Find one by id, or by an unambiguous prefix of the id of at least 6 characters."""
        ...

    def rollouts(self, wanted: RolloutFilter) -> Sequence[RolloutRow]:
        """List, newest first."""
        ...

    def plan(self, name: str, plan_hash: str) -> PlanRow | None:
        """Find a plan."""
        ...

    def claim(self, daemon: str, *, limit: int, lease: timedelta) -> Sequence[RolloutRow]:
        """Take active rollouts that no living daemon owns (SKIP LOCKED), and return them with their present state."""
        ...

    def renew(self, daemon: str, *, lease: timedelta, about: str = "") -> bool:
        """Renew this daemon's one lease; False when it had been lost: `owned` says what nobody took meanwhile."""
        ...

    def release(self, daemon: str) -> None:
        """Give everything back, on a clean stop."""
        ...

    def owned(self, daemon: str) -> frozenset[str]:
        """Ids of the active rollouts that this daemon owns by the database's word."""
        ...

    def commit(self, daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        """Commit each transition whose version, owner and unexpired lease still hold; return ids of those that were written."""
        ...

    def command(self, rollout: str, verb: Verb, actor: str, reason: str, at: datetime,
                arguments: Sequence[tuple[str, str]] = ()) -> int:  # fmt: skip
        """Record a command; return its id. Raises Refused when the rollout is unknown or at rest."""
        ...

    def commands(self, rollouts: Sequence[str] | None = None) -> Mapping[str, Sequence[Command]]:
        """All commands not yet consumed, of these (None: all active) rollouts, in order."""
        ...

    def history(self, rollout: str, *, after: int = 0, limit: int = 1000) -> Sequence[HistoryRow]:
        """Read history in order, with evidence."""
        ...

    def owed(self, now: datetime, *, limit: int) -> Sequence[OwedNotice]:
        """Notices due now: for each (rollout, channel) only the first one not yet delivered or dead, so that order is kept."""
        ...

    def delivered(self, notice: int, at: datetime) -> None:
        """Mark as delivered."""
        ...

    def postponed(self, notice: int, next_attempt_at: datetime, error: str) -> None:
        """Count one failed attempt, and say when to try again."""
        ...

    def dead(self, notice: int, at: datetime, error: str) -> None:
        """Give up on a notice; it stays, and shows."""
        ...

    def notices(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        """Every notice of a rollout and where it stands (kind, title, channel, state, attempts, error, times)."""
        ...

    def prune(self, before: datetime) -> Mapping[str, int]:
        """Delete rollouts that ended before this and what belongs to them; return rows deleted by table."""
        ...

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(rollout)` after a command or a submission; empty: look at everything. From any thread, never blocks."""
        ...

    def changed(self) -> bool:
        """Tell cheaply whether another process may have written since the last call (SQLite: `data_version`)."""
        ...

    def ping(self) -> None:
        """Do one small write and read: raise Unavailable unless both work."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class Gateway(Protocol):
    """One API gateway. Closing and opening say what the gate shall be, and are confirmed by looking.

    A write that timed out may still land after a later one, and other people and controllers write the same object, so whoever
    holds a gate reads it again and again. All methods but `probe` raise Unavailable and Rejected (404: the object is gone).
    """

    @property
    def name(self) -> str:
        """The gateway's name in the daemon's configuration."""
        ...

    def find(self, target: GateTarget, plugin: str) -> GateObject:
        """Find exactly one object. Raises Refused: none, several (all named), badly worded, owned by a controller."""
        ...

    def read(self, place: Place, plugin: str, rule: str = "") -> GateObject:
        """Read one object again; `rule` picks one of an ApisixRoute's."""
        ...

    def close_gate(self, place: Place, config: GateConfig, rule: str = "") -> GateObject:
        """Make it exactly `config` (the caller has saved what stood there), return what was read after. Raises Conflict."""
        ...

    def open_gate(self, saved: SavedGate) -> GateObject:
        """Put back exactly what was saved, return what was read after. Raises Conflict when others keep writing."""
        ...

    def probe(self, vantage: Vantage) -> Sequence[ProbeResult]:
        """Ask through the data plane, once for every configured node; failures are results."""
        ...

    def rehearse(self, target: GateTarget, config: GateConfig, vantages: Sequence[Vantage] = ()) -> Sequence[Check]:
        """Check that closing would work: found, ours to write, the key may write, the probes answer. Changes nothing."""
        ...

    def bypasses(self, gate: GateObject) -> Sequence[str]:
        """List, in words, the ways past the gate that the configuration shows."""
        ...

    def routes_reaching(self, nodes: Sequence[str], services: Sequence[str] = ()) -> Sequence[RouteReach]:
        """Find the routes that lead to these hosts (pod IPs, Service names) or gateway services."""
        ...

    def check(self) -> Sequence[Check]:
        """Tell for doctor: reachable, which version, whether the key may write."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


NOTICE_KINDS = tuple(NoticeKind)
