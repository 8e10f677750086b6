"""What people tell a running rollout: pause, resume, approve, abort, retry, and the offline procedure's extend, cancel, ..."""

from __future__ import annotations

from typing import Annotated

import typer

from rollout.cli.context import (
    EXIT_FAILED,
    ActorOption,
    ConfigOption,
    DatabaseOption,
    ReasonOption,
    RolloutArgument,
    actor_or_login,
    duration,
    failures,
    opened,
    settings_of,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, about in (
        ("pause", "Hold the next forward step; watching and stepping back go on."),
        ("resume", "Go on after a pause."),
        ("approve", "Agree to the step that waits for a person."),
        ("cancel", "Call a maintenance off; once its gate is closed, that is the way back."),
        ("acknowledge", "Take note of an impact report, where the plan requires it."),
        ("rollback", "Decide a failed maintenance: back to the old version and data."),
        ("open", "Decide a failed maintenance: open the gate as it is."),
    ):
        app.command(name, help=about)(_simple(name))
    app.command()(abort)
    app.command()(extend)
    app.command()(retry)


def _simple(verb: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - typer reads the inner function's annotations
    def command(
        rollout: RolloutArgument,
        reason: ReasonOption = "",
        actor: ActorOption = "",
        config: ConfigOption = None,
        database: DatabaseOption = None,
    ) -> None:
        _record(rollout, verb, reason, actor, config, database)

    return command


def _record(
    rollout: str,
    verb: str,
    reason: str,
    actor: str,
    config: object,
    database: str | None,
    arguments: tuple[tuple[str, str], ...] = (),
) -> None:
    from pathlib import Path  # noqa: PLC0415 - lazy

    from rollout.cli.standing import recorded  # noqa: PLC0415 - lazy
    from rollout.core.commands import Verb  # noqa: PLC0415 - lazy

    path = config if isinstance(config, Path) else None
    with opened(path, database) as parts:
        row = parts.desk.command(rollout, Verb(verb), actor_or_login(actor), reason, arguments)
        for line in recorded(parts.store, row, verb):
            typer.echo(line)


def extend(
    rollout: RolloutArgument,
    by: Annotated[str, typer.Option("--by", help="How much longer the window is, e.g. 30m.")],
    reason: ReasonOption = "",
    actor: ActorOption = "",
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make a maintenance window longer; it is announced."""
    with failures():
        duration("--by", by)
    _record(rollout, "extend", reason, actor, config, database, (("by", by),))


def abort(
    rollout: RolloutArgument,
    *,
    reason: ReasonOption = "",
    actor: ActorOption = "",
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="The daemon is dead: step back now, from here, with your own kubeconfig.")
    ] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Step back now: canary to 0, the stable to its old image if promotion had begun."""
    if break_glass:
        _break_glass(rollout, reason, actor, config, database)
    else:
        _record(rollout, "abort", reason, actor, config, database)


def _break_glass(rollout: str, reason: str, actor: str, config: object, database: str | None) -> None:
    from pathlib import Path  # noqa: PLC0415 - lazy

    from rollout.cli.break_glass import step_back  # noqa: PLC0415 - lazy

    path = config if isinstance(config, Path) else None
    with failures():
        done = step_back(rollout, settings_of(path), database, actor_or_login(actor), reason)
        for line in done.done:
            typer.echo(f"done: {line}")
        for line in done.left:
            typer.echo(f"LEFT FOR YOU: {line}", err=True)
        typer.echo("next: start `rollout serve`; it ends the rollout with this reason, then `rollout retry` starts from step 1")
        if not done.complete:
            raise typer.Exit(EXIT_FAILED)


def retry(
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    actor: ActorOption = "",
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Start again from step 1: a new rollout of the same plan, linked to the one that ended."""
    from rollout.cli.standing import submitted  # noqa: PLC0415 - lazy

    with opened(config, database) as parts:
        submission = parts.desk.retry(rollout, actor_or_login(actor), reason)
        for line in submitted(parts.store, submission.rollout):
            typer.echo(line)
