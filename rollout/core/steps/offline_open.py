"""What was saved of the gate is put back exactly, and proven from outside. From here the database is never restored."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import memory_of, newest, plan_in, repeated, saved_facts, trouble, words
from rollout.core.state import Ended, HoldKind, State
from rollout.core.state_offline import OpeningGate, Undoing, WatchingOpen
from rollout.core.steps import offline_course
from rollout.core.wording import span

EVERY = timedelta(seconds=10)
PATIENCE = timedelta(minutes=2)
LATE = timedelta(minutes=5)
"""A write whose client gave up was seen to land two minutes later, when a stopped etcd resumed."""
CLOSING = ("close", "guard")
"""The looks that may write the closed gate."""
READ = "read"
"""The look that comes before the first write."""
REOPENED = "reopened"
"""The fact of a look that found the gate closed by a write that had come late, and opened it again."""


def begin(scene: Scene, state: State, ends_as: Outcome, outcome_why: str, why: str, actor: str = "rollout") -> Move:
    """Decide to open; what was quiesced is undone first, where the plan says how and the stop had begun."""
    if not plan_in(scene.execution).spec.quiesce.undo or not memory_of(state).before:
        return opening(scene, state, ends_as, outcome_why, why, actor)
    words_ = f"{why}; what was quiesced is undone before the gate is opened"
    item = Tell("undoing", words_, actor=actor, post_on=scene.execution.target.stable)
    step = Undoing(scene.now, ends_as, outcome_why, why, actor)
    return Move(enter(replace(state, approval=None), step, scene.now, None), item.why, tells=(item,), wake_in=timedelta())


def opening(scene: Scene, state: State, ends_as: Outcome, outcome_why: str, why: str, actor: str = "rollout") -> Move:
    """Decide to open now; the write follows when that is in the database."""
    item = Tell("opening", f"{why}; the gate is opened", actor=actor, post_on=scene.execution.target.stable)
    state = enter(replace(state, approval=None), OpeningGate(scene.now, ends_as, outcome_why), scene.now, None)
    return Move(state, item.why, tells=(item,), wake_in=timedelta())


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Write until it is as it was, then look from outside; a gate that does not open is somebody's business at once."""
    step = state.step
    assert isinstance(step, OpeningGate)  # noqa: S101 - chosen by type
    if waits and state.paused is not None:
        return Move(state, f"the gate stays closed: {waits[0].why}")
    written = newest(scene, "open", step.since)
    long = scene.now - step.since
    if written is None or not written.ok:
        why = trouble(scene, "open", step.since)
        if state.approval is not None:
            return _left(scene, state, step, why or "no answer")
        task = repeated(scene, "gate-open", EVERY, name="open")
        way = "`rollout approve` leaves it as it stands."
        holds = _hold(long, why or "no answer", way)
        return Move(state, why or "the gate is being opened", tasks=(task,), holds=holds, wake_in=EVERY)
    proof = newest(scene, "opened", written.at)
    task = repeated(scene, "gate-verify", EVERY, (("wanted", "open"),), name="opened")
    if proof is None:
        why = trouble(scene, "opened", written.at) or "no answer"
        if state.approval is not None:
            return _opened(scene, state, step, "unproven", f"it was written, and nobody has seen it since: {why}")
        holds = _hold(long, why, "`rollout approve` goes on without a proof.")
        return Move(state, "the open gate is looked at from outside", tasks=(task,), holds=holds, wake_in=EVERY)
    proven = proof.facts.get("proven", "")
    accepted = state.approval is not None or (proven == "unproven" and (long >= PATIENCE or not proof.lines))
    if proven == "yes" or accepted:
        return _opened(scene, state, step, proven, proof.why)
    why = "; ".join(words(proof.lines, "failed")) or proof.why
    holds = _hold(long, why, "`rollout approve` accepts what is seen.") if proven == "no" else ()
    return Move(state, why or "the open gate is looked at from outside", tasks=(task,), holds=holds, wake_in=EVERY)


def _hold(long: timedelta, why: str, way: str) -> tuple[Wait, ...]:
    if long < PATIENCE:
        return ()
    words_ = f"the gate is not proven open after {span(long)}: {why}"
    return (Wait(HoldKind.GATE, words_, f"It is tried again without end; look at the gateway. {way}"),)


def _left(scene: Scene, state: State, step: OpeningGate, why: str) -> Move:
    """Leave the gate as it stands, because a person says that it need not be put back: its route is gone, or they did it."""
    who = state.approval.actor if state.approval is not None else "rollout"
    item = Tell(
        "gate-left",
        f"the gate could not be put back ({why}); {who} leaves it as it stands",
        notice=NoticeKind.GATE,
        title=f"{scene.execution.target}: the gate is left as it stands",
        lines=(step.why, *offline_course.minor(state)),
        actor=who,
        next_action="What stood there before is in this rollout's history (gate-left). Look from outside whether it is served.",
        facts=(*saved_facts(state), ("closed_seconds", _closed(scene, state))),
        post_on=scene.execution.target.stable,
        warning=True,
    )
    watch = WatchingOpen(scene.now, step.ends_as, step.why)
    return Move(enter(replace(state, approval=None), watch, scene.now, None), item.why, tells=(item,), wake_in=timedelta())


def _opened(scene: Scene, state: State, step: OpeningGate, proven: str, why: str) -> Move:
    good = step.ends_as is Outcome.SUCCEEDED
    what = f"runs {scene.execution.image}" if good else "is back at the version before"
    item = Tell(
        "gate-opened",
        f"the gate is as it was found: {why}",
        notice=NoticeKind.ANNOUNCEMENT,
        title=f"{scene.execution.target}: open again, it {what}",
        lines=(step.why, *offline_course.minor(state)),
        facts=(("proven", proven), ("closed_seconds", _closed(scene, state))),
        post_on=scene.execution.target.stable,
    )
    if not good and not may_close_late(scene, state):
        over = gone_back(scene, step)
        return Move(enter(state, Ended(step.ends_as, step.why, scene.now), scene.now, None), over.why, tells=(item, over))
    state = enter(replace(state, approval=None), WatchingOpen(scene.now, step.ends_as, step.why), scene.now, None)
    return Move(state, item.why, tells=(item,), wake_in=timedelta())


def gone_back(scene: Scene, step: OpeningGate | WatchingOpen) -> Tell:
    """Tell the end of a way back."""
    return Tell(
        step.ends_as.value,
        f"{step.why}; the version before serves again",
        notice=NoticeKind.STEPPED_BACK,
        title=f"{scene.execution.target}: {step.ends_as.value}, gone back",
        next_action=f"Mend it, then submit a plan with another window: `--follows {scene.execution.id}`.",
    )


def may_close_late(scene: Scene, state: State) -> bool:
    """Say whether a write that closes the gate may still be on its way: one was asked for, and nobody knows what became of it.

    Who did not read the gate before the first write is an heir: it does not know what the daemon before it has sent.
    """
    stems = {key.rpartition("-")[0] for key in scene.seen.tasks}
    if memory_of(state).closed_at is None or READ not in stems:
        return True
    looks = [r for key, r in scene.seen.tasks.items() if key.rpartition("-")[0] in CLOSING and scene.now - r.at < LATE]
    return any(look.state != "done" for look in looks)


def stable(looked: TaskResult | None, since: datetime) -> bool:
    """Say whether the open gate was seen as it was left when no write could be on its way any more (facts: look until stable)."""
    return looked is not None and looked.at >= since + LATE and REOPENED not in looked.facts


def _closed(scene: Scene, state: State) -> str:
    closed = memory_of(state).closed_at
    return str(round((scene.now - closed).total_seconds())) if closed is not None else "0"
