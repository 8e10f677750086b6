"""The whole sandbox: one world, its clock, and every pretend backend on a loopback port of its own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from rollout.ports import Clock
from rollout.sandbox import alertmanager, elasticsearch, kube_api, prometheus, skywalking, webhooks
from rollout.sandbox.apisix_admin import AdminApi
from rollout.sandbox.apisix_cluster import ClusterPods
from rollout.sandbox.apisix_etcd import Etcd
from rollout.sandbox.apisix_flavours import FLAVOURS
from rollout.sandbox.apisix_gateway import DataPlane
from rollout.sandbox.apisix_http import responding
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.http import HttpServer, Respond
from rollout.sandbox.kube_objects import Json
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.world import World

APISIX, GATEWAY = "apisix", "gateway"
"""What Faults knows the gateway's Admin API and its one node by."""
TOKEN = "sandbox"  # noqa: S105 - the pretend cluster's token protects nothing


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How a sandbox begins. Ports by backend name (`kubernetes`, `prometheus`, `webhooks`); 0 or absent: a free one.

    `speed` is how many seconds pass in a real one; 0: only `Sandbox.advance` moves time. `warm_up` passes before anybody is
    served, so that the Deployments stand and their counters have a history.
    """

    start: datetime
    seed: int = 0
    speed: float = 1.0
    nodes: int = 3
    requests_per_minute: float = 600.0
    warm_up: timedelta = timedelta(minutes=30)
    require_token: bool = False
    apisix: str = "3.18"
    ports: dict[str, int] = field(default_factory=dict)


class Sandbox:
    """Starts everything as a context manager.

    `world` may be used directly from one thread while `speed` is 0 and nobody writes over HTTP; otherwise use
    `with sandbox.using() as world:`. `urls` has one entry a backend; `clock` is the compressed `ports.Clock`.
    """

    def __init__(self, real: Clock, options: SandboxOptions, manifests: Iterable[Json] = ()) -> None:
        self.options = options
        self.world = World(options.start, options.seed, nodes=options.nodes, requests_per_minute=options.requests_per_minute)
        self.world.load(manifests)
        self.world.advance_by(options.warm_up)
        self.clock = CompressedClock(real, self.world.now, 0.0)
        self.live = LiveWorld(self.world, self.clock)
        self.kubernetes = kube_api.KubeApi(self.live, real, token=TOKEN, require_token=options.require_token)
        self.prometheus = prometheus.Prometheus(self.live)
        self.skywalking = skywalking.SkyWalking(self.live)
        self.elasticsearch = elasticsearch.Elasticsearch(self.live)
        self.alertmanager = alertmanager.Alertmanager(self.live)
        self.webhooks = webhooks.WebhookReceiver(self.clock.now)
        pods, flavour = ClusterPods(self.live), FLAVOURS[options.apisix]
        self.etcd = Etcd(self._seconds)
        self.apisix = AdminApi(flavour, self.etcd, self._seconds)
        self.gateway = DataPlane(flavour, self.etcd, self._seconds, pods.answer, pods.discover)
        self.servers: dict[str, HttpServer] = {}
        self._stack = ExitStack()

    def _seconds(self) -> float:
        return self.clock.now().timestamp()

    @property
    def urls(self) -> dict[str, str]:
        """Base URL by backend name."""
        return {name: server.url for name, server in self.servers.items()}

    def using(self) -> AbstractContextManager[World]:
        """Hold the world, moved to the clock's time, against every other thread."""
        return self.live.using()

    def serve(self, name: str, respond: Respond) -> HttpServer:
        """Serve one more backend, with faults under its name, until the sandbox closes."""
        server = HttpServer(name, respond, self.world.faults, self.clock.now, port=self.options.ports.get(name, 0))
        self._stack.callback(server.close)
        self.servers[name] = server.start()
        return server

    def advance(self, span: timedelta) -> datetime:
        """Move time by hand; everything due has happened when it returns. Returns the time it is then."""
        self.clock.jump(span)
        self.live.settle()
        return self.world.now

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig with one context, `sandbox`; return its path."""
        cluster = {"name": "sandbox", "cluster": {"server": self.urls[kube_api.NAME]}}
        user = {"name": "sandbox", "user": {"token": TOKEN}}
        context = {"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox", "namespace": "default"}}
        document = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context]}
        path.write_text(yaml.safe_dump(document | {"current-context": "sandbox"}), encoding="utf-8")
        return path

    def __enter__(self) -> Self:
        with self._stack as opened:  # a port that is taken leaves nothing open
            self.serve(kube_api.NAME, self.kubernetes.respond)
            self.serve(prometheus.NAME, self.prometheus.respond)
            self.serve(skywalking.NAME, self.skywalking.respond)
            self.serve(elasticsearch.NAME, self.elasticsearch.respond)
            self.serve(alertmanager.NAME, self.alertmanager.respond)
            self.serve(webhooks.NAME, self.webhooks.respond)
            server = f"APISIX/{FLAVOURS[self.options.apisix].version}"
            self.serve(APISIX, responding(self.apisix.handle, server))
            self.serve(GATEWAY, responding(self.gateway.handle, server))
            opened.callback(self.live.stop)
            self.live.start()
            self.clock.set_speed(self.options.speed)
            self._stack = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def manifests_in(folder: Path) -> list[Json]:
    """Read every YAML document of the files in a folder, in order of file name."""
    documents: list[Json] = []
    for file in sorted(folder.glob("*.yaml")):
        documents += [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    return documents
