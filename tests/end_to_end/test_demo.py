"""`rollout demo` as a newcomer runs it: both stories, a verdict, and the rows left for `rollout list`."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.processes import COMMAND, environment

SECONDS = 45.0
"""Of CPU: whoever else keeps the machine busy, it is under a minute on one that is free."""


@pytest.mark.timeout(240)
def test_a_good_version_goes_all_the_way_and_a_bad_one_is_stepped_back_in_under_a_minute(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'demo.db'}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    played = run("demo", "--database", database)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    listed = json.loads(run("list", "--all", "-o", "json", "--database", database).stdout)
    assert {row["name"]: row["state"] for row in listed} == {"demo-good": "succeeded", "demo-bad": "failed"}
    assert "default/nginx: promoted" in played.stdout
    assert "default/nginx: failed, stepped back" in played.stdout
    assert seconds < SECONDS, f"{seconds:.0f} s"


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "ends"), [("offline", "succeeded"), ("offline-fails", "failed")])
def test_a_maintenance_ends_as_it_should_and_leaves_its_rows(name: str, ends: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'demo.db'}"
    played = run("demo", "--scenario", name, "--database", database)

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    listed = json.loads(run("list", "--all", "-o", "json", "--database", database).stdout)
    assert [(row["name"], row["kind"], row["state"]) for row in listed] == [(f"demo-{name}", "Offline", ends)]
    assert "Who was let in when" in played.stdout


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COMMAND), *arguments], capture_output=True, text=True, timeout=200, env=environment(), check=False)
