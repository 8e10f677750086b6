"""The words beside the tombstone, and what an heir makes of them."""

from __future__ import annotations

import pytest

from rollout.core.commands import Command, Verb
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.state import Ended, Promoting, Reason, Retreating, Snapshot, Soaking, Starting, Step
from rollout.core.tombstone import MOST, by_hand, inscribe, read
from tests.core.builders import canary_plan
from tests.core.scenes import ID, NEW, NOW, OLD, H, M, question, seen, state, view

PLAIN = question(canary_plan())
SOAKING = Soaking(1, NOW - 2 * H, NOW - 2 * H, H, H, confirmed=True)
PROMOTING = Promoting(1, Snapshot(OLD, 0, NEW, 420, NOW - H), NOW - M)


def dead_canary(why: str | None) -> dict[str, object]:
    words = {} if why is None else {"rollout/stopped-why": why}
    return {"replicas": 0, "annotations": {"rollout/id": ID, "rollout/stopped": ID, **words}}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ABORTED])
def test_what_is_inscribed_can_be_read(outcome: Outcome) -> None:
    found = read(inscribe(Reason("pod web-1: web crash-loops", "pod-guard", outcome)))
    assert found is not None
    assert (found.kind, found.ends_as) == ("pod-guard", outcome)
    assert found.why.startswith("pod web-1: web crash-loops (so says the tombstone")


def test_an_inscription_is_one_bounded_line_whatever_the_reason_says() -> None:
    text = inscribe(Reason("a\nb\x00c\u2028" + "x" * 5_000, "signal", Outcome.FAILED))
    assert text.isprintable()
    assert text.startswith("failed (signal): a b c")
    assert len(text) <= MOST + 50
    assert read(text) is not None


@pytest.mark.parametrize("text", ["", "because", "succeeded (x): all well", "failed (): y", "failed (UPPER): y", "failed (x): "])
def test_words_of_somebody_else_are_no_reason(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("step", [Starting(), Starting(NOW - M), SOAKING])
def test_an_heir_ends_the_rollout_as_what_the_dead_daemon_saw(step: Step) -> None:
    shown = view(0, 10, canary_changed=dead_canary("failed (pod-guard): pod web-1: web crash-loops"))
    ended = decide(PLAIN, state(step), seen(shown), (), NOW).state.step
    if isinstance(ended, Retreating):
        ended = decide(PLAIN, state(ended), seen(shown), (), NOW + M).state.step
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.FAILED
    assert "web crash-loops" in ended.why


def test_an_heir_leaves_the_stable_alone_where_the_dead_daemon_did() -> None:
    shown = view(0, 10, canary_changed=dead_canary("aborted (stable-image-changed): nginx was given hotfix by ann"))
    decision = decide(PLAIN, state(PROMOTING), seen(shown), (), NOW)
    assert [patch for patch in decision.backward if patch.name == "nginx"] == []


def test_a_tombstone_without_words_ends_it_as_aborted() -> None:
    decision = decide(PLAIN, state(SOAKING), seen(view(0, 10, canary_changed=dead_canary(None))), (), NOW)
    step = decision.state.step
    assert isinstance(step, Retreating | Ended)
    assert (step.reason.ends_as if isinstance(step, Retreating) else step.outcome) is Outcome.ABORTED


def test_stepping_back_writes_tombstone_and_reason_in_one_patch() -> None:
    hot = view(1, 10, stable_changed={"images": {"nginx": "hotfix"}})
    (patch,) = decide(PLAIN, state(SOAKING), seen(hot), (), NOW).backward
    assert dict(patch.annotations) == {
        "rollout/stopped": ID,
        "rollout/stopped-why": "aborted (stable-image-changed): nginx was given hotfix by somebody else; it is left alone",
    }


def test_starting_takes_an_older_rollouts_words_away() -> None:
    old = {"replicas": 0, "images": {"nginx": OLD}, "annotations": {"rollout/id": "x", "rollout/stopped": "x"}}
    (patch,) = decide(PLAIN, state(Starting(), deadline=NOW + H), seen(view(0, 10, canary_changed=old)), (), NOW).forward
    assert {"rollout/stopped": None, "rollout/stopped-why": None}.items() <= dict(patch.annotations).items()


@pytest.mark.parametrize("reason", ["", "it is 3 a.m.: nobody hears"])
def test_whoever_broke_the_glass_is_named_in_history_and_notice(reason: str) -> None:
    words = inscribe(by_hand("eve of the night shift", reason))
    decision = decide(PLAIN, state(SOAKING), seen(view(0, 10, canary_changed=dead_canary(words))), (), NOW)
    (stepping_back, *_) = decision.events
    assert (stepping_back.kind, stepping_back.actor) == ("stepping-back", "eve of the night shift")
    assert all("eve of the night shift stepped back by hand" in notice.why for notice in decision.notices)
    assert decision.notices


def test_a_glass_that_was_broken_without_a_name_is_somebody_elses() -> None:
    found = read("aborted (break-glass): stepped back by hand, without the daemon (abort --break-glass)")
    assert found is not None
    assert found.actor == "somebody else"


def test_commands_that_find_the_rollout_at_rest_stand_in_history() -> None:
    late = (Command(7, Verb.PAUSE, "ann", "odd", NOW), Command(8, Verb.ABORT, "bob", "", NOW))
    rest = state(Ended(Outcome.ABORTED, "over", NOW))
    decision = decide(PLAIN, rest, seen(view()), late, NOW)
    assert decision.state is rest
    assert decision.consumed == (7, 8)
    assert [(event.kind, event.actor, event.why) for event in decision.events] == [
        ("command-pause", "ann", "ann asked to pause: odd; it had ended already (aborted)"),
        ("command-abort", "bob", "bob asked to abort; it had ended already (aborted)"),
    ]


def test_whoever_broke_the_glass_is_named_also_where_a_command_had_it_step_back_first() -> None:
    marks = {"rollout/stopped-by-hand": inscribe(by_hand("eve", "nobody hears"))}
    canary = {"replicas": 0, "annotations": {"rollout/id": ID, "rollout/stopped": ID, **marks}}
    going_back = state(Retreating(Reason("bob aborted it", "abort", Outcome.ABORTED, "bob"), NOW - M))
    decision = decide(PLAIN, going_back, seen(view(0, 10, canary_changed=canary)), (), NOW)
    assert [(event.kind, event.actor) for event in decision.events] == [("break-glass", "eve"), ("aborted", "rollout")]
    (notice,) = decision.notices
    assert notice.why.startswith("bob aborted it; eve stepped back by hand, past the daemon: nobody hears; stepped back in")
