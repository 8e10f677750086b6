"""The real kubectl works on the pretend cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import NAMESPACE, START, manifests
from tests.peers import build
from tests.peers.fixtures import require

BUILT = build.kubernetes_folder() / "kubectl"
"""The one of the control plane's version; where it is not built, whatever is on PATH."""
Kubectl = Callable[..., str]


def program() -> str | None:
    return str(BUILT) if BUILT.exists() else shutil.which("kubectl")


def available() -> str | None:
    return None if program() else "kubectl is missing: run `python -m tests.peers.build kubernetes`"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    require(available)
    with Sandbox(SystemClock(), SandboxOptions(START, speed=120.0), manifests()) as running:
        yield running


@pytest.fixture
def kubectl(sandbox: Sandbox, tmp_path: Path) -> Kubectl:
    path = sandbox.kubeconfig(tmp_path / "config")
    environment = {**os.environ, "KUBECONFIG": str(path), "HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [program() or "kubectl", "-n", NAMESPACE, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_kubectl_lists_with_the_usual_columns(kubectl: Kubectl) -> None:
    heads, *rows = kubectl("get", "deployments").splitlines()
    assert heads.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert rows[0].split()[0] == "web"
    assert "RESTARTS" in kubectl("get", "pods", "-o", "wide").splitlines()[0]


def test_kubectl_rolls_an_image_out_and_back(kubectl: Kubectl) -> None:
    kubectl("set", "image", "deployment/web", "app=web:2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=25s")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={..image}") == "web:2"
    kubectl("rollout", "undo", "deployment/web")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={..image}") == "web:1"


def test_kubectl_scales_annotates_and_waits(kubectl: Kubectl) -> None:
    kubectl("scale", "deployment/web-canary", "--replicas=2")
    kubectl("wait", "--for=jsonpath={.status.availableReplicas}=2", "deployment/web-canary", "--timeout=20s")
    kubectl("annotate", "deployment/web-canary", "rollout/stopped=r1")
    path = "jsonpath={.metadata.annotations.rollout/stopped}"
    assert kubectl("get", "deployment", "web-canary", "-o", path) == "r1"


def test_kubectl_applies_on_the_server_and_owns_what_it_applied(kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "replicas.yaml"
    document = f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {NAMESPACE}}}\nspec: {{replicas: 9}}\n"
    file.write_text(document, encoding="utf-8")
    kubectl("apply", "--server-side", "--field-manager=argocd", "--validate=false", "-f", str(file))
    path = "jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation} {end}{.spec.replicas}"
    assert kubectl("get", "deployment", "web", "--show-managed-fields", "-o", path).split()[-2:] == ["argocd/Apply", "9"]
    kubectl("scale", "deployment/web", "--replicas=10")


def test_kubectl_describe_tells_the_story(kubectl: Kubectl) -> None:
    story = kubectl("describe", "deployment", "web")
    assert "Scaled up replica set" in story
    assert "10 desired" in story


def test_kubectl_watches(sandbox: Sandbox, kubectl: Kubectl) -> None:
    seen = kubectl("get", "deployment", "web", "--watch", "--request-timeout=2s", "--output-watch-events")
    assert seen.splitlines()[1].startswith("ADDED")


def test_kubectl_applies_deletes_and_drains(kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n", encoding="utf-8")
    assert "created" in kubectl("apply", "-f", str(file))
    assert "unchanged" in kubectl("apply", "-f", str(file))
    assert "deleted" in kubectl("delete", "configmap", "settings")
    assert "node/node-3 drained" in kubectl("drain", "node-3", "--force", "--timeout=25s")
    kubectl("uncordon", "node-3")
