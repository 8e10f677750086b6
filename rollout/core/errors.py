"""The three families of failure, translated once where they enter.

`Refused` is impossible to do until somebody changes something (exit 2, HTTP 409 or 422); `Unavailable` is worth asking again
later; `Rejected` was understood and declined. Anything else is a bug: it rises to the loop, which logs it and keeps the other
rollouts going. Nobody decides by error text: the classes and their fields carry what a decision needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from unicodedata import east_asian_width


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, with its place and its remedy.

    `line` and `column` start at 1; 0 means that the place is not known. `key` is a dotted path such as `spec.replicas.every`.
    `excerpt` is the line of the file, empty where it may hold a secret. `also`: the other keys on whose values it rests.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""
    remedy: str = ""
    excerpt: str = ""
    also: tuple[str, ...] = field(default=(), compare=False)

    def shown(self) -> str:
        """Render as `str` does, and below it the line of the file with a mark under the place."""
        if not self.excerpt:
            return str(self)
        number = str(self.line)
        return f"{self}\n  {number} | {self.excerpt}\n  {' ' * len(number)} | {' ' * _width(self.excerpt[: self.column - 1])}^"

    def __str__(self) -> str:
        """Render as `file:line:column: key: message (remedy)`, the form that editors make clickable."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        parts = [part for part in (place, self.key, self.message) if part]
        return ": ".join(parts) + (f" ({self.remedy})" if self.remedy else "")


class RolloutError(Exception):
    """What all failures that somebody can act upon have in common."""


class Refused(RolloutError):  # noqa: N818 - the words of the project are Refused, Unavailable, Rejected
    """Impossible as asked; every problem is listed at once."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class Unavailable(RolloutError):  # noqa: N818 - as Refused
    """The other side did not answer, or said that it cannot now: nothing is known, ask again later."""

    def __init__(self, backend: str, message: str, *, retry_after: timedelta | None = None, maybe_done: bool = False) -> None:
        super().__init__(f"{backend}: {message}")
        self.backend = backend
        self.retry_after = retry_after
        self.maybe_done = maybe_done
        """A write may have been performed, or may still land later (a timeout): look before believing either."""


class Rejected(RolloutError):  # noqa: N818 - as Refused
    """The other side understood and declined: asking the same again brings the same."""

    def __init__(self, backend: str, message: str, *, code: int = 0) -> None:
        super().__init__(f"{backend}: {message}")
        self.backend = backend
        self.code = code


class Conflict(Rejected):
    """The world is no longer as it was seen: look again, decide again."""
