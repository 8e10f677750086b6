from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters import kubernetes_watch
from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.core.cohorts import TargetView
from rollout.ports import Unreachable
from tests.adapters import kube_json as kube
from tests.adapters.api_stub import ApiStub, Asked, Feed, Tell, api, kubeconfig, status, until

GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


class Server:
    """A server whose lists and watches a test can exchange while it is being followed."""

    def __init__(self) -> None:
        self.lists = {
            "deployments": kube.listed(kube.deployment("nginx"), kube.deployment("nginx-canary")),
            "replicasets": kube.listed(kube.replica_set("nginx-a", "nginx")),
            "pods": kube.listed(kube.pod("nginx-a-1", "nginx-a")),
            "endpointslices": kube.listed(kube.endpoint_slice("s", kube.endpoint("nginx-a-1"))),
        }
        self.answers: dict[str, Tell] = {}
        self.feeds: dict[str, list[Feed]] = {kind: [] for kind in self.lists}
        self.ready: dict[str, list[Feed]] = {kind: [] for kind in self.lists}
        """Feeds to give to the next watches, in order; then endless quiet ones."""

    def __call__(self, asked: Asked) -> Tell | Feed:
        if asked.kind in self.answers:
            return self.answers[asked.kind]
        if not asked.watch:
            return Tell(body=self.lists[asked.kind])
        feed = self.ready[asked.kind].pop(0) if self.ready[asked.kind] else Feed()
        self.feeds[asked.kind].append(feed)
        return feed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_watch, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(kubernetes_watch, "SILENCE", timedelta(seconds=0.3))


@contextmanager
def followed(server: Server, folder: Path, *, stale: float = 30.0) -> Iterator[tuple[ApiStub, KubernetesCluster]]:
    with api(server) as stub:
        settings = ClusterSettings(
            name="test",
            kubeconfig=kubeconfig(folder, stub.port),
            read_timeout=timedelta(seconds=0.5),
            watch_for=timedelta(seconds=1),
            stale_after=timedelta(seconds=stale),
        )
        with closing(KubernetesCluster(settings, SystemClock())) as cluster:
            cluster.follow("shop")
            yield stub, cluster


def pods(cluster: KubernetesCluster) -> list[str]:
    view = cluster.view(kube.TARGET)
    return [p.name for p in view.pods] if isinstance(view, TargetView) else [view.why]


def sees(cluster: KubernetesCluster, *names: str) -> None:
    until(lambda: pods(cluster) == list(names))


def blind(cluster: KubernetesCluster) -> str:
    view = cluster.view(kube.TARGET)
    return view.why if isinstance(view, Unreachable) else ""


def test_a_view_is_composed_from_four_lists_and_says_how_fresh_it_is(tmp_path: Path) -> None:
    with followed(Server(), tmp_path) as (_, cluster):
        sees(cluster, "nginx-a-1")
        view = cluster.view(kube.TARGET)
        assert isinstance(view, TargetView)
        assert view.pods[0].serving
        assert view.stable is not None
        assert timedelta(0) <= SystemClock().now() - view.seen_at < timedelta(seconds=5)


def test_an_event_changes_the_view_and_wakes_the_subscriber(tmp_path: Path) -> None:
    server, woken = Server(), list[tuple[str, str]]()
    with followed(server, tmp_path) as (_, cluster):
        sees(cluster, "nginx-a-1")
        until(lambda: bool(server.feeds["pods"]))
        cluster.subscribe(lambda namespace, deployment: woken.append((namespace, deployment)))
        server.feeds["pods"][-1].put("ADDED", kube.pod("nginx-a-2", "nginx-a", version="101"))
        sees(cluster, "nginx-a-1", "nginx-a-2")
        until(lambda: ("shop", "nginx") in woken)
        server.feeds["pods"][-1].put("DELETED", kube.pod("nginx-a-1", "nginx-a", version="102"))
        sees(cluster, "nginx-a-2")


def test_an_event_that_arrives_in_two_pieces_is_one_event(tmp_path: Path) -> None:
    server = Server()
    with followed(server, tmp_path) as (_, cluster):
        until(lambda: bool(server.feeds["pods"]))
        whole = Feed()
        whole.put("ADDED", kube.pod("nginx-a-2", "nginx-a", version="101"))
        line = whole.pieces.get()
        assert isinstance(line, bytes)
        for piece in (line[:50], line[50:200], line[200:] + line.replace(b"nginx-a-2", b"nginx-a-3")):
            server.feeds["pods"][-1].raw(piece)
        sees(cluster, "nginx-a-1", "nginx-a-2", "nginx-a-3")


def test_a_watch_that_ends_or_breaks_off_is_resumed_from_the_last_version_and_not_listed_again(tmp_path: Path) -> None:
    server = Server()
    bookmark = {"metadata": {"resourceVersion": "250"}}
    cut = Feed(("ADDED", kube.pod("nginx-a-2", "nginx-a", version="201")), ("BOOKMARK", bookmark))
    cut.cut()
    server.ready["pods"] = [Feed(("BOOKMARK", {"metadata": {"resourceVersion": "200"}}), end=True), cut]
    with followed(server, tmp_path) as (stub, cluster):
        until(lambda: len(server.feeds["pods"]) >= 3)
        asked = [a for a in stub.asked if a.kind == "pods"]
        assert [a.query.get("resourceVersion") for a in asked[:4]] == [None, "100", "200", "250"]
        assert sum(not a.watch for a in asked) == 1
        assert asked[1].query["allowWatchBookmarks"] == "true"
        sees(cluster, "nginx-a-1", "nginx-a-2")


@pytest.mark.parametrize("in_stream", [True, False])
def test_a_version_that_is_too_old_leads_to_a_new_list(tmp_path: Path, *, in_stream: bool) -> None:
    server = Server()
    with followed(server, tmp_path) as (stub, cluster):
        until(lambda: bool(server.feeds["pods"]))
        server.lists["pods"] = kube.listed(kube.pod("nginx-a-9", "nginx-a"), version="900")
        if in_stream:
            server.feeds["pods"][-1].put("ERROR", GONE)
        else:
            server.answers["pods"] = Tell(410, GONE)
            server.feeds["pods"][-1].end()
            until(lambda: sum(a.kind == "pods" for a in stub.asked) >= 4)
            del server.answers["pods"]
        sees(cluster, "nginx-a-9")
        until(lambda: any(a.query.get("resourceVersion") == "900" for a in stub.asked))


def test_a_server_that_always_says_expired_is_not_hammered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_watch, "FIRST_WAIT", 5.0)
    server = Server()
    server.ready["pods"] = [Feed(("ERROR", GONE)) for _ in range(50)]
    with followed(server, tmp_path) as (stub, cluster):
        sees(cluster, "nginx-a-1")
        until(lambda: len(server.feeds["pods"]) == 2)
        until(lambda: len(server.feeds["deployments"]) == 1)
        assert len(server.feeds["pods"]) == 2
        assert sum(a.kind == "pods" for a in stub.asked) == 4


@pytest.mark.parametrize("line", [b"<html>\n", b'{"type":"ADDED"}\n', b"[1]\n", b'{"type":"ERROR","object":{"code":500}}\n'])
def test_a_line_that_is_no_event_does_not_end_the_watching(tmp_path: Path, line: bytes) -> None:
    server = Server()
    bad = Feed()
    bad.raw(line)
    server.ready["pods"] = [bad]
    with followed(server, tmp_path) as (_, cluster):
        until(lambda: len(server.feeds["pods"]) >= 2)
        server.feeds["pods"][-1].put("ADDED", kube.pod("nginx-a-2", "nginx-a", version="101"))
        sees(cluster, "nginx-a-1", "nginx-a-2")


def test_a_watch_on_a_connection_that_went_silent_is_given_up_and_begun_anew(tmp_path: Path) -> None:
    server = Server()  # its watches never end and never speak, although asked to end after a second
    with followed(server, tmp_path) as (stub, cluster):
        sees(cluster, "nginx-a-1")
        until(lambda: sum(a.kind == "pods" and a.watch for a in stub.asked) >= 2)
        assert sum(a.kind == "pods" and not a.watch for a in stub.asked) == 1


def test_a_silent_server_makes_the_view_unreachable_with_since_when_and_why(tmp_path: Path) -> None:
    server = Server()
    with followed(server, tmp_path, stale=0.4) as (_, cluster):
        until(lambda: pods(cluster) == ["nginx-a-1"])
        server.answers["pods"] = Tell(hang=True)
        until(lambda: "pods of namespace shop not current for" in blind(cluster))


def test_a_forbidden_list_is_told_in_words(tmp_path: Path) -> None:
    server = Server()
    server.answers["pods"] = status(403, 'pods is forbidden: User "rollout" cannot list resource "pods"', "Forbidden")
    with followed(server, tmp_path) as (_, cluster):
        until(lambda: "403" in blind(cluster))
        assert 'pods of namespace shop not seen yet: 403: our account may not list pods in namespace "shop"' in blind(cluster)
        del server.answers["pods"]
        sees(cluster, "nginx-a-1")


def test_endpoints_are_needed_only_where_the_target_has_a_service(tmp_path: Path) -> None:
    server = Server()
    server.answers["endpointslices"] = status(403, "endpointslices is forbidden", "Forbidden")
    with followed(server, tmp_path) as (_, cluster):
        until(lambda: isinstance(cluster.view(replace(kube.TARGET, service="")), TargetView))
        until(lambda: "endpointslices" in blind(cluster))


def test_a_namespace_that_nobody_follows_is_unreachable_and_not_empty(tmp_path: Path) -> None:
    with followed(Server(), tmp_path) as (_, cluster):
        view = cluster.view(replace(kube.TARGET, namespace="elsewhere"))
        assert view == Unreachable("kubernetes test: namespace elsewhere is not followed")


def test_a_subscriber_that_fails_does_not_blind_us(tmp_path: Path) -> None:
    server, met = Server(), threading.Event()

    def broken(_namespace: str, _deployment: str) -> None:
        if not met.is_set():
            met.set()
            raise RuntimeError("a bug of somebody else")

    with followed(server, tmp_path) as (_, cluster):
        sees(cluster, "nginx-a-1")
        cluster.subscribe(broken)
        until(lambda: bool(server.feeds["pods"]))
        server.feeds["pods"][-1].put("ADDED", kube.pod("nginx-a-2", "nginx-a", version="101"))
        until(met.is_set)
        until(lambda: len(server.feeds["pods"]) >= 2)
        server.feeds["pods"][-1].put("ADDED", kube.pod("nginx-a-3", "nginx-a", version="102"))
        until(lambda: "nginx-a-3" in pods(cluster))


def test_following_twice_watches_once_and_closing_ends_every_thread(tmp_path: Path) -> None:
    server = Server()
    before = threading.active_count()
    with followed(server, tmp_path) as (_, cluster):
        cluster.follow("shop")
        sees(cluster, "nginx-a-1")
        until(lambda: all(server.feeds.values()))
        assert sum(t.name.startswith("watch ") for t in threading.enumerate()) == 4
    assert not [t for t in threading.enumerate() if t.name.startswith("watch ")]
    assert threading.active_count() <= before
