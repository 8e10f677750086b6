"""What `rollout sandbox` writes for people to play with, and how faults get into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.planfile import load_planfile
from rollout.cli import sandboxing
from rollout.cli.context import settings_of
from rollout.core.errors import Refused
from rollout.sandbox.control import Control
from rollout.sandbox.serve import Sandbox, SandboxOptions


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    clock = SystemClock()
    with Sandbox(clock, SandboxOptions(start=clock.now(), warm_up=timedelta())) as running:
        running.serve("control", Control(running.live, lambda: running.urls).respond)
        yield running


def post(sandbox: Sandbox, path: str, **form: str) -> httpx.Response:
    return httpx.post(sandbox.urls["control"] + path, data=form, trust_env=False)


def shown(sandbox: Sandbox) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(sandbox.urls["control"] + "/", trust_env=False).json()
    return document


def test_the_configuration_and_the_plans_that_are_written_can_be_used(sandbox: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(sandbox, tmp_path)
    settings = settings_of(tmp_path / "rollout.yaml")

    assert {entry.name for entry in settings.backends} == {"prometheus", "skywalking", "elasticsearch", "alertmanager"}
    assert settings.database.address == f"sqlite:///{tmp_path}/rollout.db"
    assert [entry.name for entry in settings.gateways] == ["apisix"]
    for plan in (sandboxing.QUICK, sandboxing.EXAMPLE, sandboxing.OFFLINE):
        assert settings.policy.check(load_planfile(tmp_path / plan).plan) == ()


def test_the_help_that_is_printed_names_every_place(sandbox: Sandbox, tmp_path: Path) -> None:
    words = sandboxing.words(sandbox, tmp_path, 1.0)

    assert all(url in words for url in sandbox.urls.values())
    assert "times as fast" not in words
    assert "600 times as fast" in sandboxing.words(sandbox, tmp_path, 600.0)


def test_a_version_errs_crashes_or_cannot_be_pulled_from_one_line_of_curl(sandbox: Sandbox) -> None:
    assert post(sandbox, "/behaviours", image="nginx:2", **{"is": "errs"}).status_code == 200
    with sandbox.using() as world:
        assert world.behaviours["nginx:2"].error_rate == 0.2
    post(sandbox, "/behaviours", image="nginx:2", **{"is": "crashes", "crashAfter": "90s", "readyAfter": "never"})
    with sandbox.using() as world:
        assert world.behaviours["nginx:2"].crash_after == timedelta(seconds=90)
        assert world.behaviours["nginx:2"].ready_after is None
        assert world.behaviours["nginx:2"].error_rate == 0.001
    assert shown(sandbox)["behaviours"]["nginx:2"] == {"crashAfter": "0:01:30", "readyAfter": None}


def test_a_backend_answers_500_and_works_again(sandbox: Sandbox) -> None:
    prometheus = f"{sandbox.urls['prometheus']}/api/v1/query?query=up"
    assert post(sandbox, "/faults", backend="prometheus", failing="http-500").json()["faults"] == {
        "prometheus": {"failing": "http 500"}
    }
    assert httpx.get(prometheus, trust_env=False).status_code == 500
    post(sandbox, "/faults", backend="prometheus", failing="none")
    assert httpx.get(prometheus, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/faults", {"backend": "nobody", "failing": "hang"}, "kubernetes, prometheus"),
        ("/faults", {"backend": "prometheus", "failing": "oddly"}, "http-500"),
        ("/faults", {"backend": "prometheus", "failing": "hang", "until": "noon"}, "until: not known"),
        ("/behaviours", {"is": "errs"}, "image is missing"),
        ("/behaviours", {"image": "x", "is": "odd"}, "cannot-be-pulled"),
        ("/behaviours", {"image": "x", "errorRate": "much"}, "a number is expected"),
        ("/behaviours", {"image": "x", "readyAfter": "later"}, "a duration is expected"),
        ("/behaviours", {"image": "x", "colour": "red"}, "colour: not known"),
    ],
)
def test_what_makes_no_sense_is_answered_with_what_would(sandbox: Sandbox, path: str, form: dict[str, str], words: str) -> None:
    answer = post(sandbox, path, **form)

    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_control_endpoint_cannot_be_made_to_fail_itself(sandbox: Sandbox) -> None:
    assert post(sandbox, "/faults", backend="control", failing="hang").status_code == 400
    assert shown(sandbox)["faults"] == {}


def test_a_second_sandbox_in_one_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with sandboxing.alone(tmp_path):
        with (
            pytest.raises(Refused, match=f"runs in {tmp_path} already .process {os.getpid()}.") as refused,
            sandboxing.alone(tmp_path),
        ):
            pass
        assert "--folder" in str(refused.value.problems[0])
        with sandboxing.alone(tmp_path / "another"):
            pass
    with sandboxing.alone(tmp_path):
        pass
