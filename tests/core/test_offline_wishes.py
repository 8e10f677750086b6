"""What several people ask of a maintenance in the same moment, or of a daemon that was dead: each is answered, in order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.commands import Command, Verb
from rollout.core.decision import Timing
from rollout.core.history import Outcome
from rollout.core.machine import Question, decide
from rollout.core.observation import Observation
from rollout.core.offline_facts import memory_of
from rollout.core.policy import Policy
from rollout.core.state import Ended
from tests.core.test_offline import SAVED, START, Ladder, in_step, view

M = timedelta(minutes=1)


def ask(ladder: Ladder, *verbs: Verb, images: Mapping[str, str] | None = None) -> list[str]:
    """Give all at once and look until each is consumed; return what history says."""
    waiting = tuple(
        Command(n, verb, f"person {n}", "", ladder.now, (("by", "30m"),) if verb is Verb.EXTEND else ())
        for n, verb in enumerate(verbs, 1)
    )
    told: list[str] = []
    while waiting:
        ladder.now += timedelta(seconds=1)
        shown = [view(t, 2, (images or {}).get(t.stable, "orders:1.0")) for t in ladder.plan.targets]
        question = Question(ladder.execution, Policy(), Timing())
        decision = decide(question, ladder.state, Observation(shown[0], (), ladder.results), waiting, ladder.now)
        assert decision.consumed
        ladder.state = decision.state
        waiting = tuple(c for c in waiting if c.id not in decision.consumed)
        told += [f"{event.kind} {event.why}" for event in decision.events]
    assert [line.split()[0] for line in told if line.startswith("command-")] == [f"command-{verb}" for verb in verbs]
    return told


@pytest.mark.parametrize("verbs", [(Verb.CANCEL, Verb.EXTEND), (Verb.EXTEND, Verb.CANCEL)])
def test_a_cancelled_maintenance_is_cancelled_whatever_else_was_asked(verbs: tuple[Verb, ...]) -> None:
    ladder = in_step(states.Announcing(START - 60 * M), now=START - 30 * M)
    told = ask(ladder, *verbs)
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.CANCELLED
    if verbs[0] is Verb.CANCEL:
        assert "it had ended already (cancelled)" in told[-1]


def test_a_wish_that_cannot_be_granted_takes_none_other_with_it() -> None:
    ladder = in_step(states.Announcing(START - 60 * M), now=START - 30 * M)
    told = ask(ladder, Verb.OPEN, Verb.CANCEL)
    assert isinstance(ladder.state.step, Ended)
    assert any(line.startswith("not-possible the gate has not been closed") for line in told)
    ladder = in_step(states.Announcing(START - 60 * M), now=START - 30 * M)
    ask(ladder, Verb.CANCEL, Verb.OPEN)
    assert isinstance(ladder.state.step, Ended)


FAILED_TESTS: dict[str, Any] = {
    "saved_gate": SAVED, "closed_at": START, "gate_proven": True, "stopped_at": START,
    "before": (states.TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0"),),
}  # fmt: skip


@pytest.mark.parametrize(
    ("verbs", "becomes", "answer"),
    [
        ((Verb.ROLLBACK, Verb.OPEN), states.RollingBack, "not-possible it is on its way back already"),
        ((Verb.OPEN, Verb.ROLLBACK), states.OpeningGate, "not-possible the gate is being opened"),
        ((Verb.ABORT, Verb.OPEN), states.RollingBack, "not-possible it is on its way back already"),
    ],
)
def test_of_two_opposite_wishes_the_first_is_done_and_the_second_answered(verbs: Any, becomes: type, answer: str) -> None:  # noqa: ANN401
    ladder = in_step(states.Deciding(START, "test health failed", "tests"), **FAILED_TESTS)
    told = ask(ladder, *verbs, images={"orders": "orders:2.0"})
    assert ladder.at(becomes)
    assert [line for line in told if line.startswith(answer)]


def test_a_window_that_was_extended_while_the_daemon_was_dead_is_longer_before_its_last_moment_is_looked_at() -> None:
    ladder = in_step(states.Testing(START), **FAILED_TESTS)
    ladder.now = START + timedelta(minutes=110)
    ask(ladder, Verb.EXTEND, images={"orders": "orders:2.0"})
    assert ladder.at(states.Testing)
    ladder = in_step(states.Testing(START), **FAILED_TESTS)
    ladder.look(after=timedelta(minutes=110), images={"orders": "orders:2.0"})
    assert ladder.at(states.RollingBack), "without it this had been too late"


@pytest.mark.parametrize(
    "step",
    [states.Announcing(START), states.ClosingGate(START), states.Stopping(START), states.Testing(START),
     states.OpeningGate(START, Outcome.SUCCEEDED, "ok")],
    ids=lambda it: type(it).__name__,
)  # fmt: skip
def test_an_approval_of_what_nobody_asked_approves_nothing_later(step: Any) -> None:  # noqa: ANN401 - a step
    ladder = in_step(step, now=START - 30 * M if isinstance(step, states.Announcing) else START, saved_gate=SAVED)
    told = ask(ladder, Verb.APPROVE)
    assert ladder.state.approval is None
    assert any("asks nobody" in line for line in told)


def test_two_extensions_of_one_moment_both_count() -> None:
    ladder = in_step(states.Testing(START), **FAILED_TESTS)
    ask(ladder, Verb.EXTEND, Verb.EXTEND, images={"orders": "orders:2.0"})
    assert memory_of(ladder.state).extended == 60 * M
