"""The pretend gateway before the pretend cluster: who is ready answers, and a stopped service is told from a closed gate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from rollout.adapters.clock import SystemClock
from rollout.core.gate import IP_RESTRICTION
from rollout.core.gate_probe import Passage, passage
from rollout.core.gate_view import service_nodes
from rollout.sandbox.apisix_cluster import ClusterPods
from rollout.sandbox.apisix_http import Request
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.world import World as Kube
from tests.contract.gateways import CLOSED, INSIDE, OUTSIDE, ROUTE, world

EXAMPLE = Path(__file__).parents[2] / "config" / "kubernetes" / "example"
DISCOVERED = {"type": "roundrobin", "discovery_type": "kubernetes", "service_name": "default/nginx-svc:80"}
SHOP: dict[str, object] = {"name": "shop", "uri": "/shop/*", "upstream": DISCOVERED}


@pytest.fixture
def live() -> LiveWorld:
    clock = CompressedClock(SystemClock(), datetime(2026, 11, 22, 12, tzinfo=UTC), speed=0.0)
    kube = Kube(clock.now(), seed=7)
    manifests = [yaml.safe_load((EXAMPLE / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("nginx", "nginx-svc")]
    kube.load([{**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}} for manifest in manifests])
    kube.advance_by(timedelta(minutes=5))
    clock.jump(timedelta(minutes=5))
    return LiveWorld(kube, clock)


def test_ready_pods_answer_in_turn_until_the_service_is_stopped(live: LiveWorld) -> None:
    pods = ClusterPods(live)
    with world(objects=(("routes/shop", SHOP),)) as served:
        plane = served.server.planes[0]
        plane.backend, plane.discover = pods.answer, pods.discover
        seen = {result.body for _ in range(30) for result in served.gateway.probe(INSIDE)}
        assert len(seen) == 10
        assert [reach.id for reach in served.gateway.routes_reaching(service_nodes("default", "nginx-svc"))] == ["shop"]
        served.gateway.close_gate(ROUTE, CLOSED)
        with live.using() as kube:
            kube.patch("deployments", "default", "nginx", {"spec": {"replicas": 0}})
            kube.advance_by(timedelta(minutes=2))
        (outside,), (inside,) = served.gateway.probe(OUTSIDE), served.gateway.probe(INSIDE)
        assert passage(outside, CLOSED) is Passage.BLOCKED
        assert passage(inside, CLOSED) is Passage.OPEN_DOWN
        assert served.gateway.read(ROUTE, IP_RESTRICTION).plugins == (IP_RESTRICTION,)


def test_an_address_without_a_ready_pod_refuses(live: LiveWorld) -> None:
    pods = ClusterPods(live)
    (host, port), *_ = pods.discover("default/nginx-svc:80")
    assert pods.answer(host, port, Request("GET", "/")).status == 200
    assert pods.nodes("default", "nginx-svc", 80).keys() >= {f"{host}:{port}"}
    assert pods.discover("default/other:80") == []
    with pytest.raises(ConnectionRefusedError):
        pods.answer("10.99.99.99", 80, Request("GET", "/"))
