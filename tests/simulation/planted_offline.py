"""Bugs to plant in the offline procedure, one at a time: a simulation that stays green with one of them proves too little.

`python -m tests.simulation.planted_offline` plants each and says which invariant caught it; one that survives ends it with 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from rollout.core import offline_facts, offline_guard, watched
from rollout.core.gate import GateObject, Part, SavedGate
from rollout.core.job_template import Artifact
from rollout.core.observation import TaskResult
from rollout.core.state_offline import Backup
from rollout.core.steps import (
    offline_announce,
    offline_backup,
    offline_course,
    offline_decide,
    offline_jobs,
    offline_migrate,
    offline_open,
    offline_retreat,
    offline_stop,
    offline_ways,
)
from rollout.engine import offline_work
from rollout.engine.lease import Lease
from rollout.engine.offline_gate import GateTasks
from rollout.engine.offline_work import WorkTasks
from rollout.engine.upkeep import Upkeep
from rollout.store.memory import MemoryStore
from tests.simulation.offline_invariants import Broken
from tests.simulation.offline_story import Story
from tests.simulation.offline_tale import H, M, Tale
from tests.simulation.pretend import START


def _always(answer: Any) -> Callable[..., Any]:  # noqa: ANN401 - whatever the original answers
    """Answer the same to everything."""

    def answered(*_: Any) -> Any:  # noqa: ANN401 - as above
        return answer

    return answered


def _all_well(_self: GateTasks, _execution: Any, _state: Any, task: Any) -> TaskResult:  # noqa: ANN401 - as the original's
    return TaskResult(task.key, START, "done", ok=True, why="")


Plant = Callable[[pytest.MonkeyPatch], None]


def _save_nothing(patch: pytest.MonkeyPatch) -> None:
    """What stood on the gate is saved as if nothing had stood there."""

    def save(self: GateObject) -> SavedGate:
        return SavedGate(self.place, self.plugin, tuple(Part(part.rule, None) for part in self.parts))

    patch.setattr(GateObject, "save", save)


def _blind_guard(patch: pytest.MonkeyPatch) -> None:
    """The guard looks and does nothing."""
    patch.setattr(GateTasks, "guard", _all_well)


def _no_guard(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the guard at all."""
    patch.setattr(offline_guard, "is_guarded", _always(answer=False))


def _loses_writes(patch: pytest.MonkeyPatch) -> None:
    """Whoever was let in to the new version is forgotten when it goes back by itself."""
    patch.setattr(offline_guard, "breach_taken", lambda _, state: state)


def _nobody_left(patch: pytest.MonkeyPatch) -> None:
    """Pods that still end are not waited for."""
    patch.setattr(offline_stop, "writers", _always(""))
    patch.setattr(offline_backup, "writers", _always(""))
    _watches_believed(patch)


def _watches_believed(patch: pytest.MonkeyPatch) -> None:
    """A Job that must be alone is started although only the watches say that no pod is left."""
    patch.setattr(offline_work, "writers", _always(""))


def _any_backup(patch: pytest.MonkeyPatch) -> None:
    """A backup counts although its Job failed or printed no artifact."""
    patch.setattr(offline_backup, "_verified", _always(Backup("some", 1, "ab" * 32, START)))


def _no_restore(patch: pytest.MonkeyPatch) -> None:
    """The way back forgets the database."""
    patch.setattr(offline_ways, "must_restore", _always(answer=False))


def _not_halted(patch: pytest.MonkeyPatch) -> None:
    """A migration that still runs is not brought to rest before the restore."""
    patch.setattr(offline_retreat, "halted", _always((True, (), "")))


def _migration_unawaited(patch: pytest.MonkeyPatch) -> None:
    """The new version is started while the migration runs."""

    def standing(scene: Any, name: str, attempt: int, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - as the original's
        found = offline_jobs.standing(scene, name, attempt, *rest, **more)
        asked = scene.seen.tasks.get(found.task.key)
        return replace(found, result=TaskResult("", START, "done", ok=True, why="")) if asked is not None else found

    patch.setattr(offline_migrate, "standing", standing)


def _spoiled_restore(patch: pytest.MonkeyPatch) -> None:
    """Writers that came back beside a restore are stopped, and what it brought back is taken as it is."""
    original = offline_retreat._spoiled

    def unspoiled(scene: Any, state: Any, step: Any, *rest: Any) -> Any:  # noqa: ANN401 - as the original's
        return replace(original(scene, state, step, *rest), state=state)

    patch.setattr(offline_retreat, "_spoiled", unspoiled)


def _artifact_lost(patch: pytest.MonkeyPatch) -> None:
    """The restore gets another artifact than the one that was verified."""
    patch.setattr(Artifact, "parameters", lambda self: {"ARTIFACT": "latest", "ARTIFACT_SHA256": self.sha256})


def _tests_ignored(patch: pytest.MonkeyPatch) -> None:
    """Failed tests decide nothing."""
    patch.setattr(offline_course, "failed", _always(()))


def _never_opened(patch: pytest.MonkeyPatch) -> None:
    """The gate is said to be open without a write and without a look."""

    def opened(self: GateTasks, execution: Any, state: Any, task: Any) -> TaskResult:  # noqa: ANN401 - as the original's
        del execution, state
        return TaskResult(task.key, self._clock.now(), "done", ok=True, why="", facts={"proven": "yes"})

    patch.setattr(GateTasks, "open", opened)
    patch.setattr(GateTasks, "verify", opened)


def _too_few(patch: pytest.MonkeyPatch) -> None:
    """One replica fewer comes back on the way back."""
    patch.setattr(offline_retreat, "before", lambda state, view: _less(offline_facts.before(state, view)))


def _less(found: Any) -> Any:  # noqa: ANN401 - a TargetBefore or None
    return replace(found, replicas=found.replicas - 1) if found is not None else None


def _no_last_moment(patch: pytest.MonkeyPatch) -> None:
    """The last moment passes unnoticed."""
    patch.setattr(offline_decide, "last_moment", _always(None))


def _run_late(patch: pytest.MonkeyPatch) -> None:
    """A start after the grace is run all the same."""
    patch.setattr(offline_announce, "ended_untouched", lambda scene, state, *_: offline_announce._begin(scene, state))


def _announced_twice(patch: pytest.MonkeyPatch) -> None:
    """The last of the offsets is forgotten once."""
    original = offline_facts.remember
    forgotten: list[int] = []

    def remember(state: Any, **changes: Any) -> Any:  # noqa: ANN401 - as the original's
        if "announced" in changes and not forgotten:
            forgotten.append(1)
            changes["announced"] = changes["announced"][:-1]
        return original(state, **changes)

    patch.setattr(offline_announce, "remember", remember)


def _opens_early(patch: pytest.MonkeyPatch) -> None:
    """The gate is opened instead of asking."""
    from rollout.core.history import Outcome  # noqa: PLC0415 - only here

    def ask(scene: Any, state: Any, problem: str, *_: Any) -> Any:  # noqa: ANN401 - as the original's
        return offline_open.begin(scene, state, Outcome.SUCCEEDED, problem, problem)

    patch.setattr(offline_decide, "ask", ask)


def _job_unlimited(patch: pytest.MonkeyPatch) -> None:
    """A Job is waited for as long as it likes."""
    original = offline_jobs.standing

    def standing(*args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the original's
        return replace(original(*args, **more), late=False)

    for module in (offline_backup, offline_migrate, offline_retreat):
        patch.setattr(module, "standing", standing)


def _time_stands_still(patch: pytest.MonkeyPatch) -> None:
    """All time counts as time in which nobody looked, so that no deadline ever comes."""
    patch.setattr(watched, "missed", lambda looked_at, now, *_: now - looked_at if looked_at is not None else timedelta())


def _nobody_asked(patch: pytest.MonkeyPatch) -> None:
    """A gate that does not open is tried again without a word."""
    patch.setattr(offline_open, "_hold", _always(()))


def _forgets_the_last_moment(patch: pytest.MonkeyPatch) -> None:
    """After a failure it waits for a person beyond the last moment for a way back, where calls fail now and then."""
    patch.setattr(offline_decide, "latest_rollback", offline_facts.window_end)


def _heir_unasked(patch: pytest.MonkeyPatch) -> None:
    """A daemon that slept closes the open gate again, without asking the database whether somebody has opened it meanwhile."""
    patch.setattr(GateTasks, "_refuse_opened_by_heir", _always(None))


def _job_doubled(patch: pytest.MonkeyPatch) -> None:
    """A Job is named after the process that asks for it, so that whoever takes over makes another."""
    original = WorkTasks.manifest
    processes: list[WorkTasks] = []

    def manifest(self: WorkTasks, *asked: Any) -> Any:  # noqa: ANN401 - as the original's
        if not any(one is self for one in processes):
            processes.append(self)
        made = original(self, *asked)
        number = next(n for n, one in enumerate(processes) if one is self)
        return {**made, "metadata": {**made["metadata"], "name": f"{made['metadata']['name']}-{number}"}}

    patch.setattr(WorkTasks, "manifest", manifest)


def _lease_unchecked(patch: pytest.MonkeyPatch) -> None:
    """Who has slept through its lease goes on with what it remembers: neither lease nor owner nor version is asked for."""
    original = MemoryStore.commit

    def commit(self: MemoryStore, daemon: str, transitions: Any) -> Any:  # noqa: ANN401 - as the original's
        owner = next((name for name in self._rows.leases if self.owned(name)), daemon)
        rows = {one.rollout: self.rollout(one.rollout) for one in transitions}
        late = [replace(one, seen_version=row.version) for one in transitions if (row := rows[one.rollout]) is not None]
        return original(self, owner, late)

    patch.setattr(Lease, "certain", _always(answer=True))
    patch.setattr(Upkeep, "_keep_only_ours", _always(answer=True))
    patch.setattr(MemoryStore, "commit", commit)


PLANTED: dict[str, Plant] = {
    plant.__name__.strip("_").replace("_", "-"): plant
    for plant in (
        _save_nothing, _blind_guard, _no_guard, _loses_writes, _nobody_left, _any_backup, _no_restore, _not_halted, _migration_unawaited,
        _artifact_lost, _spoiled_restore, _tests_ignored, _never_opened, _too_few, _no_last_moment, _run_late, _announced_twice, _opens_early,
        _job_unlimited, _time_stands_still, _nobody_asked, _forgets_the_last_moment,
        _heir_unasked, _job_doubled, _lease_unchecked, _watches_believed,
    )
}  # fmt: skip

SECOND_DAEMON = ("heir-unasked", "job-doubled", "lease-unchecked")
"""Bugs that no daemon has that is alone: another must have taken over from one that slept, or go on after it."""
OPENED_BY_HAND = (H + 12 * M, "gate opened by hand")
STORIES: dict[str, Callable[[], Tale]] = {
    "save-nothing": lambda: Tale(Random(1), before={"blacklist": ["203.0.113.9"], "message": "go away"}),
    "blind-guard": lambda: Tale(Random(1), new_passes=False, person="nobody", hands=[OPENED_BY_HAND]),
    "no-guard": lambda: Tale(Random(1), new_passes=False, person="nobody", hands=[OPENED_BY_HAND]),
    "loses-writes": lambda: Tale(Random(1), new_passes=False, person="nobody", hands=[OPENED_BY_HAND]),
    "not-halted": lambda: Tale(Random(1), migrate="hangs", hands=[(H + 6 * M, "abort")]),
    "no-last-moment": lambda: Tale(Random(1), new_passes=False, person="nobody"),
    "spoiled-restore": lambda: Tale(
        Random(5),
        new_passes=False,
        on_failure="rollback",
        hands=[(H + 5.2 * M, "daemon asleep"), (H + 5.5 * M, "scaled up by hand")],
    ),
    "job-unlimited": lambda: Tale(Random(1), migrate="hangs", trouble=0.02),
    "time-stands-still": lambda: Tale(Random(1), migrate="hangs"),
    "nobody-asked": lambda: Tale(Random(1), hands=[(H + 4.6 * M, "gateway gone")]),
    "forgets-the-last-moment": lambda: Tale(Random(1), new_passes=False, person="nobody", trouble=0.02),
    "heir-unasked": lambda: Tale(Random(1), hands=[(H + 3 * M, "daemon stalled for 20 min")]),
    "job-doubled": lambda: Tale(
        Random(1), new_passes=False, on_failure="rollback", hands=[(H + 5.2 * M, "daemon stalled for 9 min")]
    ),
    "lease-unchecked": lambda: Tale(Random(1), hands=[(H + 3 * M, "daemon stalled for 2 min")]),
    "watches-believed": lambda: Tale(
        Random(1), new_lingers=True, hands=[(H + 4.2 * M, "pods unseen for 3 min"), (H + 4.55 * M, "abort")]
    ),
    "run-late": lambda: Tale(Random(1), hands=[(55 * M, "daemon gone")]),
}
"""A story in which a bug shows; for the others the first ordinary ones do."""
ORDINARY: tuple[Callable[[], Tale], ...] = (
    lambda: Tale(Random(1), new_passes=False, on_failure="rollback"),
    lambda: Tale(Random(1), backup="fails", on_failure="rollback"),
    lambda: Tale(Random(1)),
)


def caught_by(name: str) -> str:
    """Plant one bug, tell its stories, and return the invariant that broke; empty where all held."""
    with pytest.MonkeyPatch.context() as patch:
        PLANTED[name](patch)
        for story in (STORIES[name],) if name in STORIES else ORDINARY:
            try:
                Story(story()).run()
            except Broken as broken:
                return broken.rule.name
    return ""


def main() -> int:
    survived = 0
    with ProcessPoolExecutor(2) as pool:
        for name, rule in zip(PLANTED, pool.map(caught_by, PLANTED), strict=True):
            survived += not rule
            sentence = (PLANTED[name].__doc__ or name).strip()
            print(f"{'caught  ' if rule else 'SURVIVED'} {sentence.rstrip('.')}: {rule or 'nobody noticed'}", flush=True)
    print(f"{survived} survived" if survived else f"every one of {len(PLANTED)} planted bugs was caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
