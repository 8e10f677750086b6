"""How the demo shows itself: a live picture on a terminal, a line for everything that happens elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rollout.cli.demo_gate import GateWatch
from rollout.cli.fitting import Fitted, height_of
from rollout.cli.portrait import Portrait, portrait_from
from rollout.cli.stage import Stage
from rollout.cli.upcoming import upcoming
from rollout.core.cohorts import TargetView, cohorts
from rollout.core.decision import step_name
from rollout.core.history import Event
from rollout.core.wording import percent, plural, span, step_words
from rollout.engine.active import Active
from rollout.ports import RolloutRow

FRAMES_APART = 0.12
"""Real seconds between two pictures: each costs some 10 ms, which the play has to wait for."""
STATUS_EVERY = timedelta(hours=6)
"""Pretend time between two status lines where nothing else happens."""


class Screen(Protocol):
    """What the play is shown on. A context manager; `show` is called after every step, `finish` once at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self, now: datetime) -> None:
        """The pretend cluster's time has come to `now`."""
        ...

    def finish(self) -> None:
        """Show what is left: the rollout is at rest."""
        ...


class Story:
    """What is told of one rollout: its history as it grows, and its memory as it is now."""

    def __init__(self, stage: Stage, row: RolloutRow, gate: GateWatch | None = None) -> None:
        self._stage = stage
        self._row = row
        self.gate = gate
        self._after = 0
        self._drawn = 0.0
        self.events: list[Event] = []

    @property
    def active(self) -> Active | None:
        """The rollout in the daemon's memory."""
        return self._stage.daemon.engine.active(self._row.id)

    def is_time(self) -> bool:
        """Say whether the last picture is old enough for another."""
        now = self._stage.sandbox.clock.monotonic()
        if now - self._drawn < FRAMES_APART:
            return False
        self._drawn = now
        return True

    def news(self) -> list[Event]:
        """Read what history has gained."""
        rows = self._stage.parts.store.history(self._row.id, after=self._after)
        self._after = rows[-1].id if rows else self._after
        new = [row.event for row in rows]
        self.events += new
        return new

    def portrait(self) -> Portrait:
        """Put together what people see, from memory; from the row when it is at rest."""
        stage, active = self._stage, self.active
        now = stage.sandbox.clock.now()
        if active is None:
            row = stage.parts.store.rollout(self._row.id) or self._row
            state = stage.parts.codec.state(row.state, row.id)
            return portrait_from(row, stage.parts.codec.execution(row), state, tuple(self.events), now, latest=8)
        row = replace(self._row, step=step_name(active.state), why=active.why)
        return portrait_from(row, active.execution, active.state, tuple(self.events), now, latest=8)

    def headline(self) -> str:
        """Say where the pretend cluster stands, and what comes next."""
        stage, active = self._stage, self.active
        now = stage.sandbox.clock.now()
        words = [f"{now:%a %H:%M} in the cluster", f"{span(now - self._row.created_at)} since the start"]
        execution = stage.parts.codec.execution(self._row) if active is None else active.execution
        view = stage.parts.clusters[execution.target.cluster].view(execution.target)
        if isinstance(view, TargetView):
            both = [d for d in (view.stable, view.canary) if d is not None]
            words.append(", ".join(f"{d.name} {d.ready}/{d.replicas}" for d in both))
            if view.canary is not None:
                words.append(f"share {percent(cohorts(view, execution.image).share)}")
        words.append(plural(len(stage.sandbox.webhooks.accepted), "notice"))
        return " · ".join(words)

    def next_line(self) -> str:
        """Say what comes next and in how long; empty at rest."""
        active = self.active
        return f"next: {upcoming(active.execution, active.state, self._stage.sandbox.clock.now())}" if active is not None else ""


class LiveScreen:
    """Draws over itself on a terminal."""

    def __init__(self, story: Story, title: str, console: Console) -> None:
        self._story = story
        self._title = title
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, now: datetime) -> None:
        """Draw, unless it was drawn a moment ago."""
        del now
        if self._story.is_time():
            self._draw()

    def finish(self) -> None:
        """Draw the end."""
        self._draw()

    def _draw(self) -> None:
        self._story.news()
        above = [Text(self._title, style="bold"), Text(self._story.headline(), style="dim")]
        below: list[RenderableType] = [] if self._story.gate is None else [self._story.gate.picture()]
        taken = height_of(self._live.console, (*above, *below))
        self._live.update(Group(*above, Fitted(self._story.portrait(), taken), *below), refresh=True)


class PlainScreen:
    """Prints each row of history once, and where it stands every few hours."""

    def __init__(self, story: Story, title: str) -> None:
        self._story = story
        self._said_at: datetime | None = None
        typer.echo(f"\n=== {title}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, now: datetime) -> None:
        """Print what is new, at most a few times a second."""
        if not self._story.is_time():
            return
        self._print()
        if self._said_at is None or now - self._said_at >= STATUS_EVERY:
            self._said_at = now
            typer.echo(f"    [{self._story.headline()}; {self._story.next_line()}]")

    def finish(self) -> None:
        """Print the rest."""
        self._print()
        typer.echo(f"    [{self._story.headline()}]")

    def _print(self) -> None:
        lines = [(e.at, step_words(e.step), e.why) for e in self._story.news() if e.kind != "hourly-summary"]
        if self._story.gate is not None:
            lines += [(spell.since, "GATE", str(spell)) for spell in self._story.gate.news()]
        for at, step, why in sorted(lines, key=lambda line: line[0]):
            typer.echo(f"{at:%d %H:%M:%S}  {step:<12} {why}")
