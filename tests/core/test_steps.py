"""What single steps do at 3 a.m.: other hands, a shrinking stable, approvals, silence from the start, pods that are taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.core.cohorts import Pod
from rollout.core.commands import Command, Verb
from rollout.core.decision import Decision
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.observation import Line, TaskResult
from rollout.core.policy import Policy
from rollout.core.signals import Answer, Counts, Gauges, PodCount, PodKey, Question, Unreachable, Window
from rollout.core.state import (
    Approval,
    Certifying,
    Ended,
    Hold,
    HoldKind,
    Paused,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Retreating,
    Snapshot,
    Soaking,
    Starting,
    State,
    Watching,
)
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, S, container, pod, question, seen, stable_pods, state, view

SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - H)
ROLLED = {"images": {"nginx": NEW}, "annotations": {"rollout/id": ID}, "min_ready_seconds": 420}
HUMAN = {"writers": {"replicas": "kubectl"}}
CERTIFYING = Certifying(2, NOW - H, timedelta(hours=24))
SIZED = [
    (CERTIFYING, {}),
    (Promoting(2, SNAPSHOT, NOW - H, NOW - H), ROLLED),
    (Watching(2, SNAPSHOT, NOW - H), ROLLED),
    (Soaking(2, NOW - H, NOW - H, confirmed=True), {}),
]
SIGNALLED = canary_plan(signals=["apisix-5xx"])


def looked(step: Any, shown: Any = None, *commands: Command, plan: Any = None, **changed: Any) -> Decision:  # noqa: ANN401 - any
    """Decide once about a rollout in this step."""
    made = step if isinstance(step, State) else state(step, **changed)
    return decide(question(plan or canary_plan(signals=[])), made, seen(view(2) if shown is None else shown), commands, NOW)


def approve(at: Any = NOW) -> Command:  # noqa: ANN401 - a datetime
    return Command(1, Verb.APPROVE, "ann", "", at)


def kinds(decision: Decision) -> set[str]:
    return {event.kind for event in decision.events}


@pytest.mark.parametrize(("step", "stable"), SIZED)
def test_a_canary_raised_by_hand_is_put_back_and_told_once_in_every_step_in_which_it_serves(step: Any, stable: Any) -> None:  # noqa: ANN401
    raised = view(6, canary_changed={"replicas": 6, **HUMAN}, stable_changed=stable)
    first = looked(step, raised)
    second = looked(first.state, raised)
    assert [patch.replicas for patch in first.forward] == [patch.replicas for patch in second.forward] == [2]
    assert "raised to 6 by kubectl" in first.why
    assert ("foreign-scale" in kinds(first), "foreign-scale" in kinds(second)) == (True, False)


@pytest.mark.parametrize(("step", "stable"), SIZED)
def test_a_canary_lowered_by_hand_goes_on_at_that_size(step: Any, stable: Any) -> None:  # noqa: ANN401
    decision = looked(step, view(1, canary_changed=HUMAN, stable_changed=stable))
    assert decision.forward == ()
    assert getattr(decision.state.step, "size", None) == 1


def test_a_stable_that_shrinks_while_a_person_is_waited_for_takes_one_replica_away() -> None:
    plan = canary_plan(signals=[], approvals={"beforePromotion": True})
    decision = looked(CERTIFYING, view(2, stable=5), plan=plan)
    assert [patch.replicas for patch in decision.forward] == [1]
    assert "replica-removed" in kinds(decision)
    after = looked(decision.state, view(2, stable=5, canary_changed={"writers": {"replicas": "rollout"}}), plan=plan)
    assert [patch.replicas for patch in after.forward] == [1]
    assert "foreign-scale" not in kinds(after), "our own number from before is nobody's hand"


def test_an_approval_in_advance_approves_nothing_and_says_so() -> None:
    decision = looked(Soaking(2, NOW - H, NOW - H, confirmed=True), None, approve())
    assert decision.state.approval is None
    assert any("asks nobody: approve again" in event.why for event in decision.events)


def test_an_approval_does_not_stand_for_evidence_that_was_not_known_to_be_missing() -> None:
    plan = canary_plan(signals=["apisix-5xx"], approvals={"beforePromotion": True})
    waiting = state(CERTIFYING, signals=(_healthy(),), holds=(Hold(HoldKind.APPROVAL, "waits", NOW - H),))
    decision = looked(waiting, None, approve(), plan=plan)
    assert isinstance(decision.state.step, Certifying)
    assert "not enough evidence yet" in decision.why
    asked = replace(waiting, holds=(*waiting.holds, Hold(HoldKind.EVIDENCE, "missing", NOW - H)))
    assert isinstance(looked(asked, None, approve(), plan=plan).state.step, Promoting)


def test_the_approval_of_a_promotion_does_not_end_its_watch() -> None:
    new = tuple(pod(f"nginx-new-{n}", deployment="nginx", seen=container()) for n in range(10))
    promoting = state(Promoting(2, SNAPSHOT, NOW - H, NOW - H, updated=10), approval=Approval("ann", "", NOW - 2 * H))
    decision = looked(promoting, view(2, stable_changed=ROLLED, pods=(*_two(), *new)))
    assert isinstance(decision.state.step, Watching)
    assert decision.state.approval is None


def test_only_an_approval_that_was_asked_for_ends_a_watch_that_saw_too_little() -> None:
    late = state(Watching(2, SNAPSHOT, NOW - 6 * H), deadline=NOW - M, signals=(_healthy(Verdict.NO_DATA),))
    shown = view(2, stable_changed={**ROLLED, "min_ready_seconds": 0})
    early = looked(late, shown, approve(), plan=SIGNALLED)
    assert isinstance(early.state.step, Watching)
    assert HoldKind.OVERDUE in {hold.kind for hold in early.state.holds}
    assert isinstance(looked(early.state, shown, approve(), plan=SIGNALLED).state.step, Retiring)


def test_time_in_which_nobody_looked_is_not_a_persons_delay() -> None:
    plan = canary_plan(signals=[], approvals={"beforePromotion": True, "within": "2h"})
    long = Certifying(2, NOW - 5 * H, timedelta(hours=24))
    assert isinstance(looked(long, plan=plan, looked_at=NOW - 4 * H).state.step, Certifying)
    assert isinstance(looked(long, plan=plan).state.step, Retreating)


def test_retiring_puts_the_pace_back_first() -> None:
    decision = looked(Retiring(SNAPSHOT, NOW - M), view(2, stable_changed=ROLLED))
    assert [(patch.name, patch.min_ready_seconds) for patch in decision.forward] == [("nginx", 0)]


def test_an_old_pod_terminating_on_a_dead_node_does_not_fail_a_whole_promotion() -> None:
    new = tuple(pod(f"nginx-new-{n}", deployment="nginx", seen=container()) for n in range(10))
    stuck = pod("nginx-old", deployment="nginx", ready=False, deleting_since=NOW - H)
    pods = (pod("nginx-canary-0"), pod("nginx-canary-1"), *new, stuck)
    promoting = Promoting(2, SNAPSHOT, NOW - H, NOW - H, updated=10)
    assert isinstance(looked(promoting, view(2, stable_changed=ROLLED, pods=pods)).state.step, Watching)
    serving = replace(stuck, serving=True)
    assert isinstance(looked(promoting, view(2, stable_changed=ROLLED, pods=(*pods[:-1], serving))).state.step, Promoting)


def test_a_pod_that_we_took_away_and_that_ends_with_an_exit_code_fails_nothing() -> None:
    leaving = pod("nginx-canary-9", ready=False, phase="Failed", deleting_since=NOW - S)
    decision = looked(Watching(2, SNAPSHOT, NOW - H), view(2, stable_changed=ROLLED, pods=(*_two(), leaving, *stable_pods())))
    assert isinstance(decision.state.step, Watching)


def test_an_answer_about_pods_that_are_gone_says_nothing_of_those_that_serve() -> None:
    plan = canary_plan(signals=["apisix-latency"])
    signal = plan.signals[0]
    keys = (PodKey("default", "nginx-canary-gone", "u", "10.1.1.1"), PodKey("default", "nginx-0", "u", "10.1.1.2"))
    asked = Question(signal.name, signal.backend, signal.ask, (), keys, Window(NOW - 3 * M, NOW - 2 * M))
    old = Answer(asked, Gauges({key.name: 9.0 for key in keys}), "q", NOW)
    made = state(Soaking(2, NOW - H, NOW - H, confirmed=True))
    decision = decide(question(plan), made, seen(view(2), answers=(old,)), (), NOW)
    assert decision.state.signals[0].verdict is not Verdict.HEALTHY


def test_a_source_that_never_answers_from_the_start_is_blind_and_steps_back_in_the_end() -> None:
    made = state(Soaking(2, NOW - 2 * H, NOW - 2 * H, confirmed=True))
    decision = looked(made, plan=SIGNALLED)
    assert decision.state.signals[0].verdict is Verdict.UNREACHABLE
    assert "no answer yet" in decision.state.signals[0].why
    young = view(2, pods=(*(replace(p, ready_since=NOW - 4 * M) for p in _two()), *stable_pods()))
    assert looked(made, young, plan=SIGNALLED).state.signals[0].verdict is Verdict.WARMING
    assert looked(state(Preflight()), plan=SIGNALLED).state.signals[0].verdict is Verdict.WARMING, (
        "nobody is asked before the start"
    )
    asleep = looked(replace(made, looked_at=NOW - 3 * H), plan=SIGNALLED)
    assert asleep.state.signals[0].verdict is Verdict.WARMING, "that we did not look is not the source's fault"


def test_a_pod_that_never_became_ready_is_named_with_its_node_when_the_start_is_given_up() -> None:
    late = pod(ready=False, at=NOW - 2 * M, seen=container(ready=False))
    shown = view(1, pods=(late, *stable_pods()))
    back = looked(Starting(NOW - 2 * M), shown, plan=canary_plan(signals=[], startDeadline="1m"), deadline=NOW - M)
    assert isinstance(back.state.step, Retreating)
    told = "nginx-canary: 0 of 1 pods ready after 1 m; nginx-canary-1 on node-1 not ready: see its readiness probe"
    assert back.state.step.reason.why == told


def test_a_start_that_was_frozen_for_days_runs_its_checks_again() -> None:
    frozen = Policy.model_validate({"freezeWindows": [{"name": "year end", "from": "2026-11-20", "to": "2026-11-24"}]})
    old = {"preflight": TaskResult("preflight", NOW - 40 * H, "done", ok=True, why="ok")}
    held = decide(question(canary_plan(signals=[]), policy=frozen), state(Preflight()), seen(view(0), tasks=old), (), NOW)
    assert (held.tasks, isinstance(held.state.step, Preflight)) == ((), True)
    over = decide(question(canary_plan(signals=[])), state(Preflight()), seen(view(0), tasks=old), (), NOW)
    assert [task.kind for task in over.tasks] == ["preflight"]
    assert isinstance(over.state.step, Preflight)
    fresh = TaskResult(over.tasks[0].key, NOW, "done", ok=False, why="no", lines=(Line("autoscaling", "refused", "an HPA came"),))
    refused = decide(question(canary_plan(signals=[])), state(Preflight()), seen(view(0), tasks={**old, fresh.key: fresh}), (), NOW)
    assert isinstance(refused.state.step, Ended)
    assert "an HPA came" in refused.why


def test_stepping_back_while_the_watches_are_not_current_writes_the_stable_too_where_the_server_finds_it_ours() -> None:
    retreating = Retreating(Reason("it failed", "signal", Outcome.FAILED), NOW - M, SNAPSHOT)
    patches = {patch.name: patch for patch in looked(retreating, Unreachable("its watches are not current")).backward}
    assert patches["nginx-canary"].replicas == 0
    assert (patches["nginx"].image, patches["nginx"].min_ready_seconds) == (OLD, 0)
    assert {(test.name.value, test.value) for test in patches["nginx"].if_fields} == {
        ("rollout/id", ID), ("image", NEW), ("minReadySeconds", 420),
    }  # fmt: skip
    left = replace(retreating, leave_stable=True)
    assert [patch.name for patch in looked(left, Unreachable("away")).backward] == ["nginx-canary"]


def _healthy(verdict: Verdict = Verdict.HEALTHY) -> SignalState:
    return SignalState("apisix-5xx", NOW - M, verdict, "so it is", seen_at=NOW - M, certificate="E' = 2, 20 is needed")


def _two() -> tuple[Pod, ...]:
    return tuple(pod(f"nginx-canary-{number}") for number in range(2))


def test_the_signal_that_convicts_with_the_others_is_shown_as_failing_afterwards() -> None:
    strong = replace(_healthy(Verdict.SUSPECT), e_value=5_000.0)
    decision = looked(Soaking(2, NOW - H, NOW - H, confirmed=True), plan=SIGNALLED, signals=(strong,))
    assert isinstance(decision.state.step, Retreating)
    assert decision.state.signals[0].verdict is Verdict.FAILING


def test_a_retirement_that_somebody_paused_is_judged_like_the_bake_before_it() -> None:
    signal = SIGNALLED.signals[0]
    new = tuple(pod(f"nginx-new-{n}", deployment="nginx", seen=container()) for n in range(10))
    keys = tuple(PodKey("default", p.name, p.uid, p.ip) for p in new)
    asked = Question(signal.name, signal.backend, signal.ask, (), keys, Window(NOW - 3 * M, NOW - 2 * M))
    reading = Counts({p.name: PodCount(0.1, 60.0, ("NullPointerException",)) for p in new})
    before = replace(_healthy(), used_until=NOW - 3 * M)
    made = state(Retiring(SNAPSHOT, NOW - M), signals=(before,), paused=Paused("ann", "", NOW - M))
    shown = view(0, stable_changed={**ROLLED, "min_ready_seconds": 0}, pods=new)
    decision = decide(question(SIGNALLED), made, seen(shown, answers=(Answer(asked, reading, "q", NOW),)), (), NOW)
    assert isinstance(decision.state.step, Retreating)
    assert "an error that the soak never showed: NullPointerException" in decision.state.step.reason.why


def test_checks_whose_answer_died_with_a_daemon_are_asked_for_again_before_anything_is_refused() -> None:
    made = state(Preflight(), deadline=NOW - M)
    lost = decide(question(canary_plan(signals=[])), made, seen(view(0), tasks={}), (), NOW)
    assert ([task.kind for task in lost.tasks], isinstance(lost.state.step, Preflight)) == (["preflight"], True)
    away = {"preflight": TaskResult("preflight", NOW, "unavailable", ok=False, why="the API server does not answer")}
    assert isinstance(decide(question(canary_plan(signals=[])), made, seen(view(0), tasks=away), (), NOW).state.step, Ended)
    never = replace(made, deadline=NOW - 2 * H)
    assert isinstance(decide(question(canary_plan(signals=[])), never, seen(view(0), tasks={}), (), NOW).state.step, Ended)


def test_a_hold_of_ours_that_came_with_the_last_pod_is_taken_away_before_the_watch_begins() -> None:
    new = tuple(pod(f"nginx-{number}", deployment="nginx", seen=container(image=NEW)) for number in range(10))
    canaries = (pod("nginx-canary-0"), pod("nginx-canary-1"))
    step = Promoting(2, SNAPSHOT, NOW - H, NOW - H, paused_by_us=True)
    held = {"deadline": NOW + H, "paused": Paused("ann", "", NOW)}
    first = looked(step, view(2, pods=(*canaries, *new), stable_changed={**ROLLED, "paused": True}), **held)
    assert [patch.paused for patch in first.forward] == [False]
    assert isinstance(first.state.step, Promoting)
    then = looked(first.state, view(2, pods=(*canaries, *new), stable_changed=ROLLED))
    assert isinstance(then.state.step, Watching)
