"""The control plane is real:

RBAC refuses, watches expire, Deployments roll; and the pretended kubelets do what they are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.peers.kubernetes import KubernetesApi, KubernetesControlPlane
from tests.peers.process import wait_until

Json = dict[str, Any]
READ_PODS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: daemon}]
"""


def deployment(name: str, image: str, replicas: int = 1) -> Json:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def namespace(kubernetes_peer: KubernetesControlPlane) -> Iterator[str]:
    name = f"test-{uuid4().hex[:8]}"
    kubernetes_peer.create_namespace(name)
    yield name
    kubernetes_peer.api.delete(f"/api/v1/namespaces/{name}")


def pods_of(cluster: KubernetesControlPlane, namespace: str, app: str) -> list[Json]:
    return cluster.api.items(f"/api/v1/namespaces/{namespace}/pods", f"app={app}")


def container(pod: Json) -> Json:
    statuses: list[Json] = pod["status"].get("containerStatuses", [{}])
    return statuses[0]


def is_ready(pod: Json) -> bool:
    return container(pod).get("ready", False) and "deletionTimestamp" not in pod["metadata"]


def all_ready(cluster: KubernetesControlPlane, namespace: str, app: str, count: int) -> bool:
    return [is_ready(pod) for pod in pods_of(cluster, namespace, app)] == [True] * count


def test_a_deployment_gets_ready_pods_with_addresses_of_their_own(kubernetes_peer: KubernetesControlPlane, namespace: str) -> None:
    kubernetes_peer.api.apply(deployment("good", "registry.example/shop:1.0", 30), namespace=namespace)

    wait_until(lambda: all_ready(kubernetes_peer, namespace, "good", 30), 60, "30 ready pods")

    found = pods_of(kubernetes_peer, namespace, "good")
    assert len({pod["status"]["podIP"] for pod in found}) == 30
    assert {container(pod)["imageID"].partition(":")[0] for pod in found} == {"registry.example/shop@sha256"}


@pytest.mark.parametrize(
    ("tag", "seen"),
    [
        ("2.0-crash-loop", {"waiting": "CrashLoopBackOff", "last": ("Error", 1), "restarts": 1}),
        ("2.0-oom", {"waiting": "CrashLoopBackOff", "last": ("OOMKilled", 137), "restarts": 1}),
        ("2.0-no-pull", {"waiting": "ImagePullBackOff", "last": None, "restarts": 0}),
    ],
)
def test_the_image_decides_how_a_pod_fails(kubernetes_peer: KubernetesControlPlane, namespace: str, tag: str, seen: Json) -> None:
    kubernetes_peer.api.apply(deployment("bad", f"registry.example/shop:{tag}"), namespace=namespace)

    def state() -> Json:
        (status,) = [container(pod) for pod in pods_of(kubernetes_peer, namespace, "bad")] or [{}]
        last = status.get("lastState", {}).get("terminated")
        return {
            "waiting": status.get("state", {}).get("waiting", {}).get("reason"),
            "last": (last["reason"], last["exitCode"]) if last else None,
            "restarts": status.get("restartCount", 0),
        }

    wait_until(lambda: state() == seen, 60, f"a pod that is {seen}")


def test_a_pod_that_runs_well_can_be_made_to_fail_and_to_recover(kubernetes_peer: KubernetesControlPlane, namespace: str) -> None:
    kubernetes_peer.api.apply(deployment("turned", "registry.example/shop:1.0"), namespace=namespace)
    wait_until(lambda: all_ready(kubernetes_peer, namespace, "turned", 1), 60, "a ready pod")
    (pod,) = pods_of(kubernetes_peer, namespace, "turned")

    kubernetes_peer.behave(namespace, pod["metadata"]["name"], "crash-loop")
    wait_until(lambda: "waiting" in container(pods_of(kubernetes_peer, namespace, "turned")[0])["state"], 60, "a crash loop")
    kubernetes_peer.behave(namespace, pod["metadata"]["name"], "well")

    wait_until(lambda: all_ready(kubernetes_peer, namespace, "turned", 1), 60, "a pod that is ready again")
    (after,) = pods_of(kubernetes_peer, namespace, "turned")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert container(after)["restartCount"] == 2


def test_slow_lost_and_evicted_pods(kubernetes_peer: KubernetesControlPlane, namespace: str) -> None:
    for behaviour in ("slow", "loses-readiness", "evicted"):
        kubernetes_peer.api.apply(deployment(behaviour, f"registry.example/shop:{behaviour}"), namespace=namespace)

    def seen(app: str, condition: object) -> bool:
        return any(
            (pod["status"].get("reason"), container(pod).get("ready")) == condition
            for pod in pods_of(kubernetes_peer, namespace, app)
        )

    wait_until(lambda: seen("slow", (None, False)), 60, "a slow pod, not ready")
    wait_until(lambda: seen("loses-readiness", (None, True)), 60, "a ready pod")
    wait_until(lambda: seen("loses-readiness", (None, False)), 60, "that is not ready any more")
    wait_until(lambda: seen("evicted", ("Evicted", False)), 60, "an evicted pod")
    wait_until(lambda: seen("slow", (None, True)), 60, "a slow pod, ready at last")


def test_the_api_server_gives_out_what_a_pod_printed(kubernetes_peer: KubernetesControlPlane, namespace: str) -> None:
    kubernetes_peer.api.apply(deployment("talks", "registry.example/shop:1.0", 2), namespace=namespace)
    wait_until(lambda: all_ready(kubernetes_peer, namespace, "talks", 2), 60, "2 ready pods")
    talker, silent = (pod["metadata"]["name"] for pod in pods_of(kubernetes_peer, namespace, "talks"))

    kubernetes_peer.log(namespace, talker, "INFO started", "ERROR boom")

    def printed(pod: str, **query: str) -> str:
        return kubernetes_peer.api.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", params=query).text

    wait_until(lambda: printed(talker), 60, "the lines")
    assert printed(talker) == "INFO started\nERROR boom\n"
    assert printed(talker, tailLines="1") == "ERROR boom\n"
    assert printed(silent) == ""


def test_a_drained_node_loses_its_pods_to_others(kubernetes_peer: KubernetesControlPlane, namespace: str) -> None:
    kubernetes_peer.api.apply(deployment("moved", "registry.example/shop:1.0", 5), namespace=namespace)
    wait_until(lambda: all_ready(kubernetes_peer, namespace, "moved", 5), 60, "5 ready pods")
    node = pods_of(kubernetes_peer, namespace, "moved")[0]["spec"]["nodeName"]

    try:
        kubernetes_peer.drain(node)
        wait_until(lambda: all_ready(kubernetes_peer, namespace, "moved", 5), 60, "5 ready pods again")
        assert node not in {pod["spec"]["nodeName"] for pod in pods_of(kubernetes_peer, namespace, "moved")}
    finally:
        kubernetes_peer.uncordon(node)


def test_a_service_account_can_do_what_its_rules_say_and_nothing_else(
    kubernetes_peer: KubernetesControlPlane, namespace: str
) -> None:
    kubeconfig = yaml.safe_load(kubernetes_peer.kubeconfig_for("daemon", namespace, READ_PODS).read_text())
    token = kubeconfig["users"][0]["user"]["token"]

    with closing(KubernetesApi(kubernetes_peer.url, kubernetes_peer.certificate, token)) as daemon:
        assert daemon.items(f"/api/v1/namespaces/{namespace}/pods") == []
        refused = daemon.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/any")

    assert refused.status_code == httpx.codes.FORBIDDEN
    assert "cannot delete resource" in refused.json()["message"]


def test_the_rules_that_we_ship_let_the_daemon_patch_deployments_and_read_no_secrets(
    kubernetes_peer: KubernetesControlPlane, namespace: str
) -> None:
    rules = Path(__file__).parents[2] / "config" / "kubernetes" / "rbac.yaml"
    kubernetes_peer.api.apply(deployment("web", "registry.example/shop:1.0"), namespace=namespace)
    kubeconfig = yaml.safe_load(kubernetes_peer.kubeconfig_for("rollout", "rollout", rules, into=namespace).read_text())
    token = kubeconfig["users"][0]["user"]["token"]
    web = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"

    with closing(KubernetesApi(kubernetes_peer.url, kubernetes_peer.certificate, token)) as daemon:
        assert daemon.patch(web, {"spec": {"replicas": 2}})["spec"]["replicas"] == 2
        assert daemon.request("DELETE", web).status_code == httpx.codes.FORBIDDEN
        assert daemon.request("GET", f"/api/v1/namespaces/{namespace}/secrets").status_code == httpx.codes.FORBIDDEN


def test_a_restarted_and_compacted_api_server_answers_410_to_an_old_watch(
    kubernetes_peer: KubernetesControlPlane, namespace: str
) -> None:
    api, pods = kubernetes_peer.api, f"/api/v1/namespaces/{namespace}/pods"
    old = api.get(pods)["metadata"]["resourceVersion"]
    kubernetes_peer.api.apply(deployment("noise", "registry.example/shop:1.0"), namespace=namespace)
    wait_until(lambda: all_ready(kubernetes_peer, namespace, "noise", 1), 60, "a ready pod")

    kubernetes_peer.expire_watches()

    answer = api.request("GET", pods, params={"watch": "1", "resourceVersion": old, "timeoutSeconds": "3"})
    assert '"code":410' in answer.text
    wait_until(lambda: all_ready(kubernetes_peer, namespace, "noise", 1), 60, "the pod as before")


def test_a_paused_api_server_hangs_and_a_stopped_one_refuses(kubernetes_peer: KubernetesControlPlane) -> None:
    api = kubernetes_peer.api
    kubernetes_peer.pause_api_server()
    try:
        with pytest.raises(httpx.TimeoutException):
            api.request("GET", "/readyz", timeout=1)
    finally:
        kubernetes_peer.resume_api_server()

    kubernetes_peer.stop_api_server()
    try:
        with pytest.raises(httpx.TransportError):
            api.request("GET", "/readyz", timeout=1)
    finally:
        kubernetes_peer.start_api_server()

    assert api.ready()
