"""`rollout watch`: one rollout live, until it ends."""

from __future__ import annotations

import time

import typer
from rich.console import Console
from rich.live import Live

from rollout.cli.fitting import Fitted
from rollout.cli.pictures import refusals
from rollout.cli.portrait import portrait_of
from rollout.core.errors import Refused
from rollout.core.wording import step_words
from rollout.ports import RolloutRow
from rollout.wiring import Parts

REFRESH_SECONDS = 0.5


def follow(parts: Parts, rollout: str) -> RolloutRow:
    """Draw the rollout again and again until it is at rest; return its last row."""
    console = Console()
    if not console.is_terminal:
        return _lines(parts, rollout)
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            row = _row(parts, rollout)
            live.update(Fitted(portrait_of(parts.store, parts.codec, row, parts.clock.now())))
            if row.outcome.at_rest:
                return row
            time.sleep(REFRESH_SECONDS)  # noqa: TID251 - a person watches a terminal


def _lines(parts: Parts, rollout: str) -> RolloutRow:
    """Print each new row of history once."""
    after = 0
    while True:
        row = _row(parts, rollout)
        for item in parts.store.history(rollout, after=after):
            after = item.id
            if item.event.kind != "hourly-summary":
                typer.echo(f"{item.event.at:%Y-%m-%d %H:%M:%S}  {step_words(item.event.step):<12} {item.event.why}")
                for reason in refusals(item.event):
                    typer.echo(f"    - {reason}")
        if row.outcome.at_rest:
            return row
        time.sleep(REFRESH_SECONDS)  # noqa: TID251 - as above


def _row(parts: Parts, rollout: str) -> RolloutRow:
    row = parts.store.rollout(rollout)
    if row is None:
        raise Refused(f"rollout {rollout} is no longer in the database")
    return row
