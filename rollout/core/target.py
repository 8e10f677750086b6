"""What an upgrade is about: one Service's pair of Deployments in one cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """The Deployment that is upgraded, its canary beside it, the Service before both, the container whose image changes.

    `cluster` is the name of a cluster in the daemon's configuration. `canary` and `service` are empty where the procedure
    needs none (offline).
    """

    cluster: str
    namespace: str
    stable: str
    container: str
    canary: str = ""
    service: str = ""

    @property
    def key(self) -> str:
        """Say which target this is; at most one rollout may be active for a key."""
        return f"{self.cluster}/{self.namespace}/{self.stable}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.stable}"
