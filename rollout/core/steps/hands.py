"""Another hand on the canary's replicas while it serves: raised is put back, lowered is respected, both are told.

The soak, the wait for approval, the promotion and the bake ask this alike: a canary that somebody raised takes more than its
share in each of them. A 0 is no size: that somebody stopped it (core/canary_stops.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core.actions import scale_canary
from rollout.core.cohorts import OURS, Deployment
from rollout.core.decision import Move, Scene, Tell
from rollout.core.history import NoticeKind
from rollout.core.state import Certifying, Promoting, Soaking, State, Watching

POLL = timedelta(seconds=5)
AGAIN = timedelta(minutes=1)
QUIET = timedelta(hours=1)
"""A canary that is raised again and again owes one notice in this time; history has a row a minute."""
LOUD = "foreign-scale notice"
Sized = Soaking | Certifying | Promoting | Watching


def answer(scene: Scene, state: State, step: Sized, canary: Deployment) -> Move | None:
    """Put a raised canary back, and go on with a lowered one at its size; None where it has the size that was chosen."""
    if canary.replicas in {step.size, 0}:
        return None
    return _raised(scene, state, step, canary) if canary.replicas > step.size else _lowered(scene, state, step, canary)


def _raised(scene: Scene, state: State, step: Sized, canary: Deployment) -> Move:
    who = canary.writers.get("replicas", "")
    patch = scale_canary(scene.execution, canary, step.size)
    if who == OURS:  # our own number, from before one replica was taken away
        return Move(state, f"scaling {canary.name} to {step.size}", forward=(patch,), wake_in=POLL)
    why = f"{canary.name} was raised to {canary.replicas} by {who or 'somebody else'}; it is put back to {step.size}"
    item = Tell("foreign-scale", why, notice=NoticeKind.HELD, title=f"{scene.execution.target}: canary raised by hand",
                next_action="Use `rollout pause` and talk to whoever it was.", post_on=canary.name, warning=True)  # fmt: skip
    told = dict(state.told)
    # The look after the patch still sees the old number; and whoever fights with us (an autoscaler) wakes nobody every minute.
    fresh, loud = _over(scene, told.get(item.kind), AGAIN), _over(scene, told.get(LOUD), QUIET)
    if fresh:
        told |= {item.kind: scene.now, **({LOUD: scene.now} if loud else {})}
        state = replace(state, told=tuple(sorted(told.items())))
    tells = (item if loud else replace(item, notice=None),) if fresh else ()
    return Move(state, why, forward=(patch,), tells=tells, wake_in=POLL)


def _over(scene: Scene, last: datetime | None, wait: timedelta) -> bool:
    return last is None or not timedelta() <= scene.now - last < wait


def _lowered(scene: Scene, state: State, step: Sized, canary: Deployment) -> Move:
    who = canary.writers.get("replicas", "") or "somebody else"
    goes_on = "the soak goes on" if isinstance(step, Soaking) else "it goes on"
    why = f"{canary.name} was lowered to {canary.replicas} by {who}; {goes_on} at that size"
    smaller: Sized = replace(step, size=canary.replicas)
    if isinstance(smaller, Soaking):
        smaller = replace(smaller, grown_at=scene.now, credited_at_size=timedelta())
    item = Tell("foreign-scale", why, notice=NoticeKind.HELD, title=f"{scene.execution.target}: canary lowered by hand",
                facts=(("replicas", str(canary.replicas)),), post_on=canary.name)  # fmt: skip
    return Move(replace(state, step=smaller), why, tells=(item,), wake_in=POLL)


def shrinking(scene: Scene, excess: str, size: int) -> Tell:
    """Word that one of `size` replicas is taken away because the stable has shrunk; `excess` says how the share is exceeded."""
    why = f"{excess}; one canary replica is taken away, {size - 1} left"
    return Tell("replica-removed", why, notice=NoticeKind.HELD, title=f"{scene.execution.target}: canary shrinks with the stable",
                facts=(("replicas", str(size - 1)),), post_on=scene.execution.target.canary)  # fmt: skip
