"""How long each new pod of a promotion is judged before the next: what the plan wants, under the Deployment's own deadline."""

from __future__ import annotations

from rollout.core.cohorts import Deployment

PACE_SLACK = 30
"""Seconds between the pace and progressDeadlineSeconds: Kubernetes must not give up on a pod that is only being judged."""


def pace_of(wanted: int, stable: Deployment) -> int:
    """Choose minReadySeconds: never below what stands there, else what is wanted, under the deadline.

    `pace_of(420, stable with progressDeadlineSeconds 300) == 270`.
    """
    return max(stable.min_ready_seconds, min(wanted, stable.progress_deadline_seconds - PACE_SLACK))
