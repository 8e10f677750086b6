"""Commits go together; what one of them cannot do must not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rollout.engine.commits import Commits, Pending
from rollout.engine.workers import Inline
from rollout.ports import RolloutRow, Transition
from rollout.store.memory import MemoryStore
from tests.contract.stores import StandingClock, claimed, transition

POISON = "cannot be encoded"


class Choosy(MemoryStore):
    """A database whose driver raises something that nobody thought of, for one row."""

    def commit(self, daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        if any(one.why == POISON for one in transitions):
            raise ValueError(POISON)
        return super().commit(daemon, transitions)


class Later(Inline):
    """Keeps the work until it is told to begin, so that several transitions are written together."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], None]] = []

    def spawn(self, pool: str, work: Callable[[], None]) -> None:
        del pool
        self.kept.append(work)

    def begin(self) -> None:
        while self.kept:
            self.kept.pop(0)()


def test_one_transition_that_cannot_be_written_sinks_no_other_and_is_tried_again() -> None:
    store, workers = Choosy(StandingClock()), Later()
    rows = claimed(store, 3)
    commits = Commits(store, "d1", workers)
    answers: dict[str, str] = {}

    def put(row: RolloutRow, why: str) -> None:
        commits.put(Pending(replace(transition(row), why=why), lambda answer: answers.update({row.id: answer})))

    put(rows[0], "fine")
    put(rows[1], POISON)
    put(rows[2], "fine")
    workers.begin()
    assert [answers[row.id] for row in rows] == ["written", "unavailable", "written"]
    assert commits.bugs == 1
    put(rows[1], "mended")
    workers.begin()
    assert answers[rows[1].id] == "written"
    assert not commits.trouble
