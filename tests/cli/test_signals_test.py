"""`rollout signals test PLAN` on the sandbox: what is asked, what comes, and what the judge would say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.cli import sandboxing
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox, SandboxOptions
from tests.cli.console import Answer, Terminal
from tests.simulation.days import OLD, manifests

PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {name: nginx}
spec:
  target: {namespace: default, stable: nginx}
  image: nginx:1.28.0
  signals: [SIGNALS]
"""
HISTORY = timedelta(minutes=45)


@contextmanager
def sandbox(behaviour: Behaviour, of: Sequence[dict[str, Any]] | None = None) -> Iterator[Sandbox]:
    """Serve ten pods that have behaved so for three quarters of an hour."""
    clock = SystemClock()
    options = SandboxOptions(start=clock.now() - HISTORY, warm_up=timedelta())
    with Sandbox(clock, options, of or manifests("nginx")) as made:
        with made.using() as world:
            world.behaviours[OLD] = behaviour
        made.advance(HISTORY)
        yield made


@pytest.fixture(scope="module")
def usual() -> Iterator[Sandbox]:
    with sandbox(Behaviour(error_rate=0.02)) as made:
        yield made


def tried(made: Sandbox, folder: Path, signals: str, *options: str) -> Answer:
    sandboxing.write(made, folder)
    terminal = Terminal(folder)
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", signals))
    return terminal.type("signals", "test", plan, *options, ROLLOUT_CONFIG=str(folder / "rollout.yaml"))


def test_each_signal_is_shown_with_its_query_the_answer_of_each_stable_pod_and_a_verdict(usual: Sandbox, tmp_path: Path) -> None:
    answer = tried(usual, tmp_path, "skywalking-traces, skywalking-success-rate, apisix-5xx, apisix-latency, error-logs")

    assert answer.code == 0, answer.out
    assert answer.out.count("  verdict  healthy: ") == 5
    assert answer.out.count("  judged   10 windows, as if nginx-") == 5
    assert "queryTraces" in answer.out or "queryBasicTraces" in answer.out
    assert "apisix_http_status" in answer.out
    assert "/_count: " in answer.out
    assert answer.out.count("  answer   nginx-") == 50
    assert "10 stable pods" in answer.out


def test_it_can_be_read_by_programs(usual: Sandbox, tmp_path: Path) -> None:
    (trial,) = tried(usual, tmp_path, "apisix-5xx", "-o", "json").document

    assert trial["verdict"] == "healthy"
    assert trial["windowsJudged"] == 10
    assert trial["standIn"].startswith("nginx-")
    assert len(trial["answers"]) == 10
    assert trial["query"]


def test_a_limit_that_the_stable_itself_is_over_would_hold_every_canary(tmp_path: Path) -> None:
    with sandbox(Behaviour(error_rate=0.3)) as bad:
        answer = tried(bad, tmp_path, "{preset: apisix-5xx, limit: 0.1%}")

    assert answer.code == 1
    assert "limit 0.1 %" in answer.out
    assert "verdict  shared incident" in answer.out
    assert "follows  it holds, and does not step back" in answer.out


def test_a_signal_that_knows_nothing_of_the_pods_says_what_is_missing(usual: Sandbox, tmp_path: Path) -> None:
    answer = tried(usual, tmp_path, "{preset: skywalking-traces, parameters: {service: nobody}}")

    assert answer.code == 1
    assert "verdict  no data" in answer.out
    assert "nobody" in answer.out
    assert "preflight refuses" in answer.out


def test_a_backend_that_is_away_is_said_and_the_others_are_still_asked(usual: Sandbox, tmp_path: Path) -> None:
    with usual.using() as world:
        world.faults.set("prometheus", Fault(Failing.UNAVAILABLE_503))
    try:
        answer = tried(usual, tmp_path, "apisix-5xx, error-logs")
    finally:
        with usual.using() as world:
            world.faults.clear()

    assert answer.code == 1
    assert "verdict  unreachable: " in answer.out
    assert "steps back after maxBlind" in answer.out
    assert answer.out.count("verdict  healthy: ") == 1


def test_a_dry_run_that_would_hold_does_not_fail_the_command(usual: Sandbox, tmp_path: Path) -> None:
    answer = tried(usual, tmp_path, "{preset: apisix-5xx, limit: 0.1%, dryRun: true}")

    assert answer.code == 0
    assert "nothing: a dry run is only shown" in answer.out
