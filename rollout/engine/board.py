"""What is known of the world now, in memory: answers, task results and commands by rollout. Deciding reads nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from rollout.core.commands import Command
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import DIGITS
from rollout.core.signals import Answer

MOST_ANSWERS = 500
"""Answers kept for one rollout that is not looked at: a bound on memory, far above what one look needs."""

MOST_LOOKS = 60
"""Results kept of one look that is repeated: ten minutes of a guard; nothing asks for older ones."""


class Board:
    """Thread-safe. Answers are taken once; results stay until their rollout is forgotten, of repeated looks the newest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, list[Answer]] = {}
        self._results: dict[str, dict[str, TaskResult]] = {}
        self._commands: dict[str, tuple[Command, ...]] = {}

    def put_answers(self, rollout: str, answers: Iterable[Answer]) -> None:
        """Add what a backend answered."""
        with self._lock:
            kept = self._answers.setdefault(rollout, [])
            kept.extend(answers)
            del kept[:-MOST_ANSWERS]

    def take_answers(self, rollout: str) -> tuple[Answer, ...]:
        """Take everything that came since the last look."""
        with self._lock:
            return tuple(self._answers.pop(rollout, ()))

    def put_result(self, rollout: str, result: TaskResult) -> None:
        """Add what a task brought."""
        with self._lock:
            kept = self._results.setdefault(rollout, {})
            kept[result.key] = result
            looks = _looks_like(kept, result.key)
            for old in looks[:-MOST_LOOKS] if len(looks) > 2 * MOST_LOOKS else ():
                del kept[old]

    def results(self, rollout: str) -> Mapping[str, TaskResult]:
        """Read the results so far."""
        with self._lock:
            return dict(self._results.get(rollout, {}))

    def forget_result(self, rollout: str, key: str) -> None:
        """Make room for another attempt."""
        with self._lock:
            self._results.get(rollout, {}).pop(key, None)

    def put_commands(self, commands: Mapping[str, Sequence[Command]]) -> list[str]:
        """Replace the commands that wait, and return the rollouts that have any."""
        with self._lock:
            self._commands = {rollout: tuple(items) for rollout, items in commands.items() if items}
            return list(self._commands)

    def commands(self, rollout: str) -> tuple[Command, ...]:
        """Read the commands that wait for this rollout, in order."""
        with self._lock:
            return self._commands.get(rollout, ())

    def forget(self, rollout: str) -> None:
        """Drop everything about a rollout that is at rest or somebody else's."""
        with self._lock:
            self._answers.pop(rollout, None)
            self._results.pop(rollout, None)


def _looks_like(kept: Iterable[str], key: str) -> list[str]:
    """List the keys of the same repeated look, oldest first; none where the key's look is not repeated."""
    stem, _, number = key.rpartition("-")
    if len(number) != DIGITS:
        return []
    return sorted(one for one in kept if one.rpartition("-")[0] == stem)
