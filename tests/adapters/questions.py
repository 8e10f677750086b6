"""Builders of pods and questions for the tests of signal sources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollout.core.signals import PodKey, Question, Window

START = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))


def pod(number: int, name: str = "") -> PodKey:
    return PodKey("prod", name or f"web-{number}", f"uid-{number}", f"10.1.2.{number}")


def window(minutes_later: int) -> Window:
    shift = timedelta(minutes=minutes_later)
    return Window(WINDOW.start + shift, WINDOW.end + shift)


def question(
    ask: str, *pods: PodKey, at: Window = WINDOW, signal: str = "errors", backend: str = "main", **parameters: str
) -> Question:
    return Question(signal, backend, ask, tuple(sorted(parameters.items())), pods or (pod(1), pod(2)), at)
