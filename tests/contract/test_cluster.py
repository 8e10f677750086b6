"""The suite of ports.Cluster: what every cluster must do, on the sandbox and on a real control plane."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.adapters.kubernetes_api import Request
from rollout.adapters.kubernetes_break_glass import step_back_now
from rollout.core.cohorts import Deployment, Pod, TargetView
from rollout.core.effects import FieldName, FieldTest, PatchDeployment, PostEvent
from rollout.core.errors import Conflict, Rejected
from rollout.core.state import Snapshot
from rollout.ports import Check, Unreachable
from tests.adapters.api_stub import until
from tests.contract.clusters import PLACES, TestedCluster, furnished

SECONDS = timedelta(seconds=5)
NEW = "nginx:1.28.0"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestedCluster]:
    with furnished(request, tmp_path) as cluster:
        yield cluster


@contextmanager
def connected(place: TestedCluster) -> Iterator[KubernetesCluster]:
    settings = ClusterSettings(name="test", kubeconfig=place.kubeconfig, watch_for=timedelta(seconds=5))
    with closing(KubernetesCluster(settings, SystemClock())) as cluster:
        yield cluster


@pytest.fixture
def cluster(place: TestedCluster) -> Iterator[KubernetesCluster]:
    with connected(place) as cluster:
        cluster.follow(place.namespace)
        until(lambda: isinstance(cluster.view(place.target), TargetView), 60)
        yield cluster


def seen(cluster: KubernetesCluster, place: TestedCluster) -> TargetView:
    view = cluster.view(place.target)
    assert isinstance(view, TargetView), view
    return view


def canary_now(cluster: KubernetesCluster, place: TestedCluster) -> Deployment:
    canary = cluster.look(place.target, timeout=SECONDS).canary
    assert canary is not None
    return canary


def start(place: TestedCluster, version: str | None, *, rollout: str = "r1", replicas: int = 1) -> PatchDeployment:
    annotations = (("rollout/id", rollout), ("rollout/stopped", None))
    return PatchDeployment(
        "test", place.namespace, "nginx-canary", "nginx", image=NEW, replicas=replicas, annotations=annotations, if_version=version
    )


def stop(place: TestedCluster, rollout: str | None = "r1") -> PatchDeployment:
    return PatchDeployment(
        "test", place.namespace, "nginx-canary", "nginx", replicas=0,
        annotations=(("rollout/stopped", rollout or "nobody"),), if_fields=(FieldTest(FieldName.ROLLOUT_ID, rollout),),
    )  # fmt: skip


def begun(cluster: KubernetesCluster, place: TestedCluster, rollout: str = "r1") -> None:
    cluster.apply(start(place, canary_now(cluster, place).resource_version, rollout=rollout), timeout=SECONDS)


def shown(view: TargetView) -> tuple[object, ...]:
    return (view.stable, view.canary, view.pods)


def test_memory_shows_what_the_api_shows(cluster: KubernetesCluster, place: TestedCluster) -> None:
    until(lambda: sum(p.serving for p in seen(cluster, place).pods) == 10, 60)
    until(lambda: shown(seen(cluster, place)) == shown(cluster.look(place.target, timeout=SECONDS)))
    view = seen(cluster, place)
    assert view.stable is not None
    assert view.stable.rolled_out
    assert {p.deployment for p in view.pods} == {"nginx"}
    assert all(p.ready and p.ip and p.node and p.template_hash for p in view.pods)
    assert all(p.container("nginx") for p in view.pods)


def test_a_deployment_that_does_not_exist_is_none_and_not_unknown(cluster: KubernetesCluster, place: TestedCluster) -> None:
    view = cluster.view(replace(place.target, canary="nobody"))
    assert isinstance(view, TargetView)
    assert view.canary is None
    assert cluster.look(replace(place.target, canary="nobody"), timeout=SECONDS).canary is None


def test_going_forward_is_seen_by_the_watches_and_wakes_the_subscriber(cluster: KubernetesCluster, place: TestedCluster) -> None:
    woken = threading.Event()
    cluster.subscribe(lambda _namespace, deployment: woken.set() if deployment == "nginx-canary" else None)
    begun(cluster, place)
    assert woken.wait(60)
    until(lambda: any(p.deployment == "nginx-canary" and p.serving for p in seen(cluster, place).pods), 60)
    canary = seen(cluster, place).canary
    assert canary is not None
    assert (canary.replicas, canary.images["nginx"]) == (1, NEW)
    assert canary.annotations == {"rollout/id": "r1"}
    assert (canary.writers["replicas"], canary.writers["image/nginx"]) == ("rollout", "rollout")


def canary_pods(cluster: KubernetesCluster, place: TestedCluster) -> list[Pod]:
    return [p for p in seen(cluster, place).pods if p.deployment == "nginx-canary"]


def trouble_of(cluster: KubernetesCluster, place: TestedCluster) -> list[tuple[str, str, int | None]]:
    return [(c.waiting, c.terminated, c.exit_code) for p in canary_pods(cluster, place) for c in p.containers]


@pytest.mark.parametrize(
    ("behaviour", "shown"),
    [
        ("crash-loop", ("CrashLoopBackOff", "Error", 1)),
        ("oom", ("CrashLoopBackOff", "OOMKilled", 137)),
        ("no-pull", ("ImagePullBackOff", "", None)),
    ],
)
def test_a_pod_in_trouble_is_seen_with_its_reason(
    cluster: KubernetesCluster, place: TestedCluster, behaviour: str, shown: tuple[str, str, int | None]
) -> None:
    version = canary_now(cluster, place).resource_version
    cluster.apply(replace(start(place, version), image=place.trouble.image(behaviour)), timeout=SECONDS)
    until(lambda: shown in trouble_of(cluster, place), 60)
    assert not any(p.ready or p.serving for p in canary_pods(cluster, place))


def test_a_pod_that_is_drained_is_displaced_and_serves_no_more(cluster: KubernetesCluster, place: TestedCluster) -> None:
    version = canary_now(cluster, place).resource_version
    cluster.apply(replace(start(place, version), image=place.trouble.image("stuck")), timeout=SECONDS)
    until(lambda: any(p.serving for p in canary_pods(cluster, place)), 60)
    name = canary_pods(cluster, place)[0].name
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.namespace}}
    place.admin.want(Request("create", "pods", place.namespace, name, subresource="eviction", body=body))
    until(lambda: any(p.displaced == "DrainedByEviction" and p.deleting_since for p in canary_pods(cluster, place)))
    until(lambda: not any(p.serving for p in canary_pods(cluster, place) if p.name == name))
    assert not any(p.ready for p in canary_pods(cluster, place) if p.name == name)


def test_a_write_that_lands_late_changes_nothing(cluster: KubernetesCluster, place: TestedCluster) -> None:
    late = start(place, canary_now(cluster, place).resource_version)
    place.change("deployments", "nginx-canary", {"metadata": {"annotations": {"somebody": "was here"}}})
    with pytest.raises(Conflict):
        cluster.apply(late, timeout=SECONDS)
    assert canary_now(cluster, place).replicas == 0


def test_stepping_back_gets_through_the_noise_of_status(cluster: KubernetesCluster, place: TestedCluster) -> None:
    begun(cluster, place)
    place.change("deployments", "nginx-canary", {"metadata": {"annotations": {"noise": "1"}}})
    cluster.apply(stop(place), timeout=SECONDS)
    canary = canary_now(cluster, place)
    assert (canary.replicas, canary.annotations["rollout/stopped"]) == (0, "r1")


def test_stepping_back_twice_is_as_good_as_once(cluster: KubernetesCluster, place: TestedCluster) -> None:
    begun(cluster, place)
    for _ in range(2):
        cluster.apply(stop(place), timeout=SECONDS)
    assert canary_now(cluster, place).replicas == 0


def test_stepping_back_never_touches_the_next_rollouts_canary(cluster: KubernetesCluster, place: TestedCluster) -> None:
    begun(cluster, place, rollout="r2")
    with pytest.raises(Conflict, match=r"rollout/id is 'r2', expected 'r1'"):
        cluster.apply(stop(place, "r1"), timeout=SECONDS)
    canary = canary_now(cluster, place)
    assert canary.replicas == 1
    assert "rollout/stopped" not in canary.annotations


def test_a_canary_that_never_got_an_id_is_stopped_by_the_absence_of_one(cluster: KubernetesCluster, place: TestedCluster) -> None:
    cluster.apply(stop(place, None), timeout=SECONDS)
    assert canary_now(cluster, place).annotations == {"rollout/stopped": "nobody"}
    begun(cluster, place)
    with pytest.raises(Conflict):
        cluster.apply(stop(place, None), timeout=SECONDS)


def restore(place: TestedCluster, *tests: FieldTest) -> PatchDeployment:
    return PatchDeployment(
        "test", place.namespace, "nginx", "nginx", image="nginx:1.27.3", paused=False, min_ready_seconds=0, if_fields=tests
    )


def promoted(cluster: KubernetesCluster, place: TestedCluster, *, paused: bool = True) -> None:
    patch = PatchDeployment("test", place.namespace, "nginx", "nginx", image=NEW, paused=paused, min_ready_seconds=60)
    cluster.apply(patch, timeout=SECONDS)


def test_the_stable_is_restored_where_it_still_is_what_we_wrote(cluster: KubernetesCluster, place: TestedCluster) -> None:
    promoted(cluster, place)
    cluster.apply(
        restore(
            place,
            FieldTest(FieldName.IMAGE, NEW),
            FieldTest(FieldName.MIN_READY_SECONDS, 60),
            FieldTest(FieldName.PAUSED, value=True),
        ),
        timeout=SECONDS,
    )
    stable = cluster.look(place.target, timeout=SECONDS).stable
    assert stable is not None
    assert (stable.images["nginx"], stable.paused, stable.min_ready_seconds) == ("nginx:1.27.3", False, 0)


def test_the_cluster_knows_whose_hold_on_the_stable_stands(cluster: KubernetesCluster, place: TestedCluster) -> None:
    def held() -> tuple[bool, bool]:
        stable = cluster.look(place.target, timeout=SECONDS).stable
        assert stable is not None
        return stable.paused, stable.paused_by_us

    promoted(cluster, place)
    assert held() == (True, True)
    cluster.apply(PatchDeployment("test", place.namespace, "nginx", "nginx", paused=False), timeout=SECONDS)
    assert held() == (False, False)
    place.change("deployments", "nginx", {"spec": {"paused": True}})
    assert held() == (True, False)


def test_somebodys_hotfix_of_the_stable_is_not_overwritten(cluster: KubernetesCluster, place: TestedCluster) -> None:
    promoted(cluster, place)
    containers = place.read("deployments", "nginx")["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "nginx:hotfix-1"
    place.change("deployments", "nginx", {"spec": {"template": {"spec": {"containers": containers}}}})
    with pytest.raises(Conflict, match="nginx:hotfix-1"):
        cluster.apply(restore(place, FieldTest(FieldName.IMAGE, NEW)), timeout=SECONDS)


def test_what_is_false_or_zero_is_tested_as_what_the_server_stores(cluster: KubernetesCluster, place: TestedCluster) -> None:
    tests = (FieldTest(FieldName.PAUSED, value=False), FieldTest(FieldName.MIN_READY_SECONDS, 0), FieldTest(FieldName.REPLICAS, 10))
    cluster.apply(restore(place, *tests), timeout=SECONDS)
    cluster.apply(restore(place, *tests), timeout=SECONDS)


def test_a_container_that_does_not_exist_is_rejected_before_anything_is_written(
    cluster: KubernetesCluster, place: TestedCluster
) -> None:
    before = canary_now(cluster, place)
    with pytest.raises(Rejected, match=r"has no container 'web' \(its containers: nginx\)"):
        cluster.apply(replace(start(place, before.resource_version), container="web"), timeout=SECONDS)
    assert canary_now(cluster, place).generation == before.generation


def test_a_deployment_that_is_gone_is_rejected(cluster: KubernetesCluster, place: TestedCluster) -> None:
    patch = PatchDeployment("test", place.namespace, "nobody", "nginx", replicas=1)
    with pytest.raises(Rejected) as caught:
        cluster.apply(patch, timeout=SECONDS)
    assert caught.value.code == 404


def test_events_tell_the_story_on_the_deployment(cluster: KubernetesCluster, place: TestedCluster) -> None:
    for message in ("scaled to 1", "stepped back"):
        cluster.post_event(PostEvent("test", place.namespace, "nginx-canary", "Normal", "Scaled", message), timeout=SECONDS)
    events = [e for e in place.read("events", "")["items"] if e.get("source", {}).get("component") == "rollout"]
    uid = canary_now(cluster, place).uid
    assert sorted(e["message"] for e in events) == ["scaled to 1", "stepped back"]
    assert {e["involvedObject"]["uid"] for e in events} == {uid}


def trouble(checks: list[Check]) -> list[tuple[str, str]]:
    return [(c.name, c.level) for c in checks if c.level != "ok" and c.name != "skywalking agent"]


def test_the_example_passes_preflight_with_exactly_the_rights_of_the_role(place: TestedCluster) -> None:
    with connected(place) as cluster:
        assert trouble(list(cluster.preflight(place.target, NEW))) == []


def test_a_right_that_is_missing_is_told_by_preflight_by_the_write_and_by_the_view(place: TestedCluster) -> None:
    place.trouble.forbid("patch", "deployments")
    place.trouble.forbid("list", "pods")
    with connected(place) as cluster:
        until(lambda: ("permissions", "refused") in trouble(list(cluster.preflight(place.target, NEW))))
        told = [c.message for c in cluster.preflight(place.target, NEW) if (c.name, c.level) == ("permissions", "refused")]
        assert "may not patch deployments.apps, list pods in namespace" in told[0]
        patch = PatchDeployment("test", place.namespace, "nginx-canary", "nginx", replicas=1)
        with pytest.raises(Rejected, match=r"403: our account may not patch deployments.apps") as caught:
            cluster.apply(patch, timeout=SECONDS)
        assert caught.value.code == 403
        cluster.follow(place.namespace)
        until(lambda: "403" in str(getattr(cluster.view(place.target), "why", "")), 60)
        view = cluster.view(place.target)
        assert isinstance(view, Unreachable)
        assert "pods of namespace" in view.why


def test_doctor_is_told_the_version(cluster: KubernetesCluster) -> None:
    (check,) = cluster.check()
    assert "v1." in check.message


def test_the_glass_can_be_broken_without_a_daemon(place: TestedCluster) -> None:
    with connected(place) as cluster:
        begun(cluster, place)
        promoted(cluster, place)
        settings = ClusterSettings(name="test", kubeconfig=place.kubeconfig)
        snapshot = Snapshot("nginx:1.27.3", 0, NEW, 60, SystemClock().now())
        with pytest.raises(Conflict, match="belongs to rollout r1"):
            step_back_now(settings, SystemClock(), place.target, "another")
        done = step_back_now(settings, SystemClock(), place.target, "r1", snapshot)
        assert done.complete, done
        view = cluster.look(place.target, timeout=SECONDS)
        assert view.canary is not None
        assert view.stable is not None
        assert (view.canary.replicas, view.canary.annotations["rollout/stopped"]) == (0, "r1")
        assert (view.stable.images["nginx"], view.stable.paused, view.stable.min_ready_seconds) == ("nginx:1.27.3", False, 0)


def test_breaking_the_glass_without_a_snapshot_stops_the_canary_and_says_what_is_left(place: TestedCluster) -> None:
    with connected(place) as cluster:
        begun(cluster, place)
        promoted(cluster, place)
        settings = ClusterSettings(name="test", kubeconfig=place.kubeconfig)
        until(lambda: not (cluster.look(place.target, timeout=SECONDS).stable or canary_now(cluster, place)).rolled_out)
        done = step_back_now(settings, SystemClock(), place.target)
        assert canary_now(cluster, place).annotations["rollout/stopped"] == "r1"
        assert not done.complete
        assert "rollout undo deployment/nginx" in done.left[0]
