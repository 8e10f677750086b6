"""The README is held to what there is: its SQL runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from rollout.adapters.clock import SystemClock
from rollout.cli.app import app
from rollout.cli.pictures import picture
from rollout.cli.portrait import portrait_of
from rollout.store import schema
from tests.simulation.days import Day, H

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STATEMENTS = [s.strip() for block in re.findall(r"```sql\n(.*?)```", README, re.DOTALL) for s in block.split(";") if s.strip()]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_sql_example_runs_on_a_new_database(statement: str, tmp_path: Path) -> None:
    schema.upgrade(f"sqlite:///{tmp_path}/readme.db", clock=SystemClock())
    connection = sqlite3.connect(tmp_path / "readme.db")
    try:
        assert connection.execute(statement).fetchall() == []
    finally:
        connection.close()


def test_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"rollout ([a-z]+)\b", README)) - {"is", "can", "has", "where", "from", "like"}
    table = re.search(r"\| command \|.*?\n\n", README, re.DOTALL)
    assert table is not None
    named |= {
        word.split()[0]
        for word in re.findall(r"^\| (`.*?`) \|", table.group(), re.MULTILINE)
        for word in word.strip("`").split("` `")
    }
    known = set(get_command(app).commands)  # type: ignore[attr-defined]  # a group has them
    assert named <= known, f"not commands: {sorted(named - known)}"


def test_the_picture_is_what_show_draws() -> None:
    day = Day("skywalking-traces", "apisix-5xx", base=0.002).run(20 * H)
    row = day.store.rollout(day.id)
    assert row is not None
    console = Console(width=80)
    with console.capture() as capture:
        console.print(picture(portrait_of(day.store, day.codec, row, day.clock.now())))
    drawn = README[README.index("╭") : README.index("╯")].splitlines()
    assert [line for line in drawn[:-1] if line not in capture.get().splitlines()] == []


def test_every_link_leads_to_a_file() -> None:
    missing = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link and not (ROOT / link).exists()]
    assert missing == []


def test_both_commands_are_marked_for_ci() -> None:
    for name in ("demo-command", "test-command"):
        assert re.search(rf"<!-- {name} -->\n```sh\npython3 -m venv \S+ && .+\n```", README), name


def test_help_lists_every_group() -> None:
    answer = CliRunner().invoke(app, ["--help"])
    assert answer.exit_code == 0
    for name in ("serve", "demo", "submit", "doctor", "db", "notify", "signals"):
        assert name in answer.output
