"""A pretend APISIX: an Admin API and one or more gateway nodes over one etcd, on free loopback ports.

The gateway really tells clients apart: whoever connects from 127.0.0.2 is another client than 127.0.0.1. So a demo can show,
and a test can prove, that nobody from outside reaches a pod while the gate is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Self

from rollout.sandbox.apisix_admin import ADMIN_KEY, VIEWER_KEY, AdminApi
from rollout.sandbox.apisix_etcd import Etcd
from rollout.sandbox.apisix_flavours import FLAVOURS, Flavour
from rollout.sandbox.apisix_gateway import Backend, DataPlane, Discover
from rollout.sandbox.apisix_http import Request, Response, responding
from rollout.sandbox.faults import Faults
from rollout.sandbox.http import HttpServer

__all__ = ["ADMIN_KEY", "FLAVOURS", "VIEWER_KEY", "Flavour", "Request", "Response", "SandboxApisix"]


class SandboxApisix:
    """One control plane (`apisix` among the faults) and its gateway nodes (`gateway-1`, `gateway-2`, ...).

    `now` is the world's time; `backend` answers for the pods (default: real HTTP), `discover` finds them by a Service's name
    (both from apisix_cluster.ClusterPods, where there is a pretend cluster). Use as a context manager, or call `start` and
    `close`. More faults: `etcd.down`, `etcd.hang()`, `etcd.hold_writes()`, `etcd.resume()`, `etcd.before_commit`,
    `planes[n].freeze()`, `.thaw()`, `.forget()`.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        flavour: str = "3.18",
        nodes: int = 1,
        backend: Backend | None = None,
        discover: Discover | None = None,
        faults: Faults | None = None,
        v2_shapes: bool = False,
    ) -> None:
        self.flavour = FLAVOURS[flavour]
        self.faults = faults or Faults()

        def seconds() -> float:
            return now().timestamp()

        self.etcd = Etcd(seconds)
        self.admin = AdminApi(self.flavour, self.etcd, seconds, v2_shapes=v2_shapes)
        self.planes = [DataPlane(self.flavour, self.etcd, seconds, backend, discover) for _ in range(nodes)]
        server = f"APISIX/{self.flavour.version}"
        self._admin_server = HttpServer("apisix", responding(self.admin.handle, server), self.faults, now)
        self._gateway_servers = [
            HttpServer(f"gateway-{number}", responding(plane.handle, server), self.faults, now)
            for number, plane in enumerate(self.planes, start=1)
        ]

    @property
    def admin_url(self) -> str:
        """Where the Admin API is."""
        return self._admin_server.url

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        """Where the gateway nodes are."""
        return tuple(server.url for server in self._gateway_servers)

    def start(self) -> Self:
        """Begin to answer."""
        for server in (self._admin_server, *self._gateway_servers):
            server.start()
        return self

    def close(self) -> None:
        """Stop everything; whatever waits in etcd is let go first."""
        self.etcd.resume()
        for server in (self._admin_server, *self._gateway_servers):
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
