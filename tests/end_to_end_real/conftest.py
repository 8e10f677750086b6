"""Stages with real servers behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end_real.agents import Agents
from tests.end_to_end_real.stage import Stage, gateway, tracing
from tests.end_to_end_real.traffic import Traffic, wait_for_samples
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.oap import OapServer
from tests.peers.postgresql import PostgreSql
from tests.peers.process import wait_until
from tests.peers.prometheus import Prometheus


@pytest.fixture
def stage(kubernetes_peer: KubernetesControlPlane, postgresql_peer: PostgreSql) -> Iterator[Stage]:
    """The example with 10 pods; its plans watch nothing but Kubernetes."""
    with Stage(kubernetes_peer, postgresql_peer) as stage:
        yield stage


@pytest.fixture
def traced_stage(
    kubernetes_peer: KubernetesControlPlane,
    postgresql_peer: PostgreSql,
    prometheus_peer: Prometheus,
    exporter_peer: GatewayExporter,
    oap_peer: OapServer,
) -> Iterator[Stage]:
    """As busy_stage, and agents in its pods report to SkyWalking."""
    backends = [gateway(prometheus_peer.url), tracing(oap_peer.url)]
    with (
        Stage(kubernetes_peer, postgresql_peer, backends=backends) as stage,
        Traffic(stage.api, exporter_peer, stage.namespace) as traffic,
        Agents(stage.api, oap_peer, stage.namespace) as agents,
    ):
        stage.traffic = traffic
        wait_for_samples(prometheus_peer, stage.namespace, 10)
        wait_until(lambda: agents.known(10), 120, "a whole minute of every pod in OAP", every=0.5)
        yield stage


@pytest.fixture
def busy_stage(
    kubernetes_peer: KubernetesControlPlane,
    postgresql_peer: PostgreSql,
    prometheus_peer: Prometheus,
    exporter_peer: GatewayExporter,
) -> Iterator[Stage]:
    """The same behind a gateway that Prometheus scrapes; Prometheus knows a whole window."""
    with (
        Stage(kubernetes_peer, postgresql_peer, backends=[gateway(prometheus_peer.url)]) as stage,
        Traffic(stage.api, exporter_peer, stage.namespace) as traffic,
    ):
        stage.traffic = traffic
        wait_for_samples(prometheus_peer, stage.namespace, 10)
        yield stage
