"""Perform effects on clusters: forward ones after their commit, backward ones before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog

from rollout.core.effects import PatchDeployment, PostEvent
from rollout.engine import events
from rollout.ports import Cluster, Conflict, Rejected, Unavailable

log = structlog.get_logger()

APPLY_TIMEOUT = timedelta(seconds=10)
POST_TIMEOUT = timedelta(seconds=5)


class Hands:
    """The clusters, by name."""

    def __init__(self, clusters: Mapping[str, Cluster]) -> None:
        self._clusters = clusters

    def cluster(self, name: str) -> Cluster | None:
        """Find a cluster; None when the configuration no longer has it."""
        return self._clusters.get(name)

    def apply(self, rollout: str, patch: PatchDeployment) -> str:
        """Write once; the next look decides. What is wrong is returned for people: empty when done, or when somebody was faster."""
        cluster = self._clusters.get(patch.cluster)
        where = f"{patch.namespace}/{patch.name}"
        if cluster is None:
            log.error(events.EFFECT_FAILED, rollout=rollout, target=where, why=f"no cluster {patch.cluster!r} is configured")
            return f"no cluster {patch.cluster!r} is configured"
        try:
            cluster.apply(patch, timeout=APPLY_TIMEOUT)
        except Conflict as error:
            log.info(events.EFFECT_FAILED, rollout=rollout, target=where, effect=patch.why, answer="conflict", why=str(error))
            return ""
        except Rejected as error:
            log.error(events.EFFECT_FAILED, rollout=rollout, target=where, effect=patch.why, answer="rejected", why=str(error))
            return str(error)
        except Unavailable as error:
            log.warning(events.EFFECT_FAILED, rollout=rollout, target=where, effect=patch.why, answer="unavailable", why=str(error))
            return str(error)
        log.info(events.EFFECT_DONE, rollout=rollout, target=where, effect=patch.why)
        return ""

    def post(self, event: PostEvent) -> None:
        """Write a Kubernetes Event; nobody waits for it."""
        cluster = self._clusters.get(event.cluster)
        if cluster is None:
            return
        try:
            cluster.post_event(event, timeout=POST_TIMEOUT)
        except (Unavailable, Rejected) as error:
            log.debug(events.EFFECT_FAILED, effect="event", why=str(error))
