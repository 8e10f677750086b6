"""At the last announcement everything is looked at once more: days may lie between the first checks and the start."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core.history import Outcome
from rollout.core.observation import Line
from rollout.core.state import Ended
from rollout.core.state_offline import Announcing, ClosingGate
from tests.core.test_offline import START, Ladder, in_step

M = timedelta(minutes=1)
REHEARSED = {"gate-rehearse", "offline-preflight"}


def waiting(before: timedelta) -> Ladder:
    ladder = in_step(Announcing(START - timedelta(hours=2)), now=START - before)
    ladder.state = replace(ladder.state, offline=replace(ladder.state.offline, rehearsed_at=None))  # type: ignore[type-var]
    return ladder


def answer_all(ladder: Ladder, *, but: str = "") -> None:
    """Answer what is asked; the kind `but` says no."""
    for task in ladder.look(after=timedelta(seconds=5)).tasks:
        no = (Line("image", "refused", "shop/orders runs orders:2.0 already", "name the new version"),)
        ladder.answer(task.key, ok=task.kind != but, lines=no if task.kind == but else ())


def test_nothing_is_rehearsed_before_the_last_announcement() -> None:
    assert not REHEARSED & {task.kind for task in waiting(11 * M).look().tasks}
    assert {task.kind for task in waiting(10 * M).look().tasks} >= REHEARSED


def test_what_was_rehearsed_well_is_not_rehearsed_again() -> None:
    ladder = waiting(10 * M)
    answer_all(ladder)
    ladder.look(after=timedelta(seconds=5))
    assert "rehearsed" in ladder.told
    assert not REHEARSED & {task.kind for task in ladder.look(after=6 * M).tasks}


@pytest.mark.parametrize("kind", sorted(REHEARSED))
def test_what_says_no_is_told_asked_again_and_keeps_the_gate_open(kind: str) -> None:
    ladder = waiting(10 * M)
    answer_all(ladder, but=kind)
    ladder.look(after=timedelta(seconds=5))
    (hold,) = ladder.state.holds
    assert "shop/orders runs orders:2.0 already; name the new version" in hold.why
    for _ in range(20):
        answer_all(ladder, but=kind)
        ladder.look(after=M)
    assert ladder.at(Announcing)
    assert ladder.now > START
    ladder.look(after=10 * M)
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.CANCELLED
    assert "runs orders:2.0 already" in ladder.state.step.why


def test_what_was_mended_in_time_begins() -> None:
    ladder = waiting(10 * M)
    answer_all(ladder, but="offline-preflight")
    for _ in range(12):
        answer_all(ladder)
        ladder.look(after=M)
    assert ladder.at(ClosingGate)
