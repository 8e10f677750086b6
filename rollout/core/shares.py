"""The replica arithmetic: which part of the traffic the canary gets, and whether a step would exceed what is allowed.

Worked examples (share = candidate / (candidate + baseline)): 1 canary beside 10 stable = 1/11 = 9.1 %, under 10 %. 1 beside 9 =
1/10 = 10 %, not under 10 %: refused. 3 beside 10 = 3/13 = 23.1 %, under 25 %. 3 beside 9 = 3/12 = 25 %, allowed (at most 25 %).
4 beside 10 = 28.6 %, refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rollout.core.cohorts import Cohorts, Deployment, TargetView
from rollout.core.plan_canary import CanaryPlan
from rollout.core.wording import percent, plural

SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Refusal:
    """A share that is not allowed, with the arithmetic and the remedy."""

    why: str
    remedy: str


def start_share(plan: CanaryPlan, stable: Deployment) -> float | Refusal:
    """Compute the first share; it must stay *under* `initialShare`, unless the plan states a share on purpose that equals it.

    Ready pods count, and desired ones: a stable that is just being scaled down must not make the share grow behind us.
    """
    initial = plan.spec.replicas.initial
    pods = min(stable.replicas, stable.ready)
    share = initial / (initial + pods)
    allowed = plan.spec.initial_share
    if share < allowed - SLACK or (allowed > DOCUMENTED_SHARE + SLACK and share <= allowed + SLACK):
        return share
    need = math.floor(initial * (1 - DOCUMENTED_SHARE) / DOCUMENTED_SHARE) + 1
    enough = max(math.ceil(share * 100), math.floor(DOCUMENTED_SHARE * 100) + 1)
    more = f"scale {stable.name} to {need} or more replicas"
    mend = more if stable.replicas < need else f"see that {need} or more pods of {stable.name} are ready"
    room = f" and `maxShare: {enough}%`" if enough > plan.spec.max_share * 100 + SLACK else ""
    return Refusal(
        f"{plural(initial, 'canary replica')} beside {pods} ready of {stable.replicas} stable ones are "
        f"{initial}/{initial + pods} = {percent(share)} of the traffic, not under initialShare ({percent(allowed)})",
        f"{mend}, or say on purpose `initialShare: {enough}%`{room} in the plan where the policy allows it",
    )


DOCUMENTED_SHARE = 0.10
"""Under 10 % of the traffic, says the procedure: exactly 10 % is not under it. A larger share that a plan states is inclusive."""


def growth_refused(plan: CanaryPlan, view: TargetView, seen: Cohorts, size: int) -> str | None:
    """Say why the canary must not grow to `size` now; None when it may. Ready and desired baseline pods both count."""
    if view.stable is None:
        return "the stable Deployment is gone"
    ready = sum(pod.ready for pod in seen.baseline)
    pods = min(view.stable.replicas, ready)
    share = size / (size + pods)
    if share <= plan.spec.max_share + SLACK:
        return None
    return (
        f"{size} canary replicas beside {pods} ready of {view.stable.replicas} stable ones would be {percent(share)}, "
        f"over maxShare ({percent(plan.spec.max_share)}); it stays at {size - 1}"
    )


def excess_now(plan: CanaryPlan, view: TargetView, size: int) -> str | None:
    """Say how the present size exceeds `maxShare` because the stable was scaled down; None when it does not.

    Only the desired replicas count here: a healthy canary is never removed because baseline pods lost readiness.
    """
    if view.stable is None or view.stable.replicas == 0:
        return None
    largest = max(plan.spec.max_share, plan.spec.initial_share)
    share = size / (size + view.stable.replicas)
    if share <= largest + SLACK:
        return None
    return f"{view.stable.name} was scaled to {view.stable.replicas}: {size} canary replicas are {percent(share)} of the traffic"
