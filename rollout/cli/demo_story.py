"""What every story of the demo has: how it is set up, what is submitted, and how it is judged after its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from rollout.cli.demo_gate import GateWatch
from rollout.cli.stage import Stage
from rollout.core.history import Outcome
from rollout.ports import RolloutRow


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at after the end, and whether it is as it should be."""

    ok: bool
    what: str


@dataclass(frozen=True, slots=True)
class Opening:
    """A story that is set up: its headline, the plan to submit, and what to look at when it is over. `gate`: who watches it."""

    title: str
    plan: str
    verify: Callable[[RolloutRow], Iterator[Finding]]
    gate: GateWatch | None = None


class Scenario(Protocol):
    """One story. `lasts`: about how long it takes in the pretend cluster."""

    @property
    def name(self) -> str:
        """What `--scenario` calls it."""
        ...

    @property
    def about(self) -> str:
        """One sentence."""
        ...

    @property
    def ends_as(self) -> Outcome:
        """How it has to end."""
        ...

    @property
    def lasts(self) -> timedelta:
        """About how long it takes in the pretend cluster."""
        ...

    def open(self, stage: Stage) -> Opening:
        """Prepare the pretend cluster, and word the plan."""
        ...


def notices_arrived(stage: Stage, row: RolloutRow) -> Finding:
    """Look whether every notice that is owed was delivered, and whether the webhook got as many."""
    notices = stage.parts.store.notices(row.id)
    arrived = sum(
        f"`{row.id}`" in str(message.payload) or row.id in str(message.payload) for message in stage.sandbox.webhooks.accepted
    )
    delivered = sum(item["state"] == "delivered" for item in notices)
    words = f"{delivered} of {len(notices)} notices are delivered, the webhook got {arrived}"
    return Finding(0 < len(notices) == delivered <= arrived, words)
