"""What all commands share: options, opening and closing, exit codes, and how failures are shown.

Exit codes: 0 done, 1 failed (or rejected), 2 refused (bad input, impossible as asked), 3 unavailable (ask again later).
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rollout.ports import Store
    from rollout.settings import Settings
    from rollout.wiring import Parts

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 3


class Output(StrEnum):
    """How results are printed. `json` is stable and documented in the README."""

    TEXT = "text"
    JSON = "json"


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="ROLLOUT_CONFIG", help="The daemon's configuration file.", show_default=False),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="ROLLOUT_DATABASE",
        help="Database URL, e.g. sqlite:///rollout.db; wins over the configuration.",
        show_default=False,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
RolloutArgument = Annotated[
    str, typer.Argument(help="Rollout id, its first 6 characters or more, or a plan's name (its newest rollout).")
]
ReasonOption = Annotated[str, typer.Option("--reason", "--message", "-m", help="Why: it is kept in history and told in notices.")]
ActorOption = Annotated[
    str, typer.Option("--as", envvar="ROLLOUT_ACTOR", help="Who you are, for history.", show_default="your login")
]


def actor_or_login(actor: str) -> str:
    """Say who asks: what was given, else the login name."""
    if actor:
        return actor
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def settings_of(config: Path | None) -> Settings:
    """Read the configuration, defaults where there is none."""
    from rollout.settings_file import load_settings  # noqa: PLC0415 - lazy: `--help` pays for nothing
    from rollout.wiring import MODELS  # noqa: PLC0415 - as above

    return load_settings(config, MODELS)


def prepared_database(settings: Settings, database: str | None, *, upgrade: bool) -> str:
    """Choose the database and see that its schema fits; an embedded one is brought up to date where `upgrade` says so."""
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.store import schema  # noqa: PLC0415 - lazy

    url = database or settings.database.address
    if upgrade and url.startswith("sqlite"):
        schema.upgrade(url, clock=SystemClock())
    else:
        schema.check(url, clock=SystemClock())
    return url


def refuse_missing(url: str) -> None:
    """Refuse an embedded database that nobody has made yet: an empty one would say that nothing runs."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - lazy

    from rollout.core.errors import Problem, Refused  # noqa: PLC0415 - lazy

    file = make_url(url).database if url.startswith("sqlite:") else None
    if file and file != ":memory:" and Path(file).parent.is_dir() and not Path(file).exists():
        remedy = "name the daemon's with --database or --config (or ROLLOUT_DATABASE, ROLLOUT_CONFIG), or start `rollout serve`"
        raise Refused(f"there is no database at {url}", (Problem("nothing was ever submitted there", remedy=remedy),))


@contextmanager
def opened(
    config: Path | None, database: str | None, *, outside: bool = False, lenient: bool = False, create: bool = False
) -> Iterator[Parts]:
    """Open the store (and with `outside` clusters, backends and channels) for one command; failures become exit codes.

    `lenient`: what is outside and cannot be opened is no failure, but listed in `Parts.unopened`. `create`: an embedded database
    that is not there yet is made; whoever only asks or commands has named the wrong one then.

    Without a configuration nobody here knows which clusters, backends and channels there are: the daemon's preflight does.
    """
    from dataclasses import replace  # noqa: PLC0415 - lazy

    from rollout import logs  # noqa: PLC0415 - lazy
    from rollout.engine.configured import ANYTHING  # noqa: PLC0415 - lazy
    from rollout.wiring import open_parts  # noqa: PLC0415 - lazy

    with failures():
        logs.configure("error", "console")
        settings = settings_of(config)
        if not create:
            refuse_missing(database or settings.database.address)
        url = prepared_database(settings, database, upgrade=True)
        with open_parts(settings, database=url, outside=outside, lenient=lenient) as parts:
            if config is None:
                parts.desk = replace(parts.desk, configured=ANYTHING)
            yield parts


@contextmanager
def tried(config: Path | None, database: str | None) -> Iterator[Parts]:
    """Open everything for a command that only tries it: nothing is made, and nothing that is away hides the rest.

    What cannot be opened is in `Parts.unopened`, the database too (NO_DATABASE or DATABASE_AWAY); an empty store stands for it.
    """
    from dataclasses import replace  # noqa: PLC0415 - lazy

    from rollout import logs  # noqa: PLC0415 - lazy
    from rollout.adapters.clock import SystemClock  # noqa: PLC0415 - lazy
    from rollout.core.errors import RolloutError  # noqa: PLC0415 - lazy
    from rollout.engine.configured import ANYTHING  # noqa: PLC0415 - lazy
    from rollout.store.memory import MemoryStore  # noqa: PLC0415 - lazy
    from rollout.store.sql import open_store  # noqa: PLC0415 - lazy
    from rollout.wiring import daemon_name, open_parts  # noqa: PLC0415 - lazy

    with failures():
        logs.configure("error", "console")
        settings = settings_of(config)
        clock, closed = SystemClock(), {}
        store: Store = MemoryStore(clock)
        try:
            url = database or settings.database.address
            refuse_missing(url)
        except RolloutError as error:
            closed[NO_DATABASE] = error
        else:
            try:
                store = open_store(prepared_database(settings, database, upgrade=True), clock=clock, process=daemon_name())
            except RolloutError as error:
                closed[DATABASE_AWAY] = error
        with open_parts(settings, store=store, lenient=True) as parts:
            parts.unopened = {**closed, **parts.unopened}
            if config is None:
                parts.desk = replace(parts.desk, configured=ANYTHING)
            yield parts


NO_DATABASE, DATABASE_AWAY = "no database", "database"


def duration(option: str, text: str) -> timedelta:
    """Read an option's duration. Raises Refused."""
    from rollout.core.errors import Problem, Refused  # noqa: PLC0415 - lazy
    from rollout.core.quantities import parse_duration  # noqa: PLC0415 - lazy

    try:
        return parse_duration(text)
    except ValueError as error:  # pydantic's own error is one
        raise Refused(f"{option} {text}: {error}", (Problem("not a duration", remedy="for example 30m or 1h30m"),)) from None


@contextmanager
def failures() -> Iterator[None]:
    """Show a failure in words, and leave with its exit code; a bug still shows its traceback."""
    from rollout.core.errors import Refused, RolloutError, Unavailable  # noqa: PLC0415 - lazy

    try:
        yield
    except Refused as error:
        complain(str(error), [str(problem) for problem in error.problems])
        raise typer.Exit(EXIT_REFUSED) from None
    except Unavailable as error:
        complain(str(error), [])
        raise typer.Exit(EXIT_UNAVAILABLE) from None
    except RolloutError as error:
        complain(str(error), [])
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(EXIT_FAILED) from None


def complain(headline: str, details: list[str]) -> None:
    """Write an error to stderr: the sentence, then one line for each problem; nothing is said twice."""
    if len(details) == 1 and details[0].startswith(headline):
        headline, details = details[0], []
    typer.secho(f"rollout: {headline}", err=True, fg="red" if sys.stderr.isatty() else None)
    for line in details:
        typer.echo(f"  {line}", err=True)


def emit(document: object) -> None:
    """Print a document as JSON: keys as documented, times ISO 8601 in UTC; nothing is lost where the output is not UTF-8."""
    import json  # noqa: PLC0415 - lazy

    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    typer.echo(json.dumps(document, indent=2, ensure_ascii=plain, default=str))
