"""Something failed behind the closed gate: ask or go back, and the last moment at which going back still fits the window."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout.core.decision import Move, Scene, Tell, Wait, enter
from rollout.core.history import Outcome
from rollout.core.observation import TaskResult
from rollout.core.offline_facts import latest_rollback, memory_of, plan_in, window_end
from rollout.core.plan_offline import OnFailure
from rollout.core.state import HoldKind, State
from rollout.core.state_offline import BackingUp, ClosingGate, Deciding, Migrating, Stopping, Testing, Upgrading
from rollout.core.steps import offline_retreat, offline_ways
from rollout.core.wording import moment

UNDER_WAY = (ClosingGate, Stopping, BackingUp, Migrating, Upgrading, Testing, Deciding)


def ask(scene: Scene, state: State, problem: str, origin: str, attempt: int, result: TaskResult | None = None) -> Move:
    """Go back at once where the plan says so; else ask, as long as a way back still fits. `result`: what failed, for history."""
    facts = tuple(sorted(result.facts.items())) if result is not None else ()
    plan = plan_in(scene.execution)
    if plan.spec.on_failure is OnFailure.ROLLBACK and may_go_back(scene, state):
        move = offline_retreat.begin(scene, state, problem, "failed", Outcome.FAILED)
        first, *others = move.tells
        return replace(move, tells=(replace(first, facts=(*first.facts, *facts)), *others))
    state = enter(state, Deciding(scene.now, problem, origin, attempt), scene.now, None)
    where = scene.execution.target.stable
    item = Tell("failed-behind-the-gate", problem, facts=(("origin", origin), *facts), post_on=where, warning=True)
    return Move(replace(state, approval=None), problem, tells=(item,), wake_in=timedelta())


def may_go_back(scene: Scene, state: State) -> bool:
    """Say whether going back can lose nothing: the gate was proven and the writers stopped, or no database is put back."""
    memory = memory_of(state)
    if not offline_ways.must_restore(plan_in(scene.execution), state):
        return True
    return memory.gate_proven and memory.stopped_at is not None and not memory.disturbed and not memory.breached


def decide(scene: Scene, state: State, waits: tuple[Wait, ...]) -> Move:
    """Wait for a person's word."""
    step = state.step
    assert isinstance(step, Deciding)  # noqa: S101 - chosen by type
    if state.approval is not None and not waits:
        return _again(scene, state, step)
    until = moment(latest_rollback(scene, state))
    if may_go_back(scene, state):
        then = f"At {until} it goes back by itself"
    else:
        then = f"It stays closed: it cannot go back by itself ({_why_not(state)}); a way back fits until {until}"
    open_ = ", `rollout open` opens it as it is" if step.origin == "tests" else ""
    action = f"`rollout rollback` goes back, `rollout approve` tries the {step.origin} step again{open_}. {then}."
    return Move(state, f"asking: {step.problem}", holds=(Wait(HoldKind.DECISION, step.problem, action),))


def _why_not(state: State) -> str:
    memory = memory_of(state)
    if memory.disturbed or memory.breached:
        return memory.disturbed or memory.breached
    return "the gate was never proven closed" if not memory.gate_proven else "the writers were not stopped"


def _again(scene: Scene, state: State, step: Deciding) -> Move:
    who = state.approval.actor if state.approval is not None else "rollout"
    attempt = step.attempt + 1
    state = replace(state, approval=None)
    match step.origin:
        case "stop":
            state = enter(state, Stopping(scene.now, sessions=attempt), scene.now, None)
        case "backup":
            state = enter(state, BackingUp(scene.now, attempt), scene.now, None)
        case "migrate":
            state = offline_ways.to_migration(scene, state, attempt)
        case "upgrade":
            state = offline_ways.to_upgrade(scene, state)
        case _:
            state = offline_ways.to_tests(scene, state, attempt)
    why = f"{who} lets the {step.origin} step be tried again"
    return Move(state, why, tells=(Tell("again", why, actor=who),), wake_in=timedelta())


def last_moment(scene: Scene, state: State) -> Move | None:
    """Go back by itself when waiting longer would leave no time for it, where nothing can be lost."""
    if not isinstance(state.step, UNDER_WAY) or scene.now < latest_rollback(scene, state) or not may_go_back(scene, state):
        return None
    problem = f"{state.step.problem}; " if isinstance(state.step, Deciding) else ""
    why = f"{problem}the tests are not green at {moment(latest_rollback(scene, state))}, the last moment for a way back"
    return offline_retreat.begin(scene, state, why, "last-moment", Outcome.FAILED)


def too_late(scene: Scene, state: State) -> tuple[Wait, ...]:
    """Page where it would have to go back but may not: it stays closed until a person says what is right."""
    if not isinstance(state.step, UNDER_WAY) or scene.now < latest_rollback(scene, state) or may_go_back(scene, state):
        return ()
    why = f"the last moment for a way back is over, and it does not go back by itself: {_why_not(state)}"
    end = moment(window_end(scene, state))
    return (Wait(HoldKind.OVERDUE, why, f"The gate stays closed; `rollout rollback` or `rollout extend` (the window ends {end})."),)
