"""What a wish is worth where no daemon runs, and that lost notices show: `submit`, `pause`, `abort`, `list`, `show`, `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.core.history import Notice, NoticeKind, Outcome
from rollout.engine.doctoring import _label
from rollout.ports import Transition
from rollout.store.sql import SqlStore, open_store
from tests.cli.console import Terminal

LEASE = timedelta(minutes=5)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@contextmanager
def daemon(terminal: Terminal) -> Iterator[SqlStore]:
    """A daemon's lease on the database, as others see it."""
    store = open_store(terminal.database, clock=SystemClock())
    try:
        store.renew("host-1", lease=LEASE)
        yield store
    finally:
        store.close()


def test_without_a_daemon_what_is_submitted_waits_and_says_how_to_see_it(terminal: Terminal) -> None:
    answer = terminal.type("submit", terminal.plan())

    assert "submitted: default/web" in answer.out
    assert "it waits: no daemon runs on this database" in answer.out
    assert "started" not in answer.out
    for command in ("list", "show"):
        assert "no daemon runs on this database" in terminal.type(command, *(["web"] if command == "show" else [])).out


def test_with_a_daemon_it_is_taken_up(terminal: Terminal) -> None:
    terminal.type("db", "upgrade")
    with daemon(terminal):
        answer = terminal.type("submit", terminal.plan())
        shown = terminal.type("list")

    assert "takes it up within seconds: rollout watch" in answer.out
    assert "no daemon" not in answer.out + shown.out


def test_an_abort_that_nobody_hears_names_the_way_that_needs_no_daemon(terminal: Terminal) -> None:
    rollout = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]
    words = terminal.type("abort", rollout).out

    assert "recorded, but no daemon runs on this database" in words
    assert f"rollout abort --break-glass {rollout}" in words
    with daemon(terminal):
        assert "its daemon acts on it within a second" in terminal.type("pause", rollout).out


def test_a_notice_that_was_given_up_shows_in_list_show_and_doctor(terminal: Terminal) -> None:
    rollout = terminal.type("submit", terminal.plan(), "-o", "json").document["id"]
    with daemon(terminal) as store:
        (row,) = store.claim("host-1", limit=9, lease=LEASE)
        now = SystemClock().now()
        lost = Notice("0001-started", NoticeKind.STARTED, "started", "it started", now)
        store.commit("host-1", [Transition(row.id, row.version, row.state, Outcome.ACTIVE, "starting", "w", now, now,
                                           notices=(lost,), channels=("ops",))])  # fmt: skip
        (owed,) = store.owed(now + LEASE, limit=9)
        store.dead(owed.id, now, "404: no such hook")
        for command in (("list",), ("show", rollout)):
            assert f"1 notice of {rollout} never arrived" in " ".join(terminal.type(*command).out.replace("│", "").split())
        assert terminal.type("show", rollout, "-o", "json").document["remarks"] != []
        assert f"1 notice never arrived, of {rollout}" in terminal.type("doctor").out


def test_doctor_says_whether_a_daemon_runs(terminal: Terminal) -> None:
    terminal.type("db", "upgrade")

    assert "no daemon runs on this database: what is submitted waits" in terminal.type("doctor").out
    with daemon(terminal):
        assert "1 daemon on this database: host-1" in terminal.type("doctor").out


def test_doctor_lists_a_cluster_that_cannot_be_opened_among_the_rest(terminal: Terminal) -> None:
    terminal.type("db", "upgrade")
    answer = terminal.type("doctor", KUBECONFIG="/nowhere/kubeconfig")

    assert answer.code == 2
    assert "ok       database" in answer.out
    assert answer.out.count("cannot be used") == 1
    assert "REFUSED  cluster default: kubeconfig" in answer.out


@pytest.mark.parametrize(
    ("name", "check", "label"),
    [
        ("backend prometheus", "prometheus", "backend prometheus"),
        ("backend prometheus", "prometheus clock", "backend prometheus: clock"),
        ("cluster default", "cluster default", "cluster default"),
        ("backend logs", "index", "backend logs: index"),
    ],
)
def test_a_check_is_named_once(name: str, check: str, label: str) -> None:
    assert _label(name, check) == label


def test_what_was_asked_and_not_taken_up_shows_in_history_and_show(terminal: Terminal) -> None:
    terminal.type("submit", terminal.plan())
    terminal.type("pause", "web", "-m", "lunch", "--as", "bob")

    words = "bob asked to pause: lunch; no daemon has taken it up yet"
    assert words in terminal.type("history", "web").out
    assert words in " ".join(terminal.type("show", "web").out.replace("│", "").split())
    (event,) = [one for one in terminal.type("history", "web", "-o", "json").document if one["kind"] == "command-waiting"]
    assert (event["actor"], event["why"]) == ("bob", words)
