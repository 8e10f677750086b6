"""0 done, 1 failed, 2 refused, 3 unavailable: scripts rely on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "nobody"),
        ("history", "nobody"),
        ("watch", "nobody"),
        ("pause", "nobody"),
        ("resume", "nobody"),
        ("approve", "nobody"),
        ("abort", "nobody"),
        ("retry", "nobody"),
        ("extend", "nobody", "--by", "30m"),
    ],
)
def test_a_rollout_that_is_not_there_is_refused_with_the_way_to_find_it(terminal: Terminal, command: tuple[str, ...]) -> None:
    assert terminal.type("db", "upgrade").code == 0

    answer = terminal.type(*command)

    assert answer.code == 2
    assert "there is no rollout or plan 'nobody'" in answer.err
    assert "rollout list --all" in answer.err


@pytest.mark.parametrize(
    "command",
    [
        ("extend", "x", "--by", "soon"),
        ("db", "prune", "--keep", "soon"),
        ("demo", "--scenario", "nothing"),
        ("list", "--config", "/nowhere/rollout.yaml"),
        ("list", "--database", "oracle://x"),
        ("abort", "nobody", "--break-glass"),
        ("no-such-command",),
        ("list", "--no-such-option"),
    ],
)
def test_what_makes_no_sense_is_refused_without_a_traceback(terminal: Terminal, command: tuple[str, ...]) -> None:
    answer = terminal.type(*command)

    assert answer.code == 2
    assert answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("command", [("list",), ("show", "x"), ("history", "x"), ("abort", "x"), ("db", "prune")])
def test_whoever_only_asks_makes_no_database_and_is_told_how_to_name_the_right_one(
    terminal: Terminal, command: tuple[str, ...]
) -> None:
    answer = terminal.type(*command)

    assert answer.code == 2
    assert "there is no database at" in answer.err
    assert "--config" in answer.err
    assert list(terminal.folder.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/rollout.db", "postgresql://rollout:hunter2@127.0.0.1:1/rollout"])
def test_a_database_that_is_away_is_unavailable_and_its_password_stays_unsaid(terminal: Terminal, url: str) -> None:
    answer = terminal.type("list", "--database", url)

    assert answer.code == 3
    assert "hunter2" not in answer.err


def test_an_unknown_scenario_is_refused_with_the_list(terminal: Terminal) -> None:
    answer = terminal.type("demo", "--scenario", "nothing")

    assert all(name in answer.err for name in ("good", "bad", "crash"))


def test_a_command_for_a_running_rollout_is_recorded_with_who_and_why(terminal: Terminal) -> None:
    rollout = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]

    assert terminal.type("pause", rollout, "--reason", "lunch").code == 0
    assert terminal.type("pause", "web", "--as", "bob").code == 0


def test_a_command_that_would_change_nothing_is_refused_and_says_why(terminal: Terminal) -> None:
    terminal.type("submit", terminal.plan())
    for command, why in (("resume", "it is not paused"), ("approve", "it is preflight and asks nobody")):
        answer = terminal.type(command, "web", "-m", "now")
        assert answer.code == 2
        assert "would change nothing, so it was not recorded" in answer.err
        assert why in answer.err


def test_a_retry_takes_a_reason_as_the_other_commands_do(terminal: Terminal) -> None:
    assert terminal.type("db", "upgrade").code == 0
    for option in ("-m", "--reason", "--message"):
        assert "there is no rollout or plan" in terminal.type("retry", "nobody", option, "the disk was full").err


@pytest.mark.parametrize("command", ["abort", "pause", "show", "history", "retry"])
def test_an_empty_name_is_nobody_and_not_the_newest_rollout(terminal: Terminal, command: str) -> None:
    terminal.type("submit", terminal.plan())
    for name in ("", " "):
        answer = terminal.type(command, name)
        assert answer.code == 2
        assert "no rollout is named" in answer.err
    assert "asked to" not in terminal.type("history", "web").out


def test_retrying_what_still_runs_is_refused(terminal: Terminal) -> None:
    terminal.type("submit", terminal.plan())

    assert terminal.type("retry", "web").code == 2


def test_the_database_commands_say_the_schema(terminal: Terminal) -> None:
    assert terminal.type("db", "check").code == 2
    assert terminal.type("db", "upgrade").out == terminal.type("db", "upgrade").out
    assert "schema" in terminal.type("db", "check").out
    assert terminal.type("db", "prune", "--keep", "1d", "-o", "json").document["rollout"] == 0
