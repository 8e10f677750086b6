"""`rollout watch` on a small terminal: where it stands, what comes next and what people may do is never what is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from rollout.cli.fitting import Fitted
from rollout.cli.portrait import Portrait, portrait_of
from rollout.core import state_offline
from rollout.core.history import Event, Notice, NoticeKind, Outcome
from rollout.core.policy import Policy
from rollout.core.state import Hold, HoldKind
from rollout.core.state_offline import Deciding, OfflineMemory
from rollout.engine.usecases import Desk
from rollout.ports import Transition
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.contract.stores import StandingClock
from tests.core.test_offline import SAVED, plan

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
MEMORY = OfflineMemory(
    impact=tuple(f"calls: service-{number} calls orders, {number} calls a minute" for number in range(30)),
    saved_gate=SAVED,
    closed_at=NOW - timedelta(minutes=20),
    gate_proven=True,
    tests=(state_offline.Tested("health", critical=True, passed=False, why="503"),),
)
TODO = "`rollout rollback` goes back, `rollout approve` tries the tests step again, `rollout open` opens it as it is."


@pytest.fixture
def asking() -> Iterator[Portrait]:
    """A maintenance that asks people, with more to tell than any terminal holds."""
    clock = StandingClock(NOW)
    store = MemoryStore(clock)
    desk = Desk(store, StoredCodec(store), clock, Policy())
    row = desk.submit(plan(), "", "alice").rollout
    lease = timedelta(hours=1)
    store.renew("d", lease=lease)
    store.claim("d", limit=9, lease=lease)
    state = replace(
        desk.codec.state(row.state, row.id),
        step=Deciding(NOW, "health fails", "tests"),
        offline=MEMORY,
        holds=(Hold(HoldKind.DECISION, "health fails", NOW, told=True),),
    )
    events = tuple(Event(NOW, "tested", "testing", f"test number {number} was run and passed") for number in range(40))
    told = Notice("0001-needs-a-person", NoticeKind.NEEDS_PERSON, "asks", "health fails", NOW, next_action=TODO)
    moved = Transition(row.id, row.version, desk.codec.text(state), Outcome.ACTIVE, "deciding", "asking: health fails",
                       NOW, NOW, events=events, notices=(told,), channels=("ops",))  # fmt: skip
    assert store.commit("d", [moved]) == {row.id}
    found = store.rollout(row.id)
    assert found is not None
    yield portrait_of(store, desk.codec, found, NOW)
    store.close()


def drawn(portrait: Portrait, height: int, width: int = 80, taken: int = 0) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(Fitted(portrait, taken))
    return captured.get().splitlines()


def test_on_24_lines_stands_everything_that_whoever_is_called_needs(asking: Portrait) -> None:
    lines = drawn(asking, 24)
    words = " ".join(" ".join(line.strip("│").split()) for line in lines)

    assert len(lines) <= 23
    for needed in (
        "asking: health fails",
        "next: the last moment for a way back",
        "held (decision): health fails",
        f"to do: {TODO}",
        "you may: pause, approve, abort, extend, cancel, rollback, open",
        "way back fits until",
        "CLOSED since",
        "FAILED health",
        "test number 39",
    ):
        assert needed in words


@pytest.mark.parametrize("height", [8, 12, 24, 40, 120])
@pytest.mark.parametrize("width", [50, 80, 200])
def test_it_is_never_higher_than_the_terminal_and_loses_the_least_worth_first(asking: Portrait, height: int, width: int) -> None:
    lines = drawn(asking, height, width)

    assert len(lines) < height
    assert any("decide" in line for line in lines)
    if height >= 120:
        assert any("service-29" in line for line in lines)


def test_what_stands_above_and_below_it_has_its_place(asking: Portrait) -> None:
    assert len(drawn(asking, 24, taken=6)) <= 17
