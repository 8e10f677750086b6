"""Which step comes after which, by what the plan has."""

from __future__ import annotations

from rollout.core.decision import Scene, Tell, enter
from rollout.core.history import NoticeKind
from rollout.core.offline_facts import memory_of, plan_in, remember
from rollout.core.plan_offline import OfflinePlan
from rollout.core.state import State
from rollout.core.state_offline import BackingUp, Migrating, Stopping, Testing, Upgrading


def after_gate(scene: Scene) -> Stopping | BackingUp | Upgrading:
    """Stop the writers, unless the plan says that they may run."""
    plan = plan_in(scene.execution)
    if plan.spec.stop:
        return Stopping(scene.now)
    return BackingUp(scene.now) if plan.spec.backup is not None else Upgrading(scene.now)


def to_backup(scene: Scene, state: State) -> State:
    """After the writers were stopped."""
    if plan_in(scene.execution).spec.backup is not None:
        return enter(state, BackingUp(scene.now), scene.now, None)
    return to_migration(scene, state)


def to_migration(scene: Scene, state: State, attempt: int = 1) -> State:
    """After the backup was verified: from here the database may be newer than it. Nothing leads here without the backup."""
    plan = plan_in(scene.execution)
    if plan.spec.backup is not None and memory_of(state).backup is None:
        return enter(state, BackingUp(scene.now), scene.now, None)
    if plan.spec.migrate is None:
        return to_upgrade(scene, state)
    state = remember(state, touched=True, migrations=attempt)
    return enter(state, Migrating(scene.now, attempt), scene.now, None)


def to_upgrade(scene: Scene, state: State) -> State:
    """After the migration: the new code runs, and may change the database."""
    if plan_in(scene.execution).spec.restore is not None:
        state = remember(state, touched=True)
    return enter(state, Upgrading(scene.now), scene.now, None)


def to_tests(scene: Scene, state: State, course: int = 1) -> State:
    """After every pod was seen to run the new version."""
    return enter(state, Testing(scene.now, course=course), scene.now, None)


def must_restore(plan: OfflinePlan, state: State) -> bool:
    """Say whether the way back needs the backup."""
    return memory_of(state).touched and plan.spec.restore is not None and plan.spec.stop


def done(scene: Scene, kind: str, why: str, facts: tuple[tuple[str, str], ...] = (), lines: tuple[str, ...] = ()) -> Tell:
    """Tell that a step is done."""
    return Tell(
        kind,
        why,
        notice=NoticeKind.STEP,
        title=f"{scene.execution.target}: {kind.replace('-', ' ')}",
        facts=facts,
        lines=lines,
        post_on=scene.execution.target.stable,
    )
