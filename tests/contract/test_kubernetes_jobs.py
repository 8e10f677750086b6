"""The Jobs adapter against the pretend API and, with the rights of rbac.yaml, a real one: created once, brought to rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings, Request
from rollout.adapters.kubernetes_jobs import KubernetesJobs
from rollout.core.errors import Rejected, Unavailable
from rollout.ports_offline import JobPhase, JobSeen
from rollout.sandbox.faults import Failing, Fault
from tests.contract.clusters import PLACES, Sandboxed, TestedCluster, furnished, sandbox_cluster
from tests.peers.process import wait_until


def manifest(name: str, namespace: str, image: str = "busybox:1") -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def job(cluster: TestedCluster, name: str) -> dict[str, Any]:
    return dict(cluster.admin.want(Request("get", "jobs", cluster.namespace, name, group="batch")))


@pytest.fixture(params=PLACES)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestedCluster]:
    with furnished(request, tmp_path) as tested:
        yield tested


@pytest.fixture
def jobs(cluster: TestedCluster) -> Iterator[KubernetesJobs]:
    with closing(KubernetesJobs(ClusterSettings(name="test", kubeconfig=cluster.kubeconfig), SystemClock())) as found:
        wait_until(lambda: not found.may_create(cluster.namespace), 30, "the API server knows of the role that was just granted")
        yield found


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
    assert cluster.name == "kubernetes" or "started" in ended.log  # the kubelets of the real one print nothing by themselves


def test_a_job_that_fails_tells_its_exit_code(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    jobs.ensure(cluster.namespace, manifest("backup-3", cluster.namespace, cluster.trouble.image("fails")))
    ended = until_ended(jobs, cluster.namespace, "backup-3")
    assert (ended.phase, ended.exit_code) == (JobPhase.FAILED, 1)
    assert "exit code 1" in ended.why


def test_a_job_whose_image_cannot_be_pulled_says_so_while_it_waits(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    jobs.ensure(cluster.namespace, manifest("backup-4", cluster.namespace, cluster.trouble.image("no-pull")))
    seen = until(jobs, cluster.namespace, "backup-4", lambda seen: seen.trouble != "")
    assert seen.phase is JobPhase.RUNNING
    assert "ImagePull" in seen.trouble


def test_a_job_that_runs_is_halted_and_can_neither_go_on_nor_begin_again(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    wanted = manifest("migrate-2", cluster.namespace, cluster.trouble.image("no-pull"))
    jobs.ensure(cluster.namespace, wanted)
    until(jobs, cluster.namespace, "migrate-2", lambda seen: seen.trouble != "")
    jobs.halt(cluster.namespace, wanted)
    until(jobs, cluster.namespace, "migrate-2", lambda seen: seen.phase is JobPhase.HALTED)
    jobs.ensure(cluster.namespace, wanted)
    assert job(cluster, "migrate-2")["spec"]["suspend"] is True
    assert jobs.halt(cluster.namespace, wanted).phase is JobPhase.HALTED


def test_a_job_that_has_ended_is_left_as_it_is_by_a_halt(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    wanted = manifest("migrate-3", cluster.namespace)
    jobs.ensure(cluster.namespace, wanted)
    until_ended(jobs, cluster.namespace, "migrate-3")
    assert jobs.halt(cluster.namespace, wanted).phase is JobPhase.SUCCEEDED


def test_what_the_gateway_does_not_see_is_listed(cluster: TestedCluster, jobs: KubernetesJobs) -> None:
    assert jobs.service_names(cluster.namespace, "nginx") == ("nginx-svc",)
    assert jobs.unseen_ways(cluster.namespace, "nginx") == (
        "Service nginx-svc: callers inside the cluster reach it without the gateway",
    )


def until(jobs: KubernetesJobs, namespace: str, name: str, holds: Callable[[JobSeen], bool]) -> JobSeen:
    """Look until it holds; at most a minute."""
    pause, seen = threading.Event(), jobs.look(namespace, name)
    for _ in range(600):
        seen = jobs.look(namespace, name)
        if seen is not None and holds(seen):
            return seen
        pause.wait(0.1)
    raise AssertionError(f"Job {name} is still {seen}")


def until_ended(jobs: KubernetesJobs, namespace: str, name: str) -> JobSeen:
    return until(jobs, namespace, name, lambda seen: seen.phase is not JobPhase.RUNNING)


# -- when the cluster does not do as it is asked -----------------------------------------------------------------------------


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[tuple[TestedCluster, Sandboxed, KubernetesJobs]]:
    with sandbox_cluster(tmp_path) as (tested, trouble):
        quick = ClusterSettings(name="test", kubeconfig=tested.kubeconfig, read_timeout=timedelta(seconds=1))
        with closing(KubernetesJobs(quick, SystemClock())) as jobs:
            yield tested, trouble, jobs


Pretended = tuple[TestedCluster, Sandboxed, KubernetesJobs]


@pytest.mark.parametrize(("verb", "resource"), [("create", "jobs"), ("patch", "jobs"), ("get", "pods/log"), ("list", "pods")])
def test_a_right_that_is_missing_is_named_before_the_window(pretended: Pretended, verb: str, resource: str) -> None:
    cluster, trouble, jobs = pretended
    trouble.forbid(verb, resource)
    assert jobs.may_create(cluster.namespace) == f'our account may not {verb} {resource} in namespace "shop"'


def test_a_job_that_may_not_be_created_is_declined(pretended: Pretended) -> None:
    cluster, trouble, jobs = pretended
    trouble.forbid("create", "jobs")
    with pytest.raises(Rejected, match="403"):
        jobs.ensure(cluster.namespace, manifest("backup-9", cluster.namespace))


def test_a_log_that_may_not_be_read_is_empty_and_the_job_has_ended_all_the_same(pretended: Pretended) -> None:
    cluster, trouble, jobs = pretended
    trouble.forbid("get", "pods/log")
    jobs.ensure(cluster.namespace, manifest("backup-9", cluster.namespace))
    ended = until_ended(jobs, cluster.namespace, "backup-9")
    assert (ended.phase, ended.log) == (JobPhase.SUCCEEDED, "")


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.ERROR_500, Failing.UNAVAILABLE_503, Failing.HTML, Failing.CUT])
def test_an_api_server_that_gives_no_good_answer_says_nothing_about_the_job(pretended: Pretended, failing: Failing) -> None:
    cluster, trouble, jobs = pretended
    wanted = manifest("backup-9", cluster.namespace)
    trouble.fail(Fault(failing))
    for ask in (
        lambda: jobs.look(cluster.namespace, "backup-9"),
        lambda: jobs.ensure(cluster.namespace, wanted),
        lambda: jobs.halt(cluster.namespace, wanted),
        lambda: jobs.may_create(cluster.namespace),
    ):
        with pytest.raises(Unavailable):
            ask()


def test_a_create_whose_answer_was_lost_is_one_job_when_it_is_asked_again(pretended: Pretended) -> None:
    cluster, trouble, jobs = pretended
    wanted = manifest("backup-9", cluster.namespace)
    trouble.fail(Fault(Failing.CUT, path="/jobs", method="POST"))
    with pytest.raises(Unavailable):
        jobs.ensure(cluster.namespace, wanted)
    trouble.heal()
    jobs.ensure(cluster.namespace, wanted)
    assert until_ended(jobs, cluster.namespace, "backup-9").phase is JobPhase.SUCCEEDED


def test_the_log_of_a_job_with_a_sidecar_is_that_of_its_first_container(pretended: Pretended) -> None:
    cluster, _, jobs = pretended
    wanted = manifest("backup-9", cluster.namespace)
    wanted["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "proxy:1"})
    jobs.ensure(cluster.namespace, wanted)
    ended = until_ended(jobs, cluster.namespace, "backup-9")
    assert ended.phase is JobPhase.SUCCEEDED
    assert "started" in ended.log


def test_a_job_whose_pod_was_evicted_says_so_and_not_only_that_it_failed(pretended: Pretended) -> None:
    cluster, trouble, jobs = pretended
    jobs.ensure(cluster.namespace, manifest("backup-9", cluster.namespace))
    with trouble.live.using() as world:
        (pod,) = [p for p in world.objects("pods", cluster.namespace) if p["metadata"]["labels"].get("job-name") == "backup-9"]
        world.evict_for_pressure(cluster.namespace, pod["metadata"]["name"])
    ended = until_ended(jobs, cluster.namespace, "backup-9")
    assert ended.phase is JobPhase.FAILED
    assert f"{pod['metadata']['name']}: Evicted" in ended.why
