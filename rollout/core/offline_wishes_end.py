"""The end of an offline rollout before anything was changed."""

from __future__ import annotations

from rollout.core.decision import Move, Scene, Tell, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.offline_facts import memory_of
from rollout.core.state import Ended, State


def ended_untouched(scene: Scene, state: State, outcome: Outcome, why: str, actor: str = "rollout") -> Move:
    """End before anything was changed; who was told of the upgrade is told that it does not come."""
    kind = NoticeKind.ANNOUNCEMENT if memory_of(state).announced else NoticeKind.STEPPED_BACK
    item = Tell(
        outcome.value,
        f"{why}; nothing was changed",
        notice=kind,
        title=f"{scene.execution.target}: the upgrade to {scene.execution.image} is {outcome.value}",
        actor=actor,
        next_action="Submit a plan with another window to try again.",
    )
    return Move(enter(state, Ended(outcome, why, scene.now), scene.now, None), item.why, tells=(item,))
