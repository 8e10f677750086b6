"""Looking at rollouts: list, show, watch, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.context import (
    EXIT_FAILED,
    ConfigOption,
    DatabaseOption,
    Output,
    OutputOption,
    RolloutArgument,
    emit,
    opened,
)

if TYPE_CHECKING:
    from rollout.ports import RolloutRow


SHOWN, MOST = 100, 10_000
"""Rollouts that `list` shows by itself, and at most."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(watch)
    app.command()(history)


def list_(
    *,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    target: Annotated[str, typer.Option("--target", help="Only this NAMESPACE/STABLE.")] = "",
    plan: Annotated[str, typer.Option("--plan", help="Only rollouts of this plan.")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=MOST, help=f"The newest only.  [default: {SHOWN}; {MOST} with -o json]")
    ] = None,
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """List rollouts, newest first."""
    from rollout.cli.documents import rollout_document  # noqa: PLC0415 - lazy
    from rollout.cli.pictures import listing  # noqa: PLC0415 - lazy
    from rollout.cli.standing import remarks  # noqa: PLC0415 - lazy
    from rollout.core.history import Outcome  # noqa: PLC0415 - lazy
    from rollout.ports import RolloutFilter  # noqa: PLC0415 - lazy

    with opened(config, database) as parts:
        outcomes = () if everything else (Outcome.ACTIVE,)
        most = limit or (MOST if output is Output.JSON else SHOWN)
        found = parts.store.rollouts(RolloutFilter(outcomes=outcomes, plan=plan, target=target, limit=most + 1))
        rows = found[:most]
        if output is Output.JSON:
            emit([rollout_document(row) for row in rows])
            return
        listing(rows, parts.clock.now())
        if len(found) > most:
            typer.echo(f"... there are more than these {most}, the newest: --limit shows more")
        for remark in remarks(parts.store.standing(), *rows):
            typer.echo(f"! {remark}")
        if not rows:
            typer.echo(
                "no active rollout; `rollout list --all` also shows those that have ended" if not everything else "no rollout yet"
            )


def show(
    rollout: RolloutArgument,
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Show one rollout: where it stands, why, every signal of both cohorts, the latest history."""
    from rollout.cli.pictures import picture  # noqa: PLC0415 - lazy
    from rollout.cli.portrait import portrait_of  # noqa: PLC0415 - lazy

    with opened(config, database) as parts:
        portrait = portrait_of(parts.store, parts.codec, parts.desk.find(rollout), parts.clock.now())
        if output is Output.JSON:
            emit(portrait.as_document())
        else:
            from rich.console import Console  # noqa: PLC0415 - lazy

            Console().print(picture(portrait))


def watch(
    rollout: RolloutArgument,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Watch one rollout live until it ends; the exit code says how it ended. Plain lines where there is no terminal."""
    from rollout.cli.watching import follow  # noqa: PLC0415 - lazy
    from rollout.core.history import Outcome  # noqa: PLC0415 - lazy

    with opened(config, database) as parts:
        row: RolloutRow = follow(parts, parts.desk.find(rollout).id)
        if row.outcome is not Outcome.SUCCEEDED:
            raise typer.Exit(EXIT_FAILED)


def history(
    rollout: RolloutArgument,
    *,
    evidence: Annotated[bool, typer.Option("--evidence", "-e", help="With the queries and counts that decided.")] = False,
    notices: Annotated[bool, typer.Option("--notices", help="The notices instead, and whether they were delivered.")] = False,
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Read what was decided, when, by whom, why, on which evidence."""
    from rollout.cli.asked import with_waiting  # noqa: PLC0415 - lazy
    from rollout.cli.chain import chain_of, lines  # noqa: PLC0415 - lazy
    from rollout.cli.documents import history_document, notice_document  # noqa: PLC0415 - lazy
    from rollout.cli.pictures import history_lines, notice_lines  # noqa: PLC0415 - lazy

    with opened(config, database) as parts:
        row = parts.desk.find(rollout)
        if notices:
            owed = parts.store.notices(row.id)
            if output is Output.JSON:
                emit([notice_document(item) for item in owed])
            else:
                notice_lines(owed)
            return
        rows = with_waiting(parts.store.history(row.id, limit=100_000), parts.store, row)
        if output is Output.JSON:
            emit(history_document(rows))
        else:
            for line in lines(chain_of(parts.store, row), row):
                typer.echo(line)
            history_lines(rows, evidence=evidence)
