from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import yaml

from rollout.adapters.apisix_crd import GROUP, PLURALS
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.kubernetes_jobs import RIGHTS
from rollout.adapters.kubernetes_preflight import NEEDED
from rollout.core.gate import PlaceKind
from rollout.core.images import check_image
from rollout.settings_file import parse_settings

CONFIG = Path(__file__).resolve().parents[2] / "config" / "kubernetes"

Json = dict[str, Any]


def documents(name: str) -> list[Json]:
    return list(yaml.safe_load_all((CONFIG / name).read_text(encoding="utf-8")))


def of_kind(name: str, kind: str) -> Json:
    return next(document for document in documents(name) if document["kind"] == kind)


def rights() -> set[tuple[str, str, str]]:
    rules = of_kind("rbac.yaml", "Role")["rules"]
    return {one for rule in rules for one in product(rule["verbs"], rule["apiGroups"], rule["resources"])}


def test_the_role_grants_everything_that_preflight_calls_necessary() -> None:
    assert set(NEEDED) <= rights()


def test_the_role_grants_nothing_that_would_surprise_its_reader() -> None:
    granted = rights()
    assert not [one for one in granted if "*" in one]
    assert not [one for one in granted if one[2] == "secrets"]
    assert {one for one in granted if one[0] in {"patch", "update", "delete", "deletecollection"}} == {
        ("patch", "apps", "deployments"),
        ("patch", "batch", "jobs"),
        ("patch", "apisix.apache.org", "apisixroutes"),
        ("patch", "apisix.apache.org", "apisixpluginconfigs"),
    }


def test_the_role_grants_everything_that_jobs_and_gates_in_the_cluster_need() -> None:
    jobs = {(verb, group, resource) for resource, group, verb in RIGHTS}
    gates = {(verb, GROUP, PLURALS[kind]) for verb in ("get", "patch") for kind in PlaceKind if kind.in_cluster}
    ways = {("list", "", "services"), ("get", "apps", "deployments"), ("list", "batch", "cronjobs")}
    assert jobs | gates | ways <= rights()


def test_the_role_is_bound_to_the_account_that_the_daemon_runs_as() -> None:
    subject = of_kind("rbac.yaml", "RoleBinding")["subjects"][0]
    account = of_kind("daemon.yaml", "ServiceAccount")["metadata"]
    pod = of_kind("daemon.yaml", "Deployment")["spec"]["template"]["spec"]
    assert (subject["namespace"], subject["name"]) == (account["namespace"], account["name"])
    assert pod["serviceAccountName"] == account["name"]


def test_the_daemon_runs_unprivileged_on_a_read_only_file_system_and_every_mount_has_its_volume() -> None:
    pod = of_kind("daemon.yaml", "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


def test_the_configuration_in_the_manifest_is_accepted_and_lies_where_the_daemon_looks() -> None:
    text = of_kind("daemon.yaml", "ConfigMap")["data"]["rollout.yaml"]
    settings = parse_settings(text.encode(), "rollout.yaml")
    (cluster,) = settings.clusters
    assert cluster.build(ClusterSettings) == ClusterSettings(name="default", in_cluster=True)
    container = of_kind("daemon.yaml", "Deployment")["spec"]["template"]["spec"]["containers"][0]
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(Path(container["args"][-1]).parent) in folders
    assert str(settings.plans.folder) in folders
    assert container["ports"][0]["containerPort"] == settings.http.port


def test_the_two_example_deployments_differ_only_in_name_role_and_replicas() -> None:
    stable, canary = documents("example/nginx.yaml")[0], documents("example/nginx-canary.yaml")[0]
    assert (stable["spec"].pop("replicas"), canary["spec"].pop("replicas")) == (10, 0)
    assert stable["metadata"].pop("name") != canary["metadata"].pop("name")
    text = yaml.safe_dump(stable)
    assert text.replace("role: release", "role: canary") == yaml.safe_dump(canary)
    assert check_image(stable["spec"]["template"]["spec"]["containers"][0]["image"])
