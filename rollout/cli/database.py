"""`rollout db`: the schema, and what is no longer needed."""

from __future__ import annotations

from typing import Annotated

import typer

from rollout.cli.context import ConfigOption, DatabaseOption, Output, OutputOption, duration, emit, failures, opened, settings_of

app = typer.Typer(help="The database: upgrade or check its schema, prune old rollouts.", no_args_is_help=True)


@app.command()
def upgrade(config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """Bring the schema to this version; running it twice is running it once."""
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.store import schema  # noqa: PLC0415 - lazy

    with failures():
        url = database or settings_of(config).database.address
        found = schema.upgrade(url, clock=SystemClock())
        typer.echo(f"the database is at schema {found.current}")


@app.command()
def check(config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """Say whether the schema fits this version."""
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.store import schema  # noqa: PLC0415 - lazy

    with failures():
        url = database or settings_of(config).database.address
        found = schema.check(url, clock=SystemClock())
        typer.echo(f"the database is at schema {found.current}, as this version needs it")


@app.command()
def prune(
    keep: Annotated[str, typer.Option("--keep", help="Keep rollouts that ended within this time, e.g. 365d.")] = "",
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Delete rollouts that ended long ago, with their history and evidence. Active ones are never touched."""
    with opened(config, database) as parts:
        span = duration("--keep", keep) if keep else parts.settings.retention.keep
        deleted = parts.store.prune(parts.clock.now() - span)
        if output is Output.JSON:
            emit(deleted)
        else:
            typer.echo(", ".join(f"{count} rows of {table}" for table, count in deleted.items()) or "nothing to delete")
