"""A view that is older than the state is none: who takes over with it neither goes forward nor blames anybody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollout.core import pictures
from rollout.core.cohorts import TargetView
from rollout.core.decision import Decision
from rollout.core.machine import decide
from rollout.core.state import HoldKind, Picture, Promoting, Retreating, Snapshot, Soaking, State
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, S, pod, question, seen, stable_pods, state, view

SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - H)
PROMOTED = {"images": {"nginx": NEW}, "annotations": {"rollout/id": ID}, "min_ready_seconds": 420, "generation": 7}
PODS = (pod("nginx-canary-0"), pod("nginx-canary-1"), *stable_pods(10))


def before(uid: str = "u") -> TargetView:
    """What the watches showed when the stable had not been promoted."""
    return view(2, pods=PODS, stable_changed={"generation": 6, "observed_generation": 6, "uid": uid})


def after() -> TargetView:
    return view(2, pods=PODS, stable_changed={**PROMOTED, "observed_generation": 7, "uid": "u"})


def looked(made: State, shown: Any, **observed: Any) -> Decision:  # noqa: ANN401 - a view, any field
    return decide(question(canary_plan(signals=[])), made, seen(shown, **observed), (), NOW)


def promoting() -> State:
    """Somebody else has promoted it, and seen it."""
    made = state(Promoting(2, SNAPSHOT, NOW - H, NOW - H), deadline=NOW + H)
    return replace(looked(made, after()).state, looked_at=NOW - 10 * S)


def test_the_state_keeps_which_generation_it_was_decided_from() -> None:
    known = {picture.deployment.rpartition("/")[2]: picture for picture in promoting().pictures}
    assert (known["nginx"].uid, known["nginx"].generation) == ("u", 7)
    assert "nginx-canary" in known


def test_our_own_promotion_in_an_old_picture_is_nobodys_hotfix() -> None:
    decision = looked(promoting(), before(), taken_over=True)
    assert not isinstance(decision.state.step, Retreating)
    assert decision.forward == decision.backward == ()
    assert HoldKind.CLUSTER_UNSEEN in {hold.kind for hold in decision.state.holds}
    assert "as it was before" in next(h.why for h in decision.state.holds if h.kind is HoldKind.CLUSTER_UNSEEN)
    assert isinstance(looked(decision.state, after()).state.step, Promoting)


def test_without_the_picture_it_would_have_been_taken_for_one() -> None:
    decision = looked(replace(promoting(), pictures=()), before(), taken_over=True)
    assert isinstance(decision.state.step, Retreating)


def test_a_replica_that_an_old_picture_does_not_show_is_not_taken_for_lowered() -> None:
    grown = state(Soaking(2, NOW - H, NOW - H, confirmed=True), deadline=NOW + H)
    known = looked(grown, view(2, canary_changed={"generation": 3, "observed_generation": 3})).state
    decision = looked(replace(known, looked_at=NOW - M), view(1, canary_changed={"generation": 2, "observed_generation": 2}))
    assert isinstance(decision.state.step, Soaking)
    assert decision.state.step.size == 2


def test_a_deployment_that_was_deleted_and_made_anew_is_seen_as_it_is() -> None:
    decision = looked(promoting(), before(uid="another"))
    assert isinstance(decision.state.step, Retreating)


def test_what_is_not_seen_stays_as_it_was_known() -> None:
    made = replace(promoting(), pictures=(Picture("default/x/elsewhere", "u", 3), *promoting().pictures))
    assert set(looked(made, after()).state.pictures) == set(made.pictures)


def test_an_old_picture_that_stays_is_how_the_cluster_is_now_as_after_a_restore_of_etcd() -> None:
    made, looks = promoting(), 0
    while isinstance(made.step, Promoting) and looks < 60:
        looks += 1
        made = decide(question(canary_plan(signals=[])), made, seen(before()), (), NOW + looks * 30 * S).state
    assert isinstance(made.step, Retreating), "it steps back from what it finds, it does not wait for what will never come"
    assert looks * 30 * S >= pictures.STAYS
    assert {p.generation for p in made.pictures if p.deployment.endswith("/nginx")} == {6}


def test_time_in_which_nobody_looked_makes_an_old_picture_no_truer() -> None:
    slept = replace(looked(promoting(), before()).state, looked_at=NOW - 2 * H)
    slept = replace(slept, pictures=tuple(replace(p, older_since=p.older_since and NOW - 2 * H) for p in slept.pictures))
    assert any(p.older_since for p in slept.pictures)
    decision = looked(slept, before(), taken_over=True)
    assert HoldKind.CLUSTER_UNSEEN in {hold.kind for hold in decision.state.holds}
    assert isinstance(decision.state.step, Promoting)
    assert isinstance(looked(replace(slept, looked_at=NOW - 10 * S), before()).state.step, Retreating), "the sleep alone tells"
