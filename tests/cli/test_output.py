"""What a terminal cannot show, and what is left out, is said and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.console import Terminal

WHO = "陈\N{GRINNING FACE}"


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    made = Terminal(tmp_path)
    assert made.type("submit", made.plan(), "--as", WHO).code == 0
    return made


def typed(terminal: Terminal, encoding: str, *words: str) -> bytes:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "ROLLOUT_DATABASE": terminal.database, "ROLLOUT_CONFIG": ""}
    done = subprocess.run([sys.executable, "-m", "rollout", *words], env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_a_terminal_that_does_not_know_a_character_is_no_failure(terminal: Terminal, encoding: str) -> None:
    assert b"preflight" in typed(terminal, encoding, "show", "web")
    assert b"submitted plan web" in typed(terminal, encoding, "history", "web")


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "utf-8"])
def test_json_loses_nothing_whatever_the_encoding(terminal: Terminal, encoding: str) -> None:
    (row,) = json.loads(typed(terminal, encoding, "history", "web", "-o", "json").decode(encoding))
    assert row["actor"] == WHO


def test_a_list_that_is_cut_says_so(terminal: Terminal) -> None:
    terminal.type("submit", terminal.plan("api", "api"))

    assert "there are more than these 1, the newest: --limit shows more" in terminal.type("list", "--limit", "1").out
    assert "more than" not in terminal.type("list", "--limit", "2").out
    assert len(terminal.type("list", "--limit", "1", "-o", "json").document) == 1
    assert len(terminal.type("list", "-o", "json").document) == 2
