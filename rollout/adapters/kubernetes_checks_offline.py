"""The checks of a maintenance about its target: it must be able to stand at 0, and nobody else may lift it from there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rollout.adapters.kubernetes_checks_around import namespace, ownership, permissions
from rollout.adapters.kubernetes_found import Found, mapping, name_of, ok, warning
from rollout.ports import Check


def scaling(found: Found) -> Iterator[Check]:
    """Who else scales the target: an autoscaler of Kubernetes rests at 0 replicas, KEDA lifts a Deployment from there."""
    target = found.target
    for row in found.autoscalers:
        if mapping(row, "spec", "scaleTargetRef").get("name") == target.stable:
            words = f"the HorizontalPodAutoscaler {name_of(row)} scales {target.stable}; it rests while there are 0 replicas"
            yield ok("autoscaling", words)
    for row in found.scaled_objects:
        if mapping(row, "spec", "scaleTargetRef").get("name") == target.stable:
            words = f"the KEDA ScaledObject {name_of(row)} scales {target.stable}, from 0 as well: writers would come back"
            pause = f"kubectl -n {target.namespace} annotate scaledobject {name_of(row)} autoscaling.keda.sh/paused-replicas=0"
            yield warning("autoscaling", words, f"{pause} for the time of the maintenance")


def writers(found: Found) -> Iterator[Check]:
    """GitOps tools and foreign writers are named: a synchronisation in the window starts the old version again."""
    return (check for check in ownership(found) if check.level != "ok")


CHECKS: tuple[Callable[[Found], Iterator[Check]], ...] = (namespace, permissions, scaling, writers)
