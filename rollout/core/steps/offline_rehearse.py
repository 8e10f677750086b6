"""The rehearsal at the last announcement: the gate and every other check once more, because days may lie behind the first ones."""

from __future__ import annotations

from datetime import timedelta

from rollout.core.decision import Scene, Tell, Wait
from rollout.core.history import NoticeKind
from rollout.core.observation import Task
from rollout.core.offline_facts import memory_of, newest, plan_in, remember, repeated, trouble, words
from rollout.core.state import HoldKind, State

EVERY = timedelta(minutes=5)
LAST = timedelta(minutes=10)
"""Where the plan announces nothing, it is rehearsed this long before the start."""
LOOKS = {"rehearse": "gate-rehearse", "recheck": "offline-preflight"}
"""What is looked at, and by which kind of task."""
AGAIN = "It is repeated every 5 minutes until the start."


def rehearse(scene: Scene, state: State) -> tuple[State, list[Task], list[Wait], list[Tell]]:
    """Ask until both say yes; what says no, or has nothing to say when it should begin, keeps the gate open."""
    start = plan_in(scene.execution).spec.window.starts_at
    since = start - min(plan_in(scene.execution).spec.announce.offsets, default=LAST)
    if scene.now < since or memory_of(state).rehearsed_at is not None:
        return state, [], [], []
    found = {name: newest(scene, name, since) for name in LOOKS}
    results = [result for result in found.values() if result is not None]
    if len(results) == len(LOOKS) and all(result.ok for result in results):
        state = remember(state, rehearsed_at=scene.now)
        lines = tuple(dict.fromkeys(line for result in results for line in words(result.lines, "warning")))
        return state, [], [], [_rehearsed(scene, "; ".join(result.why for result in results), lines)]
    tasks = [repeated(scene, LOOKS[name], EVERY, name=name) for name, result in found.items() if result is None or not result.ok]
    no = ["; ".join(words(result.lines, "refused")) or result.why for result in results if not result.ok]
    if no:
        return state, tasks, [Wait(HoldKind.GATE, f"the rehearsal fails: {'; '.join(dict.fromkeys(no))}", AGAIN)], []
    silent = next(filter(None, (trouble(scene, name, since) for name, result in found.items() if result is None)), "")
    late = scene.now >= start and bool(silent)
    return state, tasks, [Wait(HoldKind.GATE, f"the rehearsal has no answer: {silent}", AGAIN)] if late else [], []


def _rehearsed(scene: Scene, why: str, lines: tuple[str, ...]) -> Tell:
    return Tell(
        "rehearsed",
        f"the gate was rehearsed: {why}",
        notice=NoticeKind.GATE if lines else None,
        title=f"{scene.execution.target}: the gate was rehearsed",
        lines=lines,
    )
