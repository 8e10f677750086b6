"""`rollout preview`: when what would happen, if all goes well, with dates in the plan's zone, before anything happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from rollout.adapters.clock import SystemClock
from rollout.cli.maintenance import report_lines
from rollout.core.cohorts import Deployment
from rollout.core.errors import Problem, Refused
from rollout.core.plan import CanaryPlan, Plan
from rollout.core.plan_canary import Mode
from rollout.core.policy import Policy
from rollout.core.shares import Refusal, start_share
from rollout.core.wording import percent, plural, span
from rollout.engine.restores import MeasuredRestore


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: not before `at`, this happens. `frozen`: the name of a freeze window that it falls into."""

    at: datetime
    what: str
    share: float | None = None
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Timetable:
    """The whole of it."""

    name: str
    zone: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    impact: tuple[str, ...] = ()
    """The report of who will notice, for a maintenance."""

    def lines(self) -> Iterator[str]:
        """Word it for the terminal."""
        zone = ZoneInfo(self.zone)
        yield f"plan {self.name}, earliest times in {self.zone}"
        for entry in self.entries:
            share = f"  ({percent(entry.share)} of the traffic by replica ratio)" if entry.share is not None else ""
            frozen = f"  FROZEN by {entry.frozen}: waits" if entry.frozen else ""
            yield f"  {entry.at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}  {entry.what}{share}{frozen}"
        if self.impact:
            yield "who will notice:"
            yield from report_lines(self.impact)
        yield from self.notes

    def as_document(self) -> dict[str, Any]:
        """Describe it for `-o json`."""
        steps = [
            {"at": e.at.isoformat().replace("+00:00", "Z"), "what": e.what, "share": e.share, "frozen": e.frozen or None}
            for e in self.entries
        ]
        return {"plan": self.name, "timezone": self.zone, "steps": steps, "notes": list(self.notes), "impact": list(self.impact)}


def start_of(plan: Plan, at: str) -> datetime:
    """Read `--at`; now where it is not given. A time without zone is in the plan's zone."""
    if not at:
        return SystemClock().now()
    try:
        given = datetime.fromisoformat(at)
    except ValueError:
        raise Refused(f"--at {at}: not a time", (Problem("ISO 8601 is expected", remedy="for example 2026-11-23T09:00"),)) from None
    if given.tzinfo is None:
        given = given.replace(tzinfo=ZoneInfo(getattr(plan.spec, "timezone", "UTC")))
    return given.astimezone(UTC)


def timetable(plan: Plan, start: datetime, stable: int, policy: Policy, measured: MeasuredRestore | None = None) -> Timetable:
    """Lay a plan out in time. `measured`: what an earlier rollout of a maintenance's target needed for its restore."""
    if not isinstance(plan, CanaryPlan):
        from rollout.cli.timetable_offline import offline_timetable  # noqa: PLC0415 - only where it is needed

        return offline_timetable(plan, start, measured)
    steps = _observed(plan, start) if plan.spec.mode is Mode.OBSERVE else _canary(plan, start, stable)
    entries = [_entry(policy, at, what, share) for at, what, share in steps]
    notes = (*_shares(plan, stable), *_notes(plan), *_policy(policy))
    return Timetable(plan.name, plan.spec.timezone, tuple(entries), notes)


def _entry(policy: Policy, at: datetime, what: str, share: float | None) -> Entry:
    freeze = policy.frozen(at)
    return Entry(at, what, share, freeze.name if freeze is not None else "")


def _canary(plan: CanaryPlan, start: datetime, stable: int) -> Iterator[tuple[datetime, str, float | None]]:
    spec = plan.spec
    target = plan.target
    size, at = spec.replicas.initial, start
    yield at, f"preflight, then {target.canary} gets {plan.image} with {plural(size, 'replica')}", size / (size + stable)
    while size < spec.replicas.max:
        grown = min(size + spec.replicas.step, spec.replicas.max)
        if grown / (grown + stable) > spec.max_share:
            break
        size, at = grown, at + spec.replicas.every
        yield at, f"one more: {size} replicas", size / (size + stable)
    at = max(start + spec.soak, at + spec.replicas.every)
    yield (
        at,
        "soak over, if every minute was healthy and seen" + (": a person approves" if spec.approvals.before_promotion else ""),
        None,
    )
    yield at, f"promotion: {target.stable} rolls, at most two pods at once, each judged for {span(spec.promotion.pace)}", None
    at += -(-stable // 2) * spec.promotion.pace
    yield at, f"every pod runs it; watched for {span(spec.promotion.watch)}", None
    at += spec.promotion.watch
    yield at, f"{target.canary} goes to 0: done", None
    yield start + spec.max_soak, "without enough evidence by now, a person is asked", None


def _observed(plan: CanaryPlan, start: datetime) -> Iterator[tuple[datetime, str, float | None]]:
    canary = plan.target.canary
    yield start, f"mode: observe; people drive {canary}, everything is judged and told, nothing is changed", None
    yield start + plan.spec.max_soak, f"if {canary} is not at 0 again by now, a person is asked", None


def _shares(plan: CanaryPlan, stable: int) -> Iterator[str]:
    if plan.spec.mode is Mode.OBSERVE:
        return
    yield f"shares: beside {plural(stable, 'stable replica')}; another number with --stable"
    target = plan.target
    there = Deployment(target.stable, target.namespace, "", "", 0, 0, stable, {}, ready=stable)
    if isinstance(refusal := start_share(plan, there), Refusal):
        yield f"REFUSED at the start: {refusal.why}; {refusal.remedy}"


def _policy(policy: Policy) -> Iterator[str]:
    """Say within which guard rails the plan was checked."""
    soak, every = span(policy.minimum_soak), span(policy.minimum_interval)
    first, most = percent(policy.maximum_initial_share), percent(policy.maximum_share)
    size = f"at most {policy.maximum_step} at once and {policy.maximum_replicas} in all"
    shares = f"initialShare up to {first}, maxShare up to {most}, maxBlind up to {span(policy.maximum_blind)}"
    yield f"policy: soak at least {soak}, replicas at least {every} apart, {size}, {shares}: kept"
    places, images = ", ".join(policy.allowed_namespaces), ", ".join(policy.allowed_images)
    yield f"policy: namespaces {places}; images {images}: kept"
    names = ", ".join(window.name for window in policy.freeze_windows)
    yield f"policy: freeze windows {names}; a step that falls into one is marked" if names else "policy: no freeze windows"


def _notes(plan: CanaryPlan) -> Iterator[str]:
    if not plan.signals:
        yield "signals: none; only Kubernetes itself is watched (crash loops, OOM kills, readiness, restarts)"
    for signal in plan.signals:
        kind = "required" if signal.required and not signal.dry_run else "dry run" if signal.dry_run else "advisory"
        limit = f", limit {signal.limit:g}" if signal.limit is not None else f", acts at E = {1 / signal.alpha:g}"
        yield f"signal {signal.name}: {signal.judge.value} from {signal.backend}, windows of {span(signal.window)}, {kind}{limit}"
    yield f"blind: all sources for {span(plan.spec.max_blind)} steps back; some for {span(plan.spec.max_partly_blind)}"


__all__ = ["Entry", "Timetable", "start_of", "timedelta", "timetable"]
