"""The gate: saved, closed, and proven to be closed. What stood there is in the database before the first write."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import NoticeKind, Outcome
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import (
    memory_of,
    newest,
    plan_in,
    remember,
    repeated,
    saved_gate,
    stable_of,
    trouble,
    views,
    words,
)
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import ClosingGate, TargetBefore
from rollout.core.steps import offline_retreat, offline_ways
from rollout.core.wording import span

EVERY = timedelta(seconds=10)
PATIENCE = timedelta(minutes=5)
"""A gate that is not closed by then is not waited for: what was written is taken back."""
PROBE_PATIENCE = timedelta(minutes=1)
"""A probe that brings no proof is tried for this long before it counts as unproven."""


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Save, close, prove; each in a decision of its own, so that the database knows it first."""
    step, memory = state.step, memory_of(state)
    assert isinstance(step, ClosingGate)  # noqa: S101 - chosen by type
    if waits and memory.closed_at is None:
        return Move(state, f"the gate is not touched: {waits[0].why}")
    if not memory.saved_gate:
        return _save(scene, state, step)
    if memory.closed_at is None:
        return _close(scene, state, step)
    return _prove(scene, state, step, waits)


def _save(scene: Scene, state: State, step: ClosingGate) -> Move:
    result = newest(scene, "read", step.since)
    if result is not None and result.ok and result.facts.get("saved"):
        state = remember(state, saved_gate=result.facts["saved"], gate_reach=result.facts.get("reach", ""))
        facts = (("gate", result.facts.get("gate", "")), ("saved", result.facts["saved"]))
        item = Tell("gate-saved", f"what stands on the gate is saved: {result.why}", facts=facts)
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    if scene.now - step.since >= PATIENCE:
        why = trouble(scene, "read", step.since) or "it did not answer"
        return offline_retreat.begin(scene, state, f"the gate could not be read: {why}", "gate", Outcome.FAILED)
    return Move(state, "the gate is read", tasks=(repeated(scene, "gate-read", EVERY, name="read"),), wake_in=EVERY)


def _close(scene: Scene, state: State, step: ClosingGate) -> Move:
    result = newest(scene, "close", step.since)
    if result is not None and result.ok:
        allow = ", ".join(plan_in(scene.execution).spec.gate.config.allow)
        item = Tell("gate-closed", f"the gate is closed but for {allow}: {result.why}", facts=(("allow", allow),))
        state = replace(remember(state, closed_at=scene.now), step=replace(step, since=scene.now))
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    if result is not None and result.facts.get("changed"):
        item = Tell("gate-changed", f"{result.why}; it is saved anew before it is closed")
        state = replace(remember(state, saved_gate=""), step=ClosingGate(scene.now))
        return Move(state, item.why, tells=(item,), wake_in=timedelta())
    if scene.now - step.since >= PATIENCE:
        why = trouble(scene, "close", step.since) or "it did not answer"
        return offline_retreat.begin(scene, state, f"the gate could not be closed: {why}", "gate", Outcome.FAILED)
    return Move(state, "the gate is being closed", tasks=(repeated(scene, "gate-close", EVERY, name="close"),), wake_in=EVERY)


def _prove(scene: Scene, state: State, step: ClosingGate, waits: tuple[Wait, ...]) -> Move:
    """Look at the closed gate; `step.since` is now when it was seen to be closed."""
    plan = plan_in(scene.execution)
    result = newest(scene, "proof", step.since)
    proven = result.facts.get("proven", "") if result is not None else ""
    task = repeated(scene, "gate-verify", EVERY, (("wanted", "closed"),), name="proof")
    long = scene.now - step.since
    if result is not None and proven == "yes":
        return _go_on(scene, remember(state, gate_proven=True), result, waits)
    if result is not None and proven == "no":
        why = "; ".join(words(result.lines, "failed")) or result.why
        if long >= PATIENCE:
            return offline_retreat.begin(scene, state, f"the gate does not hold: {why}", "gate", Outcome.FAILED)
        return Move(state, f"the gate is not proven closed after {span(long)}: {why}", tasks=(task,), wake_in=EVERY)
    if result is not None and (plan.spec.accept_unproven or state.approval is not None):
        if state.approval is not None or not plan.spec.gate.probes.outside or long >= PROBE_PATIENCE:
            return _go_on(scene, state, result, waits)
    elif result is not None and long >= PROBE_PATIENCE:
        why = f"the gate is closed, but nothing proves it: {'; '.join(words(result.lines, 'warning')) or result.why}"
        wait = Wait(HoldKind.GATE, why, "`rollout approve` accepts it unproven, `rollout abort` opens it again.")
        return Move(state, why, tasks=(task,), holds=(wait,), wake_in=EVERY)
    return Move(state, "the closed gate is looked at from outside and inside", tasks=(task,), wake_in=EVERY)


def _go_on(scene: Scene, state: State, result: TaskResult, waits: tuple[Wait, ...]) -> Move:
    seen = views(scene)
    if waits or seen is None:
        why = waits[0].why if waits else "the targets cannot be seen"
        kept = remember(state, gate_proven=False)
        task = repeated(scene, "gate-verify", EVERY, (("wanted", "closed"),), name="proof")
        return Move(kept, f"the gate is closed; held: {why}", tasks=(task,))
    plan = plan_in(scene.execution)
    proven = memory_of(state).gate_proven
    found = tuple(
        TargetBefore(v.target.key, stable_of(v).images.get(v.target.container, ""), stable_of(v).replicas, plan.image_of(v.target))
        for v in seen
    )
    state = replace(remember(state, before=found), approval=None)
    words_ = "proven to be closed" if proven else "closed, unproven as the plan accepts"
    saved = saved_gate(state)
    item = Tell(
        "gate-proven" if proven else "gate-unproven",
        f"the gate {saved.place if saved is not None else ''} is {words_}: {result.why}",
        notice=NoticeKind.GATE,
        title=f"{scene.execution.target}: gate closed",
        lines=words(result.lines),
        facts=(("proven", "yes" if proven else "no"), *((f"before {b.target}", f"{b.replicas} x {b.image}") for b in found)),
        post_on=scene.execution.target.stable,
    )
    state = enter(state, offline_ways.after_gate(scene), scene.now, None)
    return Move(state, item.why, tells=(item,), wake_in=timedelta())
