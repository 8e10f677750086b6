"""What somebody else did between our decision and its performance, and between its performance and our look."""

from __future__ import annotations

from dataclasses import replace

from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.state import Paused, Promoting, Reason, Retreating, Snapshot, Soaking, Starting, Watching
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, S, container, pod, question, seen, stable_pods, state, view

PLAIN = question(canary_plan())
STARTING = state(Starting(), deadline=NOW + H)
GROWN = Soaking(2, NOW - 7 * H, None, 6 * H, confirmed=False, sized_at=NOW - M)


def reason(step: object) -> Reason:
    assert isinstance(step, Retreating)
    return step.reason


def test_a_0_before_we_saw_our_own_start_is_an_abort() -> None:
    shown = view(0, 10, canary_changed={"replicas": 0})
    decision = decide(PLAIN, STARTING, seen(shown), (), NOW)
    assert decision.forward == ()
    assert (reason(decision.state.step).kind, reason(decision.state.step).ends_as) == ("canary-scaled-to-0", Outcome.ABORTED)


def test_a_foreign_image_before_we_saw_our_own_start_is_an_abort() -> None:
    decision = decide(PLAIN, STARTING, seen(view(1, 10, canary_changed={"images": {"nginx": "nginx:3"}})), (), NOW)
    assert reason(decision.state.step).kind == "canary-image-changed"


def test_a_canary_at_rest_is_started_although_an_older_rollout_left_it_at_0() -> None:
    rest = {"replicas": 0, "images": {"nginx": OLD}, "annotations": {"rollout/id": "older", "rollout/stopped": "older"}}
    decision = decide(PLAIN, STARTING, seen(view(0, 10, canary_changed=rest)), (), NOW)
    assert [patch.replicas for patch in decision.forward] == [1]


def test_an_addition_that_has_room_is_performed_however_late() -> None:
    decision = decide(PLAIN, state(GROWN, deadline=NOW + H), seen(view(1, 10)), (), NOW)
    assert [patch.replicas for patch in decision.forward] == [2]


def test_an_addition_that_is_performed_hours_late_has_its_whole_time_to_become_ready() -> None:
    late = replace(GROWN, sized_at=NOW - 2 * H)
    asked = decide(PLAIN, state(late, deadline=NOW + H), seen(view(1, 10)), (), NOW).state
    starting = (pod("nginx-canary-0"), pod("nginx-canary-1", ready=False), *stable_pods(10))
    decision = decide(PLAIN, asked, seen(view(2, 10, pods=starting)), (), NOW + M)
    assert not isinstance(decision.state.step, Retreating)


def test_an_addition_for_which_there_is_no_room_any_more_is_not_performed() -> None:
    decision = decide(PLAIN, state(GROWN, deadline=NOW + H), seen(view(1, 4)), (), NOW)
    assert decision.forward == ()
    assert [event.kind for event in decision.events] == ["replica-not-added"]
    assert "over maxShare" in decision.why
    step = decision.state.step
    assert isinstance(step, Soaking)
    assert (step.size, step.credited, step.confirmed) == (1, 6 * H, True)


def test_an_addition_that_may_be_done_and_not_seen_yet_is_not_taken_back() -> None:
    """After an outage: the Deployment is shown as it was before our write, its pods (another watch) as they are now."""
    blinking = (pod("nginx-canary-0"), *(replace(one, ready=False) for one in stable_pods(10)))
    just_written = state(replace(GROWN, sized_at=NOW - 5 * S), deadline=NOW + H)
    decision = decide(PLAIN, just_written, seen(view(1, 10, pods=blinking)), (), NOW)
    assert (decision.forward, decision.events, decision.state.step) == ((), (), just_written.step)
    later = decide(PLAIN, decision.state, seen(view(1, 10, pods=blinking)), (), NOW + M)
    assert [event.kind for event in later.events] == ["replica-not-added"]


def test_the_share_of_a_late_addition_counts_pods_that_are_ready() -> None:
    half = (pod("nginx-canary-0"), *stable_pods(4), *(replace(one, ready=False) for one in stable_pods(10)[4:]))
    decision = decide(PLAIN, state(GROWN, deadline=NOW + H), seen(view(1, 10, pods=half)), (), NOW)
    assert decision.forward == ()


def test_the_interval_before_an_addition_that_was_not_performed_stays_earned() -> None:
    taken_back = decide(PLAIN, state(GROWN, deadline=NOW + H), seen(view(1, 4)), (), NOW).state
    again = decide(PLAIN, taken_back, seen(view(1, 10)), (), NOW + M).state
    assert isinstance(again.step, Soaking)
    assert again.step.size == 2


def test_a_hold_that_came_with_the_last_pod_leaves_no_pause_behind() -> None:
    snapshot = Snapshot(OLD, 0, NEW, 420, NOW - H)
    promoting = state(Promoting(1, snapshot, NOW - H, NOW - H, paused_by_us=True), deadline=NOW + H, paused=Paused("ann", "", NOW))
    mine = tuple(pod(f"nginx-{number}", deployment="nginx", seen=container(image=NEW)) for number in range(10))
    changed = {"images": {"nginx": NEW}, "min_ready_seconds": 420, "annotations": {"rollout/id": ID}}
    everything_new = view(1, 10, pods=(pod("nginx-canary-0"), *mine), stable_changed={**changed, "paused": True})
    decision = decide(PLAIN, promoting, seen(everything_new), (), NOW)
    assert [(patch.name, patch.paused) for patch in decision.forward] == [("nginx", False)]
    rolled = view(1, 10, pods=(pod("nginx-canary-0"), *mine), stable_changed=changed)
    assert isinstance(decide(PLAIN, decision.state, seen(rolled), (), NOW + S).state.step, Watching | Promoting)


def test_our_own_hand_is_nobody_elses() -> None:
    decision = decide(PLAIN, STARTING, seen(view(1, 10, canary_changed={"annotations": {"rollout/id": ID}})), (), NOW)
    assert not isinstance(decision.state.step, Retreating)
