"""What people can ask for, the same for the command line, the web and the plan folder.

Each is a function of a store and a clock. Refusals list everything at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rollout.core.commands import OFFLINE_ONLY, Command, Verb
from rollout.core.decision import Execution
from rollout.core.errors import Problem, Refused, Unavailable
from rollout.core.history import Event, Outcome
from rollout.core.machine import begin
from rollout.core.plan import CanaryPlan, OfflinePlan, Plan, plan_of
from rollout.core.policy import Policy
from rollout.core.seasons import without_effect
from rollout.core.wording import placed, step_words
from rollout.engine.configured import ANYTHING, Configured
from rollout.engine.engine import Codec
from rollout.engine.overlaps import gates_shared, overlapping
from rollout.engine.restores import measured_restore
from rollout.ports import Clock, PlanRow, RolloutFilter, RolloutRow, Store, Submission


class Superseding(Unavailable):
    """The rollout that a plan supersedes was asked to step back: the plan is taken when that has ended."""

    def __init__(self, old: RolloutRow) -> None:
        again = "submit again when it has ended, or wait for that with `rollout submit --wait`"
        super().__init__(f"rollout {old.id} on {old.target}", f"is superseded and steps back first: {again}")
        self.old = old


def _relation(plan: Plan) -> str:
    """Name how a rollout of this plan follows another, by what the plan itself says."""
    if getattr(plan.spec, "follows", None):
        return "hotfix"
    return "supersede" if getattr(plan.spec, "supersede", None) else ""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where people's wishes arrive. `configured`: the names that plans may use."""

    store: Store
    codec: Codec
    clock: Clock
    policy: Policy
    configured: Configured = ANYTHING

    def check(self, plan: Plan) -> tuple[Problem, ...]:
        """Say everything that is wrong with a plan under this policy and configuration; empty when nothing is."""
        return (*self.check_alone(plan), *self._untimely(plan), *self._unlinked(plan))

    def check_alone(self, plan: Plan) -> tuple[Problem, ...]:
        """Do as `check`, without asking which rollouts there are."""
        return (*self.policy.check(plan), *self.configured.problems(plan))

    def _untimely(self, plan: Plan) -> tuple[Problem, ...]:
        """Say what is wrong with beginning it now; a plan that has its rollout already has begun, whatever the time is."""
        if isinstance(plan, CanaryPlan) or not plan.targets or self._attempts(plan):
            return ()
        now = self.clock.now()
        return plan.problems_at(now, measured_restore(self.store, plan, now))

    def _unlinked(self, plan: Plan) -> tuple[Problem, ...]:
        """Say that the rollout which the plan follows is not there."""
        try:
            self._linked(plan)
        except Refused as no:
            return (Problem(str(no), key="spec.follows", remedy="`rollout list --all` shows every one"),)
        return ()

    def _linked(self, plan: Plan) -> str | None:
        name = getattr(plan.spec, "follows", None)
        return self.find(name).id if name else None

    def submit(
        self,
        plan: Plan,
        source: str,
        actor: str,
        *,
        again: bool = False,
        follows: str | None = None,
        relation: str = "",
        because: str = "",
    ) -> Submission:
        """Start a rollout of a plan. The same plan again returns the rollout there is; a busy target is refused.

        `because`: the sentence for history and the first notice where it is started again.
        """
        problems = self.check(plan)
        if problems:
            raise Refused(f"plan {plan.name!r} is refused", problems)
        now = self.clock.now()
        if busy_targets := overlapping(self.store, plan):
            raise Refused(f"plan {plan.name!r}: a target is busy", busy_targets)
        if busy_gates := gates_shared(self.store, plan, now):
            raise Refused(f"plan {plan.name!r}: its gate is busy", busy_gates)
        old = self._superseded(plan)
        if old is not None and not old.outcome.at_rest:
            self._step_back_first(plan, old, actor, now)
            raise Superseding(old)
        rollout = self._row(plan, now, follows or self._linked(plan) or (old.id if old else None), relation, because)
        row = PlanRow(plan.name, plan.hash(), plan.kind, plan.canonical(), source, actor, now)
        submitted = Event(now, "submitted", "preflight", because or f"{actor} submitted plan {plan.name}", actor)
        return self.store.submit(row, rollout, events=(submitted,), again=again)

    def _superseded(self, plan: Plan) -> RolloutRow | None:
        """Find the rollout that this plan supersedes. Raises Refused where it is none of this plan's target."""
        name = getattr(plan.spec, "supersede", None)
        if not name:
            return None
        key = "spec.supersede"
        old = self.store.rollout(name)
        if old is None:
            none = Problem("no such rollout", key=key, remedy="its id, as `rollout list` shows it")
            raise Refused(f"the plan supersedes {name}, and there is no such rollout", (none,))
        mine = f"{plan.target.cluster}/{plan.target}"
        if f"{old.cluster}/{old.target}" != mine:
            words = f"rollout {old.id} is one of {placed(old.cluster, old.target)}, not of {placed(*mine.split('/', 1))}"
            other = Problem("another target's rollout is left alone", key=key, remedy="name the rollout of this plan's target")
            raise Refused(f"{words}: nothing was done to it", (other,))
        if old.kind != "Canary" and not old.outcome.at_rest:
            waits = Problem("only a canary is superseded", key=key, remedy=f"wait for its end: `rollout watch {old.id}`")
            raise Refused(f"rollout {old.id} is a maintenance: nothing was done to it", (waits,))
        return old

    def _step_back_first(self, plan: Plan, old: RolloutRow, actor: str, now: datetime) -> None:
        """Ask the superseded rollout to step back, once."""
        by = getattr(plan.spec, "supersede_by", None)
        if old.step in {"promoting", "watching"} and by is None:
            raise Refused(
                f"rollout {old.id} is {step_words(old.step)}: its stable is partly new already",
                (Problem("say what becomes of it", key="spec.supersedeBy", remedy="rollback (the old image first) or adopt"),),
            )
        waiting = self.store.commands([old.id]).get(old.id, ())
        if old.step != "retreating" and not any(c.verb is Verb.SUPERSEDE for c in waiting):
            arguments = (("by", by.value),) if by is not None else ()
            self.store.command(old.id, Verb.SUPERSEDE, actor, f"by plan {plan.name}", now, arguments)

    def _attempts(self, plan: Plan) -> int:
        return sum(row.plan_hash == plan.hash() for row in self.store.rollouts(RolloutFilter(plan=plan.name, limit=1000)))

    def _row(self, plan: Plan, now: datetime, follows: str | None, relation: str, because: str) -> RolloutRow:
        seed = f"{plan.name}/{plan.hash()}/{self._attempts(plan)}/{now.isoformat()}"
        rollout = f"{plan.name[:40]}-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
        execution = Execution(rollout, plan, plan.signals if isinstance(plan, CanaryPlan) else ())
        target = plan.target
        return RolloutRow(
            id=rollout,
            plan_name=plan.name,
            plan_hash=plan.hash(),
            kind=plan.kind,
            cluster=target.cluster,
            target=str(target),
            image=plan.image,
            outcome=Outcome.ACTIVE,
            step="preflight",
            why="submitted",
            state=self.codec.text(begin(execution, now, because)),
            version=1,
            wake_at=now,
            created_at=now,
            updated_at=now,
            follows=follows,
            relation=relation or _relation(plan),
        )

    def retry(self, rollout: str, actor: str, reason: str = "") -> Submission:
        """Start again from step 1: a new rollout of the same plan, linked to the one that ended."""
        old = self.find(rollout)
        if not old.outcome.at_rest:
            raise Refused(f"rollout {old.id} is still active ({step_words(old.step)}): abort it first, or wait")
        stored = self.store.plan(old.plan_name, old.plan_hash)
        if stored is None:
            raise Refused(f"the plan of rollout {old.id} is no longer in the database: submit the file again")
        plan = plan_of(self.codec.execution(old).plan.as_document())  # as strictly as a file
        now = self.clock.now()
        if isinstance(plan, OfflinePlan) and (problems := plan.problems_at(now, measured_restore(self.store, plan, now))):
            raise Refused(f"rollout {old.id} cannot be tried again as it was planned: submit a plan with another window", problems)
        because = f"{actor} started {old.id} again from step 1{f': {reason}' if reason else ''}"
        return self.submit(plan, stored.source, actor, again=True, follows=old.id, relation="retry", because=because)

    def command(self, rollout: str, verb: Verb, actor: str, reason: str, arguments: Sequence[tuple[str, str]] = ()) -> RolloutRow:
        """Record a command for a running rollout; it is consumed within a second where its daemon lives."""
        row = self.find(rollout)
        if row.outcome.at_rest:
            raise Refused(f"rollout {row.id} has ended ({row.outcome.value}): there is nothing to {verb.value}")
        if verb in OFFLINE_ONLY and row.kind != "Offline":
            raise Refused(
                f"rollout {row.id} is a canary: {verb.value} is for a maintenance (kind: Offline), nothing was recorded",
                (Problem("what a canary understands", remedy="pause, resume, approve, abort"),),
            )
        now = self.clock.now()
        if why := self._without_effect(row, Command(0, verb, actor, reason, now, tuple(arguments))):
            raise Refused(f"rollout {row.id}: {verb.value} would change nothing, so it was not recorded: {why}")
        self.store.command(row.id, verb, actor, reason, now, arguments)
        return row

    def _without_effect(self, row: RolloutRow, command: Command) -> str:
        """Say why a command would change nothing, as far as the database knows: one that waits may change that."""
        if self.store.commands([row.id]).get(row.id):
            return ""
        try:
            execution, state = self.codec.execution(row), self.codec.state(row.state, row.id)
        except Refused:
            return ""  # whoever can read it decides
        return without_effect(execution.plan, state, command)

    def find(self, rollout: str) -> RolloutRow:
        """Find a rollout by id, by the beginning of its id, or by its plan's name (the newest). Raises Refused."""
        if not rollout.strip():
            raise Refused("no rollout is named: the name is empty", (Problem("nothing was done", remedy="is a variable empty?"),))
        named = self.store.rollouts(RolloutFilter(plan=rollout, limit=1))
        if named:
            return named[0]
        row = self.store.rollout(rollout)
        if row is not None:
            return row
        raise Refused(
            f"there is no rollout or plan {rollout!r}", (Problem("nothing found", remedy="`rollout list --all` shows every one"),)
        )
