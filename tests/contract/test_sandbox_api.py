"""The pretend Kubernetes API over HTTP: watches, selectors, errors, rights, paging, logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.kube_rights import Denial
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import NAMESPACE, START, manifests

Json = dict[str, Any]
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0), manifests()) as running:
        yield running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.urls["kubernetes"], timeout=5) as client:
        yield client


@contextmanager
def watching(http: httpx.Client, path: str, **parameters: str) -> Iterator[Iterator[Json]]:
    with http.stream("GET", path, params={"watch": "true", **parameters}) as answer:
        yield (json.loads(line) for line in answer.iter_lines())


def test_a_watch_begins_where_the_list_ended_and_misses_nothing(sandbox: Sandbox, http: httpx.Client) -> None:
    version = http.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
    with sandbox.using() as world:
        world.scale(NAMESPACE, "web", 9)
    with watching(http, DEPLOYMENTS, resourceVersion=version, timeoutSeconds="5") as events:
        first = next(events)
        assert (first["type"], first["object"]["spec"]["replicas"]) == ("MODIFIED", 9)
        with sandbox.using() as world:
            world.annotate(NAMESPACE, "web-canary", {"a": "b"})
        while first["object"]["metadata"]["name"] != "web-canary":
            first = next(events)
        assert first["object"]["metadata"]["annotations"]["a"] == "b"


def test_a_watch_without_a_version_begins_with_what_there_is(http: httpx.Client) -> None:
    with watching(http, DEPLOYMENTS, timeoutSeconds="5") as events:
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in (next(events), next(events))] == [
            ("ADDED", "web"),
            ("ADDED", "web-canary"),
        ]


def test_a_watch_from_too_long_ago_is_told_410(sandbox: Sandbox, http: httpx.Client) -> None:
    version = http.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
    with sandbox.using() as world:
        for number in range(2_100):
            world.annotate(NAMESPACE, "web", {"n": str(number)})
    with watching(http, DEPLOYMENTS, resourceVersion=version) as events:
        event = next(events)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert next(events, None) is None


def test_a_restarted_server_has_forgotten_old_versions(sandbox: Sandbox, http: httpx.Client) -> None:
    version = http.get(PODS).json()["metadata"]["resourceVersion"]
    with sandbox.using() as world:
        world.scale(NAMESPACE, "web", 9)
        world.storage.forget()
    with watching(http, PODS, resourceVersion=version) as events:
        assert next(events)["object"]["code"] == 410


def test_a_quiet_watch_ends_when_agreed_with_a_bookmark_that_is_current(sandbox: Sandbox, http: httpx.Client) -> None:
    version = http.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
    with sandbox.using() as world:
        world.delete_pod(NAMESPACE, world.objects("pods")[0]["metadata"]["name"], force=True)
    wanted = {"resourceVersion": version, "timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    with watching(http, DEPLOYMENTS, fieldSelector="metadata.name=none", **wanted) as events:
        (last,) = list(events)
    assert last["type"] == "BOOKMARK"
    assert int(last["object"]["metadata"]["resourceVersion"]) > int(version)


def test_a_watch_with_a_selector_sees_objects_come_into_view_and_leave(sandbox: Sandbox, http: httpx.Client) -> None:
    version = http.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
    with watching(http, DEPLOYMENTS, resourceVersion=version, labelSelector="tier in (gold)", timeoutSeconds="5") as events:
        for labels in ({"tier": "gold"}, {"tier": "tin"}):
            http.patch(f"{DEPLOYMENTS}/web", json={"metadata": {"labels": labels}}, headers=MERGE)
        assert [next(events)["type"] for _ in range(2)] == ["ADDED", "DELETED"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [("role=canary", 0), ("role=release", 10), ("role!=release", 0), ("role in (release, x)", 10), ("role notin (release)", 0),
     ("app", 10), ("!app", 0), ("app=web,role", 10), ("pod-template-hash", 10)],
)  # fmt: skip
def test_label_selectors(http: httpx.Client, labels: str, found: int) -> None:
    assert len(http.get(PODS, params={"labelSelector": labels}).json()["items"]) == found


def test_field_selectors(http: httpx.Client) -> None:
    name = http.get(PODS).json()["items"][0]["metadata"]["name"]
    assert len(http.get(PODS, params={"fieldSelector": f"metadata.name={name}"}).json()["items"]) == 1
    assert len(http.get(PODS, params={"fieldSelector": "status.phase!=Running"}).json()["items"]) == 0
    events = f"/api/v1/namespaces/{NAMESPACE}/events"
    about = http.get(events, params={"fieldSelector": "involvedObject.kind=Deployment,involvedObject.name=web"}).json()["items"]
    assert {event["reason"] for event in about} == {"ScalingReplicaSet"}


def test_long_lists_come_in_pages(http: httpx.Client) -> None:
    first = http.get(PODS, params={"limit": "4"}).json()
    names = [pod["metadata"]["name"] for pod in first["items"]]
    while token := first["metadata"].get("continue"):
        first = http.get(PODS, params={"limit": "4", "continue": token}).json()
        names += [pod["metadata"]["name"] for pod in first["items"]]
    assert len(names) == len(set(names)) == 10


def test_failures_are_status_objects(http: httpx.Client) -> None:
    absent = http.get(f"{DEPLOYMENTS}/none")
    assert (absent.status_code, absent.json()["reason"]) == (404, "NotFound")
    assert http.get("/apis/none/v1/things").status_code == 404
    wrong = http.patch(f"{DEPLOYMENTS}/web", json={"spec": {"replicas": -1}}, headers=MERGE)
    assert (wrong.status_code, wrong.json()["details"]["causes"][0]["field"]) == (422, "spec.replicas")
    assert http.patch(f"{DEPLOYMENTS}/web", content=b"{", headers=MERGE).status_code == 400
    assert http.patch(f"{DEPLOYMENTS}/web", json={}, headers={"content-type": "text/plain"}).status_code == 415
    assert http.get(DEPLOYMENTS, headers={"authorization": "Bearer wrong"}).status_code == 401


def test_what_is_denied_is_forbidden_and_the_access_review_says_so(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.kubernetes.rights.denials.append(Denial("patch", "deployments", NAMESPACE))
    refused = http.patch(f"{DEPLOYMENTS}/web", json={"spec": {"replicas": 1}}, headers=MERGE)
    assert refused.status_code == 403
    assert 'cannot patch resource "deployments" in API group "apps"' in refused.json()["message"]

    def allowed(verb: str) -> bool:
        attributes = {"namespace": NAMESPACE, "verb": verb, "group": "apps", "resource": "deployments"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(http.post(path, json={"spec": {"resourceAttributes": attributes}}).json()["status"]["allowed"])

    assert (allowed("patch"), allowed("get")) == (False, True)


def test_the_scale_subresource_reads_and_writes(http: httpx.Client) -> None:
    scale = http.get(f"{DEPLOYMENTS}/web/scale").json()
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["replicas"]) == ("Scale", 10, 10)
    assert http.patch(f"{DEPLOYMENTS}/web/scale", json={"spec": {"replicas": 7}}, headers=MERGE).json()["spec"]["replicas"] == 7
    assert http.put(f"{DEPLOYMENTS}/web/scale", json=scale).status_code == 409


def test_the_log_of_a_pod_has_its_errors(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.advance(timedelta(minutes=30))
    pod = http.get(PODS).json()["items"][0]["metadata"]
    text = http.get(f"{PODS}/{pod['name']}/log", params={"sinceSeconds": "1200"}).text
    expected = sandbox.world.traffic.counts(pod["uid"], sandbox.world.now - timedelta(minutes=20), sandbox.world.now)
    assert text.count("ERROR") == expected.error_logs
    assert len(http.get(f"{PODS}/{pod['name']}/log", params={"tailLines": "1"}).text.splitlines()) == 1


def test_a_hanging_server_is_silent_on_watches_too(sandbox: Sandbox, http: httpx.Client) -> None:
    with watching(http, DEPLOYMENTS, timeoutSeconds="30") as events:
        assert next(events)["object"]["metadata"]["name"] == "web"
        assert next(events)["object"]["metadata"]["name"] == "web-canary"
        with sandbox.using() as world:
            world.faults.set("kubernetes", Fault(Failing.HANG))
            world.annotate(NAMESPACE, "web", {"a": "b"})
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(sandbox.urls["kubernetes"] + "/version", timeout=0.3)
        with sandbox.using() as world:
            world.faults.clear("kubernetes")
        assert next(events)["object"]["metadata"]["annotations"]["a"] == "b"
