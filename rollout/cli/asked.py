"""What people asked that no decision has taken up: while no daemon lives it waits, and after the end it never will be."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.core.history import Event
from rollout.ports import HistoryRow, RolloutRow, Store

KIND = "command-waiting"
"""As `kind` in the JSON of a history: a line that no decision has written."""


def waiting(store: Store, row: RolloutRow) -> tuple[Event, ...]:
    """Word every command of a rollout that nothing has taken up, oldest first."""
    then = (
        f"it ended ({row.outcome.value}) before a daemon took this up" if row.outcome.at_rest else "no daemon has taken it up yet"
    )
    return tuple(
        Event(
            command.at,
            KIND,
            row.step,
            f"{command.actor} asked to {command.verb.value}{f': {command.reason}' if command.reason else ''}; {then}",
            command.actor,
        )
        for command in store.commands([row.id]).get(row.id, ())
    )


def with_waiting(rows: Sequence[HistoryRow], store: Store, row: RolloutRow) -> list[HistoryRow]:
    """Put them into a history, each at its time."""
    asked = [HistoryRow(0, row.id, event) for event in waiting(store, row)]
    return sorted([*rows, *asked], key=lambda one: one.event.at)
