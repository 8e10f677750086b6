"""How rows read for people: every reason of a refusal, figures that nobody measured, steps by their words, what is to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from rollout.cli import pictures
from rollout.cli.documents import event_document
from rollout.core.history import Event, Evidence
from rollout.core.wording import placed, step_words
from rollout.ports import HistoryRow

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REFUSED = Event(
    NOW,
    "refused",
    "preflight",
    "preflight refused it: no readiness probe (and 1 more)",
    facts=(("check 1", "probe: no readiness probe; add one"), ("check 2", "share: 1 of 4 is 25 %; scale up")),
)
UNMEASURED = Evidence(
    "error-logs", NOW - timedelta(minutes=1), NOW, "the question",
    (("candidate events", 2.0), ("candidate requests", -1.0), ("baseline events", -1.0), ("baseline requests", 0.0)),
    "healthy", "ok",
)  # fmt: skip


def told(event: Event, capsys: pytest.CaptureFixture[str], *, evidence: bool = False) -> str:
    pictures.history_lines([HistoryRow(1, "web-1", event)], evidence=evidence)
    return capsys.readouterr().out


def test_a_refused_preflight_shows_every_reason_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(pictures.latest([REFUSED]))
    for text in (told(REFUSED, capsys), captured.get()):
        assert "- probe: no readiness probe; add one" in text
        assert "- share: 1 of 4 is 25 %; scale up" in text


def test_requests_that_nobody_measured_are_neither_a_number_nor_minus_one(capsys: pytest.CaptureFixture[str]) -> None:
    event = Event(NOW, "signal-changed", "soaking", "why", evidence=(UNMEASURED,))
    text = told(event, capsys, evidence=True)
    counts = json.loads(json.dumps(event_document(event)))["evidence"][0]["counts"]

    assert "candidate events 2, candidate requests \N{EN DASH}, baseline events -1, baseline requests 0" in text
    assert counts == {"candidate events": 2.0, "candidate requests": None, "baseline events": -1.0, "baseline requests": 0.0}


def test_steps_are_called_by_words_and_stay_what_they_are_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    event = Event(NOW, "gate-closed", "closinggate", "the gate is closed")

    assert "  closing gate gate-closed" in told(event, capsys)
    assert event_document(event)["step"] == "closinggate"
    assert [step_words(step) for step in ("watchingopen", "rollingback", "soaking")] == ["watching", "rolling back", "soaking"]


def test_notices_are_listed_with_what_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    pictures.notice_lines(
        [{"state": "delivered", "channel": "ops", "title": "asks", "next_action": "approve, or abort", "error": ""}]
    )
    assert "next: approve, or abort" in capsys.readouterr().out


def test_a_target_is_named_with_its_cluster_only_where_that_says_something() -> None:
    assert placed("default", "shop/orders") == "shop/orders"
    assert placed("edge", "shop/orders") == "shop/orders in cluster edge"
