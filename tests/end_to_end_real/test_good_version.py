"""A good version goes all the way on a real control plane, and everything that was written is what the procedure says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rollout.core.history import Outcome
from tests.end_to_end_real.recorder import Recorder
from tests.end_to_end_real.stage import CANARY, NEW, OLD, STABLE, Stage
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql

pytestmark = pytest.mark.timeout(600)  # whole rollouts, on cores that are shared


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
    # `status.replicas` adds up ReplicaSets that are read at different moments; what is available is counted at one.
    assert max(status.get("availableReplicas", 0) for status in rolling) <= replicas + 1


def test_a_good_version_goes_all_the_way(traced_stage: Stage) -> None:
    """Judged, credited and certified by what the gateway counts and by what the agents report."""
    stage = traced_stage
    stage.daemon()
    signals = [stage.errors_at_the_gateway, stage.errors_in_traces(), stage.errors_in_traces("skywalking-success-rate")]
    rollout = stage.submit(stage.plan(signals=signals))
    row = stage.wait_for_end(rollout, 420)
    assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
    (promoting,) = stage.history(rollout, "promoting")
    judged = {item.signal: dict(item.counts) for item in promoting.evidence}
    assert set(judged) == {"apisix-5xx", "skywalking-traces", "skywalking-success-rate"}
    assert all(counts["candidate requests"] > 0 and counts["baseline requests"] > 0 for counts in judged.values()), judged
    assert stage.images() == [NEW] * 10
    assert stage.deployment(CANARY)["spec"]["replicas"] == 0
    check_the_canary(stage.recorder, rollout, every=2)
    check_the_stable(stage.recorder, rollout, 10)
    stage.wait_until_told(rollout)
    assert stage.inbox.about("succeeded")


def test_thirty_pods_go_all_the_way(kubernetes_peer: KubernetesControlPlane, postgresql_peer: PostgreSql) -> None:
    with Stage(kubernetes_peer, postgresql_peer, replicas=30) as stage:
        stage.daemon()
        rollout = stage.submit(stage.plan())
        row = stage.wait_for_end(rollout)
        assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
        assert stage.images() == [NEW] * 30
        check_the_canary(stage.recorder, rollout, every=2)
        check_the_stable(stage.recorder, rollout, 30)
        stage.wait_until_told(rollout)
