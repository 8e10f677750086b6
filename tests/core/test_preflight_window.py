"""Preflight asks about a finished window: a backend that is a little behind is no reason to refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rollout.core.signals import Answer, Counts, NoData, PodCount, PodKey, Question, Window
from rollout.engine.preflight import _newest
from rollout.ports import Check

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POD = PodKey("shop", "nginx-1", "uid", "10.0.0.1")
LAST = Question("traces", "skywalking", "error-traces", (), (POD,), Window(NOON - MINUTE, NOON))


class Behind:
    """Has finished nothing after `finished`."""

    def __init__(self, finished: datetime) -> None:
        self.name = "skywalking"
        self._finished = finished

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        return {question: Answer(question, self._reading(question.window), "query", NOON) for question in questions}

    def _reading(self, window: Window) -> Counts | NoData:
        if window.end > self._finished:
            return NoData("not finished yet")
        return Counts({POD.name: PodCount(0.0, 1.0)})

    def check(self) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        pass


def test_the_last_window_is_taken_where_it_is_finished() -> None:
    assert _newest(Behind(NOON), LAST).question.window.end == NOON


def test_the_window_before_is_taken_where_the_last_is_not_finished_yet() -> None:
    answer = _newest(Behind(NOON - MINUTE), LAST)
    assert answer.question.window.end == NOON - MINUTE
    assert isinstance(answer.reading, Counts)


def test_no_data_in_both_windows_is_no_data() -> None:
    assert isinstance(_newest(Behind(NOON - 5 * MINUTE), LAST).reading, NoData)
