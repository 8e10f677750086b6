"""How the daemon introduces itself to a real API server: as a pod's service account, and with certificates that do not fit."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.core.errors import Unavailable
from tests.contract.clusters import TestedCluster, real_cluster
from tests.peers.kubernetes import KubernetesControlPlane

SECONDS = timedelta(seconds=5)


@pytest.fixture
def place(kubernetes_peer: KubernetesControlPlane) -> Iterator[TestedCluster]:
    with real_cluster(kubernetes_peer) as cluster:
        yield cluster


@pytest.fixture
def config(place: TestedCluster) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
    return document


def test_in_a_pod_the_service_account_is_used_and_a_token_that_is_not_accepted_is_told(
    place: TestedCluster, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("expired", encoding="utf-8")
    authority.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    host, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    refused = pytest.raises(Unavailable, match="401: the API server does not accept our credentials")
    with closing(KubernetesCluster(ClusterSettings(name="test"), SystemClock())) as cluster, refused:
        cluster.look(place.target, timeout=SECONDS)
    token.write_text(config["users"][0]["user"]["token"], encoding="utf-8")
    with closing(KubernetesCluster(ClusterSettings(name="test"), SystemClock())) as cluster:
        assert cluster.look(place.target, timeout=SECONDS).stable is not None


def test_a_server_that_cannot_prove_who_it_is_is_unavailable_in_words(
    place: TestedCluster, config: dict[str, Any], tmp_path: Path
) -> None:
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    refused = pytest.raises(Unavailable, match=r"(?i)certificate.verify.failed")
    with closing(KubernetesCluster(ClusterSettings(name="test", kubeconfig=path), SystemClock())) as cluster, refused:
        cluster.look(place.target, timeout=SECONDS)
