"""The unhappy half of the suite of ports.Cluster: hanging, broken off, expired, nonsense; and what is known afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters import kubernetes_watch
from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.adapters.kubernetes_api import Connection, Document, Request
from rollout.adapters.kubernetes_watch import Watch, listing
from rollout.core.cohorts import TargetView
from rollout.core.effects import FieldName, FieldTest, PatchDeployment
from rollout.core.errors import Unavailable
from rollout.ports import Unreachable
from rollout.sandbox.faults import Failing, Fault
from tests.adapters.api_stub import until
from tests.contract.clusters import PLACES, Sandboxed, TestedCluster, furnished, sandbox_cluster

SECONDS = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_watch, "SILENCE", timedelta(seconds=0.5))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestedCluster]:
    with furnished(request, tmp_path) as cluster:
        yield cluster


def settings(place: TestedCluster) -> ClusterSettings:
    half = timedelta(seconds=0.5)
    return ClusterSettings(
        name="test", kubeconfig=place.kubeconfig, read_timeout=2 * half, watch_for=2 * half, stale_after=3 * half
    )


@pytest.fixture
def cluster(place: TestedCluster) -> Iterator[KubernetesCluster]:
    with closing(KubernetesCluster(settings(place), SystemClock())) as cluster:
        cluster.follow(place.namespace)
        until(lambda: isinstance(cluster.view(place.target), TargetView), 60)
        yield cluster


def scale(place: TestedCluster, replicas: int) -> PatchDeployment:
    return PatchDeployment("test", place.namespace, "nginx-canary", "nginx", replicas=replicas, annotations=(("rollout/id", "r1"),))


def replicas_seen(cluster: KubernetesCluster, place: TestedCluster) -> int:
    view = cluster.view(place.target)
    return view.canary.replicas if isinstance(view, TargetView) and view.canary else -1


def agrees(cluster: KubernetesCluster, place: TestedCluster) -> bool:
    """Say whether memory shows exactly what the API shows."""
    view, asked = cluster.view(place.target), cluster.look(place.target, timeout=SECONDS)
    return isinstance(view, TargetView) and (view.stable, view.canary, view.pods) == (asked.stable, asked.canary, asked.pods)


def test_a_hanging_api_is_unreachable_with_since_when_and_comes_back_by_itself(
    cluster: KubernetesCluster, place: TestedCluster
) -> None:
    place.trouble.hang()
    try:
        until(lambda: isinstance(cluster.view(place.target), Unreachable), 60)
        view = cluster.view(place.target)
        assert isinstance(view, Unreachable)
        assert f"of namespace {place.namespace} not current for" in view.why
        with pytest.raises(Unavailable) as caught:
            cluster.apply(scale(place, 1), timeout=timedelta(seconds=0.5))
        assert caught.value.maybe_done
        with pytest.raises(Unavailable):
            cluster.look(place.target, timeout=timedelta(seconds=0.5))
    finally:
        place.trouble.heal()
    until(lambda: isinstance(cluster.view(place.target), TargetView), 60)
    until(lambda: agrees(cluster, place), 60)


def test_connections_that_break_lose_no_change(cluster: KubernetesCluster, place: TestedCluster) -> None:
    cluster.apply(scale(place, 1), timeout=SECONDS)
    place.trouble.cut()
    until(lambda: replicas_seen(cluster, place) == 1, 60)
    place.admin.close()
    cluster.apply(scale(place, 2), timeout=SECONDS)
    until(lambda: replicas_seen(cluster, place) == 2, 60)
    until(lambda: agrees(cluster, place), 60)


def test_versions_that_were_forgotten_lead_to_new_lists_and_no_stale_view(cluster: KubernetesCluster, place: TestedCluster) -> None:
    cluster.apply(scale(place, 1), timeout=SECONDS)
    until(lambda: replicas_seen(cluster, place) == 1, 60)
    watches = cluster._namespaces[place.namespace].watches.values()
    before = [watch.relists for watch in watches]
    place.trouble.expire()
    cluster.apply(scale(place, 2), timeout=SECONDS)
    until(lambda: replicas_seen(cluster, place) == 2, 60)
    until(lambda: all(watch.relists > once for watch, once in zip(watches, before, strict=True)), 60)
    until(lambda: agrees(cluster, place), 60)


class Told:
    """What one watch tells about pods: versions by uid, and every event that does not follow from what was told before."""

    def __init__(self) -> None:
        self.lists = 0
        self.pods: dict[str, str] = {}
        self.versions: set[tuple[str, str, str]] = set()
        self.wrong: list[str] = []
        self.events = 0

    def replaced(self, documents: list[Document]) -> None:
        self.lists += 1
        self.pods = {found["metadata"]["uid"]: found["metadata"]["resourceVersion"] for found in documents}

    def changed(self, event: str, document: Document) -> None:
        self.events += 1
        uid, version = document["metadata"]["uid"], document["metadata"]["resourceVersion"]
        if (event == "ADDED") is (uid in self.pods):
            self.wrong.append(f"{event} of {uid}, which was {'told before' if uid in self.pods else 'never told'}")
        if (event, uid, version) in self.versions or self.pods.get(uid) == version:
            self.wrong.append(f"{event} of {uid} at {version} came twice")
        self.versions.add((event, uid, version))
        if event == "DELETED":
            del self.pods[uid]
        else:
            self.pods[uid] = version


def test_a_watch_from_a_version_that_was_forgotten_lists_once_and_neither_loses_nor_doubles_a_pod(
    cluster: KubernetesCluster, place: TestedCluster
) -> None:
    told, request = Told(), Request("list", "pods", place.namespace)
    with closing(Connection(settings(place), SystemClock())) as connection:
        _, old = listing(connection, request, SECONDS)
        cluster.apply(scale(place, 2), timeout=SECONDS)  # something has happened since
        until(lambda: replicas_seen(cluster, place) == 2, 60)
        place.trouble.expire()
        watch = Watch(connection, settings(place), SystemClock(), request, told.replaced, told.changed, _version=old)
        watch.start()
        try:
            until(lambda: told.lists == 1, 60)
            for replicas in (4, 1, 3):
                cluster.apply(scale(place, replicas), timeout=SECONDS)
                until(lambda: told.pods == pods_now(place, 10 + replicas), 60)  # noqa: B023 - called at once
        finally:
            watch.stop()
            watch.join(10)
    assert (told.lists, watch.relists, told.wrong) == (1, 1, [])
    assert told.events >= 8  # five pods more, three of which went away


def pods_now(place: TestedCluster, count: int) -> dict[str, str] | None:
    """Versions by uid once there are so many pods, none of them on its way out."""
    found = place.admin.want(Request("list", "pods", place.namespace))["items"]
    if len(found) != count or any("deletionTimestamp" in pod["metadata"] for pod in found):
        return None
    return {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in found}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[tuple[TestedCluster, Sandboxed]]:
    with sandbox_cluster(tmp_path) as both:
        yield both


@pytest.mark.parametrize(
    ("fault", "maybe_done"),
    [
        (Fault(Failing.HANG), True),
        (Fault(Failing.ERROR_500), True),
        (Fault(Failing.UNAVAILABLE_503), True),
        (Fault(Failing.HTML), True),
        (Fault(Failing.CUT), True),
        (Fault(Failing.SLOW, delay=timedelta(seconds=3)), True),
        (Fault(Failing.REFUSED_401), False),
        (Fault(Failing.THROTTLED_429, delay=timedelta(seconds=7)), False),
    ],
    ids=lambda value: value.failing.value if isinstance(value, Fault) else str(value),
)
def test_every_way_of_failing_is_unavailable_and_says_whether_it_may_have_been_done(
    sandbox: tuple[TestedCluster, Sandboxed], fault: Fault, *, maybe_done: bool
) -> None:
    place, trouble = sandbox
    with closing(KubernetesCluster(settings(place), SystemClock())) as cluster:
        trouble.fail(fault)
        with pytest.raises(Unavailable) as caught:
            cluster.apply(scale(place, 1), timeout=timedelta(seconds=0.5))
        assert caught.value.maybe_done is maybe_done
        assert "the-token" not in str(caught.value)
        if fault.failing is Failing.THROTTLED_429:
            assert caught.value.retry_after == timedelta(seconds=7)
        with pytest.raises(Unavailable):
            cluster.preflight(place.target, "nginx:2")


@pytest.mark.parametrize("failing", [Failing.ERROR_500, Failing.HTML, Failing.CUT, Failing.THROTTLED_429])
def test_watches_survive_an_api_that_talks_nonsense_for_a_while(sandbox: tuple[TestedCluster, Sandboxed], failing: Failing) -> None:
    place, trouble = sandbox
    with closing(KubernetesCluster(settings(place), SystemClock())) as cluster:
        cluster.follow(place.namespace)
        until(lambda: isinstance(cluster.view(place.target), TargetView))
        trouble.fail(Fault(failing, delay=timedelta(seconds=1)))
        trouble.cut()
        until(lambda: isinstance(cluster.view(place.target), Unreachable))
        with trouble.live.using() as world:
            world.scale(place.namespace, "nginx-canary", 3)
        trouble.heal()
        until(lambda: replicas_seen(cluster, place) == 3, 60)


def test_stepping_back_works_while_everything_else_hangs(sandbox: tuple[TestedCluster, Sandboxed]) -> None:
    place, trouble = sandbox
    with closing(KubernetesCluster(settings(place), SystemClock())) as cluster:
        cluster.apply(scale(place, 1), timeout=SECONDS)
        trouble.fail(Fault(Failing.HANG, method="GET"))
        stop = PatchDeployment(
            "test", place.namespace, "nginx-canary", "nginx", replicas=0,
            annotations=(("rollout/stopped", "r1"),), if_fields=(FieldTest(FieldName.ROLLOUT_ID, "r1"),),
        )  # fmt: skip
        cluster.apply(stop, timeout=timedelta(seconds=1))
        assert place_replicas(trouble, place) == 0


def place_replicas(trouble: Sandboxed, place: TestedCluster) -> object:
    with trouble.live.using() as world:
        return world.get("deployments", place.namespace, "nginx-canary")["spec"]["replicas"]
