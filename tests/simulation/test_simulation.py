"""Two thousand rollouts, each from a seed, each held to every invariant; with xdist they are spread over the cores.

`SIMULATION_SEEDS` plays fewer or more. What fails is told again by `python -m tests.simulation --replay SEED`.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from tests.simulation.__main__ import play_some
from tests.simulation.scenario import Happening, Scenario, scenario
from tests.simulation.simulation import Simulation, simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
AT_ONCE = 50


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    broken = [result for result in play_some(list(range(first, min(first + AT_ONCE, SEEDS)))) if result.broken]
    assert not broken, "\n".join(f"--replay {result.seed}: {result.broken}" for result in broken)


def test_a_seed_is_the_same_story_every_time() -> None:
    assert simulate(11).story == simulate(11).story


def quiet_story(conduct: str = "healthy", *happenings: Happening) -> Scenario:
    """A story in which nothing fails but what is asked for."""
    story = scenario(1)
    story.conduct, story.trouble, story.signals, story.freeze, story.approval = conduct, 0.0, ("apisix-5xx",), (), False
    story.happenings = list(happenings)
    story.behaviour = story.old
    return story


def test_a_healthy_version_in_quiet_weather_goes_all_the_way() -> None:
    assert Simulation(quiet_story()).run().value == "succeeded"


@pytest.mark.parametrize("what", ["clock forward", "clock back"])
def test_a_clock_that_steps_an_hour_earns_no_credit(what: str) -> None:
    played = Simulation(quiet_story("healthy", Happening(timedelta(hours=10), what)))
    assert played.run().value == "succeeded"
    grown = [row.event.at for row in played.store.history(played.rollout) if row.event.kind == "promoting"]
    assert grown[0] - played.clock.skew >= played.began + timedelta(hours=24)


def test_what_may_not_go_forward_without_its_lease_waits_for_the_lease() -> None:
    played = Simulation(quiet_story("healthy", Happening(timedelta(hours=5, minutes=50), "store away", 1.0)))
    assert played.run().value == "succeeded"
    grown = [row.event.at for row in played.store.history(played.rollout) if row.event.kind == "growing"]
    assert timedelta() <= grown[0] - played.began - timedelta(hours=10, minutes=50) <= timedelta(minutes=15)


def test_a_laptop_that_slept_earns_no_credit_for_the_night() -> None:
    played = Simulation(quiet_story("healthy", Happening(timedelta(hours=5), "daemon slept", 8.0)))
    assert played.run().value == "succeeded"
    promoted = [row.event.at for row in played.store.history(played.rollout) if row.event.kind == "promoting"]
    assert promoted[0] >= played.began + timedelta(hours=24 + 7)


@pytest.mark.parametrize("away", [0.1, 0.4, 1.0])
def test_a_database_that_is_away_in_the_middle_of_a_promotion_steps_no_good_version_back(away: float) -> None:
    played = Simulation(quiet_story("healthy", Happening(timedelta(hours=24, minutes=20), "store away", away)))
    assert played.run().value == "succeeded"


def test_whoever_wonders_about_the_credit_is_told_that_the_database_was_away() -> None:
    played = Simulation(quiet_story("healthy", Happening(timedelta(hours=8), "store away", 0.5)))
    assert played.run().value == "succeeded"
    history = [row.event for row in played.store.history(played.rollout)]
    (held,) = (event for event in history if dict(event.facts).get("hold") == "database-away" and event.kind == "held")
    assert "the database has taken nothing for 2 h" in held.why
    assert "not credited" in held.why
    (over,) = (event for event in history if dict(event.facts).get("hold") == "database-away" and event.kind == "hold-over")
    assert int(dict(over.facts)["seconds"]) > 2 * 3600
    told = [row["kind"] for row in played.store.notices(played.rollout) if "database away" in str(row["title"])]
    assert told == ["held"]
