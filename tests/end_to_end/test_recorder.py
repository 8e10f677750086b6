"""The recorder must be able to fail: it is shown what no daemon of ours may ever do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.resources import config_folder
from rollout.sandbox.serve import Sandbox, SandboxOptions, manifests_in
from tests.end_to_end.recorder import PATH, Procedure, Recorder

WARM_UP = timedelta(minutes=2)
HEADERS = {"Authorization": "Bearer sandbox", "Content-Type": "application/strategic-merge-patch+json"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    clock = SystemClock()
    manifests = manifests_in(config_folder() / "kubernetes" / "example")
    with Sandbox(clock, SandboxOptions(start=clock.now() - WARM_UP, warm_up=WARM_UP), manifests) as running:
        yield running


def patch(sandbox: Sandbox, deployment: str, body: dict[str, Any], manager: str = "rollout") -> None:
    connection = HTTPConnection("127.0.0.1", sandbox.servers["kubernetes"].port, timeout=10)
    connection.request("PATCH", f"{PATH}/{deployment}?fieldManager={manager}", json.dumps(body), HEADERS)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text


def scaled(replicas: int, **annotations: str) -> dict[str, Any]:
    named = {f"rollout/{key}": value for key, value in annotations.items()}
    return {"metadata": {"annotations": named}, "spec": {"replicas": replicas}}


def image(name: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": name}]}}}}


def recording(sandbox: Sandbox, every: float = 0.0) -> Recorder:
    return Recorder(sandbox.urls["kubernetes"], Procedure(every=timedelta(seconds=every)))


def test_a_careful_growth_and_a_step_back_are_no_violation(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx-canary", scaled(1, id="a"))
        patch(sandbox, "nginx-canary", scaled(2, id="a"))
        patch(sandbox, "nginx-canary", scaled(0, stopped="a"))
        recorder.wait_for("2 -> 0 by rollout")
        assert recorder.violations == []


def test_two_replicas_within_the_interval_are_seen(sandbox: Sandbox) -> None:
    with recording(sandbox, every=60) as recorder:
        patch(sandbox, "nginx-canary", scaled(1, id="a"))
        patch(sandbox, "nginx-canary", scaled(2, id="a"))
        assert "1 to 2" in recorder.wait_for_violation()


def test_two_replicas_at_once_are_seen(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx-canary", scaled(1, id="a"))
        patch(sandbox, "nginx-canary", scaled(3, id="a"))
        assert "more than 1 at once" in recorder.wait_for_violation()


def test_a_share_that_is_exceeded_is_seen(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        for size in (1, 2, 3, 4):
            patch(sandbox, "nginx-canary", scaled(size, id="a"))
        assert "share of 0.286" in recorder.wait_for_violation()


def test_a_replica_after_the_tombstone_is_seen(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx-canary", scaled(1, id="a"))
        patch(sandbox, "nginx-canary", scaled(0, stopped="a"))
        patch(sandbox, "nginx-canary", scaled(1))
        assert "after the tombstone of a" in recorder.wait_for_violation()


def test_a_promotion_after_the_tombstone_is_seen(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx-canary", scaled(1, id="a"))
        patch(sandbox, "nginx-canary", scaled(0, stopped="a"))
        patch(sandbox, "nginx", {**image("nginx:1.28.0"), "metadata": {"annotations": {"rollout/id": "a"}}})
        assert "nginx got nginx:1.28.0 after the tombstone of a" in recorder.wait_for_violation()


def test_putting_the_old_image_back_after_the_tombstone_is_allowed(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx", {**image("nginx:1.28.0"), "metadata": {"annotations": {"rollout/id": "a"}}})
        patch(sandbox, "nginx-canary", scaled(0, stopped="a"))
        patch(sandbox, "nginx", image("nginx:1.27.3"))
        recorder.wait_for("nginx:1.28.0 -> nginx:1.27.3 by rollout")
        assert recorder.violations == []


def test_scaling_the_stable_is_seen(sandbox: Sandbox) -> None:
    with recording(sandbox) as recorder:
        patch(sandbox, "nginx", scaled(12))
        assert "not ours to do" in recorder.wait_for_violation()


def test_what_other_hands_do_is_written_down_and_is_no_violation(sandbox: Sandbox) -> None:
    with recording(sandbox, every=60) as recorder:
        patch(sandbox, "nginx-canary", scaled(5), manager="kubectl")
        recorder.wait_for("nginx-canary 0 -> 5 by kubectl")
        assert recorder.violations == []
