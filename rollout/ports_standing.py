"""What people who type commands must know of the database's other side: does a daemon run, and did every notice arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Standing:
    """`daemons`: names of those whose lease has not run out. `dead`: by rollout, how many notices were given up."""

    daemons: tuple[str, ...] = ()
    dead: Mapping[str, int] = field(default_factory=dict)


class Roster(Protocol):
    """A part of every store."""

    def standing(self) -> Standing:
        """Tell, by the database's own clock. Raises Unavailable as every method of a store."""
        ...
