from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rollout.adapters import kubernetes_checks, kubernetes_checks_around
from rollout.adapters.kubernetes_checks_around import quantity
from rollout.adapters.kubernetes_found import Found, selects
from rollout.core.target import Target
from rollout.ports import Check
from tests.adapters import kube_json as kube

TARGET = Target("test", "shop", "nginx", "nginx", canary="nginx-canary", service="nginx-svc")
NEW = "nginx:1.28.0"


def good() -> Found:
    return Found(
        TARGET,
        NEW,
        stable=kube.deployment("nginx"),
        canary=kube.deployment("nginx-canary"),
        service=kube.example("nginx-svc"),
        pods=[kube.pod("nginx-a-1", "nginx-a")],
        permitted={"patch deployments.apps": True},
    )


def judged(found: Found) -> list[Check]:
    checks = (*kubernetes_checks.CHECKS, *kubernetes_checks_around.CHECKS)
    return [line for check in checks for line in check(found)]


def trouble(found: Found) -> list[Check]:
    return [line for line in judged(found) if line.level != "ok" and line.name != "skywalking agent"]


def only(found: Found) -> Check:
    lines = trouble(found)
    assert len(lines) == 1, lines
    assert lines[0].remedy
    return lines[0]


def test_the_example_manifests_pass_every_check() -> None:
    assert trouble(good()) == []
    assert {line.name for line in judged(good())} >= {"stable", "canary", "container", "service", "selectors", "image", "strategy"}


def test_the_users_own_release_manifest_is_told_everything_that_is_wrong_with_it() -> None:
    release = kube.deployment("nginx", replicas=1)
    release["spec"]["selector"] = {"matchLabels": {"app": "nginx"}}
    release["spec"]["template"]["metadata"]["labels"] = {"app": "nginx"}
    kube.container(release)["image"] = "nginx:latest"
    lines = {line.name: line for line in trouble(replace(good(), stable=release))}
    assert set(lines) == {"selectors", "rolled out", "image"}
    assert (
        "nginx selects app=nginx, which also matches the pods of nginx-canary (app=nginx,role=canary)" in lines["selectors"].message
    )
    assert "role: release" in lines["selectors"].remedy
    assert "half of the requests" in lines["rolled out"].message
    assert "nginx runs nginx:latest" in lines["image"].message
    assert lines["image"].remedy.endswith(f"set image deployment/nginx nginx={kube.IMAGE_ID}")


Change = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]


def stable(path: str, value: object) -> Change:
    return lambda stable, _canary, _service: put(stable, path, value)


def canary(path: str, value: object) -> Change:
    return lambda _stable, canary, _service: put(canary, path, value)


def service(path: str, value: object) -> Change:
    return lambda _stable, _canary, service: put(service, path, value)


def put(document: dict[str, Any], path: str, value: object) -> None:
    *parents, key = path.split("/")
    here: Any = document
    for part in parents:
        here = here[int(part)] if part.isdigit() else here.setdefault(part, {})
    here[key] = value


FIRST = "spec/template/spec/containers/0"
ENV = [{"name": "JAVA_ENABLE_DEBUG", "value": "true"}]


@pytest.mark.parametrize(
    ("change", "name", "level", "words"),
    [
        (canary("spec/replicas", 2), "canary at rest", "refused", "has 2 replicas already"),
        (canary(f"{FIRST}/readinessProbe", None), "readiness probe", "refused", "no readiness probe"),
        (stable("spec/strategy", {"type": "Recreate"}), "strategy", "refused", "stops every pod at once"),
        (stable("spec/strategy", {}), "strategy", "refused", "maxUnavailable 2, maxSurge 3"),
        (stable("spec/paused", value=True), "rolled out", "refused", "is paused"),
        (stable("status/updatedReplicas", 4), "rolled out", "refused", "4 of 10 pods updated"),
        (stable(f"{FIRST}/image", NEW), "image", "refused", "runs nginx:1.28.0 already"),
        (stable(f"{FIRST}/image", "redis:7.0.1"), "image", "warning", "another repository"),
        (canary(f"{FIRST}/env", ENV), "remote debugging", "refused", "JAVA_ENABLE_DEBUG=true"),
        (stable(f"{FIRST}/env", ENV), "remote debugging", "warning", "JAVA_ENABLE_DEBUG=true"),
        (canary(f"{FIRST}/args", ["-agentlib:jdwp=transport=dt_socket"]), "remote debugging", "refused", "jdwp"),
        (service("spec/selector", {"app": "nginx", "role": "release"}), "service", "refused", "misses the pods of nginx-canary"),
        (service("spec/publishNotReadyAddresses", value=True), "service", "warning", "not ready"),
        (stable("metadata/labels/argocd.argoproj.io~instance", "x"), "", "", ""),
        (stable("metadata/annotations/kustomize.toolkit.fluxcd.io", "x"), "", "", ""),
    ],
)
def test_each_thing_that_is_wrong_is_one_line_with_its_remedy(change: Change, name: str, level: str, words: str) -> None:
    found = good()
    assert found.stable is not None
    assert found.canary is not None
    assert found.service is not None
    change(dict(found.stable), dict(found.canary), dict(found.service))
    if not name:
        assert trouble(found) == []  # keys that only look like the marks of a GitOps tool
        return
    line = only(found)
    assert (line.name, line.level) == (name, level)
    assert words in line.message


@pytest.mark.parametrize(
    ("meta", "owner"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/nginx"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "Flux"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        (
            {"managedFields": [{"manager": "keel", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
            "keel",
        ),
    ],
)
def test_whoever_may_put_things_back_is_named(meta: dict[str, Any], owner: str) -> None:
    line = only(replace(good(), stable=kube.deployment("nginx", **meta)))
    assert (line.name, line.level) == ("ownership", "warning")
    assert owner in line.message


def test_a_target_without_a_canary_and_a_question_without_an_image_are_no_trouble() -> None:
    assert trouble(replace(good(), target=replace(TARGET, canary=""), canary=None, image="")) == []


def test_a_missing_deployment_is_one_refusal_and_no_traceback() -> None:
    line = only(replace(good(), canary=None))
    assert line.message == "Deployment shop/nginx-canary does not exist"


def test_a_deployment_that_we_may_not_read_is_not_called_missing() -> None:
    found = replace(good(), stable=None, denied={"deployments": 'deployments.apps "nginx" is forbidden'})
    lines = {(line.name, line.level): line.message for line in trouble(found)}
    assert "is forbidden" in lines["stable", "refused"]


def test_a_container_of_another_name_is_told_with_the_names_that_there_are() -> None:
    lines = [line for line in judged(replace(good(), target=replace(TARGET, container="web"))) if line.name == "container"]
    assert [line.level for line in lines] == ["refused", "refused"]
    assert lines[0].message == "nginx has no container web, only nginx"


def test_an_autoscaler_on_the_canary_is_refused_and_one_on_the_stable_is_told() -> None:
    def hpa(name: str) -> dict[str, Any]:
        return {
            "metadata": {"name": f"hpa-{name}"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": name}, "minReplicas": 4, "maxReplicas": 12},
        }

    line = only(replace(good(), autoscalers=[hpa("nginx"), hpa("nginx-canary")]))
    assert (line.name, line.level) == ("autoscaling", "refused")
    told = [c.message for c in judged(replace(good(), autoscalers=[hpa("nginx")])) if c.name == "autoscaling"]
    assert any("4 to 12 replicas" in message for message in told)
    scaled = {"metadata": {"name": "keda"}, "spec": {"scaleTargetRef": {"name": "nginx-canary"}}}
    assert "KEDA ScaledObject keda" in only(replace(good(), scaled_objects=[scaled])).message


def test_every_missing_permission_is_named_with_verb_and_resource() -> None:
    found = replace(good(), permitted={"patch deployments.apps": False, "list pods": True, "create events": False})
    line = only(found)
    assert (line.name, line.level) == ("permissions", "refused")
    assert "may not patch deployments.apps, create events in namespace shop" in line.message


def test_a_telepresence_agent_in_a_pod_is_refused() -> None:
    intercepted = kube.pod("nginx-a-1", "nginx-a")
    intercepted["spec"]["containers"].append({"name": "traffic-agent", "image": "tel2:1"})
    line = only(replace(good(), pods=[intercepted]))
    assert (line.name, line.level) == ("telepresence", "refused")


def test_a_namespace_that_is_being_deleted_is_refused() -> None:
    assert only(replace(good(), namespace={"status": {"phase": "Terminating"}})).name == "namespace"


def test_a_quota_without_room_for_one_more_pod_is_a_warning() -> None:
    quota = {"metadata": {"name": "q"}, "status": {"hard": {"pods": "12", "cpu": "1"}, "used": {"pods": "11", "cpu": "980m"}}}
    line = only(replace(good(), quotas=[quota]))
    assert line.message == "ResourceQuota q: 980m of 1 cpu are used, one more pod does not fit"


def test_the_instance_name_variable_that_the_agent_does_not_read_is_told() -> None:
    found = good()
    assert found.canary is not None
    env = [
        {"name": "JAVA_TOOL_OPTIONS", "value": "-javaagent:/skywalking/agent/skywalking-agent.jar"},
        {"name": "SW_AGENT_INSTANCENAME", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    put(dict(found.canary), f"{FIRST}/env", env)
    lines = [line for line in judged(found) if line.name == "skywalking agent"]
    assert [line.level for line in lines] == ["warning", "warning"]
    assert "no SkyWalking agent" in lines[0].message
    assert "SW_AGENT_INSTANCENAME" in lines[1].message
    assert "SW_AGENT_INSTANCE_NAME" in lines[1].remedy


@pytest.mark.parametrize(
    ("expressions", "matches"),
    [
        ([{"key": "role", "operator": "In", "values": ["canary", "x"]}], True),
        ([{"key": "role", "operator": "NotIn", "values": ["canary"]}], False),
        ([{"key": "role", "operator": "Exists"}], True),
        ([{"key": "role", "operator": "DoesNotExist"}], False),
        ([{"key": "other", "operator": "NotIn", "values": ["canary"]}], True),
    ],
)
def test_selectors_with_expressions_are_understood(expressions: list[dict[str, Any]], matches: bool) -> None:  # noqa: FBT001 - a table column
    assert (
        selects({"matchLabels": {"app": "nginx"}, "matchExpressions": expressions}, {"app": "nginx", "role": "canary"}) is matches
    )


@pytest.mark.parametrize(("text", "amount"), [("100m", "0.1"), ("2", "2"), ("1.5Gi", "1610612736"), (3, "3"), ("1e3", "1000")])
def test_quantities_are_read_as_kubernetes_writes_them(text: object, amount: str) -> None:
    assert quantity(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "many", "1Zi", None, "1..2"])
def test_what_is_no_quantity_is_none(text: object) -> None:
    assert quantity(text) is None
