"""A channel gets the kinds of notice that its configuration picks, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.history import Notice, NoticeKind
from rollout.core.policy import Policy
from rollout.engine.engine import Setup
from rollout.engine.recipients import addressed, unheard
from rollout.settings_file import parse_settings
from rollout.wiring import MODELS, taken_by
from tests.simulation.days import LOOKS, Day, H

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CUSTOMERS = {"customers": frozenset({NoticeKind.ANNOUNCEMENT, NoticeKind.GATE})}
BOTH = ("operations", "customers")


def notice(kind: NoticeKind, *channels: str) -> Notice:
    return Notice(f"0001-{kind.value}", kind, "title", "why", NOW, channels=channels)


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_channel_gets_what_it_picks_and_one_that_picks_nothing_gets_all(kind: NoticeKind) -> None:
    (owed,) = addressed([notice(kind)], BOTH, CUSTOMERS)
    assert owed.channels == (BOTH if kind in CUSTOMERS["customers"] else ("operations",))


def test_what_nobody_takes_is_not_owed_and_never_falls_back_to_everybody() -> None:
    assert addressed([notice(NoticeKind.HELD)], ("customers",), CUSTOMERS) == ()


@pytest.mark.parametrize("kind", [NoticeKind.NEEDS_PERSON, NoticeKind.STEPPING_BACK])
def test_what_somebody_must_hear_is_told_in_the_wrong_place_rather_than_nowhere(kind: NoticeKind) -> None:
    (owed,) = addressed([notice(kind)], ("customers",), CUSTOMERS)
    assert owed.channels == ("customers",)


def test_a_channel_that_a_plan_names_for_its_announcements_gets_them() -> None:
    (owed,) = addressed([notice(NoticeKind.ANNOUNCEMENT, "people")], BOTH, {"people": frozenset({NoticeKind.HELD})})
    assert owed.channels == ("people",)


def test_that_nobody_would_hear_of_a_step_back_is_a_warning() -> None:
    (line,) = unheard(["customers"], CUSTOMERS)
    assert (line.level, line.name) == ("warning", "channels")
    assert "no channel takes needs-a-person or stepping-back" in line.message
    assert not list(unheard(BOTH, CUSTOMERS))
    assert not list(unheard([], {}))


def test_what_the_configuration_picks_reaches_the_engine() -> None:
    text = b"channels: [{name: ops, type: slack, url: 'http://c/1'}, {name: few, type: slack, url: 'http://c/2', events: [gate]}]"
    assert taken_by(parse_settings(text, "rollout.yaml", MODELS)) == {"few": frozenset({NoticeKind.GATE})}


def test_a_rollout_owes_each_channel_only_what_it_takes() -> None:
    day = Day()
    day.engine.setup = Setup("day", Policy(), LOOKS, BOTH, timedelta(days=300), takes=CUSTOMERS | {"few": frozenset()})
    day.run(8 * H)
    owed = {(row["channel"], row["kind"]) for row in day.store.notices(day.id)}
    assert {("operations", "started"), ("operations", "replica-added")} <= owed
    assert {channel for channel, _ in owed} == {"operations"}
