"""The demo's shortest story, and what people then read of it: list, show, watch, history, notices."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.cli import demo_scenarios
from rollout.cli.demo_canary import CANARIES, SIGNALS
from rollout.core.history import Outcome
from tests.cli.console import Answer, Terminal

README = Path(__file__).resolve().parent.parent.parent / "README.md"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Terminal, Answer]:
    terminal = Terminal(tmp_path_factory.mktemp("demo"))
    return terminal, terminal.type("demo", "--scenario", "crash", "--database", terminal.database)


def test_a_crashing_version_is_stepped_back_and_the_demo_says_so(played: tuple[Terminal, Answer]) -> None:
    _, answer = played

    assert answer.code == 0, answer.out
    assert "crash: ended as it should (failed)" in answer.out
    assert "default/nginx: failed, stepped back" in answer.out
    assert "Next: Mend it, then `rollout retry" in answer.out.partition("notices that the webhook got")[2]
    assert "rollout sandbox" in answer.out


def test_the_database_has_the_rows_for_list(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    listed = terminal.type("list", "--all", "-o", "json").document

    assert [(row["name"], row["target"], row["kind"], row["state"]) for row in listed] == [
        ("demo-crash", "default/nginx", "Canary", "failed")
    ]
    assert all(listed[0][key] for key in ("id", "createdAt", "endedAt", "reason"))
    assert terminal.type("list", "-o", "json").document == []
    assert listed[0]["id"] in terminal.type("list", "--all", COLUMNS="40").out


def test_show_tells_every_signal_of_both_cohorts(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    shown = terminal.type("show", "demo-crash", "-o", "json").document

    assert {signal["name"] for signal in shown["signals"]} == set(SIGNALS)
    assert "apisix-5xx" in terminal.type("show", "demo-crash").out


def test_watching_what_has_ended_prints_its_story_and_fails_as_it_failed(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    watched = terminal.type("watch", "demo-crash")

    assert watched.code == 1
    assert "the soak begins" in watched.out
    assert "stepped back" in watched.out


def test_history_shows_the_evidence_that_decided(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    rows = terminal.type("history", "demo-crash", "-o", "json").document

    assert [row["kind"] for row in rows if row["kind"] != "hourly-summary"][:3] == ["submitted", "started", "soaking"]
    assert any(item["signal"] == "kubernetes" for row in rows for item in row["evidence"])
    assert "kubernetes" in terminal.type("history", "demo-crash", "--evidence").out


def test_every_notice_is_delivered(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    notices = terminal.type("history", "demo-crash", "--notices", "-o", "json").document

    assert {notice["state"] for notice in notices} == {"delivered"}
    assert {"title", "kind", "channel", "settledAt"} <= set(notices[0])


def test_a_story_that_does_not_end_as_it_should_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = next(scenario for scenario in CANARIES if scenario.name == "crash")
    hoped = replace(crash, ends_as=Outcome.SUCCEEDED)
    monkeypatch.setattr(demo_scenarios, "SCENARIOS", {"crash": hoped})
    answer = Terminal(tmp_path).type("demo", "--scenario", "crash", "--plain")

    assert answer.code == 1
    assert "WRONG" in answer.out
    assert "did NOT end as it should" in answer.out


def test_the_demo_keeps_away_from_a_database_in_use(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    rollout = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]
    answer = terminal.type("demo", "--scenario", "crash", "--database", terminal.database)

    assert answer.code == 2
    assert rollout in answer.err


def _documented(command: str) -> set[str]:
    """The top-level keys that the README promises for a command's `-o json`."""
    (cell,) = re.findall(rf"^\| {re.escape(command)} \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    text = cell[cell.index("`{") : cell.index("}`") + 1]
    return set(re.findall(r"\w+", re.sub(r"\[\{.*?\}\]", "", text)))


def test_what_the_readme_says_of_json_is_what_is_printed(played: tuple[Terminal, Answer]) -> None:
    terminal, _ = played
    (row,) = terminal.type("list", "--all", "-o", "json").document
    shown = terminal.type("show", "demo-crash", "-o", "json").document
    history = terminal.type("history", "demo-crash", "-o", "json").document
    notices = terminal.type("history", "demo-crash", "--notices", "-o", "json").document

    assert set(row) == _documented("`list`, `submit`")
    assert set(shown) == {*row, *_documented("`show`")}
    assert set(history[0]) == _documented("`history`")
    assert set(notices[0]) == _documented("`history --notices`")
    assert set(terminal.type("preview", terminal.plan(), "-o", "json").document) == _documented("`preview`")
    assert set(terminal.type("doctor", "-o", "json", KUBECONFIG="/nowhere").document[0]) == _documented("`doctor`")
