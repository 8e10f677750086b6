from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.kubernetes_break_glass import SteppedBack, step_back_now
from rollout.core.errors import Refused, Rejected, Unavailable
from rollout.core.state import Snapshot
from tests.adapters import kube_json as kube
from tests.adapters.api_stub import ApiStub, Asked, Script, Tell, api, kubeconfig, status

SNAPSHOT = Snapshot("nginx:1.27.3", 0, "nginx:1.28.0", 420, datetime(2026, 11, 22, tzinfo=UTC))


def promoted(image: str = "nginx:1.28.0") -> kube.Json:
    document = kube.deployment("nginx", annotations={"rollout/id": "r1"})
    kube.container(document)["image"] = image
    document["spec"]["minReadySeconds"] = 420
    document["status"]["updatedReplicas"] = 3
    return document


def answering(stable: Callable[[Asked], Tell]) -> Script:
    canary = kube.deployment("nginx-canary", replicas=2, annotations={"rollout/id": "r1"})
    return lambda asked: Tell(body=canary) if asked.kind == "nginx-canary" else stable(asked)


def broken(folder: Path, script: Script, snapshot: Snapshot | None = SNAPSHOT) -> tuple[SteppedBack, ApiStub]:
    with api(script) as stub:
        settings = ClusterSettings(name="test", kubeconfig=kubeconfig(folder, stub.port), read_timeout=timedelta(seconds=0.3))
        return step_back_now(settings, SystemClock(), kube.TARGET, "r1", snapshot), stub


def patched(stub: ApiStub) -> list[str]:
    return [asked.kind for asked in stub.asked if asked.method == "PATCH"]


def test_the_canary_is_stopped_before_anybody_asks_about_the_stable(tmp_path: Path) -> None:
    done, stub = broken(tmp_path, answering(lambda _: Tell(body=promoted())))
    assert done.complete
    assert [(asked.method, asked.kind) for asked in stub.asked][:3] == [
        ("GET", "nginx-canary"),
        ("PATCH", "nginx-canary"),
        ("GET", "nginx"),
    ]
    assert done.done[0] == "nginx-canary: 2 -> 0 replicas, marked as stopped (r1)"


@pytest.mark.parametrize("trouble", [Tell(hang=True), status(500, "etcd is away"), status(403, "forbidden")])
def test_trouble_with_the_stable_is_told_and_does_not_hide_that_the_canary_is_stopped(tmp_path: Path, trouble: Tell) -> None:
    done, stub = broken(tmp_path, answering(lambda _: trouble))
    assert patched(stub) == ["nginx-canary"]
    assert not done.complete
    assert done.left[0].startswith("nginx was left as it is: ")


def test_somebodys_hotfix_is_left_alone_and_told(tmp_path: Path) -> None:
    done, stub = broken(tmp_path, answering(lambda _: Tell(body=promoted("nginx:hotfix"))))
    assert patched(stub) == ["nginx-canary"]
    assert done.left == (
        "nginx: runs nginx:hotfix; someone has written it since nginx:1.28.0, so it was left alone: decide by hand",
    )


def test_a_stable_that_promotion_has_not_reached_is_not_written(tmp_path: Path) -> None:
    done, stub = broken(tmp_path, answering(lambda _: Tell(body=kube.deployment("nginx"))))
    assert patched(stub) == ["nginx-canary"]
    assert done.complete


def test_a_target_without_a_canary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no canary"):
        step_back_now(ClusterSettings(name="test"), SystemClock(), replace(kube.TARGET, canary=""))


@pytest.mark.parametrize(("answer", "error"), [(status(404, "not found"), Rejected), (Tell(hang=True), Unavailable)])
def test_a_canary_that_cannot_be_stopped_is_an_error_and_not_a_report(tmp_path: Path, answer: Tell, error: type[Exception]) -> None:
    with pytest.raises(error):
        broken(tmp_path, lambda _: answer)


def test_whoever_breaks_the_glass_twice_leaves_the_first_reason_where_it_stands(tmp_path: Path) -> None:
    marks = {"rollout/id": "r1", "rollout/stopped": "r1", "rollout/stopped-why": "the first reason"}
    stopped = kube.deployment("nginx-canary", replicas=0, annotations=marks)
    old = kube.deployment("nginx", annotations={})
    kube.container(old)["image"] = "nginx:1.27.3"
    done, stub = broken(tmp_path, lambda asked: Tell(body=stopped if asked.kind == "nginx-canary" else old))
    assert done.complete
    assert patched(stub) == []
    assert done.done[0] == "nginx-canary: is at 0 replicas and marked as stopped (r1) already"
