"""How many pods serve is the autoscaler's business once the new version runs: fewer than before is no failed upgrade, none is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollout.core import state_offline as states
from rollout.core.history import Outcome
from rollout.core.offline_facts import runs
from rollout.core.state_offline import BackStage, Deciding, OpeningGate, RollingBack, TargetBefore
from tests.core.test_offline import SAVED, START, Ladder, in_step, plan, view

BEFORE = TargetBefore("default/shop/orders", "orders:1.0", 5, "orders:2.0")
NEW = {"orders": "orders:2.0"}
M = timedelta(minutes=1)


def green(**spec: Any) -> Ladder:  # noqa: ANN401 - the plan's own values
    """Five pods before the maintenance; every test has passed."""
    passed = states.Tested("health", critical=True, passed=True, why="HTTP 200")
    return in_step(states.Testing(START, index=1), made=plan(**spec), saved_gate=SAVED, closed_at=START, gate_proven=True,
                   stopped_at=START, before=(BEFORE,), tests=(passed,))  # fmt: skip


def test_an_autoscaler_that_saw_no_load_behind_the_gate_does_not_undo_a_tested_upgrade() -> None:
    ladder = green(onFailure="rollback")
    decision = ladder.look(replicas=3, images=NEW)
    assert ladder.at(OpeningGate)
    assert any("3 pods, 5 before" in event.why for event in decision.events)


def test_as_many_pods_as_before_need_no_word() -> None:
    decision = green().look(replicas=5, images=NEW)
    assert not any("before" in event.why for event in decision.events)


def test_one_pod_that_runs_another_image_keeps_a_rolled_out_deployment_from_being_upgraded() -> None:
    seen = view(plan().target, 3, "orders:2.0")
    first, *others = seen.pods
    (container,) = first.containers
    stale = replace(first, containers=(replace(container, image="orders:1.9"),))
    assert runs(seen, "orders:2.0", 3) == ""
    assert runs(replace(seen, pods=(*others, stale)), "orders:2.0", 3) == "orders-0 runs orders:1.9, not orders:2.0"
    assert runs(replace(seen, pods=(*others, replace(first, containers=()))), "orders:2.0", 3).startswith(
        "orders-0 runs something else"
    )


def test_nothing_is_opened_to_nobody() -> None:
    ladder = green()
    ladder.look(replicas=0, images=NEW)
    assert ladder.at(states.Testing)


def test_a_pod_that_is_away_for_a_moment_after_the_tests_sends_nobody_back() -> None:
    ladder = green(onFailure="rollback")
    ladder.look(replicas=5, images={"orders": "orders:1.9"})
    for _ in range(9):
        ladder.look(replicas=5, images={"orders": "orders:1.9"}, after=M)
    assert ladder.at(states.Testing)
    ladder.look(replicas=5, images=NEW, after=M)
    assert ladder.at(OpeningGate)


def test_what_stays_away_after_the_tests_is_asked_about() -> None:
    ladder = green()
    for _ in range(12):
        ladder.look(replicas=0, images=NEW, after=M)
    assert isinstance(ladder.state.step, Deciding)
    assert "the tests passed, but then orders has 0 replicas" in ladder.state.step.problem


def test_an_old_version_that_is_gone_again_is_not_opened() -> None:
    back = RollingBack(START, "broken", "failed", Outcome.FAILED, stage=BackStage.TEST, index=1)
    ladder = in_step(back, saved_gate=SAVED, closed_at=START, before=(BEFORE,))
    ladder.look(replicas=0)
    assert ladder.at(RollingBack)
    ladder.look(replicas=5)
    assert ladder.at(OpeningGate)
