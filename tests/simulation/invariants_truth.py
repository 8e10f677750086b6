"""The invariants of what is said: nobody is blamed for what we did ourselves, and what is said to be over is over."""

from __future__ import annotations

from datetime import timedelta

from rollout.core.history import Outcome
from tests.simulation.invariants import Facts, Invariant, image, is_ready, pod_image
from tests.simulation.scenario import CANARY, NEW, OLD, STABLE

HANDS = frozenset({"canary to 0", "canary raised", "canary lowered", "canary image", "hotfix", "stable paused"})
"""What other people do to the two Deployments in a story."""
HAND_TRAPS = frozenset({"stopped unseen"})
BLAME = frozenset({"foreign-scale", "foreign-pause"})


class NobodyElseIsBlamed(Invariant):
    """Where nobody else touched the two Deployments, no word in history and no notice says that somebody did."""

    def ended(self) -> None:
        story = self.facts.scenario
        if story.trap in HAND_TRAPS or any(happening.what in HANDS for happening in story.happenings):
            return
        for event in self.facts.history():
            said = {event.kind, *dict(event.facts).values()} & BLAME
            if said or "somebody else" in event.why:
                self.fail(f"{event.kind}: {event.why}")


class WhatIsOverIsOver(Invariant):
    """Who says that a rollout was stepped back says it when no ready pod of it serves any more."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.said = False

    def passed(self, span: timedelta) -> None:
        del span
        row = self.facts.row()
        if self.said or not row.outcome.at_rest:
            return
        self.said = True
        if row.outcome not in {Outcome.FAILED, Outcome.ABORTED} or image(self.facts.deployment(STABLE)) != OLD:
            return
        canary = self.facts.deployment(CANARY)
        if canary is None or canary["spec"]["replicas"]:  # somebody else's by now, as other invariants see to
            return
        left = [p["metadata"]["name"] for p in self.facts.pods() if pod_image(p) == NEW and is_ready(p)]
        if left:
            self.fail(f"{row.outcome.value} was said while {left} served")
