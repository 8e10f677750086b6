"""The window is over and the service is still closed: who was told an end is told that it is not kept, once for each end."""

from __future__ import annotations

from rollout.core.decision import Move, Scene, Tell
from rollout.core.history import NoticeKind
from rollout.core.offline_facts import memory_of, remember, when, window_end
from rollout.core.offline_guard import is_guarded
from rollout.core.replacing import replace
from rollout.core.state import State
from rollout.core.state_offline import OpeningGate, RollingBack
from rollout.core.steps.offline_open import PATIENCE


def overrun_told(scene: Scene, move: Move) -> Move:
    """Announce it when the end has come; a window that was extended has an end of its own."""
    end = window_end(scene, move.state)
    if scene.now < end or memory_of(move.state).overrun_told == end or not _still_closed(scene, move.state):
        return move
    doing = "the version before is being brought back" if isinstance(move.state.step, RollingBack) else "it is being worked on"
    item = Tell(
        "overrun",
        f"it should have ended at {when(scene, end)} and is not open yet: {doing}; it is told when it is open",
        notice=NoticeKind.ANNOUNCEMENT,
        title=f"{scene.execution.target}: still out of service, longer than announced",
    )
    return replace(move, state=remember(move.state, overrun_told=end), tells=(*move.tells, item))


def _still_closed(scene: Scene, state: State) -> bool:
    """Say whether people stand before a closed gate; one that is just being opened keeps nobody waiting."""
    opening = state.step
    return is_guarded(state) or (isinstance(opening, OpeningGate) and scene.now - opening.since >= PATIENCE)
