"""How the gate stands, in the words of `rollout show`."""

from __future__ import annotations

import pytest

from rollout.cli.maintenance import maintenance_of
from rollout.core.decision import Execution
from rollout.core.gate import Part, Place, PlaceKind, SavedGate
from rollout.core.history import Event, Outcome
from rollout.core.state_offline import Deciding, WatchingOpen
from tests.core.test_offline import SAVED, START, in_step


@pytest.mark.parametrize(
    ("kind", "words", "closed"),
    [
        ("gate-closed", "routes/1: CLOSED since 2026-11-22 09:00 UTC, proven; let in: 192.0.2.10", True),
        ("gate-opened", "routes/1: as it was found (it was closed from 2026-11-22 09:00 UTC)", False),
        ("gate-left", "not put back by us: ann leaves it as it stands", False),
    ],
)
def test_a_gate_is_called_closed_only_while_somebody_holds_it_closed(kind: str, words: str, closed: bool) -> None:  # noqa: FBT001 - a parameter of a test
    ladder = in_step(WatchingOpen(START, Outcome.FAILED, "broken"), saved_gate=SAVED, closed_at=START, gate_proven=True)
    events = [Event(START, kind, "openinggate", "ann leaves it as it stands")]
    found = maintenance_of(Execution("orders-1", ladder.plan, ()), ladder.state, events)
    assert found is not None
    assert (found.gate, found.closed) == (words, closed)


def test_a_gate_that_was_made_anew_is_shown_where_it_stands_now() -> None:
    anew = SavedGate(Place(PlaceKind.ROUTE, "anew"), "ip-restriction", (Part("", None),)).to_json()
    ladder = in_step(Deciding(START, "broken", "tests"), saved_gate=SAVED, closed_at=START, successors=(anew,))
    found = maintenance_of(Execution("orders-1", ladder.plan, ()), ladder.state, [])
    assert found is not None
    assert found.gate.startswith("routes/anew: CLOSED since 2026-11-22 09:00 UTC")
