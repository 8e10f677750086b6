"""A pretend gateway with something on it, and the client under test pointed at it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from rollout.adapters.apisix import ApisixGateway, ApisixSettings, CustomObjects
from rollout.core.gate import IP_RESTRICTION, GateConfig, Place, PlaceKind
from rollout.core.gate_probe import Vantage
from rollout.sandbox.apisix import ADMIN_KEY, Request, Response, SandboxApisix
from rollout.sandbox.apisix_admin import AdminApi

FLAVOURS = ("2.15", "3.2", "3.9", "3.13", "3.18")
ROUTE = Place(PlaceKind.ROUTE, "shop")
MESSAGE = "Under maintenance, back at 14:00"
CLOSED = GateConfig(allow=("127.0.0.1",), message=MESSAGE)
OUTSIDE = Vantage("outside", allowed=False, url="/shop/1", source_address="127.0.0.2")
INSIDE = Vantage("inside", allowed=True, url="/shop/1", source_address="127.0.0.1")
SHOP: dict[str, object] = {"name": "shop", "uri": "/shop/*", "upstream_id": "shop", "plugins": {"prometheus": {}}}
OBJECTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("upstreams/shop", {"name": "shop", "type": "roundrobin", "nodes": {"10.1.2.3:80": 1, "10.1.2.4:80": 1}}),
    ("services/pay", {"name": "pay-service", "upstream_id": "shop"}),
    ("routes/shop", SHOP),
    ("routes/bare", {"uri": "/bare/*", "upstream_id": "shop"}),
    ("routes/pay", {"name": "pay", "uri": "/pay/*", "service_id": "pay"}),
)


class TickingClock:
    """A clock that waiting moves, so that no test waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 13, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000.0 + self.seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


@dataclass
class World:
    """The pretend server, the client, and what reached a pod from which address."""

    server: SandboxApisix
    gateway: ApisixGateway
    clock: TickingClock
    reached: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, value: object) -> int:
        return self.ask("PUT", path, value).status

    def ask(self, method: str, path: str, value: object = None) -> Response:
        """Do as another client of the Admin API would, without the wire."""
        body = "" if value is None else json.dumps(value)
        asked = Request(method, f"/apisix/admin/{path}", headers={"x-api-key": ADMIN_KEY}, body=body)
        return AdminApi.handle(self.server.admin, asked)

    def value(self, path: str) -> dict[str, Any]:
        body = json.loads(self.ask("GET", path).body)
        found: dict[str, Any] = body.get("node", body)["value"]
        return found

    def statuses(self, vantage: Vantage) -> list[int]:
        return [result.status for result in self.gateway.probe(vantage)]

    def sent(self, method: str) -> list[Request]:
        return [request for request in self.server.admin.requests if request.method == method]

    def forget_requests(self) -> None:
        self.server.admin.requests.clear()


@contextlib.contextmanager
def world(
    flavour: str = "3.18",
    *,
    objects: Sequence[tuple[str, dict[str, object]]] = OBJECTS,
    nodes: int = 1,
    key: str = ADMIN_KEY,
    v2_shapes: bool = False,
    timeout: timedelta = timedelta(seconds=5),
    custom: CustomObjects | None = None,
    credentials: dict[str, dict[str, str]] | None = None,
) -> Iterator[World]:
    clock = TickingClock()
    reached: list[tuple[str, str]] = []

    def pod(host: str, _port: int, request: Request) -> Response:
        reached.append((host, request.client))
        return Response(200, json.dumps({"pod": host}))

    with SandboxApisix(clock.now, flavour=flavour, nodes=nodes, backend=pod, v2_shapes=v2_shapes) as server:
        settings = ApisixSettings(
            admin_url=server.admin_url,
            api_key=SecretStr(key),
            nodes=server.gateway_urls,
            timeout=timeout,
            credentials={n: {k: SecretStr(v) for k, v in h.items()} for n, h in (credentials or {}).items()},
        )
        gateway = ApisixGateway("edge", settings, clock, objects=custom, wait=clock.wait, jitter=lambda: 0.5)
        made = World(server, gateway, clock, reached)
        try:
            for path, value in objects:
                assert made.put(path, value) == 201
            made.forget_requests()
            yield made
        finally:
            gateway.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another thread is about to do; fail when it does not."""
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 5 s")


def restriction(**conf: object) -> dict[str, object]:
    return {IP_RESTRICTION: conf}
