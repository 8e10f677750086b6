"""What comes next in a rollout and in how long, if all goes well: the countdown of the live pictures."""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout.cli.upcoming_offline import Upcoming, in_maintenance
from rollout.core.decision import Execution
from rollout.core.plan import CanaryPlan
from rollout.core.plan_canary import CanarySpec
from rollout.core.state import Certifying, Preflight, Promoting, Retiring, Retreating, Soaking, Starting, State, Step, Watching
from rollout.core.wording import span

WORDS: dict[type[Step], str] = {
    Preflight: "the first replica of {image}, when the checks pass",
    Starting: "the soak, when the first replica is ready",
    Certifying: "the promotion, when the evidence is there and whoever has to agree has agreed",
    Retiring: "{canary} to 0, done",
    Retreating: "at rest, when no pod serves the new version any more",
}
"""The steps in which it is not time that is waited for."""


def upcoming(execution: Execution, state: State, now: datetime) -> Upcoming:
    """Tell the next step; held time makes it later than this says."""
    plan = execution.plan
    if not isinstance(plan, CanaryPlan):
        return in_maintenance(plan, execution.earlier_restore, state, now)
    match state.step:
        case Soaking() as step:
            return _in_soak(plan.spec, step)
        case Promoting(snapshot=snapshot):
            pace = timedelta(seconds=snapshot.new_min_ready_seconds)
            return Upcoming(f"the next pod of {plan.target.stable}; each is judged for {span(pace)}")
        case Watching(credited=credited):
            return Upcoming(f"{plan.target.canary} to 0, done", max(plan.spec.promotion.watch - credited, timedelta()))
        case _:
            return Upcoming(WORDS.get(type(state.step), "").format(canary=plan.target.canary, image=plan.image))


def _in_soak(spec: CanarySpec, step: Soaking) -> Upcoming:
    if step.grown_at is None:
        return Upcoming(f"replica {step.size} becomes ready")
    left = max(spec.replicas.every - step.credited_at_size, timedelta())
    if step.size < spec.replicas.max:
        return Upcoming(f"replica {step.size + 1} of {spec.replicas.max}", left)
    return Upcoming("the promotion", max(spec.soak - step.credited, left))
