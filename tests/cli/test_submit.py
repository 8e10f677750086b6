"""Handing plans over: once is once, and whatever is wrong is said in words, with exit code 2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.core.history import Outcome
from rollout.ports import Transition
from rollout.store.sql import open_store
from tests.cli.console import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_a_plan_is_taken_and_shown(terminal: Terminal) -> None:
    answer = terminal.type("submit", terminal.plan(), "-o", "json")

    assert answer.code == 0
    assert answer.document["created"] is True
    assert (answer.document["name"], answer.document["target"], answer.document["state"]) == ("web", "default/web", "active")
    assert answer.document["id"] in terminal.type("list").out


def test_the_same_plan_twice_starts_nothing_new(terminal: Terminal) -> None:
    first = terminal.type("submit", terminal.plan(), "-o", "json").document
    again = terminal.type("submit", terminal.plan(), "-o", "json")
    words = terminal.type("submit", terminal.plan())

    assert again.code == words.code == 0
    assert (again.document["created"], again.document["id"]) == (False, first["id"])
    assert f"nothing new: this very plan is rollout {first['id']}" in words.out
    assert len(terminal.type("list", "--all", "-o", "json").document) == 1


def test_a_second_plan_for_a_busy_target_is_refused_and_the_busy_rollout_named(terminal: Terminal) -> None:
    first = terminal.type("submit", terminal.plan(), "-o", "json").document
    second = terminal.type("submit", terminal.plan("other", "web"))

    assert second.code == 2
    assert second.err.count("default/web has a rollout already") == 1
    assert f"rollout abort {first['id']}" in second.err
    assert f"supersede: {first['id']}" in second.err
    assert "default/default" not in second.err
    assert len(terminal.type("list", "--all", "-o", "json").document) == 1


def rows(terminal: Terminal) -> list[dict[str, Any]]:
    return list(terminal.type("list", "--all", "-o", "json").document)


def moved(terminal: Terminal, rollout: str, step: str, outcome: Outcome) -> None:
    """Let a daemon bring a rollout to a step."""
    store = open_store(terminal.database, clock=SystemClock())
    try:
        store.renew("host-1", lease=timedelta(minutes=1))
        (row,) = store.claim("host-1", limit=9, lease=timedelta(minutes=1))
        store.commit("host-1", [Transition(rollout, row.version, row.state, outcome, step, "w", None, SystemClock().now())])
    finally:
        store.close()


def test_a_plan_that_supersedes_says_to_ask_again_and_waits_where_it_is_told_to(terminal: Terminal) -> None:
    first = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]
    better = terminal.plan("better", "web", extra=f"  supersede: {first}\n")
    asked = terminal.type("submit", better)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(terminal.type, "submit", better, "--wait", "-o", "json")
        moved(terminal, first, "ended", Outcome.ABORTED)
        taken = waiting.result()

    assert asked.code == 3
    assert f"rollout {first} on default/web: is superseded and steps back first" in asked.err
    assert taken.code == 0
    assert (taken.document["follows"], taken.document["relation"]) == (first, "supersede")


def test_waiting_for_the_superseded_never_hides_what_else_is_wrong(terminal: Terminal) -> None:
    first = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]
    moved(terminal, first, "promoting", Outcome.ACTIVE)
    answer = terminal.type("submit", terminal.plan("better", "web", extra=f"  supersede: {first}\n"), "--wait")

    assert answer.code == 2
    assert "spec.supersedeBy: say what becomes of it (rollback (the old image first) or adopt)" in answer.err
    assert [row["id"] for row in rows(terminal)] == [first]


def test_a_plan_below_a_floor_is_refused_with_the_floor_named(terminal: Terminal) -> None:
    answer = terminal.type("submit", terminal.plan(extra="  soak: 1h\n"))

    assert answer.code == 2
    assert "minimumSoak (1d)" in answer.err.replace("24h", "1d")
    assert terminal.type("list", "--all", "-o", "json").document == []


def test_a_backend_that_the_configuration_lacks_is_refused_and_without_a_configuration_left_to_the_daemon(
    terminal: Terminal,
) -> None:
    plan = terminal.plan(extra="  signals: [apisix-5xx]\n")
    config = terminal.file("rollout.yaml", f"database: {{url: '{terminal.database}'}}\n")

    refused = terminal.type("submit", plan, "--config", config)
    taken = terminal.type("submit", plan)

    assert (refused.code, taken.code) == (2, 0)
    assert "no backend 'prometheus' is configured" in refused.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "broken YAML"),
        ("", "bad.yaml"),
        ("apiVersion: rollout/v1\nkind: Canary\nmetadata: {name: x}\nspec: {imge: nginx:1}\n", "imge"),
        ("- 1\n- 2\n", "bad.yaml:1"),
        ("a: 1\na: 2\n", "bad.yaml:2"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(terminal: Terminal, text: str, words: str) -> None:
    for command in ("submit", "validate", "preview"):
        answer = terminal.type(command, terminal.file("bad.yaml", text))
        assert answer.code == 2
        assert words in answer.err
        assert "Traceback" not in answer.err


def test_a_file_that_is_not_there_is_refused(terminal: Terminal) -> None:
    answer = terminal.type("submit", str(terminal.folder / "nothing.yaml"))

    assert answer.code == 2
    assert answer.err.count("there is no such file") == 1


def test_validate_looks_at_every_file_and_says_which_is_good(terminal: Terminal) -> None:
    answer = terminal.type("validate", terminal.file("bad.yaml", "a: ["), terminal.plan())

    assert answer.code == 2
    assert "web.yaml: valid" in answer.out
    assert "bad.yaml" in answer.err


def test_preview_dates_every_step_in_the_plans_zone(terminal: Terminal) -> None:
    plan = terminal.plan(extra="  timezone: Asia/Shanghai\n")
    answer = terminal.type("preview", plan, "--at", "2026-11-23T09:00")
    steps = terminal.type("preview", plan, "--at", "2026-11-23T09:00", "-o", "json").document["steps"]

    assert "Mon 2026-11-23 09:00 CST" in answer.out
    assert [step["at"] for step in steps[:3]] == ["2026-11-23T01:00:00Z", "2026-11-23T07:00:00Z", "2026-11-23T13:00:00Z"]


def test_preview_shows_shares_for_how_many_replicas_the_policy_and_what_would_be_refused(terminal: Terminal) -> None:
    config = terminal.file("rollout.yaml", "policy:\n  freezeWindows: [{name: release week, from: 2026-11-23, to: 2026-11-24}]\n")
    words = terminal.type("preview", terminal.plan(), "--at", "2026-11-23T09:00", "--stable", "4", ROLLOUT_CONFIG=config).out

    assert "shares: beside 4 stable replicas" in words
    assert "REFUSED at the start: 1 canary replica beside 4 ready of 4 stable ones are 1/5 = 20 %" in words
    assert "FROZEN by release week: waits" in words
    assert "policy: soak at least 1 d, replicas at least 6 h apart" in words
    assert "policy: freeze windows release week" in words
    assert "REFUSED" not in terminal.type("preview", terminal.plan(), "--stable", "10").out


def test_preview_of_an_observed_canary_promises_no_step_of_ours(terminal: Terminal) -> None:
    steps = terminal.type("preview", terminal.plan(extra="  mode: observe\n"), "-o", "json").document["steps"]

    assert ["nothing is changed" in step["what"] for step in steps] == [True, False]
    assert "replica" not in " ".join(step["what"] for step in steps)


def test_schema_is_a_json_schema(terminal: Terminal) -> None:
    assert "$defs" in terminal.type("schema").document
