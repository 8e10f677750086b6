"""A good version goes all the way on a real control plane, and everything that was written is what the procedure says."""

from __future__ import annotations

from itertools import pairwise

from rollout.core.history import Outcome
from tests.end_to_end_real.recorder import Recorder
from tests.end_to_end_real.stage import CANARY, NEW, OLD, STABLE, Stage
from tests.end_to_end_real.traffic import Traffic, wait_for_samples
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql
from tests.peers.prometheus import Prometheus


def gateway(prometheus: Prometheus) -> dict[str, object]:
    return {"name": "prometheus", "type": "prometheus", "url": prometheus.url}


def errors_at_the_gateway(stage: Stage) -> dict[str, object]:
    return {"preset": "apisix-5xx", "window": "10s", "delay": "2s", "parameters": {"route": stage.namespace}}


def check_the_canary(recorder: Recorder, rollout: str, every: float) -> None:
    writes = recorder.of(CANARY)
    assert writes[0].changes == {"image": (OLD, NEW), "replicas": (0, 1), "rollout/id": (None, rollout)}
    assert [(write.changes["replicas"]) for write in writes] == [(0, 1), (1, 2), (2, 0)]
    assert all(set(write.changes) == {"replicas"} for write in writes[1:])
    assert all(later.at - sooner.at >= every for sooner, later in pairwise(writes[:-1]))


def check_the_stable(recorder: Recorder, rollout: str, replicas: int) -> None:
    promote, restore = recorder.of(STABLE)
    assert promote.changes == {"image": (OLD, NEW), "minReadySeconds": (None, 1), "rollout/id": (None, rollout)}
    assert restore.changes == {"minReadySeconds": (1, None)}
    grown, retired = recorder.of(CANARY)[-2:]
    assert grown.at < promote.at < restore.at < retired.at
    assert recorder.of(STABLE, ours=False) == []
    rolling = [found["status"] for at, found in recorder.seen if found["metadata"]["name"] == STABLE and at >= promote.at]
    assert min(status.get("availableReplicas", 0) for status in rolling) >= replicas - 1
    assert max(status.get("replicas", 0) for status in rolling) <= replicas + 1


def test_a_good_version_goes_all_the_way(
    kubernetes_peer: KubernetesControlPlane,
    postgresql_peer: PostgreSql,
    prometheus_peer: Prometheus,
    exporter_peer: GatewayExporter,
) -> None:
    with (
        Stage(kubernetes_peer, postgresql_peer, backends=[gateway(prometheus_peer)]) as stage,
        Traffic(stage.api, exporter_peer, stage.namespace),
    ):
        stage.daemon()
        plan = stage.plan(signals=[errors_at_the_gateway(stage)])
        wait_for_samples(prometheus_peer, stage.namespace, 10)
        rollout = stage.submit(plan)
        row = stage.wait_for_end(rollout)
        assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
        assert stage.images() == [NEW] * 10
        assert stage.deployment(CANARY)["spec"]["replicas"] == 0
        check_the_canary(stage.recorder, rollout, every=2)
        check_the_stable(stage.recorder, rollout, 10)
        stage.wait_until_told(rollout)
        assert stage.inbox.about("succeeded")
