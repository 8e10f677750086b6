"""A Job as a step sees it: asked for by name, looked at until it has ended, told when it cannot even start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.decision import Scene, Wait
from rollout.core.observation import Task, TaskResult
from rollout.core.state import HoldKind
from rollout.core.state_offline import Stopping

GRACE = timedelta(minutes=1)
"""A Job is ended by the cluster at its deadline; this much later nothing is waited for any more."""
UNHEARD = timedelta(minutes=5)
"""The same where this daemon has no answer about the Job yet: it may have ended well under the one before."""


@dataclass(frozen=True, slots=True)
class JobStanding:
    """Where a Job stands. `result` only when it has ended; `late`: it should have; `there`: it was seen, and runs."""

    task: Task
    result: TaskResult | None
    holds: tuple[Wait, ...]
    late: bool
    why: str
    there: bool = False


def job_task(name: str, attempt: int, *, known: bool = False) -> Task:
    """Word one attempt of one of the plan's Jobs; the key is in the Job's name, so that asking twice makes one Job.

    `known`: it was seen to be there. Where it is gone, somebody took it away: it is not made again, nobody knows how far it came.
    """
    more = (("known", "yes"),) if known else ()
    return Task(f"job-{name}-{attempt}", "job", (("attempt", str(attempt)), ("job", name), *more))


_STEMS = {"tests": "test", "hooks": "hook", "undo": "undo"}


def work_job(works: str, mark: str, index: int) -> str:
    """Name the Job of a hook (`works` is `hooks` or `undo`) or of a test (`tests`); the mark keeps one run's Jobs from another's.

    >>> work_job("tests", "new1", 0)
    'test-new1-0'
    """
    return f"{_STEMS[works]}-{mark}-{index}"


def hook_mark(step: Stopping) -> str:
    """Name one run through the hooks: a stop that is tried again begins them anew."""
    return str(step.mark or int(step.since.timestamp()))


def halt_task(name: str, attempt: int) -> Task:
    """Word the end of one attempt: the Job is suspended, or made suspended, so that it can no longer begin either."""
    return Task(f"halt-{name}-{attempt}", "job-halt", (("attempt", str(attempt)), ("job", name)))


def standing(scene: Scene, name: str, attempt: int, since: datetime, deadline: timedelta, *, known: bool = False) -> JobStanding:
    """Look at one attempt."""
    task = job_task(name, attempt, known=known)
    found = scene.seen.tasks.get(task.key)
    if found is not None and found.state == "done":
        return JobStanding(task, found, (), late=False, why=found.why)
    holds = troubled(found, f"the {name} Job")
    late = scene.now - since >= deadline + (GRACE if found is not None else UNHEARD)
    there = found is not None and bool(found.facts.get("job"))
    return JobStanding(task, None, holds, late, found.why if found is not None else f"the {name} Job is asked for", there)


def troubled(found: TaskResult | None, what: str) -> tuple[Wait, ...]:
    """Tell within one look that a Job's pod cannot even start: not scheduled, image not pulled, no such Secret."""
    trouble = found.facts.get("trouble", "") if found is not None and found.state != "done" else ""
    if not trouble:
        return ()
    words = f"{what} cannot start: {trouble}"
    return (Wait(HoldKind.WORK, words, "It is waited for until its deadline; mend it, or go back."),)


def attempts(name: str, number: int) -> tuple[tuple[str, int], ...]:
    """Name the first `number` attempts of one of the plan's Jobs."""
    return tuple((name, attempt) for attempt in range(1, number + 1))


def halted(scene: Scene, jobs: Iterable[tuple[str, int]]) -> tuple[bool, tuple[Task, ...], str]:
    """Say whether these Jobs (name and attempt) are at rest for good, with what is still to be asked."""
    left: list[Task] = []
    why = ""
    for name, attempt in jobs:
        task = halt_task(name, attempt)
        found = scene.seen.tasks.get(task.key)
        if found is None or found.state != "done" or not found.ok:
            left.append(task)
            why = found.why if found is not None else f"the {name} Job of attempt {attempt} is brought to rest"
    return not left, tuple(left), why
