"""Offline rollouts from seeds: crashes, lost answers, late writes and hands that reach in, with the invariants in the world."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from rollout.core.history import Outcome
from tests.simulation.offline_invariants import Broken
from tests.simulation.offline_story import Story
from tests.simulation.offline_tale import Tale, tale
from tests.simulation.planted_offline import PLANTED, STORIES, caught_by

SEEDS = 320
PIECES = 8


def told(seed: int) -> Outcome:
    story = Story(tale(seed))
    try:
        return story.run()
    except Broken as broken:
        raise AssertionError(f"seed {seed}: {broken}\n" + "\n".join(story.told[-60:])) from broken


def test_a_good_upgrade_ends_open_with_the_new_version() -> None:
    story = Story(Tale(Random(1)))
    assert story.run() is Outcome.SUCCEEDED
    assert story.database.schema == "new"


def test_a_bad_upgrade_is_taken_back_with_its_database() -> None:
    story = Story(Tale(Random(1), new_passes=False, on_failure="rollback"))
    assert story.run() is Outcome.FAILED
    assert story.database.restored == 1


def test_nobody_answers_and_it_goes_back_at_the_last_moment() -> None:
    story = Story(Tale(Random(1), new_passes=False, person="nobody"))
    assert story.run() is Outcome.FAILED
    kinds = [h.event.kind for h in story.inner.history(story.rollout)]
    assert "stepping-back" in kinds


@pytest.mark.parametrize("piece", range(PIECES))
def test_no_seed_breaks_an_invariant(piece: int) -> None:
    outcomes = Counter(told(seed) for seed in range(piece, SEEDS, PIECES))
    assert sum(outcomes.values()) == len(range(piece, SEEDS, PIECES))


@pytest.mark.parametrize("name", STORIES)
def test_the_stories_that_show_planted_bugs_are_green_without_them(name: str) -> None:
    Story(STORIES[name]()).run()


@pytest.mark.timeout(600)  # a story that does not end goes on to its last round
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_turns_the_simulation_red(name: str) -> None:
    assert caught_by(name)
