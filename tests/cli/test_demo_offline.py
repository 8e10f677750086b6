"""The demo's offline stories, and what people then read of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollout.cli import demo_scenarios
from rollout.cli.demo_offline import OFFLINES
from rollout.core.history import Outcome
from tests.cli.console import Answer, Terminal

Played = tuple[Terminal, Answer, Answer]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    terminal = Terminal(tmp_path_factory.mktemp("demo"))
    stories = [
        terminal.type("demo", "--scenario", name, "--plain", "--database", terminal.database)
        for name in ("offline", "offline-fails")
    ]
    return terminal, stories[0], stories[1]


def kinds(terminal: Terminal, plan: str) -> list[str]:
    return [row["kind"] for row in terminal.type("history", plan, "-o", "json").document]


def test_a_maintenance_goes_from_announcement_to_open_gate(played: Played) -> None:
    terminal, answer, _ = played
    assert answer.code == 0, answer.out
    assert "offline: ended as it should (succeeded)" in answer.out
    steps = ("assessed", "announced", "begun", "gate-saved", "gate-closed", "gate-proven", "stopped", "backed-up", "migrated",
             "upgraded", "test-passed", "opening", "gate-opened", "succeeded")  # fmt: skip
    told = kinds(terminal, "demo-offline")
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)


def test_the_picture_shows_who_was_let_in_when(played: Played) -> None:
    _, answer, _ = played
    drawn = [line for line in answer.out.splitlines() if "outside ●" in line or "outside ○" in line]
    states = [("outside ●" in line, "allow-list ●" in line) for line in drawn]
    assert states == [(True, True), (False, True), (False, False), (False, True), (True, True)]
    assert "403 Orders are being upgraded" in drawn[1]
    assert "served by 3.0.0" in drawn[3]


def test_a_failed_critical_test_is_asked_about_and_goes_back_by_itself_with_its_database(played: Played) -> None:
    terminal, _, answer = played
    assert answer.code == 0, answer.out
    assert "offline-fails: ended as it should (failed)" in answer.out
    told = kinds(terminal, "demo-offline-fails")
    steps = ("test-failed", "failed-behind-the-gate", "held", "stepping-back", "back-halt", "back-restore", "back-start", "opening",
             "gate-opened", "failed")  # fmt: skip
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
    assert "1 of 3 cases failed: smoke./orders/checkout" in answer.out
    assert "the last moment for a way back" in answer.out
    rows = terminal.type("history", "demo-offline-fails", "-o", "json").document
    (restored,) = (row["facts"] for row in rows if row["kind"] == "back-restore")
    assert int(restored["seconds"]) >= 480


def test_both_say_what_to_type_next_and_who_was_told(played: Played) -> None:
    _, good, bad = played
    for answer in (good, bad):
        assert "What to type next" in answer.out
        assert "shop/orders: out of service in 2 h" in answer.out
        assert "WRONG" not in answer.out


def test_a_maintenance_that_ends_otherwise_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = next(scenario for scenario in OFFLINES if scenario.name == "offline-fails")
    monkeypatch.setattr(demo_scenarios, "SCENARIOS", {"offline": replace(fails, name="offline", ends_as=Outcome.SUCCEEDED)})
    answer = Terminal(tmp_path).type("demo", "--scenario", "offline", "--plain")
    assert answer.code == 1
    assert "WRONG" in answer.out
    assert "did NOT end as it should" in answer.out


def test_an_open_gate_during_the_window_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.cli.demo_gate.OUTSIDE", "127.0.0.1")
    answer = Terminal(tmp_path).type("demo", "--scenario", "offline", "--plain")
    assert answer.code == 1
    assert "WRONG" in answer.out


def test_show_tells_report_gate_backup_and_tests(played: Played) -> None:
    terminal, _, _ = played
    shown = terminal.type("show", "demo-offline-fails", "-o", "json").document["maintenance"]
    assert shown["gate"]["closed"] is False
    assert shown["gate"]["proven"] is True
    assert shown["backup"]["size"] > 0
    assert [(t["name"], t["passed"], t["round"]) for t in shown["tests"]] == [
        ("health", True, "new"), ("smoke", False, "new"), ("export", True, "new"),
        ("health", True, "old"), ("smoke", True, "old"), ("export", True, "old"),
    ]  # fmt: skip
    assert any("storefront calls orders, 412 calls a minute" in finding for finding in shown["impact"])
    drawn = terminal.type("show", "demo-offline-fails").out
    for words in ("who calls whom", "past the gateway", "as it was found", "FAILED  smoke", "fits until"):
        assert words in drawn


def test_a_hotfix_is_linked_and_history_shows_the_chain(played: Played) -> None:
    terminal, _, _ = played
    submitted = terminal.type("submit", terminal.plan("hotfix"), "--follows", "demo-offline", "-o", "json").document
    first = terminal.type("show", "demo-offline", "-o", "json").document
    assert (submitted["follows"], submitted["relation"]) == (first["id"], "hotfix")
    assert [link["id"] for link in first["chain"]] == [first["id"], submitted["id"]]
    for rollout in ("hotfix", "demo-offline"):
        told = terminal.type("history", rollout).out
        assert f"└─ hotfix: {submitted['id']}" in told
        assert first["id"] in told.splitlines()[0]


def test_a_rollout_that_nothing_follows_shows_no_chain(played: Played) -> None:
    terminal, _, _ = played
    assert "└─" not in terminal.type("history", "demo-offline-fails").out
