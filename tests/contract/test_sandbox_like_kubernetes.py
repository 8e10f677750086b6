"""The pretend API and a real one, asked the same: where they disagree the sandbox is wrong.

The expected answers were recorded from a real API server (1.36); its own turn runs where there is one.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.contract.sandbox_builders import START
from tests.peers.process import wait_until

Json = dict[str, Any]
CHANGED = "the object has been modified; please apply your changes to the latest version and try again"
INVALID = 'Deployment.apps "web" is invalid:'
LABELS = 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'
SELECTOR = 'spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable'
REJECTED = "the server rejected our request due to an error in our request"


@dataclass
class Place:
    """An API server, and a namespace of our own in it."""

    http: httpx.Client
    namespace: str = field(default_factory=lambda: f"like-{uuid.uuid4().hex[:8]}")

    @property
    def deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    def send(self, method: str, path: str, body: object = None, kind: str = "application/json", **query: str) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        return self.http.request(method, path, content=content, headers={"content-type": kind}, params=query)

    def create(self, name: str, replicas: int, surge: int | str = 1, unavailable: int | str = 1, **spec: object) -> Json:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        containers = [{"name": "app", "image": "web:1.0"}]
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
        selector = {"matchLabels": {"app": name}}
        body = {"replicas": replicas, "selector": selector, "strategy": strategy, "template": template, **spec}
        document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}
        made = self.send("POST", self.deployments, document, fieldManager="kubectl-create")
        assert made.status_code == 201, made.text
        self.wait_until_complete(name)
        return self.read(name)

    def read(self, name: str) -> Json:
        found: Json = self.http.get(f"{self.deployments}/{name}").json()
        return found

    def patch(self, name: str, body: object, kind: str = STRATEGIC_PATCH, **query: str) -> Json:
        answer = self.send("PATCH", f"{self.deployments}/{name}", body, kind, **query)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def roll(self, name: str, image: str) -> None:
        self.patch(name, {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})

    def is_complete(self, name: str) -> bool:
        found = self.read(name)
        status, wanted = found["status"], found["spec"]["replicas"]
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return False
        return all(status.get(f"{word}eplicas", 0) == wanted for word in ("updatedR", "r", "availableR"))

    def wait_until_complete(self, name: str) -> None:
        self.wait_until(lambda: self.is_complete(name))

    def wait_until(self, condition: Callable[[], object]) -> None:
        wait_until(condition, 60, "the controllers' answer")

    def scalings(self, name: str) -> list[str]:
        """What the controller did, in order, as `up 0-10`; the real one stops telling each after the tenth."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        found = self.http.get(path, params={"fieldSelector": f"involvedObject.name={name}"}).json()["items"]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        words = [re.sub(r"Scaled (\w+) replica set \S+ from (\d+) to (\d+)", r"\1 \2-\3", event["message"]) for event in found]
        return [word for word in words if "combined" not in word][:9]


@pytest.fixture(scope="module", params=["sandbox", pytest.param("kubernetes", marks=pytest.mark.peer("kubernetes"))])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "sandbox":
        with Sandbox(SystemClock(), SandboxOptions(START, speed=30.0)) as sandbox, httpx.Client() as client:
            client.base_url = sandbox.urls["kubernetes"]
            yield furnished(client)
    else:
        yield furnished(request.getfixturevalue("kubernetes_peer").api._client)


def furnished(client: httpx.Client) -> Place:
    found = Place(client)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.namespace}}
    assert found.send("POST", "/api/v1/namespaces", namespace).status_code == 201
    found.create("web", 3)
    return found


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "test", "path": "/metadata/annotations/foo", "value": None}, 200),
        ({"op": "test", "path": "/metadata/annotations/foo"}, 200),
        ({"op": "test", "path": "/metadata/annotations/foo", "value": "x"}, 422),
        ({"op": "test", "path": "/metadata/nothing/foo", "value": None}, 422),
        ({"op": "test", "path": "/spec/replicas", "value": 3}, 200),
        ({"op": "test", "path": "/spec/replicas", "value": 9}, 422),
        ({"op": "test", "path": "/spec/paused", "value": False}, 422),
        ({"op": "test", "path": "/spec/paused", "value": None}, 200),
        ({"op": "test", "path": "/spec/minReadySeconds", "value": 0}, 422),
        ({"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, 422),
        ({"op": "remove", "path": "/spec/paused"}, 422),
        ({"op": "replace", "path": "/spec/paused", "value": False}, 200),
        ({"op": "add", "path": "/spec/nothing/x", "value": 1}, 422),
        ({"op": "add", "path": "/metadata/annotations/a~1b", "value": "c"}, 200),
    ],
)
def test_json_patches(place: Place, operation: Json, status: int) -> None:
    answer = place.send("PATCH", f"{place.deployments}/web", [operation], JSON_PATCH)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert (answer.json()["reason"], answer.json()["message"]) == ("Invalid", REJECTED)


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}, MERGE_PATCH, 409,
         f'Operation cannot be fulfilled on deployments.apps "web": {CHANGED}'),
        ({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}, STRATEGIC_PATCH, 409,
         f'Operation cannot be fulfilled on deployments.apps "web": {CHANGED}'),
        ({"spec": {"template": {"spec": {"containers": [{"name": "typo"}]}}}}, STRATEGIC_PATCH, 422,
         f"{INVALID} spec.template.spec.containers[0].image: Required value"),
        ({"spec": {"replicas": -1}}, STRATEGIC_PATCH, 422,
         f"{INVALID} spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"spec": {"minReadySeconds": 700}}, STRATEGIC_PATCH, 422,
         f"{INVALID} spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"),
        ({"spec": {"selector": {"matchLabels": {"x": "y"}}}}, STRATEGIC_PATCH, 422,
         f"{INVALID} [{LABELS}, {SELECTOR}]"),
        ({"spec": {"bogus": 1}}, STRATEGIC_PATCH, 200, None),
        ({}, "text/plain", 415, None),
    ],
)  # fmt: skip
def test_other_patches(place: Place, body: Json, kind: str, status: int, message: str | None) -> None:
    answer = place.send("PATCH", f"{place.deployments}/web", body, kind)
    assert answer.status_code == status, answer.text
    if message is not None:
        assert answer.json()["message"] == message


def test_refusals(place: Place) -> None:
    absent = place.send("PATCH", f"{place.deployments}/none", {}, MERGE_PATCH)
    assert (absent.status_code, absent.json()["message"]) == (404, 'deployments.apps "none" not found')
    assert place.send("DELETE", f"{place.deployments}/none").json()["reason"] == "NotFound"
    again = place.send("POST", place.deployments, {**place.read("web"), "metadata": {"name": "web"}})
    assert (again.status_code, again.json()["message"]) == (409, 'deployments.apps "web" already exists')
    assert place.http.get("/apis/none/v1/x").status_code == 404
    assert place.http.get(place.deployments, params={"labelSelector": "a in ("}).status_code == 400
    scale = place.http.get(f"{place.deployments}/web/scale").json()
    scale["metadata"]["resourceVersion"] = "1"
    assert place.send("PUT", f"{place.deployments}/web/scale", scale).status_code == 409


def test_items_of_a_list_do_not_repeat_their_kind(place: Place) -> None:
    found = place.http.get(place.deployments, params={"limit": "1"}).json()
    assert found["kind"] == "DeploymentList"
    assert not {"kind", "apiVersion"} & found["items"][0].keys()


def test_managed_fields_have_the_shape_of_the_real_ones(place: Place) -> None:
    place.create("owned", 1)
    containers = [{"name": "app", "image": "web:2.0"}]
    body = {"metadata": {"annotations": {"rollout/id": "x"}}, "spec": {"template": {"spec": {"containers": containers}}}}
    found = place.patch("owned", body, fieldManager="rollout")
    mine = next(entry for entry in found["metadata"]["managedFields"] if entry["manager"] == "rollout")
    image: Json = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}}}
    assert mine["fieldsV1"] == {"f:metadata": {"f:annotations": {"f:rollout/id": {}}}, "f:spec": image}
    assert (mine["operation"], mine["apiVersion"], mine["fieldsType"]) == ("Update", "apps/v1", "FieldsV1")


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "done"),
    [
        (3, 1, 0, ["up 0-3", "up 0-1", "down 3-2", "up 1-2", "down 2-1", "up 2-3", "down 1-0"]),
        (4, 0, 1, ["up 0-4", "down 4-3", "up 0-1", "down 3-2", "up 1-2", "down 2-1", "up 2-3", "down 1-0", "up 3-4"]),
        (1, 1, 1, ["up 0-1", "up 0-1", "down 1-0"]),
    ],
)
def test_a_roll_goes_by_the_same_steps(place: Place, replicas: int, surge: int, unavailable: int, done: list[str]) -> None:
    name = f"roll-{replicas}-{surge}-{unavailable}"
    place.create(name, replicas, surge, unavailable)
    place.roll(name, "web:2.0")
    place.wait_until_complete(name)
    place.wait_until(lambda: len(place.scalings(name)) >= len(done))
    assert place.scalings(name) == done


def test_a_pause_changes_the_condition_and_scaling_still_works(place: Place) -> None:
    def reasons() -> set[str]:
        return {condition["reason"] for condition in place.read("paused")["status"]["conditions"]}

    place.create("paused", 4)
    place.patch("paused", {"spec": {"paused": True}})
    place.wait_until(lambda: "DeploymentPaused" in reasons())
    place.roll("paused", "web:2.0")
    place.patch("paused", {"spec": {"replicas": 5}})
    place.wait_until(lambda: place.read("paused")["status"].get("availableReplicas") == 5)
    assert "updatedReplicas" not in place.read("paused")["status"]
    place.patch("paused", {"spec": {"paused": None}})
    place.wait_until_complete("paused")
    place.wait_until(lambda: reasons() == {"MinimumReplicasAvailable", "NewReplicaSetAvailable"})


def test_a_canary_woken_with_a_new_image_never_runs_the_old_one(place: Place) -> None:
    place.create("canary", 0)
    image = {"containers": [{"name": "app", "image": "web:3.0"}]}
    place.patch("canary", {"spec": {"replicas": 1, "template": {"spec": image}}})
    place.wait_until_complete("canary")
    assert place.scalings("canary") == ["up 0-1"]
    assert place.read("canary")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
