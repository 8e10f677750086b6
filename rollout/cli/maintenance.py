"""What people want to see of a maintenance at once: window, report, gate, backup, tests, and until when a way back fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollout.cli.documents import time
from rollout.core.decision import Execution
from rollout.core.gate import SavedGate
from rollout.core.history import Event
from rollout.core.plan import OfflinePlan
from rollout.core.quantities import format_duration
from rollout.core.state import State
from rollout.core.state_offline import Backup, OfflineMemory, Tested
from rollout.core.wording import listed, moment

GROUPS = {
    "calls": "who calls whom",
    "route": "through the gateway",
    "not seen by the gateway": "past the gateway",
    "declared": "declared",
    "topology": "not known",
    "ways": "not known",
}
"""Headings of the report by the first word of its findings, in their order."""
NAMES = {
    "assessing": "assess",
    "announcing": "announce",
    "closinggate": "close gate",
    "stopping": "stop",
    "backingup": "back up",
    "migrating": "migrate",
    "upgrading": "upgrade",
    "testing": "test",
    "deciding": "decide",
    "rollingback": "way back",
    "undoing": "undo quiesce",
    "openinggate": "open gate",
    "watchingopen": "watch",
}
"""How pictures call the steps, in their order."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The parts. `gate`: how it stands, in words; `closed`: whether outside is kept out."""

    plan: OfflinePlan
    memory: OfflineMemory
    latest_way_back: datetime
    gate: str
    closed: bool

    @property
    def ends(self) -> datetime:
        """The window's end, with what was added."""
        return self.plan.spec.window.ends_at + self.memory.extended

    @property
    def steps(self) -> tuple[str, ...]:
        """The way there, as this plan has it."""
        spec = self.plan.spec
        left_out = {"deciding", "rollingback"}
        left_out |= {name for name, wanted in (("stopping", spec.stop), ("backingup", spec.backup), ("migrating", spec.migrate),
                                              ("undoing", spec.quiesce.undo)) if not wanted}  # fmt: skip
        return tuple(name for name in NAMES if name not in left_out)

    def standing(self) -> Iterator[tuple[str, str]]:
        """Word where it stands and until when it can go back, a label and a text each."""
        spec, memory = self.plan.spec, self.memory
        more = f", {format_duration(memory.extended)} longer than planned" if memory.extended else ""
        yield "window", f"{moment(spec.window.starts_at)} to {moment(self.ends)}{more}"
        yield "way back", f"fits until {moment(self.latest_way_back)}"
        if spec.impact.acknowledgement:
            yield "acknowledged", f"by {memory.acknowledged}" if memory.acknowledged else "by nobody yet: `rollout acknowledge`"
        yield "gate", self.gate
        for test in memory.tests:
            kind = "critical" if test.critical else "minor"
            old = ", old version" if test.round == "old" else ""
            yield "test", f"{'passed' if test.passed else 'FAILED'}  {test.name} ({kind}{old}): {test.why}"
        if memory.backup is not None:
            made = memory.backup
            yield "backup", f"{made.id}, {made.size} bytes, sha256 {made.sha256[:12]}, {moment(made.at)}"
        elif spec.backup is not None:
            yield "backup", "not made yet"

    def around(self) -> Iterator[tuple[str, str]]:
        """Word what is around it: who was told, who will notice, what ran before."""
        yield "announced", self._announced()
        for heading, findings in report(self.memory.impact):
            for number, finding in enumerate(findings):
                yield ("" if number else heading), finding
        for found in self.memory.before:
            yield "before", f"{found.target}: {found.replicas} x {found.image}"

    def _announced(self) -> str:
        done = [format_duration(o) for o, _ in self.plan.announcements if o in self.memory.announced]
        left = [f"{format_duration(o)} ({moment(at)})" for o, at in self.plan.announcements if o not in self.memory.announced]
        return "; ".join(filter(None, (f"{listed(done)} before" if done else "", f"still to come: {listed(left)}" if left else "")))

    def as_document(self) -> dict[str, Any]:
        """Describe it for `-o json`."""
        memory, window = self.memory, self.plan.spec.window
        return {
            "windowStart": time(window.starts_at),
            "windowEnd": time(self.ends),
            "latestRollbackStart": time(self.latest_way_back),
            "announced": [format_duration(offset) for offset in memory.announced],
            "impact": list(memory.impact),
            "acknowledgedBy": memory.acknowledged or None,
            "gate": {
                "closed": self.closed,
                "closedAt": time(memory.closed_at),
                "proven": memory.gate_proven,
                "allow": list(self.plan.spec.gate.config.allow),
                "words": self.gate,
            },
            "before": [{"target": b.target, "image": b.image, "replicas": b.replicas} for b in memory.before],
            "backup": _backup(memory.backup),
            "tests": [_test(test) for test in memory.tests],
        }


def _backup(made: Backup | None) -> dict[str, Any] | None:
    return None if made is None else {"id": made.id, "size": made.size, "sha256": made.sha256, "at": time(made.at)}


def _test(test: Tested) -> dict[str, Any]:
    severity = "critical" if test.critical else "minor"
    return {"name": test.name, "severity": severity, "passed": test.passed, "why": test.why, "round": test.round}


def maintenance_of(execution: Execution, state: State, events: Sequence[Event]) -> Maintenance | None:
    """Put it together; None for a canary. `events`: the whole history, which knows what became of the gate."""
    plan, memory = execution.plan, state.offline or OfflineMemory()
    if not isinstance(plan, OfflinePlan):
        return None
    latest = plan.latest_rollback_start(execution.earlier_restore, extended=memory.extended)
    opened = any(event.kind == "gate-opened" for event in events)
    left = next((event.why for event in events if event.kind == "gate-left"), "")
    closed = memory.closed_at is not None and not opened and not left
    gate = f"not put back by us: {left}" if left else _gate(plan, memory, opened=opened)
    return Maintenance(plan, memory, latest, gate, closed)


def _gate(plan: OfflinePlan, memory: OfflineMemory, *, opened: bool) -> str:
    if not memory.saved_gate:
        return f"open as it is; {plan.spec.gate.target} will let in only {listed(plan.spec.gate.config.allow)}"
    saved = SavedGate.from_json((memory.saved_gate, *memory.successors)[-1])
    if memory.closed_at is None:
        return f"{saved.place}: being closed"
    if opened:
        return f"{saved.place}: as it was found (it was closed from {moment(memory.closed_at)})"
    proven = "proven" if memory.gate_proven else "NOT proven"
    return f"{saved.place}: CLOSED since {moment(memory.closed_at)}, {proven}; let in: {listed(plan.spec.gate.config.allow)}"


def report(impact: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Group the findings of who will notice under headings."""
    grouped: dict[str, list[str]] = {}
    for finding in impact:
        name, _, words = finding.partition(": ")
        grouped.setdefault(GROUPS.get(name, "also"), []).append(words if name in GROUPS else finding)
    for heading in dict.fromkeys((*GROUPS.values(), "also")):
        if heading in grouped:
            yield heading, grouped[heading]


def report_lines(impact: Sequence[str]) -> Iterator[str]:
    """Draw the report for a terminal."""
    for heading, findings in report(impact):
        for number, finding in enumerate(findings):
            yield f"  {'' if number else heading:<20} {finding}"
