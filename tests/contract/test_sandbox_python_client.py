"""The official Python client works on the pretend cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import NAMESPACE, START, manifests

k8s: Any = kubernetes
"""The client without its types, which are incomplete."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0), manifests()) as running:
        yield running


@pytest.fixture
def api(sandbox: Sandbox, tmp_path: Path) -> Iterator[SimpleNamespace]:
    wanted = k8s.client.Configuration()
    k8s.config.load_kube_config(str(sandbox.kubeconfig(tmp_path / "config")), client_configuration=wanted, persist_config=False)
    with k8s.client.ApiClient(wanted) as opened:
        apps, core = k8s.client.AppsV1Api(opened), k8s.client.CoreV1Api(opened)
        yield SimpleNamespace(apps=apps, core=core, discovery=k8s.client.DiscoveryV1Api(opened))


def test_it_lists_patches_scales_and_deletes(sandbox: Sandbox, api: SimpleNamespace) -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:2"}]}}}}
    patched = api.apps.patch_namespaced_deployment("web", NAMESPACE, body, field_manager="rollout")
    assert patched.spec.template.spec.containers[0].image == "web:2"
    assert {entry.manager for entry in patched.metadata.managed_fields} == {"kubectl-client-side-apply", "rollout"}
    sandbox.advance(timedelta(minutes=10))
    found = api.apps.read_namespaced_deployment("web", NAMESPACE)
    assert found.status.updated_replicas == found.status.available_replicas == 10
    assert api.apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 4}}).spec.replicas == 4
    pod = api.core.list_namespaced_pod(NAMESPACE).items[0]
    assert pod.status.container_statuses[0].image_id.startswith("docker.io/library/web@sha256:")
    api.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE)
    selector = "kubernetes.io/service-name=web-svc"
    slices = api.discovery.list_namespaced_endpoint_slice(NAMESPACE, label_selector=selector)
    assert len(slices.items[0].endpoints) == 10


def test_it_watches_and_hears_of_410(sandbox: Sandbox, api: SimpleNamespace) -> None:
    version = api.apps.list_namespaced_deployment(NAMESPACE).metadata.resource_version
    stream = k8s.watch.Watch(return_type="object")
    seen: list[str] = []

    def follow() -> None:
        options = {"resource_version": version, "timeout_seconds": 10}
        for event in stream.stream(api.apps.list_namespaced_deployment, NAMESPACE, **options):
            seen.append(event["object"]["metadata"]["name"])
            return

    thread = threading.Thread(target=follow)
    thread.start()
    with sandbox.using() as world:
        world.scale(NAMESPACE, "web-canary", 1)
    thread.join(5)
    assert seen == ["web-canary"]
    with sandbox.using() as world:
        world.storage.forget()
    options = {"resource_version": version, "timeout_seconds": 5}
    with pytest.raises(k8s.client.ApiException) as gone:
        list(k8s.watch.Watch().stream(api.apps.list_namespaced_deployment, NAMESPACE, **options))
    assert gone.value.status == 410
