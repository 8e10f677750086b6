"""Drawing for the terminal: the list, one rollout with its signals of both cohorts, history and notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rollout.cli.chain import lines
from rollout.cli.curves import signals
from rollout.cli.maintenance import NAMES, Maintenance
from rollout.cli.portrait import STEPS, Portrait
from rollout.cli.upcoming import upcoming
from rollout.core.history import Event, Outcome
from rollout.core.state import HoldKind
from rollout.core.wording import number, span, step_words
from rollout.ports import HistoryRow, RolloutRow

COLOURS = {
    Outcome.ACTIVE: "cyan",
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "red",
    Outcome.ABORTED: "yellow",
    Outcome.REFUSED: "yellow",
    Outcome.CANCELLED: "yellow",
}


def listing(rows: Sequence[RolloutRow], now: datetime) -> None:
    """Print one line a rollout. Ids are never cut: they are what is typed next; on a terminal the reason is."""
    if not rows:
        return
    lines = [("ID", "TARGET", "IMAGE", "STATE", "STEP", "AGE", "WHY")]
    lines += [(r.id, r.target, r.image, r.outcome.value, step_words(r.step), span(now - r.created_at), r.why) for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    console = Console()
    left = max(console.width - sum(widths) - 2 * len(widths), 20)
    for line, row in zip(lines, (None, *rows), strict=True):
        *cells, why = line
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if row is not None:
            padded[3] = typer.style(padded[3], fg=COLOURS[row.outcome])
        cut = why if not console.is_terminal or len(why) <= left else f"{why[: left - 1]}…"
        typer.echo("  ".join([*padded, cut]))


def picture(portrait: Portrait) -> RenderableType:
    """Draw one rollout."""
    row = portrait.row
    title = f"{row.target}  {row.image}"
    outcome = Text(row.outcome.value, style=COLOURS[row.outcome])
    parts: list[RenderableType] = [_steps(portrait), Text(row.why)]
    if portrait.progress[1]:
        parts.append(_bar(portrait))
    following = str(upcoming(portrait.execution, portrait.state, portrait.now))
    if following:
        parts.append(Text(f"next: {following}", style="bold cyan"))
    told = any(hold.kind is HoldKind.PAUSED for hold in portrait.state.holds)
    if portrait.state.paused is not None and not told:
        parts.append(Text(f"paused by {portrait.state.paused.actor}: {portrait.state.paused.reason}", style="yellow"))
    parts.extend(Text(f"held ({hold.kind.value}): {hold.why}", style="yellow") for hold in portrait.state.holds)
    parts.extend(Text(f"! {remark}", style="bold red") for remark in portrait.remarks)
    if portrait.maintenance is not None:
        parts += [Text(), _maintenance(portrait.maintenance)]
    if portrait.curves:
        parts += [Text(), signals(portrait.curves)]
    parts += [Text(), _latest(portrait.events)]
    parts.extend(Text(line, style="dim") for line in lines(portrait.chain, portrait.row))
    return Panel(Group(*parts), title=f"{title}  {outcome.plain}", subtitle=row.id, border_style=COLOURS[row.outcome])


def _steps(portrait: Portrait) -> Text:
    text = Text()
    step = portrait.row.step
    planned = STEPS if portrait.maintenance is None else portrait.maintenance.steps
    names = planned if step in planned else tuple(dict.fromkeys((*portrait.visited, step)))
    for name in names:
        word = NAMES.get(name, name)
        text.append(f"[{word}]" if name == step else word, style="bold cyan" if name == step else "dim")
        if name != names[-1]:
            text.append("→", style="dim")
    if portrait.size:
        text.append(f"\ncanary {'●' * portrait.size} {portrait.size}", style="bold")
    return text


def _maintenance(shown: Maintenance) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, words in shown.rows():
        style = "red" if "CLOSED" in words or "FAILED" in words else ""
        table.add_row(Text(label, style="bold"), Text(words, style=style, overflow="fold"))
    return table


def _bar(portrait: Portrait) -> RenderableType:
    done, needed = portrait.progress
    table = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(needed.total_seconds(), 1), completed=min(done, needed).total_seconds(), width=40)
    table.add_row(bar, f"{span(done)} of {span(needed)} credited")
    return table


def _latest(events: Sequence[Event]) -> Table:
    table = Table.grid(padding=(0, 2))
    for event in events:
        table.add_row(Text(event.at.strftime("%d %H:%M"), style="dim"), Text(event.kind), Text(event.why, overflow="fold"))
    return table


def history_lines(rows: Sequence[HistoryRow], *, evidence: bool) -> None:
    """Print a history that reads like a story."""
    for row in rows:
        event = row.event
        if event.kind == "hourly-summary" and not evidence:
            continue
        who = "" if event.actor == "rollout" else f" [{event.actor}]"
        typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {step_words(event.step):<12} {event.kind:<16} {event.why}{who}")
        if evidence:
            for item in event.evidence:
                # Requests that nobody measured are stored as -1.
                counts = ", ".join(f"{name} {number(value)}" for name, value in item.counts if value != -1)
                typer.echo(f"    {item.signal} {item.window_start:%H:%M}-{item.window_end:%H:%M}: {item.verdict}; {item.why}")
                typer.echo(f"      {counts}")
                for line in item.query.splitlines():
                    typer.echo(f"      asked: {line}")


def notice_lines(notices: Sequence[Mapping[str, Any]]) -> None:
    """Print what was owed to whom, and whether it arrived."""
    for item in notices:
        error = f"  ({item['error']})" if item.get("error") else ""
        typer.echo(f"{item.get('state', ''):<10} {item.get('channel', ''):<14} {item.get('title', '')}{error}")
