"""What people's commands do before anything else is looked at."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from rollout.core.commands import Command, Verb
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.state import Certifying, Ended, Preflight, Promoting, Retreating, Snapshot, Soaking, State
from tests.core.builders import canary_plan
from tests.core.scenes import NEW, NOW, OLD, H, M, question, seen, state, view

PLAIN = question(canary_plan())
SOAKING = state(Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True))


def after(before: State, *verbs: Verb, arguments: tuple[tuple[str, str], ...] = ()) -> State:
    asked = tuple(Command(number, verb, "ann", "as I say", NOW, arguments) for number, verb in enumerate(verbs, 1))
    return decide(PLAIN, before, seen(view()), asked, NOW).state


def test_pause_holds_and_resume_lets_go() -> None:
    paused = after(SOAKING, Verb.PAUSE)
    assert paused.paused is not None
    assert paused.paused.actor == "ann"
    assert after(paused, Verb.RESUME).paused is None


def test_time_is_credited_while_paused_but_nothing_grows() -> None:
    due = state(Soaking(1, NOW - 7 * H, NOW - 7 * H, 6 * H, 6 * H, confirmed=True))
    step = after(due, Verb.PAUSE).step
    assert isinstance(step, Soaking)
    assert (step.size, step.credited) == (1, 6 * H + M)
    grown = after(due).step
    assert isinstance(grown, Soaking)
    assert grown.size == 2


def test_a_second_pause_keeps_who_paused_it_and_why_and_is_answered() -> None:
    paused = after(SOAKING, Verb.PAUSE)
    again = Command(2, Verb.PAUSE, "bob", "lunch", NOW)
    decision = decide(PLAIN, paused, seen(view()), (again,), NOW + M)
    assert decision.state.paused == paused.paused
    told = [event.why for event in decision.events if event.kind == "command-pause"]
    assert told == ["bob asked to pause: lunch; it is paused already, by ann: as I say"]


def test_commands_are_applied_in_order() -> None:
    assert after(SOAKING, Verb.PAUSE, Verb.RESUME).paused is None
    assert after(SOAKING, Verb.RESUME, Verb.PAUSE).paused is not None


@pytest.mark.parametrize("paused", [False, True])
def test_abort_steps_back_whether_paused_or_not(paused: bool) -> None:  # noqa: FBT001 - a parameter of the test
    before = after(SOAKING, Verb.PAUSE) if paused else SOAKING
    step = after(before, Verb.ABORT).step
    assert isinstance(step, Retreating)
    assert (step.reason.ends_as, step.reason.actor) == (Outcome.ABORTED, "ann")


def test_abort_before_anything_was_changed_ends_at_once() -> None:
    assert isinstance(after(state(Preflight()), Verb.ABORT).step, Ended)


def test_a_second_abort_changes_nothing_of_the_first() -> None:
    first = after(SOAKING, Verb.ABORT)
    second = after(first, Verb.ABORT).step
    assert isinstance(second, Retreating | Ended)
    assert isinstance(first.step, Retreating)


def every(before: State, *verbs: Verb) -> tuple[State, list[str]]:
    """Give all of them at once, look until each is consumed, and return what history says of them."""
    waiting = tuple(Command(number, verb, f"person {number}", "as I say", NOW) for number, verb in enumerate(verbs, 1))
    told, looks = [], 0
    while waiting:
        decision = decide(PLAIN, before, seen(view()), waiting, NOW)
        before, waiting = decision.state, tuple(c for c in waiting if c.id not in decision.consumed)
        told += [f"{event.actor}: {event.why}" for event in decision.events if event.kind.startswith("command-")]
        looks += 1
        assert looks <= len(verbs)
    return before, told


@pytest.mark.parametrize("step", [SOAKING.step, Certifying(1, NOW - H, 24 * H), Preflight()], ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("verbs", list(permutations([Verb.PAUSE, Verb.ABORT, Verb.APPROVE])), ids="-".join)
def test_an_abort_among_other_wishes_of_the_same_moment_steps_back_and_each_is_answered(step: Any, verbs: tuple[Verb, ...]) -> None:  # noqa: ANN401
    ended, told = every(replace(SOAKING, step=step), *verbs)
    assert isinstance(ended.step, Retreating | Ended)
    assert [line.partition(":")[0] for line in told] == ["person 1", "person 2", "person 3"]
    for verb, line in zip(verbs[verbs.index(Verb.ABORT) + 1 :], told[verbs.index(Verb.ABORT) + 1 :], strict=True):
        assert "stepping back" in line or "had ended already" in line or "asks nobody" in line, (verb, line)


def test_whatever_is_asked_of_a_rollout_that_has_ended_is_answered() -> None:
    ended = state(Ended(Outcome.SUCCEEDED, "done", NOW))
    _, told = every(ended, Verb.ABORT, Verb.PAUSE)
    assert [line.partition(": ")[2] for line in told] == [
        f"person {number} asked to {verb}: as I say; it had ended already (succeeded)"
        for number, verb in ((1, "abort"), (2, "pause"))
    ]


def test_superseding_by_adoption_leaves_the_stable_as_it_is() -> None:
    promoting = state(Promoting(1, Snapshot(OLD, 0, NEW, 420, NOW - H), NOW - H, NOW - H))
    shown = view(1, 10, stable_changed={"images": {"nginx": NEW}, "annotations": {"rollout/id": "nginx-12345678"}})
    command = Command(1, Verb.SUPERSEDE, "ann", "", NOW, (("by", "adopt"),))
    decision = decide(PLAIN, promoting, seen(shown), (command,), NOW)
    assert isinstance(decision.state.step, Retreating)
    assert decision.state.step.leave_stable
    assert {patch.name for patch in decision.backward} == {"nginx-canary"}
    assert [notice.kind for notice in decision.notices] == ["stepping-back"], "that was asked for: nobody is called"


@pytest.mark.parametrize(
    ("verb", "next_action"), [(Verb.SUPERSEDE, "The plan that supersedes it can begin then"), (Verb.ABORT, "Mend it")]
)
def test_who_steps_back_for_another_plan_is_not_to_be_mended(verb: Verb, next_action: str) -> None:
    decision = decide(PLAIN, SOAKING, seen(view()), (Command(1, verb, "ann", "", NOW),), NOW)
    (notice,) = decision.notices
    assert notice.next_action.startswith(next_action)


def test_a_command_that_makes_no_sense_now_is_recorded() -> None:
    decision = decide(PLAIN, SOAKING, seen(view()), (Command(7, Verb.EXTEND, "ann", "", NOW),), NOW)
    assert decision.consumed == (7,)
    assert "command-extend" in {event.kind for event in decision.events}
