"""What `show` asks of whoever looks: only what still stands."""

from __future__ import annotations

from rollout.cli.portrait import Portrait, portrait_of
from rollout.core.canary_stops import blind_limit
from rollout.core.commands import Verb
from rollout.core.history import Outcome
from rollout.core.plan import CanaryPlan
from rollout.core.state import HoldKind, Starting
from rollout.core.wording import span
from tests.simulation.days import Day, H, M


def shown(day: Day) -> Portrait:
    row = day.store.rollout(day.id)
    assert row is not None
    return portrait_of(day.store, day.codec, row, day.clock.now())


def asks(day: Day, verb: Verb) -> None:
    day.store.command(day.id, verb, "ann", "a look", day.clock.now())
    day.upkeep.fetch_commands()


def plan_of_day(day: Day) -> CanaryPlan:
    plan = shown(day).execution.plan
    assert isinstance(plan, CanaryPlan)
    return plan


def held(portrait: Portrait) -> set[HoldKind]:
    return {hold.kind for hold in portrait.state.holds}


def test_what_a_pause_asked_for_is_no_longer_asked_when_it_was_resumed_and_something_else_holds() -> None:
    day = Day().run(1 * M)
    asks(day, Verb.PAUSE)
    paused = shown(day.run(2 * M))
    asks(day, Verb.RESUME)
    resumed = shown(day.run(3 * M))

    assert HoldKind.PAUSED in held(paused)
    assert paused.asked.startswith("`rollout resume` goes on")
    assert "pause" not in paused.may
    assert held(resumed) == {HoldKind.WARMING}
    assert resumed.asked == ""


def test_what_another_hold_asks_for_stays_when_the_pause_is_over() -> None:
    day = Day().away(H, 2 * H)
    asks(day.run(H + 30 * M), Verb.PAUSE)
    asks(day.run(H + 31 * M), Verb.RESUME)

    portrait = shown(day.run(H + 32 * M))
    limit = span(blind_limit(plan_of_day(day), day.id, everything=True))
    said = f"No time is credited until it answers; it resumes by itself, and steps back when it was silent for {limit}."
    assert portrait.asked == said


def test_it_does_step_back_when_its_only_source_was_silent_for_as_long_as_was_said() -> None:
    day = Day().away(H, 24 * H)
    silent = blind_limit(plan_of_day(day), day.id, everything=True)
    assert day.run(H + silent - 3 * M).outcome() is Outcome.ACTIVE
    assert day.run(H + silent + 10 * M).outcome() is Outcome.FAILED


def test_a_canary_that_starts_is_meant_to_have_its_first_replica() -> None:
    assert shown(Day()).size == 0
    day = Day()
    day.engine.tick(day.id)
    day.engine.tick(day.id)
    assert (day.state().step, shown(day).as_document()["canaryReplicas"]) == (Starting(), 1)
