"""What happens to a call of the daemon's: one seeded Random decides, so that a seed is a story that can be told again."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Crash(BaseException):
    """The process ends here, as with kill -9: nothing that follows it runs, nobody is told."""


class Fate(StrEnum):
    """How a call ends."""

    ANSWER = "answers"
    FAIL = "fails"
    DONE_UNANSWERED = "is done, and the answer is lost"
    LATE = "times out, and is done later"
    CRASH_BEFORE = "is not made: the daemon dies"
    CRASH_AFTER = "is done, and the daemon dies"


TROUBLE = (Fate.FAIL, Fate.DONE_UNANSWERED, Fate.LATE, Fate.CRASH_BEFORE, Fate.CRASH_AFTER)
READ_TROUBLE = (Fate.FAIL, Fate.FAIL, Fate.FAIL, Fate.CRASH_BEFORE)


@dataclass
class Dice:
    """`trouble`: how often a call does not simply answer. `most_crashes` bounds the deaths of one story."""

    random: Random
    trouble: float
    most_crashes: int = 5
    crashes: int = 0
    log: list[str] = field(default_factory=list)

    def fate(self, *, write: bool, weight: float = 1.0) -> Fate:
        """Decide one call."""
        if self.random.random() >= self.trouble * weight:
            return Fate.ANSWER
        fate = self.random.choice(TROUBLE if write else READ_TROUBLE)
        if fate in {Fate.CRASH_BEFORE, Fate.CRASH_AFTER}:
            if self.crashes >= self.most_crashes:
                return Fate.FAIL
            self.crashes += 1
        return fate
