"""Plan files: validate, preview, submit, schema."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.context import (
    EXIT_REFUSED,
    ActorOption,
    ConfigOption,
    DatabaseOption,
    Output,
    OutputOption,
    actor_or_login,
    complain,
    emit,
    failures,
    opened,
    settings_of,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from rollout.core.errors import Problem, Refused
    from rollout.core.plan import Check, OfflinePlan, Plan
    from rollout.engine.restores import MeasuredRestore
    from rollout.ports import Store, Submission
    from rollout.settings import Settings

FileArgument = Annotated[Path, typer.Argument(help="A plan file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(validate)
    app.command()(preview)
    app.command()(submit)
    app.command()(schema)


def validate(
    files: Annotated[list[Path], typer.Argument(help="Plan files.", show_default=False)],
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
) -> None:
    """Check plan files: schema, keys that contradict each other, policy, names of the configuration; everything at once."""
    from rollout.adapters.planfile import load_planfile  # noqa: PLC0415 - lazy
    from rollout.core.errors import Refused  # noqa: PLC0415 - lazy

    with failures():
        check = _checks(settings_of(config), configured=config is not None)
        found: dict[Path, Refused | None] = {}
        for file in files:
            try:
                load_planfile(file, check)
            except Refused as error:
                found[file] = error
            else:
                found[file] = None
        if output is Output.JSON:
            emit([_verdict(file, error) for file, error in found.items()])
        else:
            _say_verdicts(found, configured=config is not None)
        if any(found.values()):
            raise typer.Exit(EXIT_REFUSED)


def _say_verdicts(found: Mapping[Path, Refused | None], *, configured: bool) -> None:
    for file, error in found.items():
        if error is None:
            typer.echo(f"{file}: valid")
        else:
            complain(str(error), [str(problem) for problem in error.problems])
    if not configured and None in found.values():
        typer.echo("without --config: the default policy, and no look at whether clusters, backends, channels, gateways and Job "
                   "templates are there")  # fmt: skip


def _verdict(file: Path, error: Refused | None) -> dict[str, object]:
    keys = ("file", "line", "column", "key", "message", "remedy")
    problems = error.problems if error is not None else ()
    return {
        "file": str(file),
        "valid": error is None,
        "problems": [{key: getattr(problem, key) or None for key in keys} for problem in problems],
    }


def _checks(settings: Settings, *, configured: bool, restores: Callable[[Plan], timedelta | None] | None = None) -> Check:
    """What a plan is held against before it is submitted; the names of the configuration only where there is one.

    `restores` tells how long one took in earlier rollouts, where a database is asked.
    """
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.core.plan import OfflinePlan  # noqa: PLC0415 - lazy
    from rollout.engine.configured import ANYTHING  # noqa: PLC0415 - lazy
    from rollout.wiring import configured_in  # noqa: PLC0415 - lazy

    names = configured_in(settings) if configured else ANYTHING
    now = SystemClock().now()

    def check(plan: Plan) -> Iterator[Problem]:
        yield from settings.policy.check(plan)
        yield from names.problems(plan)
        if isinstance(plan, OfflinePlan):
            yield from plan.problems_at(now, restores(plan) if restores is not None else None)

    return check


def preview(
    file: FileArgument,
    at: Annotated[str, typer.Option("--at", help="Start at this time (ISO 8601) instead of now.")] = "",
    stable: Annotated[int, typer.Option("--stable", min=1, help="Replicas of the stable Deployment, for the shares.")] = 10,
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Show the timetable with dates before anything happens: steps, shares, signals; for a maintenance who will notice."""
    from dataclasses import replace  # noqa: PLC0415 - lazy

    from rollout.adapters.planfile import load_planfile  # noqa: PLC0415 - lazy
    from rollout.cli.timetable import start_of, timetable  # noqa: PLC0415 - lazy
    from rollout.core.plan import OfflinePlan  # noqa: PLC0415 - lazy

    with failures():
        settings = settings_of(config)

        def restores(plan: Plan) -> timedelta | None:
            known = _measured(settings, database, plan)[0]
            return known.took if known is not None else None

        read = load_planfile(file, _checks(settings, configured=config is not None, restores=restores))
        measured, unasked = _measured(settings, database, read.plan)
        table = timetable(read.plan, start_of(read.plan, at), stable, settings.policy, measured)
        table = replace(table, notes=(*table.notes, *unasked))
        if isinstance(read.plan, OfflinePlan):
            table = replace(table, impact=_impact(settings if config is not None else None, read.plan))
        if output is Output.JSON:
            emit(table.as_document())
        else:
            for line in table.lines():
                typer.echo(line)


def _measured(settings: Settings, database: str | None, plan: Plan) -> tuple[MeasuredRestore | None, tuple[str, ...]]:
    """Ask the database how long restores took, as `submit` does; where it cannot be asked, say so."""
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.cli.context import prepared_database, refuse_missing  # noqa: PLC0415 - lazy
    from rollout.core.errors import RolloutError  # noqa: PLC0415 - lazy
    from rollout.engine.restores import longest_restore  # noqa: PLC0415 - lazy
    from rollout.wiring import open_parts  # noqa: PLC0415 - lazy

    if plan.kind != "Offline" or plan.spec.restore is None or not plan.targets:
        return None, ()
    try:
        refuse_missing(database or settings.database.address)
        url = prepared_database(settings, database, upgrade=False)
        with open_parts(settings, database=url, outside=False) as parts:
            return longest_restore(parts.store, plan, SystemClock().now()), ()
    except RolloutError as error:
        return None, (f"restore: earlier rollouts could not be asked how long theirs took: {error}",)


def _impact(settings: Settings | None, plan: OfflinePlan) -> tuple[str, ...]:
    """Ask who will notice; where nobody can be asked, say so beside what the plan declares."""
    from rollout.core.errors import RolloutError  # noqa: PLC0415 - lazy
    from rollout.core.steps.offline_assess import declared  # noqa: PLC0415 - lazy
    from rollout.wiring import impact_of  # noqa: PLC0415 - lazy

    if settings is None:
        return ("ways: nobody was asked; with --config, SkyWalking, gateway and cluster are", *declared(plan))
    try:
        return impact_of(settings, plan)
    except RolloutError as error:
        return (f"ways: nobody could be asked: {error}", *declared(plan))


def submit(
    file: FileArgument,
    *,
    actor: ActorOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the rollout that the plan supersedes has stepped back.")] = False,
    follows: Annotated[str, typer.Option("--follows", help="The rollout that this one is a hotfix for.")] = "",
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Hand a plan to the daemon. The same file twice starts nothing new."""
    from rollout.adapters.planfile import load_planfile  # noqa: PLC0415 - lazy
    from rollout.cli.documents import rollout_document  # noqa: PLC0415 - lazy
    from rollout.cli.standing import submitted  # noqa: PLC0415 - lazy

    with opened(config, database, create=True) as parts:
        read = load_planfile(file, parts.desk.check)
        linked = parts.desk.find(follows).id if follows else None
        relation = "hotfix" if linked else ""

        def hand_in() -> Submission:
            return parts.desk.submit(read.plan, read.source, actor_or_login(actor), follows=linked, relation=relation)

        submission = _when_superseded(parts.store, hand_in) if wait else hand_in()
        row = submission.rollout
        if output is Output.JSON:
            emit({"created": submission.created, **rollout_document(row)})
        elif submission.created:
            for line in submitted(parts.store, row):
                typer.echo(line)
        else:
            then = f"`rollout retry {row.id}` starts again" if row.outcome.at_rest else f"`rollout watch {row.id}` shows it"
            typer.echo(f"nothing new: this very plan is rollout {row.id} ({row.outcome.value}); {then}")


def _when_superseded(store: Store, hand_in: Callable[[], Submission]) -> Submission:
    """Hand a plan in as soon as the rollout that it supersedes has ended; whatever else is wrong with it is said at once."""
    from rollout.cli.standing import NOBODY  # noqa: PLC0415 - lazy
    from rollout.engine.usecases import Superseding  # noqa: PLC0415 - lazy

    told = False
    while True:
        try:
            return hand_in()
        except Superseding as first:
            if not told:
                nobody = "" if store.standing().daemons else f"; {NOBODY}, start one with `rollout serve`"
                typer.echo(f"rollout {first.old.id} steps back first: waiting for its end{nobody}", err=True)
                told = True
        time.sleep(0.5)  # noqa: TID251 - a person waits at a terminal


def schema() -> None:
    """Print the JSON Schema of plan files, for editors."""
    from rollout.core.plan_schema import plan_json_schema  # noqa: PLC0415 - lazy

    emit(plan_json_schema())
