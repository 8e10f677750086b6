"""A daemon that dies every few minutes still lets a deadline come: what it watched is stored sooner, the younger its watch is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core.machine import decide
from rollout.core.state import Retreating, Starting, State
from tests.core.builders import canary_plan
from tests.core.scenes import NOW, H, M, S, pod, question, seen, stable_pods, state, view

NEVER_READY = view(1, pods=(pod("nginx-canary-0", ready=False), *stable_pods(10)))
STARTING = state(Starting(NOW - M), deadline=NOW + 10 * M, watched_since=NOW - M, looked_at=NOW, saved_at=NOW)


def life(stored: State, began: timedelta, lasts: timedelta, every: timedelta = M) -> tuple[State, int]:
    """Take over from what is stored, look until it dies, and return what is stored then, with how often it was."""
    remembered, saves = stored, 0
    for number in range(lasts // every + 1):
        looked = seen(NEVER_READY, taken_over=number == 0)
        decision = decide(question(canary_plan(signals=[])), remembered, looked, (), NOW + began + number * every)
        remembered = decision.state
        if decision.material:
            stored, saves = decision.state, saves + 1
        if isinstance(stored.step, Retreating):
            break
    return stored, saves


@pytest.mark.parametrize(("lives", "lasts"), [(6, 3 * M), (11, M)])
def test_in_an_unbroken_row_of_deaths_the_start_deadline_comes_within_twice_its_time(lives: int, lasts: timedelta) -> None:
    stored = STARTING
    for number in range(1, lives + 1):
        stored, _ = life(stored, number * (lasts + 20 * S), lasts)
    assert isinstance(stored.step, Retreating)


def test_whoever_lives_long_stores_no_more_than_a_few_times_more_than_every_five_minutes() -> None:
    quiet = replace(STARTING, deadline=NOW + 9 * H)
    _, saves = life(quiet, M, H)
    assert 12 <= saves <= 12 + 4


def test_a_restart_alone_stores_nothing_at_its_first_look() -> None:
    quiet = replace(STARTING, deadline=NOW + 9 * H, saved_at=NOW)
    _, saves = life(quiet, M, timedelta())
    assert saves == 0
