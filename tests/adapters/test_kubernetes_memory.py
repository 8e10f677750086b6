from __future__ import annotations

from datetime import UTC, datetime

from rollout.adapters.kubernetes_memory import DEPLOYMENTS, ENDPOINTS, PODS, REPLICA_SETS, NamespaceMemory
from rollout.core.target import Target
from tests.adapters import kube_json as kube

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
TARGET = Target("test", "shop", "nginx", "nginx", canary="nginx-canary", service="nginx-svc")


def filled() -> NamespaceMemory:
    memory = NamespaceMemory()
    memory.replace(DEPLOYMENTS, [kube.deployment("nginx"), kube.deployment("nginx-canary")])
    memory.replace(REPLICA_SETS, [kube.replica_set("nginx-a", "nginx"), kube.replica_set("nginx-canary-b", "nginx-canary")])
    memory.replace(
        PODS, [kube.pod("nginx-a-1", "nginx-a", ip="10.1.0.1"), kube.pod("nginx-canary-b-1", "nginx-canary-b", ip="10.1.0.2")]
    )
    memory.replace(ENDPOINTS, [kube.endpoint_slice("s1", kube.endpoint("nginx-a-1", "10.1.0.1", ready=True))])
    return memory


def test_pods_are_attributed_through_their_replica_set_and_not_by_their_name() -> None:
    view = filled().view(TARGET, NOW)
    assert {p.name: p.deployment for p in view.pods} == {"nginx-a-1": "nginx", "nginx-canary-b-1": "nginx-canary"}
    assert {p.name: p.serving for p in view.pods} == {"nginx-a-1": True, "nginx-canary-b-1": False}


def test_a_pod_that_arrives_before_its_replica_set_is_attributed_later() -> None:
    memory = filled()
    assert memory.change(PODS, "ADDED", kube.pod("nginx-c-1", "nginx-c")) == set()
    assert len(memory.view(TARGET, NOW).pods) == 2
    assert memory.change(REPLICA_SETS, "ADDED", kube.replica_set("nginx-c", "nginx")) == {"nginx"}
    assert [p.deployment for p in memory.view(TARGET, NOW).pods if p.name == "nginx-c-1"] == ["nginx"]


def test_a_new_list_forgets_what_is_not_in_it() -> None:
    memory = filled()
    assert memory.replace(PODS, [kube.pod("nginx-a-1", "nginx-a", ip="10.1.0.1")]) == {"nginx-canary"}
    assert [p.name for p in memory.view(TARGET, NOW).pods] == ["nginx-a-1"]


def test_a_change_that_we_do_not_keep_wakes_nobody() -> None:
    memory = filled()
    same = kube.pod("nginx-a-1", "nginx-a", ip="10.1.0.1", version="8")
    same["metadata"]["annotations"] = {"noise": "1"}
    assert memory.change(PODS, "MODIFIED", same) == set()


def test_a_ready_address_in_one_of_two_slices_is_enough_to_serve() -> None:
    memory = filled()
    memory.change(ENDPOINTS, "ADDED", kube.endpoint_slice("s2", kube.endpoint("nginx-a-1", "10.1.0.1", ready=False)))
    assert [p.serving for p in memory.view(TARGET, NOW).pods if p.name == "nginx-a-1"] == [True]
    assert memory.change(ENDPOINTS, "DELETED", kube.endpoint_slice("s1")) == {"nginx"}
    assert [p.serving for p in memory.view(TARGET, NOW).pods if p.name == "nginx-a-1"] == [False]


def test_an_endpoint_of_a_pod_with_the_same_name_but_another_uid_does_not_count() -> None:
    memory = filled()
    stranger = kube.endpoint("nginx-canary-b-1", "10.1.0.2", ready=True)
    stranger["targetRef"]["uid"] = "an older pod of that name"
    memory.change(ENDPOINTS, "ADDED", kube.endpoint_slice("s2", stranger))
    assert [p.serving for p in memory.view(TARGET, NOW).pods if p.deployment == "nginx-canary"] == [False]


def test_another_services_endpoints_do_not_count() -> None:
    memory = filled()
    other = kube.endpoint_slice("s2", kube.endpoint("nginx-canary-b-1", "10.1.0.2", ready=True))
    other["metadata"]["labels"] = {"kubernetes.io/service-name": "internal"}
    memory.change(ENDPOINTS, "ADDED", other)
    assert [p.serving for p in memory.view(TARGET, NOW).pods if p.deployment == "nginx-canary"] == [False]


def test_a_deleted_deployment_is_none_in_the_view() -> None:
    memory = filled()
    assert memory.change(DEPLOYMENTS, "DELETED", kube.deployment("nginx-canary")) == {"nginx-canary"}
    view = memory.view(TARGET, NOW)
    assert view.canary is None
    assert view.stable is not None


def test_pods_of_no_deployment_are_not_kept() -> None:
    memory = filled()
    bare = kube.pod("job-1", "x")
    bare["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "job", "controller": True}]
    assert memory.change(PODS, "ADDED", bare) == set()
    assert memory.counts()[PODS] == 2
