"""Watches that are not equally current: our own write is done and not seen yet, or a Deployment is shown before its pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollout.core.decision import Decision
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.state import Ended, HoldKind, Promoting, Reason, Retreating, Snapshot, State
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, S, pod, question, seen, stable_pods, state, view

SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - H)
ROLLING = {"images": {"nginx": NEW}, "annotations": {"rollout/id": ID}, "min_ready_seconds": 420, "updated": 1}
HELD_BY_US = {**ROLLING, "paused": True, "writers": {"paused": "rollout"}}
HELD_BY_ANN = {**ROLLING, "paused": True, "writers": {"paused": "kubectl-rollout"}}
BACK = Retreating(Reason("not now", "abort", Outcome.ABORTED, "ann"), NOW - 5 * S)
STOPPED = {"annotations": {"rollout/id": ID, "rollout/stopped": ID}}


def looked(made: State, shown: Any) -> Decision:  # noqa: ANN401 - a view
    return decide(question(canary_plan(signals=[])), made, seen(shown), (), NOW)


def rolling(stable: dict[str, Any], *, held: bool = False) -> Decision:
    made = state(Promoting(2, SNAPSHOT, NOW - H, NOW - H, paused_by_us=held), deadline=NOW + H)
    canaries = (pod("nginx-canary-0"), pod("nginx-canary-1"))
    return looked(made, view(2, pods=(*canaries, *stable_pods(9)), stable_changed=stable))


def test_a_hold_of_ours_that_was_let_go_before_it_was_seen_is_taken_away_and_blamed_on_nobody() -> None:
    before = rolling(ROLLING, held=True)
    assert isinstance(before.state.step, Promoting)
    assert not before.state.step.paused_by_us
    decision = rolling(HELD_BY_US)
    assert [patch.paused for patch in decision.forward] == [False]
    assert HoldKind.FOREIGN_PAUSE not in {hold.kind for hold in decision.state.holds}


def test_what_somebody_else_paused_while_nothing_of_ours_held_is_left_alone() -> None:
    decision = rolling(HELD_BY_ANN)
    assert not decision.forward
    assert HoldKind.FOREIGN_PAUSE in {hold.kind for hold in decision.state.holds}


def test_a_step_back_is_not_over_while_the_deployment_still_counts_a_pod_that_no_watch_has_shown() -> None:
    counts = view(0, pods=stable_pods(10), canary_changed={**STOPPED, "status_replicas": 1})
    decision = looked(state(BACK), counts)
    assert isinstance(decision.state.step, Retreating)
    assert "still counts 1 pod" in decision.why


def test_a_step_back_is_not_over_before_the_cluster_has_taken_up_the_0() -> None:
    unheard = view(0, pods=stable_pods(10), canary_changed={**STOPPED, "generation": 7, "observed_generation": 6})
    assert isinstance(looked(state(BACK), unheard).state.step, Retreating)
    taken_up = view(0, pods=stable_pods(10), canary_changed={**STOPPED, "generation": 7, "observed_generation": 7})
    assert isinstance(looked(state(BACK), taken_up).state.step, Ended)


def test_a_canary_that_another_rollout_has_taken_is_not_counted_in_a_step_back() -> None:
    theirs = view(
        0, pods=stable_pods(10), canary_changed={"annotations": {"rollout/id": "other"}, "status_replicas": 1, "replicas": 1}
    )
    assert isinstance(looked(replace(state(BACK), deadline=NOW + H), theirs).state.step, Ended)
