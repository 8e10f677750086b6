"""`rollout preview` of a maintenance counts with the restores that the database knows, as `submit` does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.planfile import load_planfile
from rollout.core.history import Event, Outcome
from rollout.engine.configured import ANYTHING
from rollout.ports import RolloutRow, Transition
from rollout.settings_file import load_settings
from rollout.wiring import MODELS, open_parts
from tests.cli.console import Terminal

PLAN = """\
apiVersion: rollout/v1
kind: Offline
metadata: {name: NAME}
spec:
  target: {namespace: shop, stable: orders}
  image: orders:2.0
  schemaChange: true
  window: {startAt: START, timezone: UTC, duration: 3h}
  announce: {offsets: [1h]}
  gate: {gateway: apisix, route: {id: "1"}, allow: [127.0.0.1], probes: {outside: [{url: /}]}}
  backup: {manifest: JOB}
  migrate: {manifest: JOB}
  restore: {manifest: JOBEXPECTED}
  margin: 10m
  tests: [{name: health, http: {url: "http://orders.shop/"}}]
"""
JOB = "{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: a, image: b}]}}}}"
NOW = SystemClock().now().replace(second=0, microsecond=0)
START = NOW + timedelta(days=2)
END = START + timedelta(hours=3)


def plan(terminal: Terminal, name: str, expected: str = "20m") -> str:
    text = PLAN.replace("JOBEXPECTED", f"{JOB}, expected: {expected}" if expected else JOB).replace("JOB", JOB)
    return terminal.file(f"{name}.yaml", text.replace("NAME", name).replace("START", f"{START:%Y-%m-%d %H:%M}"))


def restored(terminal: Terminal, seconds: int) -> RolloutRow:
    """An earlier maintenance of the same target went back, and its restore took so long."""
    with open_parts(load_settings(None, MODELS), database=terminal.database, outside=False) as parts:
        desk = replace(parts.desk, configured=ANYTHING)
        row = desk.submit(load_planfile(Path(plan(terminal, "earlier"))).plan, "", "alice").rollout
        parts.store.renew("d", lease=timedelta(hours=1))
        parts.store.claim("d", limit=10, lease=timedelta(hours=1))
        now = parts.store.rollout(row.id)
        assert now is not None
        event = Event(NOW, "back-restore", "rollingback", "restored", facts=(("seconds", str(seconds)),))
        made = Transition(row.id, now.version, now.state, Outcome.FAILED, "ended", "told", None, NOW, events=(event,))
        assert parts.store.commit("d", [made]) == {row.id}
        return now


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture
def earlier(terminal: Terminal) -> Terminal:
    assert terminal.type("db", "upgrade").code == 0
    return terminal


def last_moment(terminal: Terminal, name: str) -> tuple[str, list[str]]:
    document = terminal.type("preview", plan(terminal, name), "-o", "json").document
    (at,) = (step["at"] for step in document["steps"] if "the last moment for a way back" in step["what"])
    return at, document["notes"]


def before(end: timedelta) -> str:
    return (END - end).isoformat().replace("+00:00", "Z")


def test_a_measured_restore_that_took_longer_moves_the_last_moment_and_is_named(earlier: Terminal) -> None:
    row = restored(earlier, 2 * 3600)
    at, notes = last_moment(earlier, "next")
    assert at <= before(timedelta(hours=2, minutes=10))
    assert f"restore: 2h was measured in rollout {row.id}, the plan says 20m; the longer of the two counts" in notes


def test_a_measured_restore_that_was_quicker_changes_nothing_and_is_named(earlier: Terminal) -> None:
    row = restored(earlier, 60)
    at, notes = last_moment(earlier, "next")
    assert before(timedelta(hours=2)) < at <= before(timedelta(minutes=30))
    assert [note for note in notes if row.id in note]


def test_a_plan_that_does_not_say_how_long_its_restore_takes_is_previewed_where_one_was_measured(earlier: Terminal) -> None:
    assert "nobody knows how long a restore takes" in earlier.type("preview", plan(earlier, "unnamed", "")).err
    restored(earlier, 600)
    answer = earlier.type("preview", plan(earlier, "unnamed", ""))
    assert answer.code == 0, answer.err
    assert "the plan does not say; that counts" in answer.out


def test_without_a_database_the_preview_says_that_nobody_was_asked(terminal: Terminal) -> None:
    _, notes = last_moment(terminal, "next")
    assert [note for note in notes if "could not be asked how long theirs took" in note]
    assert not Path(terminal.database.removeprefix("sqlite:///")).exists(), "and makes none"
