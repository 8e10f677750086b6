"""Properties of the one `decide`, for any state, readings and time; by Hypothesis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.cohorts import TargetView
from rollout.core.commands import Command, Verb
from rollout.core.decision import Decision
from rollout.core.effects import PatchDeployment
from rollout.core.history import Outcome
from rollout.core.machine import begin, decide
from rollout.core.observation import Observation
from rollout.core.signals import Answer, Counts, NoData, PodCount, Unreachable
from rollout.core.state import (
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
from rollout.core.windows import questions
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, S, checked, container, parts, pod, question, seen, stable_pods, state, view

PLAN = canary_plan(signals=["apisix-5xx"])
QUESTION = question(PLAN)
SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - H)
REASON = Reason("it failed", "signal", Outcome.FAILED)

sizes = st.integers(1, 3)
spans = st.sampled_from([timedelta(), M, 6 * H, 23 * H, 25 * H])
ago = st.sampled_from([NOW, NOW - S, NOW - H, NOW - 7 * H, NOW - 30 * H])
steps = st.one_of(
    st.just(Preflight()),
    st.builds(Starting, st.none() | ago),
    st.builds(Soaking, sizes, ago, st.none() | ago, spans, spans, st.booleans()),
    st.builds(Certifying, sizes, ago, spans),
    st.builds(Promoting, sizes, st.just(SNAPSHOT), ago, st.none() | ago, st.booleans(), st.integers(0, 10)),
    st.builds(Watching, sizes, st.just(SNAPSHOT), ago, spans),
    st.builds(Retiring, st.just(SNAPSHOT), ago),
    st.builds(Retreating, st.just(REASON), ago, st.none() | st.just(SNAPSHOT), st.booleans(), st.none() | ago),
)
holds = st.lists(
    st.builds(Hold, st.sampled_from(HoldKind), st.just("why"), ago, st.booleans()), max_size=2, unique_by=lambda h: h.kind
)
states = st.builds(
    lambda step, hold, paused, looked, deadline: state(
        step, holds=tuple(hold), paused=Paused("ann", "", NOW - H) if paused else None, looked_at=looked, deadline=deadline
    ),
    steps, holds, st.booleans(), st.sampled_from([None, NOW - M, NOW - H, NOW + H]), st.none() | ago,
)  # fmt: skip
canaries = st.one_of(
    st.just({}),
    st.sampled_from([
        {"annotations": {}}, {"annotations": {"rollout/stopped": ID, "rollout/id": ID}}, {"annotations": {"rollout/id": "another"}},
        {"images": {"nginx": OLD}}, {"images": {"nginx": "nginx:3"}}, {"replicas": 0}, {"replicas": 9},
    ]),
)  # fmt: skip
stables = st.sampled_from(
    [
        {},
        {"images": {"nginx": NEW}, "min_ready_seconds": 420},
        {"images": {"nginx": "hotfix"}},
        {"paused": True},
        {"replicas": 2},
        {"ready": 3},
    ]
)
pods = st.lists(
    st.sampled_from([
        pod("nginx-canary-0"), pod("nginx-canary-1", ready=False), pod("nginx-canary-2", displaced="Evicted", ready=False),
        pod("nginx-canary-3", ready=False, seen=container(waiting="CrashLoopBackOff", ready=False)),
        pod("nginx-canary-4", deleting_since=NOW - H), pod("nginx-new", deployment="nginx", seen=container(image=NEW)),
    ]),
    max_size=4, unique_by=lambda p: p.name,
).map(lambda some: (*some, *stable_pods()))  # fmt: skip
views = st.one_of(
    st.builds(lambda n, c, s, p: view(n, 10, canary_changed=c, stable_changed=s, pods=p), sizes, canaries, stables, pods),
    st.just(Unreachable("watches are not current")),
    st.builds(lambda: replace(view(), canary=None)),
    st.builds(lambda: replace(view(), stable=None)),
)  # fmt: skip
readings = st.sampled_from(["none", "no data", "unreachable", "good", "bad"])
commands = st.lists(st.sampled_from(list(Verb)), max_size=2).map(
    lambda verbs: tuple(Command(number, verb, "ann", "", NOW) for number, verb in enumerate(verbs, 1))
)
any_scene = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def answers(shown: Any, kind: str) -> tuple[Answer, ...]:  # noqa: ANN401 - a view or Unreachable
    if kind == "none" or not isinstance(shown, TargetView):
        return ()
    asked = questions(PLAN.signals, {"apisix-5xx": NOW - 3 * M}, parts(shown), "default", 3 * M, NOW)
    found = []
    for one in asked:
        count = PodCount(80.0 if kind == "bad" else 0.0, 100.0)
        reading: Any = Counts({key.name: count if "canary" in key.name else PodCount(0.0, 100.0) for key in one.pods})
        reading = {"no data": NoData("nothing"), "unreachable": Unreachable("away")}.get(kind, reading)
        found.append(Answer(one, reading, "q", NOW))
    return tuple(found)


def forward(decision: Decision) -> list[PatchDeployment]:
    """What makes the new version serve more."""
    return [p for p in decision.forward if p.image == NEW or (p.replicas or 0) > 0]


@any_scene
@given(states, views, readings, commands)
def test_decide_returns_the_same_every_time_and_wakes_exactly_until_rest(
    before: State,
    shown: Any,  # noqa: ANN401 - a view or Unreachable
    kind: str,
    asked: tuple[Command, ...],
) -> None:
    what = Observation(shown, answers(shown, kind), checked())
    decision = decide(QUESTION, before, what, asked, NOW)
    assert decision == decide(QUESTION, before, what, asked, NOW)
    assert (decision.wake_at is None) == isinstance(decision.state.step, Ended)
    assert decision.wake_at is None or NOW < decision.wake_at <= NOW + QUESTION.timing.look_every
    assert decision.why
    answered = list(decision.consumed)
    while len(answered) < len(asked):  # whatever comes after a decisive one is answered by the looks that follow
        assert answered == [command.id for command in asked[: len(answered)]] != []
        decision = decide(QUESTION, decision.state, what, asked[len(answered) :], NOW)
        answered += decision.consumed
    assert len(answered) == len(asked)


@any_scene
@given(states, views, st.sampled_from(["no data", "unreachable"]))
def test_no_knowledge_is_no_progress(before: State, shown: Any, kind: str) -> None:  # noqa: ANN401 - as above
    before = replace(before, step=Soaking(1, NOW - 30 * H, NOW - 30 * H, 23 * H, 7 * H, confirmed=True))
    decision = decide(QUESTION, before, Observation(shown, answers(shown, kind), checked()), (), NOW)
    after = decision.state.step
    assert isinstance(after, Soaking | Retreating) or (isinstance(after, Ended) and after.outcome is not Outcome.SUCCEEDED)
    if isinstance(decision.state.step, Soaking):
        assert decision.state.step.credited == 23 * H
        assert decision.state.step.size <= 1


@any_scene
@given(states, views)
def test_a_tombstone_of_ours_lets_nothing_go_forward(before: State, shown: Any) -> None:  # noqa: ANN401 - as above
    if not isinstance(shown, TargetView) or shown.canary is None or isinstance(before.step, Preflight | Retiring):
        return
    dead = replace(shown, canary=replace(shown.canary, annotations={"rollout/id": ID, "rollout/stopped": ID}))
    assert forward(decide(QUESTION, before, seen(dead), (), NOW)) == []


@any_scene
@given(states, views)
def test_an_image_of_somebody_else_on_the_stable_is_never_written(before: State, shown: Any) -> None:  # noqa: ANN401 - as above
    if not isinstance(shown, TargetView) or shown.stable is None or isinstance(before.step, Preflight):
        return
    hotfix = replace(shown, stable=replace(shown.stable, images={"nginx": "hotfix"}))
    decision = decide(QUESTION, before, seen(hotfix), (), NOW)
    assert [p for p in (*decision.forward, *decision.backward) if p.name == "nginx" and p.image is not None] == []


@any_scene
@given(states)
def test_an_abort_from_anywhere_reaches_rest(before: State) -> None:
    abort = (Command(1, Verb.ABORT, "ann", "enough", NOW),)
    now, current = NOW, before
    shown = view(1, 10)
    for _ in range(50):
        decision = decide(QUESTION, current, seen(shown), abort if now == NOW else (), now)
        current = decision.state
        if isinstance(current.step, Ended):
            assert forward(decision) == []
            return
        shown = performed(shown, (*decision.backward, *decision.forward))
        now = decision.wake_at or now
    pytest.fail(f"still {current.step}")


@any_scene
@given(states, st.integers(1, 6))
def test_interrupting_after_any_decision_and_starting_again_ends_in_the_same_place(before: State, interrupted: int) -> None:
    """The effects of one decision are lost (the daemon died before or in the middle): looking again repeats them."""
    ends = []
    for lost in (0, interrupted):
        now, current, shown = NOW, replace(before, paused=None), view(1, 10)
        asked: tuple[Command, ...] = (Command(1, Verb.ABORT, "ann", "enough", NOW),)
        for number in range(60):
            decision = decide(QUESTION, current, seen(shown), asked, now)
            asked = ()
            current = decision.state
            if number + 1 != lost:
                shown = performed(shown, (*decision.backward, *decision.forward))
            if isinstance(current.step, Ended):
                break
            now = decision.wake_at or now
        assert isinstance(current.step, Ended)
        assert shown.canary is not None
        assert shown.stable is not None
        ends.append((current.step.outcome, shown.canary.replicas, shown.stable.images))
    assert ends[0] == ends[1]


def performed(shown: TargetView, patches: tuple[PatchDeployment, ...]) -> TargetView:
    """Do what was asked, at once, as an obliging cluster would."""
    for patch in patches:
        which = "canary" if patch.name == "nginx-canary" else "stable"
        old = getattr(shown, which)
        notes = {**old.annotations, **{k: v for k, v in patch.annotations if v is not None}}
        for key, value in patch.annotations:
            if value is None:
                notes.pop(key, None)
        replicas = old.replicas if patch.replicas is None else patch.replicas
        new = replace(
            old, annotations=notes, replicas=replicas, status_replicas=replicas, updated=replicas, ready=replicas,
            available=replicas,
            images={"nginx": patch.image} if patch.image else old.images,
            paused=old.paused if patch.paused is None else patch.paused,
            min_ready_seconds=old.min_ready_seconds if patch.min_ready_seconds is None else patch.min_ready_seconds,
        )  # fmt: skip
        shown = replace(shown, **{which: new})
    assert shown.canary is not None
    assert shown.stable is not None
    mine = tuple(pod(f"nginx-canary-{number}") for number in range(shown.canary.replicas))
    theirs = stable_pods(shown.stable.replicas, seen=container(image=shown.stable.images["nginx"]))
    return replace(shown, pods=(*mine, *theirs))


def test_a_rollout_begins_in_preflight_and_ended_ones_stay() -> None:
    first = begin(QUESTION.execution, NOW)
    assert isinstance(first.step, Preflight)
    rest = state(Ended(Outcome.SUCCEEDED, "done", NOW))
    decision = decide(QUESTION, rest, seen(view()), (), NOW)
    assert (decision.state, decision.wake_at, decision.forward, decision.backward) == (rest, None, (), ())


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(hours=9)])
def test_a_clock_that_jumps_and_a_laptop_that_slept_credit_nothing(jump: timedelta) -> None:
    plain = question(canary_plan())
    soaking = state(Soaking(1, NOW - 7 * H, NOW - 7 * H, H, H, confirmed=True), looked_at=NOW, deadline=NOW + 65 * H)
    decision = decide(plain, soaking, seen(view()), (), NOW + jump)
    assert isinstance(decision.state.step, Soaking)
    assert decision.state.step.credited == H
    assert decision.state.deadline == NOW + 65 * H + jump


def test_a_look_a_minute_later_credits_that_minute() -> None:
    soaking = state(Soaking(1, NOW - 7 * H, NOW - 7 * H, H, H, confirmed=True), looked_at=NOW - M)
    decision = decide(question(canary_plan()), soaking, seen(view()), (), NOW)
    assert isinstance(decision.state.step, Soaking)
    assert decision.state.step.credited == H + M


def waiting_to_start(**changed: Any) -> tuple[State, Observation]:  # noqa: ANN401 - any field
    """The start was decided, nothing is written yet, and its deadline has come a second ago."""
    unwritten = view(canary=0, canary_changed={"images": {"nginx": OLD}, "annotations": {}})
    return state(Starting(), deadline=NOW - S, looked_at=NOW - M), seen(unwritten, **changed)


@pytest.mark.parametrize(("changed", "goes_on"), [({}, False), ({"taken_over": True}, True), ({"leased": False}, True)])
def test_a_start_is_not_late_for_time_in_which_nobody_could_make_it(changed: dict[str, Any], goes_on: bool) -> None:  # noqa: FBT001 - a column of the table
    starting, shown = waiting_to_start(**changed)
    decision = decide(QUESTION, starting, shown, (), NOW)
    assert isinstance(decision.state.step, Starting) is goes_on
    if goes_on:
        assert decision.kept.deadline == NOW - S + M


def test_without_the_lease_the_deadline_of_pods_that_must_become_ready_runs_on() -> None:
    starting = state(Starting(NOW - 5 * M), deadline=NOW - S, looked_at=NOW - M)
    decision = decide(QUESTION, starting, seen(view(pods=(pod(ready=False), *stable_pods())), leased=False), (), NOW)
    assert isinstance(decision.state.step, Retreating)


def test_a_clock_that_was_set_back_gives_nobody_more_time_to_answer() -> None:
    plan = canary_plan(approvals={"beforePromotion": True, "within": "12h"})
    asked = state(Certifying(1, NOW - 11 * H, 24 * H), looked_at=NOW)
    turned = decide(question(plan), asked, seen(view()), (), NOW - H).state
    assert isinstance(turned.step, Certifying)
    assert turned.step.since == NOW - 12 * H
    later = replace(turned, looked_at=NOW - M, holds=turned.holds)
    assert isinstance(decide(question(plan), later, seen(view()), (), NOW).state.step, Retreating)
