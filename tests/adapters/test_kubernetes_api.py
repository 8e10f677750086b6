from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.core.effects import FieldName, FieldTest, PatchDeployment, PostEvent
from rollout.core.errors import Conflict, Refused, Rejected, RolloutError, Unavailable
from tests.adapters import kube_json as kube
from tests.adapters.api_stub import ApiStub, Asked, Feed, Script, Tell, api, kubeconfig, status
from tests.adapters.stub import closed_port

SECOND = timedelta(seconds=1)
SCALE = PatchDeployment("test", "shop", "nginx-canary", "nginx", replicas=2, if_version="7", why="one more")
STOP = PatchDeployment(
    "test", "shop", "nginx-canary", "nginx", replicas=0, if_fields=(FieldTest(FieldName.ROLLOUT_ID, "r1"),), why="step back"
)
IMAGE = PatchDeployment("test", "shop", "nginx", "nginx", image="nginx:2", if_version="7")

Opened = Callable[[Script], "tuple[ApiStub, KubernetesCluster]"]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_one(script: Script) -> tuple[ApiStub, KubernetesCluster]:
            stub = stack.enter_context(closing(ApiStub(script)))
            settings = ClusterSettings(name="test", kubeconfig=kubeconfig(tmp_path, stub.port), read_timeout=0.4 * SECOND)
            return stub, stack.enter_context(closing(KubernetesCluster(settings, SystemClock())))

        yield open_one


def failing(cluster: KubernetesCluster, patch: PatchDeployment, timeout: timedelta = SECOND) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        cluster.apply(patch, timeout=timeout)
    return caught.value


def test_a_forward_patch_is_one_strategic_merge_patch_with_our_name_and_token(opened: Opened) -> None:
    stub, cluster = opened(lambda _: Tell(body=kube.deployment()))
    cluster.apply(SCALE, timeout=SECOND)
    (asked,) = stub.asked
    assert (asked.method, asked.path) == ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/nginx-canary")
    assert asked.query == {"fieldManager": "rollout"}
    assert asked.headers["content-type"] == "application/strategic-merge-patch+json"
    assert asked.headers["authorization"] == "Bearer the-token"
    assert asked.body == {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 2}}


def test_stepping_back_is_one_json_patch_and_no_read_before_it(opened: Opened) -> None:
    stub, cluster = opened(lambda _: Tell(body=kube.deployment()))
    cluster.apply(STOP, timeout=SECOND)
    (asked,) = stub.asked
    assert asked.headers["content-type"] == "application/json-patch+json"
    assert asked.body == [
        {"op": "test", "path": "/metadata/annotations/rollout~1id", "value": "r1"},
        {"op": "add", "path": "/spec/replicas", "value": 0},
    ]


def test_an_image_goes_only_to_a_container_that_exists(opened: Opened) -> None:
    stub, cluster = opened(lambda _: Tell(body=kube.deployment()))
    wrong = PatchDeployment("test", "shop", "nginx", "web", image="nginx:2", if_version="7")
    error = failing(cluster, wrong)
    assert isinstance(error, Rejected)
    assert str(error) == "kubernetes test: shop/nginx has no container 'web' (its containers: nginx); nothing was written"
    assert [asked.method for asked in stub.asked] == ["GET"]
    cluster.apply(IMAGE, timeout=SECOND)
    assert [asked.method for asked in stub.asked] == ["GET", "GET", "PATCH"]


def test_a_409_is_a_conflict(opened: Opened) -> None:
    _, cluster = opened(lambda _: status(409, "the object has been modified", "Conflict"))
    assert isinstance(failing(cluster, SCALE), Conflict)


def test_a_422_of_a_test_that_failed_is_a_conflict_that_names_the_field(opened: Opened) -> None:
    other = kube.deployment("nginx-canary", annotations={"rollout/id": "r2"})
    _, cluster = opened(lambda asked: Tell(body=other) if asked.method == "GET" else status(422, "the server rejected our request"))
    error = failing(cluster, STOP)
    assert isinstance(error, Conflict)
    assert "shop/nginx-canary: rollout/id is 'r2', expected 'r1'; nothing was written" in str(error)


def test_a_422_for_another_reason_is_not_called_a_conflict(opened: Opened) -> None:
    same = kube.deployment("nginx-canary", annotations={"rollout/id": "r1"})
    stub, cluster = opened(lambda asked: Tell(body=same) if asked.method == "GET" else status(422, "spec.replicas: Invalid"))
    error = failing(cluster, STOP)
    assert isinstance(error, Rejected)
    assert not isinstance(error, Conflict)
    assert "spec.replicas: Invalid" in str(error)
    assert [asked.method for asked in stub.asked] == ["PATCH", "GET", "PATCH", "GET"]


def test_a_deployment_without_any_annotation_can_be_stepped_back_too(opened: Opened) -> None:
    bare = kube.deployment("nginx-canary")
    del bare["metadata"]["annotations"]

    def script(asked: Asked) -> Tell:
        if asked.method == "GET":
            return Tell(body=bare)
        adds_map = any(op["path"] == "/metadata/annotations" and op["op"] == "add" for op in asked.body)
        return Tell(body=bare) if adds_map else status(422, "missing path")

    stub, cluster = opened(script)
    unowned = PatchDeployment(
        "test", "shop", "nginx-canary", "nginx", replicas=0, annotations=(("rollout/stopped", "r1"),),
        if_fields=(FieldTest(FieldName.ROLLOUT_ID, None),),
    )  # fmt: skip
    cluster.apply(unowned, timeout=SECOND)
    assert [asked.method for asked in stub.asked] == ["PATCH", "GET", "PATCH"]
    assert {"op": "add", "path": "/spec/replicas", "value": 0} in stub.asked[-1].body


def test_a_403_names_verb_resource_namespace_and_the_remedy(opened: Opened) -> None:
    _, cluster = opened(lambda _: status(403, 'User "system:serviceaccount:rollout:rollout" cannot patch resource', "Forbidden"))
    error = failing(cluster, SCALE)
    assert isinstance(error, Rejected)
    assert error.code == 403
    for words in (
        'patch deployments.apps "nginx-canary" in namespace "shop"',
        "config/kubernetes/rbac.yaml",
        "cannot patch resource",
    ):
        assert words in str(error)


def test_a_404_is_rejected(opened: Opened) -> None:
    _, cluster = opened(lambda _: status(404, 'deployments.apps "nginx-canary" not found', "NotFound"))
    error = failing(cluster, SCALE)
    assert isinstance(error, Rejected)
    assert error.code == 404


@pytest.mark.parametrize(("code", "maybe_done"), [(429, False), (500, True), (503, True), (504, True)])
def test_a_server_that_cannot_now_is_unavailable_and_says_when_to_come_back(opened: Opened, *, code: int, maybe_done: bool) -> None:
    _, cluster = opened(lambda _: Tell(code, {"message": "later"}, {"Retry-After": "7"}))
    error = failing(cluster, SCALE)
    assert isinstance(error, Unavailable)
    assert (error.maybe_done, error.retry_after) == (maybe_done, timedelta(seconds=7))


def test_a_401_may_be_over_when_the_token_has_been_renewed(opened: Opened) -> None:
    _, cluster = opened(lambda _: status(401, "Unauthorized", "Unauthorized"))
    assert isinstance(failing(cluster, SCALE), Unavailable)


@pytest.mark.parametrize(
    "answer",
    [
        Tell(hang=True),
        Tell(body=kube.deployment(), cut_at=40),
        Tell(body=b"<html>Please sign in</html>", headers={"Content-Type": "text/html"}),
        Tell(body=b'{"kind":'),
        Tell(body=b"[]"),
        Tell(302, {}, {"Location": "http://127.0.0.1:1/login"}),
    ],
    ids=["hang", "cut", "html", "half", "list", "redirect"],
)
def test_an_answer_that_cannot_be_believed_is_unavailable(opened: Opened, answer: Tell) -> None:
    stub, cluster = opened(lambda _: answer)
    error = failing(cluster, SCALE, timeout=0.3 * SECOND)
    assert isinstance(error, Unavailable)
    assert error.maybe_done is (answer.status == 200)
    assert "the-token" not in str(error)
    assert len(stub.asked) == 1, "a write is never sent twice behind the caller's back"


def test_a_server_that_is_not_there_has_done_nothing(tmp_path: Path) -> None:
    settings = ClusterSettings(name="test", kubeconfig=kubeconfig(tmp_path, closed_port()))
    with closing(KubernetesCluster(settings, SystemClock())) as cluster:
        error = failing(cluster, SCALE)
    assert isinstance(error, Unavailable)
    assert error.maybe_done is False
    assert "Connection refused" in str(error)


def test_an_event_is_written_on_the_deployment_under_a_name_of_its_own(opened: Opened) -> None:
    stub, cluster = opened(lambda asked: Tell(body=kube.deployment() if asked.method == "GET" else {"kind": "Event"}))
    for _ in range(2):
        cluster.post_event(PostEvent("test", "shop", "nginx", "Warning", "SteppedBack", "x" * 2000), timeout=SECOND)
    bodies = [asked.body for asked in stub.asked if asked.method == "POST"]
    assert bodies[0]["involvedObject"]["uid"] == "uid-nginx"
    assert bodies[0]["source"] == {"component": "rollout"}
    assert (bodies[0]["type"], bodies[0]["reason"], len(bodies[0]["message"])) == ("Warning", "SteppedBack", 1024)
    assert len({body["metadata"]["name"] for body in bodies}) == 2


def test_a_hung_forward_write_does_not_delay_stepping_back(opened: Opened) -> None:
    stub, cluster = opened(lambda asked: Tell(hang=True) if isinstance(asked.body, dict) else Tell(body=kube.deployment()))
    assert isinstance(failing(cluster, SCALE, timeout=0.2 * SECOND), Unavailable)
    cluster.apply(STOP, timeout=SECOND)
    assert isinstance(stub.asked[-1].body, list)


def test_an_api_that_failed_three_times_is_left_alone_but_not_by_the_path_that_steps_back(opened: Opened) -> None:
    stub, cluster = opened(lambda asked: Tell(body=kube.deployment()) if isinstance(asked.body, list) else status(503, "no leader"))
    errors = [failing(cluster, SCALE) for _ in range(4)]
    assert all(isinstance(error, Unavailable) for error in errors)
    assert len(stub.asked) == 3
    assert "left alone after 3 failures in a row" in str(errors[-1])
    with pytest.raises(Unavailable, match="left alone"):
        cluster.post_event(PostEvent("test", "shop", "nginx", "Normal", "Scaled", "x"), timeout=SECOND)
    cluster.apply(STOP, timeout=SECOND)
    assert len(stub.asked) == 4


def test_looking_asks_the_api_and_reads_every_page(opened: Opened) -> None:
    def script(asked: Asked) -> Tell | Feed:
        match asked.kind:
            case "nginx" | "nginx-canary":
                return Tell(body=kube.deployment(asked.kind))
            case "replicasets":
                return Tell(body=kube.listed(kube.replica_set("nginx-a", "nginx")))
            case "pods" if "continue" not in asked.query:
                page = kube.listed(kube.pod("nginx-a-1", "nginx-a"))
                page["metadata"]["continue"] = "page 2"
                return Tell(body=page)
            case "pods":
                return Tell(body=kube.listed(kube.pod("nginx-a-2", "nginx-a")))
            case _:
                return Tell(body=kube.listed(kube.endpoint_slice("s", kube.endpoint("nginx-a-1"))))

    _, cluster = opened(script)
    view = cluster.look(kube.TARGET, timeout=SECOND)
    assert [(p.name, p.deployment, p.serving) for p in view.pods] == [("nginx-a-1", "nginx", True), ("nginx-a-2", "nginx", False)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "kubeconfig"),
        ("not: [valid", "cannot be read"),
        ("{}", "cannot be"),
        (json.dumps({"clusters": [], "contexts": [], "users": [], "current-context": "gone"}), "gone"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_in_words(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(Refused) as caught:
        KubernetesCluster(ClusterSettings(name="prod", kubeconfig=path), SystemClock())
    assert str(caught.value).startswith("cluster prod: kubeconfig ")
    assert words in str(caught.value)


def test_outside_a_pod_the_service_account_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Refused, match="service account"):
        KubernetesCluster(ClusterSettings(name="prod", in_cluster=True), SystemClock())


def test_settings_are_written_in_camel_case_with_units() -> None:
    settings = ClusterSettings.model_validate({"name": "prod", "inCluster": True, "readTimeout": "5s", "staleAfter": "1m"})
    assert (settings.read_timeout, settings.stale_after) == (5 * SECOND, 60 * SECOND)


def test_the_context_of_a_kubeconfig_can_be_chosen(tmp_path: Path) -> None:
    with api(lambda _: Tell(body=kube.deployment())) as stub:
        path = kubeconfig(tmp_path, stub.port)
        document = json.loads(path.read_text(encoding="utf-8"))
        document["current-context"] = "elsewhere"
        path.write_text(json.dumps(document), encoding="utf-8")
        settings = ClusterSettings(name="test", kubeconfig=path, context="here")
        with closing(KubernetesCluster(settings, SystemClock())) as cluster:
            cluster.apply(SCALE, timeout=SECOND)
        assert len(stub.asked) == 1


def test_doctor_tells_a_clock_that_is_wrong_and_a_server_that_is_away(opened: Opened) -> None:
    stub, cluster = opened(lambda _: Tell(body={"gitVersion": "v1.36.3"}, headers={"Date": "Sun, 22 Nov 2026 01:00:00 GMT"}))
    (check,) = cluster.check()
    assert (check.level, stub.asked[0].path) == ("warning", "/version")
    assert "v1.36.3: its clock is" in check.message
    stub.script = lambda _: Tell(hang=True)
    (check,) = cluster.check()
    assert check.level == "refused"


def test_another_field_manager_is_refused_because_our_own_writes_would_look_like_somebody_elses() -> None:
    with pytest.raises(ValidationError, match="'rollout'"):
        ClusterSettings.model_validate({"name": "test", "fieldManager": "deployer"})
