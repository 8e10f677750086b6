"""A pretend APISIX: an Admin API and one or more gateway nodes over one etcd, on free loopback ports.

The gateway really tells clients apart: whoever connects from 127.0.0.2 is another client than 127.0.0.1. So a demo can show,
and a test can prove, that nobody from outside reaches a pod while the gate is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rollout.sandbox.apisix_admin import ADMIN_KEY, VIEWER_KEY, AdminApi
from rollout.sandbox.apisix_etcd import Etcd
from rollout.sandbox.apisix_flavours import FLAVOURS, Flavour
from rollout.sandbox.apisix_gateway import Backend, DataPlane
from rollout.sandbox.apisix_http import HttpServer, Request, Response

__all__ = ["ADMIN_KEY", "FLAVOURS", "VIEWER_KEY", "Flavour", "Request", "Response", "SandboxApisix"]


class SandboxApisix:
    """One control plane and its gateway nodes. `now` gives Unix seconds; `backend` answers for the pods (default: real HTTP).

    Use as a context manager, or `stop` it. Faults: `etcd.down`, `etcd.hang()`, `etcd.hold_writes()`, `etcd.resume()`,
    `etcd.before_commit`, `planes[n].freeze()`, `.thaw()`, `.forget()`.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        flavour: str = "3.18",
        nodes: int = 1,
        backend: Backend | None = None,
        v2_shapes: bool = False,
    ) -> None:
        self.flavour = FLAVOURS[flavour]
        self.etcd = Etcd(now)
        self.admin = AdminApi(self.flavour, self.etcd, now, v2_shapes=v2_shapes)
        self.planes = [DataPlane(self.flavour, self.etcd, now, backend) for _ in range(nodes)]
        name = f"APISIX/{self.flavour.version}"
        self._admin_server = HttpServer(self.admin.handle, name)
        self._gateway_servers = [HttpServer(plane.handle, name) for plane in self.planes]

    @property
    def admin_url(self) -> str:
        """Where the Admin API is."""
        return self._admin_server.url

    @property
    def gateway_urls(self) -> tuple[str, ...]:
        """Where the gateway nodes are."""
        return tuple(server.url for server in self._gateway_servers)

    def stop(self) -> None:
        """Stop everything; whatever waits in etcd is let go first."""
        self.etcd.resume()
        for server in (self._admin_server, *self._gateway_servers):
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
