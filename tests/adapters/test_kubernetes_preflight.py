from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.adapters.kubernetes_preflight import NEEDED
from rollout.core.errors import Unavailable
from rollout.ports import Check
from tests.adapters import kube_json as kube
from tests.adapters.api_stub import ApiStub, Asked, Script, Tell, api, kubeconfig, status


def healthy(asked: Asked) -> Tell:
    match asked.kind:
        case "nginx" | "nginx-canary":
            return Tell(body=kube.deployment(asked.kind))
        case "nginx-svc":
            return Tell(body=kube.example("nginx-svc"))
        case "selfsubjectaccessreviews":
            return Tell(201, {"status": {"allowed": True}})
        case "scaledobjects":
            return status(404, "the server could not find the requested resource")
        case "shop":
            return status(403, "namespaces is forbidden at the cluster scope")
        case _:
            return Tell(body=kube.listed())


def checked(folder: Path, script: Script) -> tuple[list[Check], ApiStub]:
    with api(script) as stub:
        settings = ClusterSettings(name="test", kubeconfig=kubeconfig(folder, stub.port), read_timeout=timedelta(seconds=0.3))
        with closing(KubernetesCluster(settings, SystemClock())) as cluster:
            return list(cluster.preflight(kube.TARGET, "nginx:1.28.0")), stub


def trouble(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.name, check.level) for check in checks if check.level != "ok" and check.name != "skywalking agent"]


def test_a_cluster_without_keda_and_without_rights_on_namespaces_is_no_trouble(tmp_path: Path) -> None:
    checks, stub = checked(tmp_path, healthy)
    assert trouble(checks) == []
    asked = [a.body["spec"]["resourceAttributes"] for a in stub.asked if a.method == "POST"]
    assert {(a["verb"], a["group"], a["resource"]) for a in asked} == set(NEEDED)
    assert {a["namespace"] for a in asked} == {"shop"}


def test_only_the_pods_behind_the_service_are_read(tmp_path: Path) -> None:
    _, stub = checked(tmp_path, healthy)
    assert [a.query["labelSelector"] for a in stub.asked if a.kind == "pods"] == ["app=nginx"]


def test_what_may_not_be_listed_is_a_warning_that_names_it(tmp_path: Path) -> None:
    denied = status(403, "horizontalpodautoscalers.autoscaling is forbidden")
    checks, _ = checked(tmp_path, lambda asked: denied if asked.kind == "horizontalpodautoscalers" else healthy(asked))
    assert trouble(checks) == [("permissions", "warning")]
    assert any("horizontalpodautoscalers could not be checked" in check.message for check in checks)


@pytest.mark.parametrize("kind", ["nginx", "pods", "selfsubjectaccessreviews", "resourcequotas"])
def test_an_api_that_does_not_answer_one_question_is_unavailable_and_not_a_pass(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unavailable):
        checked(tmp_path, lambda asked: Tell(hang=True) if asked.kind == kind else healthy(asked))
