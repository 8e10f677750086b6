"""The command `rollout`: groups of commands, registered without importing what they use."""

from __future__ import annotations

import typer

from rollout.cli import commands, database, doctor, plans, rollouts, serving

app = typer.Typer(
    name="rollout",
    help="Careful upgrades for Kubernetes services: canaries that are watched for a day, and maintenance behind a gate.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (serving, plans, rollouts, commands, doctor):
    group.register(app)
app.add_typer(database.app, name="db")
app.add_typer(doctor.notices, name="notify")


def _version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer's callbacks have
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - lazy

        typer.echo(f"rollout {version('rollout')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: bool = typer.Option(
        False,  # noqa: FBT003 - typer's form
        "--version",
        help="Print the version.",
        is_eager=True,
        callback=_version,
    ),
) -> None:
    del version
