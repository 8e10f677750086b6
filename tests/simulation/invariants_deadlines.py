"""The invariants of time running out: each step has a deadline of its own, and whoever waits for a person has asked one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.plan_canary import CanarySpec
from rollout.core.state import Certifying, Promoting, Soaking, State
from tests.simulation.invariants import Facts, Invariant
from tests.simulation.scenario import LOOK_EVERY

H, M = timedelta(hours=1), timedelta(minutes=1)
NEVER = timedelta.max
STANDS_STILL = frozenset({
    "paused", "cluster-unseen", "foreign-pause", "displaced", "shared-incident", "blind", "suspect", "misrouted", "frozen", "share",
    "database-away",
})  # fmt: skip
"""What keeps a rollout waiting that is neither the version's delay nor the daemon's: no deadline runs, and people are told."""
TOLD_WITHIN = 5 * M
"""So long such a reason may stand before the next look tells it."""
QUIET = H
"""A reason that comes and goes owes one notice in this time."""
ASKS = frozenset({"held", "needs-a-person"})


@dataclass(frozen=True)
class Phase:
    """A part of a rollout that must end by itself, or after which a person is asked. `key`: another one is another phase."""

    key: tuple[object, ...]
    bound: timedelta
    leaves: bool
    """It is left whatever people do; otherwise it may go on once somebody was asked."""


def phase_of(state: State, step: str, plan: CanarySpec) -> Phase:
    """Derive the deadline of the phase that a rollout is in from its plan."""
    match state.step:
        case Soaking(size=size, grown_at=None):
            return Phase(("growing", size), plan.start_deadline, leaves=False)
        case Certifying() if plan.approvals.before_promotion and state.approval is None:
            return Phase((step, "approval"), plan.approvals.within, leaves=True)
        case Soaking() | Certifying():
            return Phase(("soaking",), plan.max_soak, leaves=False)
        case Promoting(updated=updated):
            return Phase((step, updated), plan.promotion.progress_deadline, leaves=True)
        case _:
            pass
    fixed = {
        "preflight": Phase((step,), 15 * M, leaves=True),
        "starting": Phase((step,), plan.start_deadline, leaves=True),
        "watching": Phase((step,), plan.promotion.watch * 4 + H, leaves=False),
        "retiring": Phase((step,), 15 * M, leaves=False),
        "retreating": Phase((step,), 5 * M, leaves=False),
    }
    return fixed[step]


class EveryStepIsLeft(Invariant):
    """Every step is left by its deadline, or a person is asked; whoever waits for somebody else has said so.

    What counts is the time in which a daemon that may write watches, the database and the cluster are there, and nothing holds.
    The product loses at most one look's interval each time that this is interrupted: such time is allowed for. So is what a
    daemon that died had not stored: whoever takes over goes on from the last commit.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.phase: Phase | None = None
        self.spent = self.spent_at_commit = timedelta()
        self.interruptions = 0
        self.counting = False
        self.asked_before = 0
        self.version = -1
        self.state: State | None = None
        self.guardian = ""
        self.skew = timedelta()
        self.standing: dict[tuple[str, datetime], timedelta] = {}
        """By kind of hold and since when it stands: how long a daemon has seen it stand."""

    def passed(self, span: timedelta) -> None:
        if self.facts.at_rest:
            return
        able = self.facts.able()
        self._read(able=able)
        if self.phase is None or self.state is None:
            return
        held = any(hold.kind.value in STANDS_STILL for hold in self.state.holds)
        counting = able and not held
        if counting != self.counting or self.facts.skew() != self.skew:
            self.counting, self.skew = counting, self.facts.skew()
            self.interruptions += 1
        if able and held:
            self._told(span, self.state)
        if not counting:
            return
        self.spent += span
        late = self.spent - self.phase.bound - LOOK_EVERY * (1 + self.interruptions)
        if late > timedelta() and (self.phase.leaves or not self._asked()):
            said = "it must be left by then" if self.phase.leaves else "nobody was asked"
            self.fail(f"{self.phase.key} has had {self.spent} where {self.phase.bound} are its deadline, and {said}")

    def _read(self, *, able: bool) -> None:
        """See what the database knows by now, and who watches."""
        if able and self.facts.guardian != self.guardian:
            self.guardian, self.spent = self.facts.guardian, self.spent_at_commit
        row = self.facts.row()
        if row.version != self.version:
            self.version, self.state = row.version, self.facts.state()
            plan = self.facts.plan
            phase = None if row.outcome.at_rest else phase_of(self.state, row.step, plan)
            if phase is None or self.phase is None or phase.key != self.phase.key:
                self.spent, self.interruptions, self.asked_before = timedelta(), 0, self._notices()
            self.phase = phase
            self.spent_at_commit = self.spent

    def _notices(self) -> int:
        return sum(str(row["kind"]) in ASKS for row in self.facts.told())

    def _asked(self) -> bool:
        return self._notices() > self.asked_before

    def _told(self, span: timedelta, state: State) -> None:
        """See that people were told of each reason that has stood for long enough."""
        holds = [hold for hold in state.holds if hold.kind.value in STANDS_STILL]
        self.standing = {(h.kind.value, h.since): self.standing.get((h.kind.value, h.since), -span) + span for h in holds}
        for (kind, since), stood in self.standing.items():
            if stood <= TOLD_WITHIN + LOOK_EVERY * (1 + self.interruptions):
                continue
            words = f"held, {kind.replace('-', ' ')}"
            told = [row["at"] for row in self.facts.told() if str(row["title"]).endswith(words)]
            if not any(at >= since - QUIET - abs(self.facts.skew()) for at in told):
                self.fail(f"{kind} has stood for {stood}, and nobody was told")

    def overdue(self) -> None:
        """After days a person must have been asked, whatever the step."""
        if not self._notices():
            self.fail(f"it is {type(self.facts.state().step).__name__} after days, and nobody was asked")
