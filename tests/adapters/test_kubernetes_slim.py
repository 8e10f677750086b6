from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rollout.adapters import kubernetes_slim as slim
from tests.adapters import kube_json as kube


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


def test_a_deployment_keeps_the_fields_that_decisions_read() -> None:
    document = kube.deployment(annotations={"rollout/id": "r1", "kubectl.kubernetes.io/last-applied-configuration": "{...}"})
    record = slim.deployment(document)
    found = record.deployment
    assert (found.name, found.namespace, found.resource_version, found.replicas) == ("nginx", "shop", "7", 10)
    assert found.images == {"nginx": "nginx:1.27.3"}
    assert found.annotations == {"rollout/id": "r1"}
    assert found.rolled_out
    assert record.annotated


def test_an_empty_object_is_read_without_an_error_and_is_not_rolled_out_by_accident() -> None:
    found = slim.deployment({"metadata": {"name": "x", "generation": 1}}).deployment
    assert (found.replicas, found.paused, found.progress_deadline_seconds, found.rolled_out) == (1, False, 600, False)
    assert slim.pod({}).pod.containers == ()
    assert slim.endpoints({"endpoints": None}).pods == frozenset()


@pytest.mark.parametrize(
    ("value", "replicas", "surge", "unavailable"),
    [(1, 10, 1, 1), ("25%", 10, 3, 2), (None, 10, 3, 2), ("10%", 5, 1, 0), ("100%", 3, 3, 3), (0, 4, 0, 0)],
)
def test_percentages_are_rounded_as_the_controller_rounds_them(value: object, replicas: int, surge: int, unavailable: int) -> None:
    assert slim.bound(value, replicas, up=True) == surge
    assert slim.bound(value, replicas, up=False) == unavailable


def test_surge_and_unavailable_are_never_both_zero() -> None:
    document = kube.deployment()
    document["spec"]["strategy"]["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": "1%"}
    found = slim.deployment(document).deployment
    assert (found.max_surge, found.max_unavailable) == (0, 1)


def test_the_last_writer_of_replicas_pause_and_image_is_named_also_through_the_scale_subresource() -> None:
    def entry(manager: str, time: str, spec: dict[str, Any], **more: str) -> dict[str, Any]:
        return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": {"f:spec": spec}, **more}

    image: dict[str, Any] = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"nginx"}': {".": {}, "f:image": {}}}}}}
    managed = [
        entry("kubectl-client-side-apply", "2026-11-01T00:00:00Z", {"f:replicas": {}, **image}),
        entry("argocd-controller", "2026-11-02T00:00:00Z", image),
        entry("kubectl-rollout", "2026-11-02T00:00:00Z", {"f:paused": {}}),
        entry("kube-controller-manager", "2026-11-03T00:00:00Z", {"f:replicas": {}}, subresource="scale"),
    ]
    found = slim.deployment(kube.deployment(managedFields=managed)).deployment.writers
    images = {"image": "argocd-controller", "image/nginx": "argocd-controller"}
    assert found == {"replicas": "kube-controller-manager", "paused": "kubectl-rollout", **images}


def test_a_terminating_pod_is_not_ready_and_says_since_when_it_is_deleted() -> None:
    document = kube.pod("p", "nginx-abc")
    document["metadata"] |= {"deletionTimestamp": "2026-11-22T13:00:30Z", "deletionGracePeriodSeconds": 30}
    found = slim.pod(document).pod
    assert not found.ready
    assert found.deleting_since == datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ({"reason": "Evicted", "phase": "Failed"}, "Evicted"),
        ({"reason": "NodeLost"}, "NodeLost"),
        ({"reason": "Terminated", "phase": "Failed"}, "NodeShutdown"),
        ({"reason": "Preempting"}, "Preempted"),
        ({"reason": "OutOfcpu", "phase": "Failed"}, "OutOfcpu"),
        ({"conditions": [condition("DisruptionTarget", "True", reason="PreemptionByScheduler")]}, "Preempted"),
        ({"conditions": [condition("DisruptionTarget", "True", reason="EvictionByEvictionAPI")]}, "DrainedByEviction"),
        ({"conditions": [condition("DisruptionTarget", "True", reason="DeletionByTaintManager")]}, "DrainedByTaint"),
        ({"conditions": [condition("DisruptionTarget", "True", reason="TerminationByKubelet")]}, "EvictedByNode"),
        ({"conditions": [condition("DisruptionTarget", "True", reason="SomethingNew")]}, "SomethingNew"),
        ({"conditions": [condition("DisruptionTarget", "False", reason="PreemptionByScheduler")]}, ""),
        ({"reason": "CrashLooping"}, ""),
        ({}, ""),
    ],
)
def test_a_displaced_pod_names_who_took_it_away(status: dict[str, Any], name: str) -> None:
    assert slim.displaced(status) == name


@pytest.mark.parametrize(
    ("ready", "turned", "lost"),
    [
        ("False", "2026-11-22T12:00:00Z", False),  # as it began
        ("False", "2026-11-22T12:40:00Z", True),
        ("True", "2026-11-22T12:40:00Z", False),
        ("False", "", False),
    ],
)
def test_a_pod_whose_readiness_turned_after_its_start_was_ready_before(ready: str, turned: str, lost: bool) -> None:  # noqa: FBT001 - a column of the table
    document = kube.pod("p", "nginx-abc", ready=False)
    begun = condition("Initialized", "True", lastTransitionTime="2026-11-22T12:00:00Z")
    document["status"]["conditions"] = [begun, condition("Ready", ready, lastTransitionTime=turned)]
    assert slim.pod(document).pod.lost_readiness is lost


def test_a_pod_whose_init_containers_ran_for_long_was_never_ready() -> None:
    document = kube.pod("p", "nginx-abc", ready=False)
    begun = condition("Initialized", "True", lastTransitionTime="2026-11-22T12:10:00Z")
    document["status"]["conditions"] = [begun, condition("Ready", "False", lastTransitionTime="2026-11-22T12:00:00Z")]
    assert not slim.pod(document).pod.lost_readiness


def test_a_pod_without_a_place_says_why() -> None:
    document = kube.pod("p", "nginx-abc", ready=False)
    document["status"]["conditions"] = [condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes: no memory")]
    assert slim.pod(document).pod.unschedulable == "0/3 nodes: no memory"


def test_a_crash_that_is_over_is_still_told_from_the_last_state() -> None:
    document = kube.pod("p", "nginx-abc", ready=False)
    document["status"]["containerStatuses"] = [
        {
            "name": "nginx",
            "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-22T13:00:00Z"}},
        }
    ]
    found = slim.pod(document).pod.containers[0]
    assert (found.waiting, found.terminated, found.exit_code, found.restarts) == ("CrashLoopBackOff", "OOMKilled", 137, 4)
    assert found.terminated_at == datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


def test_an_init_container_shows_only_while_it_is_in_trouble() -> None:
    document = kube.pod("p", "nginx-abc", ready=False)
    document["spec"]["initContainers"] = [{"name": "agent", "image": "agent:1"}, {"name": "migrate", "image": "migrate:1"}]
    document["status"]["initContainerStatuses"] = [
        {"name": "agent", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
        {"name": "migrate", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
    ]
    assert [c.name for c in slim.pod(document).pod.containers] == ["nginx", "migrate"]


def test_an_unset_ready_condition_of_an_endpoint_means_ready() -> None:
    record = slim.endpoints(
        kube.endpoint_slice(
            "s",
            kube.endpoint("unset"),
            kube.endpoint("null", ready=None),
            kube.endpoint("yes", ready=True, terminating=False),
            kube.endpoint("no", ready=False),
            kube.endpoint("leaving", ready=True, terminating=True),
            {"addresses": ["10.9.9.9"]},
        )
    )
    assert {name for name, _ in record.pods} == {"unset", "null", "yes"}
    assert record.addresses == {"10.9.9.9"}
    assert record.service == "nginx-svc"
