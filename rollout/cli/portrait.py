"""One rollout as people see it: a value made from its row, its state and its history; pictures.py draws it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollout.cli.asked import waiting
from rollout.cli.chain import Link, chain_of, documents
from rollout.cli.documents import event_document, figures, rollout_document, time
from rollout.cli.maintenance import Maintenance, maintenance_of
from rollout.cli.standing import remarks
from rollout.core.commands import OFFLINE_ONLY, Command, Verb
from rollout.core.decision import Execution
from rollout.core.evidence_state import SignalState
from rollout.core.history import Event, NoticeKind
from rollout.core.plan import CanaryPlan
from rollout.core.seasons import without_effect
from rollout.core.state import Certifying, Promoting, Retiring, Soaking, Starting, State, Watching
from rollout.engine.engine import Codec
from rollout.engine.restores import with_measured_restore
from rollout.ports import RolloutRow, Store

ASKING = frozenset({NoticeKind.NEEDS_PERSON.value, NoticeKind.HELD.value})
STEPS = ("preflight", "starting", "soaking", "certifying", "promoting", "watching", "retiring")


@dataclass(frozen=True, slots=True)
class Hour:
    """One summary of a signal: figures of both cohorts over the time since the one before."""

    at: datetime
    counts: tuple[tuple[str, float], ...]
    verdict: str

    def figure(self, name: str) -> float | None:
        """Look one figure up."""
        return dict(self.counts).get(name)


@dataclass(frozen=True, slots=True)
class Curve:
    """One signal over time, with the E-value at which it acts."""

    state: SignalState
    line: float
    hours: tuple[Hour, ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    """Everything about one rollout that a person wants to see at once."""

    row: RolloutRow
    execution: Execution
    state: State
    now: datetime
    curves: tuple[Curve, ...]
    events: tuple[Event, ...]
    maintenance: Maintenance | None = None
    chain: tuple[Link, ...] = ()
    visited: tuple[str, ...] = ()
    """The steps that it has been in, in order."""
    remarks: tuple[str, ...] = ()
    """What is wrong around it: no daemon runs, notices never arrived."""
    may: tuple[str, ...] = ()
    """The commands that would change something now."""
    asked: str = ""
    """What people were told to do about what it waits for, in the notice's words; empty where it waits for nobody."""

    @property
    def size(self) -> int:
        """How many replicas the canary is meant to have, 0 where there is none."""
        match self.state.step:
            case Starting() if isinstance(self.execution.plan, CanaryPlan):
                return self.execution.plan.spec.replicas.initial
            case Soaking(size=size) | Certifying(size=size) | Promoting(size=size) | Watching(size=size):
                return size
            case _:
                return 0

    @property
    def progress(self) -> tuple[timedelta, timedelta]:
        """How much time is credited of how much is needed in this step; zeros where time is not what counts."""
        plan = self.execution.plan
        if not isinstance(plan, CanaryPlan):
            return timedelta(), timedelta()
        match self.state.step:
            case Soaking(credited=credited) | Certifying(credited=credited):
                return credited, plan.spec.soak
            case Watching(credited=credited):
                return credited, plan.spec.promotion.watch
            case Promoting() | Retiring():
                return timedelta(), timedelta()
            case _:
                return timedelta(), timedelta()

    def as_document(self) -> dict[str, Any]:
        """Describe it for `-o json`."""
        done, needed = self.progress
        return {
            **rollout_document(self.row),
            "canaryReplicas": self.size,
            "creditedSeconds": round(done.total_seconds()),
            "neededSeconds": round(needed.total_seconds()),
            "deadline": time(self.state.deadline),
            "remarks": list(self.remarks),
            "may": list(self.may),
            "holds": [{"kind": h.kind.value, "why": h.why, "since": time(h.since)} for h in self.state.holds],
            "signals": [_curve_document(curve) for curve in self.curves],
            "maintenance": None if self.maintenance is None else self.maintenance.as_document(),
            "chain": documents(self.chain),
            "history": [event_document(event) for event in self.events],
        }


def _curve_document(curve: Curve) -> dict[str, Any]:
    state = curve.state
    return {
        "name": state.name,
        "verdict": state.verdict.value,
        "why": state.why,
        "eValue": state.e_value,
        "line": curve.line,
        "certified": state.certified,
        "lastWindow": figures(state.last),
        "hours": [{"at": time(hour.at), "verdict": hour.verdict, "counts": figures(hour.counts)} for hour in curve.hours],
    }


def portrait_of(store: Store, codec: Codec, row: RolloutRow, now: datetime, *, latest: int = 12) -> Portrait:
    """Read everything from the store. Raises Refused where the row cannot be read by this version."""
    execution = with_measured_restore(store, codec.execution(row), row.created_at)
    state = codec.state(row.state, row.id)
    events = tuple(item.event for item in store.history(row.id, limit=100_000))
    portrait = portrait_from(row, execution, state, events, now, latest=latest)
    asked = () if row.outcome.at_rest else (event.why for event in waiting(store, row))
    told = [] if row.outcome.at_rest or not state.holds else store.notices(row.id)
    around = (*remarks(store.standing(), row), *asked)
    return replace(portrait, chain=chain_of(store, row), remarks=around, asked=_asked(state, events, told))


def _asked(state: State, events: Sequence[Event], told: Iterable[Mapping[str, Any]]) -> str:
    """Find what was last said to do about something that still stands: what a hold that is over asked for is done."""
    held = {(event.at, event.why): dict(event.facts).get("hold", "") for event in events if event.kind == "held"}
    standing = {hold.kind.value for hold in state.holds}
    oldest = min((hold.since for hold in state.holds), default=None)
    words = ""
    for notice in told:
        kind = held.get((notice["at"], str(notice["why"])))
        stands = kind in standing if kind is not None else oldest is not None and notice["at"] >= oldest
        if stands and notice["kind"] in ASKING and notice["next_action"]:
            words = str(notice["next_action"])
    return words


def portrait_from(
    row: RolloutRow, execution: Execution, state: State, events: tuple[Event, ...], now: datetime, *, latest: int = 12
) -> Portrait:
    """Put a portrait together; the live view does so from memory."""
    alphas = {signal.name: signal.alpha for signal in execution.signals}
    curves = tuple(Curve(signal, 1 / alphas.get(signal.name, 0.01), _hours(signal.name, events)) for signal in state.signals)
    told = tuple(event for event in events if event.kind != "hourly-summary")[-latest:]
    visited = tuple(dict.fromkeys(event.step for event in events))
    may = _may(execution, state, now) if not row.outcome.at_rest else ()
    return Portrait(row, execution, state, now, curves, told, maintenance_of(execution, state, events), visited=visited, may=may)


def _may(execution: Execution, state: State, now: datetime) -> tuple[str, ...]:
    """List the commands that would change something now."""
    wanted = [verb for verb in Verb if verb is not Verb.SUPERSEDE]
    if isinstance(execution.plan, CanaryPlan):
        wanted = [verb for verb in wanted if verb not in OFFLINE_ONLY]
    plan = execution.plan
    return tuple(verb.value for verb in wanted if not without_effect(plan, state, Command(0, verb, "", "", now)))


def _hours(signal: str, events: tuple[Event, ...]) -> tuple[Hour, ...]:
    return tuple(
        Hour(item.window_end, item.counts, item.verdict)
        for event in events
        if event.kind == "hourly-summary"
        for item in event.evidence
        if item.signal == signal
    )
