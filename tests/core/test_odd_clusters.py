"""What clusters and the people at them do to a rollout that is not its version's fault, and what must not pass unnoticed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.cohorts import TargetView
from rollout.core.decision import Decision
from rollout.core.history import NoticeKind, Outcome
from rollout.core.machine import Question, decide
from rollout.core.observation import Observation
from rollout.core.policy import Policy
from rollout.core.state import (
    Certifying,
    Ended,
    HoldKind,
    Preflight,
    Promoting,
    Reason,
    Retreating,
    Snapshot,
    Soaking,
    Starting,
    State,
)
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, S, pod, question, seen, stable_pods, state, view
from tests.core.test_offline import SAVED, START, Ladder, in_step
from tests.core.test_offline import view as target_view

PLAIN = question(canary_plan())
SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - M)


def look(before: State, shown: TargetView, at: datetime = NOW, asked: Question = PLAIN) -> Decision:
    return decide(asked, before, seen(shown), (), at)


def watch(before: State, shown: TargetView, span: timedelta) -> tuple[State, list[Decision]]:
    """Look every half minute for so long."""
    made = []
    for number in range(1, span // (30 * S) + 1):
        made.append(look(before, shown, NOW + number * 30 * S))
        before = made[-1].state
    return before, made


def held(decision: Decision) -> set[HoldKind]:
    return {hold.kind for hold in decision.state.holds}


def notices(decisions: list[Decision], kind: NoticeKind) -> list[str]:
    return [notice.why for decision in decisions for notice in decision.notices if notice.kind is kind]


# -- Deployments that somebody paused: scaled up, they start the version that they had before ---


def test_a_canary_that_is_paused_is_refused_before_anything_is_changed() -> None:
    decision = look(state(Preflight()), view(0, canary_changed={"paused": True, "images": {"nginx": OLD}}))
    assert isinstance(decision.state.step, Ended)
    assert decision.state.step.outcome is Outcome.REFUSED
    assert "kubectl rollout resume -n default deployment/nginx-canary" in decision.state.step.why


def test_a_canary_that_was_paused_since_the_checks_is_not_started_and_asks() -> None:
    paused = view(0, canary_changed={"paused": True, "images": {"nginx": OLD}, "annotations": {}})
    decision = look(state(Starting(), deadline=NOW + 10 * M), paused)
    assert decision.forward == ()
    assert held(decision) == {HoldKind.FOREIGN_PAUSE}
    assert look(state(Starting(), deadline=NOW + 10 * M), replace(paused, canary=replace(paused.canary, paused=False))).forward  # type: ignore[type-var]  # there is a canary


def test_a_stable_that_somebody_paused_just_before_the_promotion_is_not_started_by_it() -> None:
    decision = look(state(Promoting(1, SNAPSHOT, NOW - M), deadline=NOW + H), view(1, stable_changed={"paused": True}))
    assert decision.forward == ()
    assert HoldKind.FOREIGN_PAUSE in held(decision)


def test_a_paused_target_of_a_maintenance_is_not_scaled_up_with_its_old_version() -> None:
    memory: dict[str, Any] = {
        "saved_gate": SAVED, "closed_at": START, "gate_proven": True, "stopped_at": START, "touched": True,
        "before": (states.TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0"),),
    }  # fmt: skip
    ladder = in_step(states.Upgrading(START), **memory)
    decision = _paused(ladder, "orders:1.0", 0)
    assert decision.forward == ()
    assert {hold.kind for hold in decision.state.holds} == {HoldKind.FOREIGN_PAUSE}
    back = in_step(states.RollingBack(START, "x", "y", Outcome.FAILED, stage=states.BackStage.START), **memory)
    (patch,) = _paused(back, "orders:2.0", 0).forward
    assert (patch.image, patch.replicas, patch.paused) == ("orders:1.0", 2, False), "the way back needs no one's leave"


def _paused(ladder: Ladder, image: str, replicas: int) -> Decision:
    shown = target_view(ladder.plan.target, replicas, image)
    assert shown.stable is not None
    shown = replace(shown, stable=replace(shown.stable, paused=True))
    ladder.now += S
    return decide(Question(ladder.execution, Policy(), PLAIN.timing), ladder.state, Observation(shown), (), ladder.now)


# -- pods that the cluster does not make ---

NO_THIRD = view(2, canary_changed={"replicas": 3})


def test_an_added_pod_that_a_quota_forbids_is_not_the_versions_fault() -> None:
    grown = state(Soaking(3, NOW - 12 * H, None, 12 * H, timedelta(), confirmed=True, sized_at=NOW), looked_at=NOW)
    after, made = watch(grown, NO_THIRD, 40 * M)
    assert isinstance(after.step, Soaking)
    (asked,) = notices(made, NoticeKind.NEEDS_PERSON)
    assert "the cluster has made 2 of 3 canary pods" in asked
    there = view(3)
    assert look(after, there, NOW + 41 * M).state.step.grown_at is not None  # type: ignore[union-attr]  # it soaks


@pytest.mark.parametrize("step", [Soaking(3, NOW - 20 * H, NOW - H, 20 * H, H, confirmed=True), Certifying(3, NOW - H, 24 * H)])
def test_a_pod_that_was_drained_and_is_not_made_again_holds_and_asks(step: Any) -> None:  # noqa: ANN401 - a step
    after, made = watch(state(step, looked_at=NOW), NO_THIRD, 30 * M)
    assert type(after.step) is type(step), "nothing goes forward with a pod missing"
    assert HoldKind.NOT_READY in held(made[0])
    (asked,) = notices(made, NoticeKind.NEEDS_PERSON)
    assert "nginx-canary: 2 of 3 pods exist" in asked


def test_a_pod_that_never_became_ready_again_holds_the_promotion() -> None:
    unready = view(2, pods=(pod("nginx-canary-0"), pod("nginx-canary-9", ready=False, at=NOW - M), *stable_pods()))
    assert isinstance(look(state(Certifying(2, NOW - H, 24 * H)), unready).state.step, Certifying)
    assert isinstance(look(state(Certifying(2, NOW - H, 24 * H)), view(2)).state.step, Promoting)


# -- other hands ---


def test_a_canary_that_was_raised_before_it_was_ready_is_put_back_to_its_first_size() -> None:
    decision = look(state(Starting(), deadline=NOW + 10 * M), view(4))
    assert isinstance(decision.state.step, Soaking)
    assert decision.state.step.size == 1
    (patch,) = look(decision.state, view(4), NOW + S).forward
    assert patch.replicas == 1


def test_an_autoscaler_that_fights_for_the_canary_wakes_nobody_every_minute() -> None:
    soaking = state(Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True), looked_at=NOW)
    raised = view(3, canary_changed={"writers": {"replicas": "horizontal-pod-autoscaler"}})
    _, made = watch(soaking, raised, 3 * H)
    assert all(decision.forward for decision in made)
    assert len([why for why in notices(made, NoticeKind.HELD) if "raised to 3" in why]) == 3
    rows = [event for decision in made for event in decision.events if event.kind == "foreign-scale"]
    assert len(rows) == 180


@pytest.mark.parametrize(
    "step",
    [
        Soaking(1, NOW - 20 * H, NOW - 7 * H, 20 * H, 6 * H, confirmed=True),
        Certifying(1, NOW - H, 24 * H),
        Soaking(2, NOW, NOW, H, H),
    ],
)
def test_a_stable_that_somebody_scaled_to_0_lets_nothing_go_on_and_asks_at_once(step: Any) -> None:  # noqa: ANN401 - a step
    decision = look(state(step), view(step.size, 0, pods=tuple(pod(f"nginx-canary-{n}") for n in range(step.size))))
    assert isinstance(decision.state.step, Soaking | Certifying)
    assert type(decision.state.step) is type(step)
    assert decision.state.step.credited == step.credited, "nothing is credited without anything to compare with"
    assert HoldKind.ALONE in held(decision)
    assert notices([decision], NoticeKind.NEEDS_PERSON)
    assert not decision.forward


def test_a_canary_that_was_deleted_and_made_again_by_somebody_is_not_ours_to_go_on_with() -> None:
    soaking = state(Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True))
    gone = look(soaking, replace(view(), canary=None))
    assert isinstance(gone.state.step, Retreating | Ended)
    for changed in (
        {"images": {"nginx": OLD}, "annotations": {}, "uid": "another"},
        {"replicas": 0, "annotations": {}, "uid": "another"},
    ):
        again = look(soaking, view(1, canary_changed=changed))
        assert isinstance(again.state.step, Retreating | Ended)
        assert "scaled to 0" in again.why or "stepp" in again.why


def test_a_canary_that_was_replaced_without_our_mark_is_still_stepped_back() -> None:
    failing = view(1, pods=(pod("nginx-canary-0", ready=False, seen=None), *stable_pods()), canary_changed={"annotations": {}})
    memory = look(state(Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True)), view(1)).state
    after, made = watch(memory, failing, 3 * M)
    patches = [patch for decision in made for patch in decision.backward]
    assert patches
    assert all(patch.replicas == 0 for patch in patches)
    assert isinstance(after.step, Retreating)
    assert ID in str(patches[0].annotations)


# -- writes that the API server refuses ---

DENIED = 'denied the request: image "nginx:2.0" comes from no registry of ours'


def test_a_start_that_an_admission_webhook_refuses_says_so_at_once_and_in_the_end() -> None:
    waiting = view(0, canary_changed={"images": {"nginx": OLD}, "annotations": {}})
    starting = state(Starting(), deadline=NOW + 10 * M, looked_at=NOW)
    decision = decide(PLAIN, starting, seen(waiting, write_trouble=DENIED), (), NOW + S)
    assert DENIED in decision.why
    assert decision.forward, "it is tried again all the same"
    late = decide(PLAIN, replace(starting, deadline=NOW), seen(waiting, write_trouble=DENIED), (), NOW + S)
    assert isinstance(late.state.step, Retreating)
    assert DENIED in late.state.step.reason.why


def test_a_step_back_that_the_api_server_refuses_tells_a_person_why() -> None:
    reason = Reason("it failed", "signal", Outcome.FAILED)
    back = state(Retreating(reason, NOW - 6 * M), deadline=NOW - M, looked_at=NOW)
    decision = decide(PLAIN, back, seen(view(1), write_trouble="403: cannot patch deployments"), (), NOW + S)
    (asked,) = notices([decision], NoticeKind.NEEDS_PERSON)
    assert "403: cannot patch deployments" in asked
    assert decision.backward
