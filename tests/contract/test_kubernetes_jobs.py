"""The Jobs adapter against the pretend API: created once, looked at, brought to rest for good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings, Request
from rollout.adapters.kubernetes_jobs import KubernetesJobs
from rollout.ports_offline import JobPhase, JobSeen
from tests.contract.clusters import TestedCluster, sandbox_cluster


def manifest(name: str, namespace: str, image: str = "busybox:1") -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def job(cluster: TestedCluster, name: str) -> dict[str, Any]:
    return dict(cluster.admin.want(Request("get", "jobs", cluster.namespace, name, group="batch")))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TestedCluster]:
    with sandbox_cluster(tmp_path) as (tested, _):
        yield tested


@pytest.fixture
def jobs(cluster: TestedCluster) -> Iterator[KubernetesJobs]:
    found = KubernetesJobs(ClusterSettings(name="test", kubeconfig=cluster.kubeconfig), SystemClock())
    yield found
    found.close()


def test_asked_for_twice_is_one_job(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    jobs.ensure(cluster.namespace, manifest("backup-1", cluster.namespace))
    jobs.ensure(cluster.namespace, manifest("backup-1", cluster.namespace, "other:2"))
    containers = job(cluster, "backup-1")["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in containers] == ["busybox:1"]


def test_a_job_that_is_not_there_is_none(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    assert jobs.look(cluster.namespace, "nothing") is None


def test_a_job_that_never_was_is_halted_by_taking_its_name(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    seen = jobs.halt(cluster.namespace, manifest("migrate-1", cluster.namespace))
    jobs.ensure(cluster.namespace, manifest("migrate-1", cluster.namespace))
    assert seen.phase is JobPhase.HALTED
    assert job(cluster, "migrate-1")["spec"]["suspend"] is True


def test_it_says_that_jobs_may_be_made(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    assert jobs.may_create(cluster.namespace) == ""


def test_a_job_is_looked_at_until_it_has_ended(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    jobs.ensure(cluster.namespace, manifest("backup-2", cluster.namespace))
    ended = until_ended(jobs, cluster.namespace, "backup-2")
    assert ended.phase is JobPhase.SUCCEEDED
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert ended.exit_code == 0
    assert "started" in ended.log


def until_ended(jobs: KubernetesJobs, namespace: str, name: str) -> JobSeen:
    """Look until the Job has ended; at most 20 s."""
    pause = threading.Event()
    for _ in range(200):
        seen = jobs.look(namespace, name)
        if seen is not None and seen.phase is not JobPhase.RUNNING:
            return seen
        pause.wait(0.1)
    raise AssertionError("the Job did not end")
