"""Custom objects of one cluster, for clients that change a few keys of their spec (an ingress controller's routes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Request
from rollout.ports import Clock

MERGE = "application/merge-patch+json"


class KubernetesObjects:
    """Reads, and writes with optimistic locking: a merge patch that carries the `resourceVersion` that was read."""

    def __init__(self, settings: ClusterSettings, clock: Clock) -> None:
        self._manager = settings.field_manager
        self._connection = Connection(settings, clock, sockets=2)

    def close(self) -> None:
        """Give back connections."""
        self._connection.close()

    def get(self, group: str, version: str, namespace: str, plural: str, name: str) -> Mapping[str, Any]:
        """Read one. Raises Unavailable, Rejected."""
        return self._connection.want(Request("get", plural, namespace, name, group, version))

    def patch_spec(
        self, group: str, version: str, namespace: str, plural: str, name: str, spec: Mapping[str, Any], resource_version: str
    ) -> None:
        """Replace these keys of `spec` on exactly that version. Raises Conflict (409), Unavailable, Rejected."""
        body = {"metadata": {"resourceVersion": resource_version}, "spec": dict(spec)}
        query = (("fieldManager", self._manager),)
        request = Request("patch", plural, namespace, name, group, version, query=query, body=body, content_type=MERGE)
        self._connection.want(request)
