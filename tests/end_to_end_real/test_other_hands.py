"""Somebody else has a hand in it: what they did is seen, told, and respected or put back as the procedure says."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.core.history import Outcome
from tests.end_to_end_real.stage import CANARY, NEW, OLD, STABLE, Stage
from tests.peers.kubernetes.metrics_api import MetricsApi
from tests.peers.process import wait_until

pytestmark = pytest.mark.timeout(600)  # whole rollouts, on cores that are shared

Json = dict[str, Any]
HOTFIX = "nginx:1.27.3-1"
SOMEBODY = "kubectl-edit"
LONG = {"soak": "5m", "maxSoak": "30m"}


def image(name: str) -> Json:
    return {"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": name}]}}}}


def replicas(count: int) -> Json:
    return {"spec": {"replicas": count}}


def soaking(stage: Stage, **spec: Any) -> str:  # noqa: ANN401 -- YAML
    """A canary that will soak for minutes."""
    stage.daemon()
    rollout = stage.submit(stage.plan(**{**LONG, **spec}))
    stage.wait_for_step(rollout, "soaking")
    return rollout


def check_aborted(stage: Stage, rollout: str, kind: str, *words: str) -> None:
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.ABORTED, row.why
    assert all(word in row.why for word in words), row.why
    (event,) = stage.history(rollout, "stepping-back")
    assert ("reason", kind) in event.facts
    stage.wait_until_told(rollout)
    assert any(words[0] in text for text in stage.inbox.about(rollout))


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (replicas(0), "canary-scaled-to-0", "scaled to 0"),
        (image(HOTFIX), "canary-image-changed", f"was given {HOTFIX}"),
    ],
)
def test_a_canary_that_somebody_stops_or_takes_over_is_given_up(stage: Stage, body: Json, kind: str, words: str) -> None:
    rollout = soaking(stage)
    stage.change(CANARY, body, SOMEBODY)
    check_aborted(stage, rollout, kind, words, f"by {SOMEBODY}")
    assert stage.recorder.of(STABLE) == []
    assert stage.images() == [OLD] * 10
    assert stage.deployment(CANARY)["metadata"]["annotations"]["rollout/stopped"] == rollout


def test_a_canary_that_somebody_deletes_is_given_up(stage: Stage) -> None:
    rollout = soaking(stage)
    stage.api.delete(f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{CANARY}")
    check_aborted(stage, rollout, "canary-deleted", CANARY, "deleted")
    assert stage.images() == [OLD] * 10


def test_a_canary_that_somebody_raises_is_put_back_and_goes_on(stage: Stage) -> None:
    rollout = soaking(stage, replicas={"max": 1, "every": "2s"})
    stage.change(CANARY, replicas(5), SOMEBODY)
    told = stage.wait_for_event(rollout, "foreign-scale")
    assert f"raised to 5 by {SOMEBODY}" in told.why
    wait_until(lambda: stage.deployment(CANARY)["spec"]["replicas"] == 1, 60, "the canary at 1 again")
    assert stage.recorder.of(CANARY)[-1].changes == {"replicas": (5, 1)}
    assert stage.row(rollout).step == "soaking"
    stage.wait_until_told(rollout)
    assert stage.inbox.about("raised by hand")


def test_a_hotfix_of_the_stable_during_the_soak_takes_the_canary_away_and_is_left_alone(stage: Stage) -> None:
    rollout = soaking(stage)
    stage.change(STABLE, image(HOTFIX), SOMEBODY)
    check_aborted(stage, rollout, "stable-image-changed", f"was given {HOTFIX}", f"by {SOMEBODY}")
    assert stage.deployment(CANARY)["spec"]["replicas"] == 0
    assert stage.recorder.of(STABLE) == []


def test_a_hotfix_in_the_middle_of_promotion_is_never_overwritten(stage: Stage) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan(promotion={"pace": "3s", "watch": "3s", "progressDeadline": "5m"}))
    stage.wait_for_step(rollout, "promoting")
    stage.wait_for_event(rollout, "pod-updated")
    stage.change(STABLE, image(HOTFIX), SOMEBODY)
    check_aborted(stage, rollout, "stable-image-changed", f"was given {HOTFIX}", f"by {SOMEBODY}", "left alone")
    assert stage.deployment(CANARY)["spec"]["replicas"] == 0
    container = stage.deployment(STABLE)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == HOTFIX
    assert "image" not in stage.recorder.of(STABLE)[-1].changes or stage.recorder.of(STABLE)[-1].new("image") == NEW
    kinds = [notice["kind"] for notice in stage.parts.store.notices(rollout)]
    assert "needs-a-person" in kinds


def autoscaler() -> Json:
    """Four to fourteen stable pods, each with 100 millicores of work, without the pauses that an autoscaler makes."""
    at_once = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 20, "periodSeconds": 1}]}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "100m"}}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": STABLE},
        "minReplicas": 4, "maxReplicas": 14, "metrics": [metric], "behavior": {"scaleUp": at_once, "scaleDown": at_once},
    }  # fmt: skip
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": STABLE}, "spec": spec}


def test_an_autoscaler_scales_the_stable_and_the_canary_follows_its_share(stage: Stage) -> None:
    with MetricsApi(stage.cluster) as metrics:
        metrics.work = 1000
        stage.api.apply(autoscaler(), namespace=stage.namespace)
        rollout = soaking(stage)
        wait_until(lambda: len(stage.pods("canary")) == 2, 60, "a second canary replica")
        metrics.work = 1400
        wait_until(lambda: stage.deployment(STABLE)["status"].get("availableReplicas") == 14, 60, "14 stable pods")
        assert stage.row(rollout).step == "soaking"
        metrics.work = 400
        event = stage.wait_for_event(rollout, "replica-removed")
        assert "was scaled to 4" in event.why
        wait_until(lambda: stage.deployment(CANARY)["spec"]["replicas"] == 1, 60, "one canary replica taken away")
        assert stage.row(rollout).outcome is Outcome.ACTIVE
        assert stage.recorder.of(STABLE) == []
        scaled = [write.changes for write in stage.recorder.of(STABLE, ours=False)]
        assert scaled == [{"replicas": (10, 14)}, {"replicas": (14, 4)}]
        stage.wait_until_told(rollout)


def test_a_drained_node_displaces_the_canary_and_nothing_is_blamed_on_the_version(stage: Stage) -> None:
    rollout = soaking(stage, replicas={"max": 1, "every": "2s"}, soak="10s")
    (pod,) = stage.pods("canary")
    node = pod["spec"]["nodeName"]
    stage.cluster.drain(node)
    try:
        told = stage.wait_for_event(rollout, "pod-displaced")
        assert pod["metadata"]["name"] in told.why
        assert "was taken away" in told.why
        row = stage.wait_for_end(rollout)
    finally:
        stage.cluster.uncordon(node)
    assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
    assert stage.images() == [NEW] * 10
