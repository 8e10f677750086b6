"""Drawing for the terminal: the list, one rollout with its signals of both cohorts, history and notices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from rollout.cli.documents import figures
from rollout.cli.maintenance import NAMES
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


NOT_THERE = "\N{EN DASH}"
"""What stands for a figure that nobody measured."""


def listing(found: Sequence[RolloutRow], now: datetime) -> None:
    """Print one line a rollout. Ids are never cut: they are what is typed next; on a terminal the reason is."""
    if not found:
        return
    lines = [("ID", "TARGET", "IMAGE", "STATE", "STEP", "AGE", "WHY")]
    lines += [(r.id, r.target, r.image, r.outcome.value, step_words(r.step), span(now - r.created_at), r.why) for r in found]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    console = Console()
    left = max(console.width - sum(widths) - 2 * len(widths), 20)
    for line, row in zip(lines, (None, *found), strict=True):
        *cells, why = line
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if row is not None:
            padded[3] = typer.style(padded[3], fg=COLOURS[row.outcome])
        cut = why if not console.is_terminal or len(why) <= left else f"{why[: left - 1]}…"
        typer.echo("  ".join([*padded, cut]))


def picture(portrait: Portrait) -> RenderableType:
    """Draw one rollout, whole."""
    parts: list[RenderableType] = [*head(portrait)]
    if portrait.maintenance is not None:
        parts += [Text(), rows((*portrait.maintenance.standing(), *portrait.maintenance.around()))]
    if portrait.curves:
        parts += [Text(), signals(portrait.curves)]
    parts += [Text(), latest(portrait.events)]
    parts.extend(Text(line, style="dim") for line in lines(portrait.chain, portrait.row))
    return framed(portrait, Group(*parts))


def framed(portrait: Portrait, inner: RenderableType) -> Panel:
    """Put what, which version and how it stands around a picture."""
    row = portrait.row
    title = f"{row.target}  {row.image}  {row.outcome.value}"
    return Panel(inner, title=title, subtitle=row.id, border_style=COLOURS[row.outcome])


def head(portrait: Portrait) -> Iterator[RenderableType]:
    """Draw what whoever is called needs first: where it stands, what comes next, what they may do."""
    state = portrait.state
    yield _steps(portrait)
    yield Text(portrait.row.why)
    if portrait.progress[1]:
        yield _bar(portrait)
    following = str(upcoming(portrait.execution, state, portrait.now))
    if following:
        yield Text(f"next: {following}", style="bold cyan")
    told = any(hold.kind is HoldKind.PAUSED for hold in state.holds)
    if state.paused is not None and not told:
        yield Text(f"paused by {state.paused.actor}: {state.paused.reason}", style="yellow")
    for hold in state.holds:
        yield Text(f"held ({hold.kind.value}): {hold.why}", style="yellow")
    if portrait.asked:
        yield Text(f"to do: {portrait.asked}", style="bold yellow")
    if portrait.may:
        yield Text(f"you may: {', '.join(portrait.may)}", style="bold")
    for remark in portrait.remarks:
        yield Text(f"! {remark}", style="bold red")


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


def rows(labelled: Iterable[tuple[str, str]], least: int = 0) -> Table:
    """Draw labels, at least so many columns wide, and texts."""
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=least)
    table.add_column()
    for label, words in labelled:
        style = "red" if "CLOSED" in words or "FAILED" in words else ""
        table.add_row(Text(label, style="bold"), Text(words, style=style, overflow="fold"))
    return table


def _bar(portrait: Portrait) -> RenderableType:
    done, needed = portrait.progress
    table = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(needed.total_seconds(), 1), completed=min(done, needed).total_seconds(), width=40)
    table.add_row(bar, f"{span(done)} of {span(needed)} credited")
    return table


def latest(events: Sequence[Event]) -> Table:
    """Draw rows of history."""
    table = Table.grid(padding=(0, 2))
    for event in events:
        told = "\n".join((event.why, *(f"- {reason}" for reason in refusals(event))))
        table.add_row(Text(event.at.strftime("%d %H:%M"), style="dim"), Text(event.kind), Text(told, overflow="fold"))
    return table


def history_lines(told: Sequence[HistoryRow], *, evidence: bool) -> None:
    """Print a history that reads like a story."""
    for row in told:
        event = row.event
        if event.kind == "hourly-summary" and not evidence:
            continue
        who = "" if event.actor == "rollout" else f" [{event.actor}]"
        typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {step_words(event.step):<12} {event.kind:<16} {event.why}{who}")
        for reason in refusals(event):
            typer.echo(f"    - {reason}")
        if evidence:
            for item in event.evidence:
                counts = ", ".join(f"{name} {_figure(value)}" for name, value in figures(item.counts).items())
                typer.echo(f"    {item.signal} {item.window_start:%H:%M}-{item.window_end:%H:%M}: {item.verdict}; {item.why}")
                typer.echo(f"      {counts}")
                for line in item.query.splitlines():
                    typer.echo(f"      asked: {line}")


def refusals(event: Event) -> Iterator[str]:
    """Give every reason for which a preflight refused, with its remedy: the sentence itself names only the first."""
    for name, text in event.facts if event.kind == "refused" else ():
        if name.startswith("check "):
            yield text


def _figure(value: float | None) -> str:
    return NOT_THERE if value is None else number(value)


def notice_lines(notices: Sequence[Mapping[str, Any]]) -> None:
    """Print what was owed to whom, and whether it arrived."""
    for item in notices:
        error = f"  ({item['error']})" if item.get("error") else ""
        typer.echo(f"{item.get('state', ''):<10} {item.get('channel', ''):<14} {item.get('title', '')}{error}")
        if item.get("next_action"):
            typer.echo(f"{'':<26}next: {item['next_action']}")
