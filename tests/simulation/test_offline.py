"""Offline rollouts from seeds: crashes, lost answers, late writes and hands that reach in, with the invariants in the world."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from rollout.core.history import Outcome
from tests.simulation.__main__ import play_some
from tests.simulation.offline_play import simulate_offline
from tests.simulation.offline_story import Story
from tests.simulation.offline_tale import Tale, tale
from tests.simulation.planted_offline import ORDINARY, PLANTED, SECOND_DAEMON, STORIES, caught_by

SEEDS = 400
AT_ONCE = 25
WEATHER = ("store away", "gateway away", "cluster away", "daemon killed", "daemon asleep", "daemon stalled", "gate opened by hand")


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


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    broken = [result for result in play_some(list(range(first, first + AT_ONCE)), offline=True) if result.broken]
    assert not broken, "\n".join(f"--offline --replay {result.seed}: {result.broken}" for result in broken)


def test_a_seed_is_the_same_story_every_time() -> None:
    first = simulate_offline(3)
    assert first.story == simulate_offline(3).story
    assert any("begun" in line for line in first.story)


def test_the_stories_have_every_kind_of_weather_in_them() -> None:
    met = Counter(what for seed in range(SEEDS) for _, what in tale(seed).hands)
    assert min(met[what] for what in WEATHER) >= 8


@pytest.mark.parametrize("name", STORIES)
def test_the_stories_that_show_planted_bugs_are_green_without_them(name: str) -> None:
    Story(STORIES[name]()).run()


@pytest.mark.timeout(600)  # a story that does not end goes on to its last round
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_turns_the_simulation_red(name: str) -> None:
    assert caught_by(name)


@pytest.mark.parametrize("name", SECOND_DAEMON)
def test_what_only_a_second_daemon_does_shows_in_no_story_that_has_one(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        PLANTED[name](patch)
        for story in ORDINARY:
            Story(story()).run()
