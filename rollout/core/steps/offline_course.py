"""One run through the plan's tests: in order, each with its attempts, each told; the same for the new version and for the old."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from rollout.core.decision import Scene, Tell, Wait
from rollout.core.history import NoticeKind
from rollout.core.observation import Task, TaskResult
from rollout.core.offline_facts import memory_of, plan_in, remember, words
from rollout.core.plan_work import Severity, TestCase
from rollout.core.state import State
from rollout.core.state_offline import Tested
from rollout.core.steps.offline_jobs import troubled


@dataclass(frozen=True, slots=True)
class Course:
    """Where the run stands: `round` is `new` or `old`, `course` counts its beginnings, `index` and `attempt` the next test."""

    round: str
    course: int
    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Ran:
    """What one look at the run brought. `course` None: it is over. `state` holds the results."""

    state: State
    course: Course | None
    why: str
    tasks: tuple[Task, ...] = ()
    tells: tuple[Tell, ...] = ()
    holds: tuple[Wait, ...] = ()


def begin(state: State, round_: str) -> State:
    """Forget the results of an earlier run of the same round."""
    return remember(state, tests=tuple(t for t in memory_of(state).tests if t.round != round_))


def go_on(scene: Scene, state: State, course: Course, since: datetime) -> Ran:
    """Ask for the next test, or take its result."""
    del since
    tests = plan_in(scene.execution).spec.tests
    if course.index >= len(tests):
        return Ran(state, None, "every test has run")
    test = tests[course.index]
    key = f"test-{course.round}-{course.course}-{course.index}-{course.attempt}"
    arguments = (
        ("attempt", str(course.attempt)),
        ("index", str(course.index)),
        ("list", "tests"),
        ("mark", f"{course.round}{course.course}"),
    )
    result = scene.seen.tasks.get(key)
    if result is None or result.state != "done":
        why = f"test {course.index + 1} of {len(tests)}, {test.name}: {result.why if result is not None else 'runs'}"
        holds = troubled(result, f"the Job of test {test.name}")
        return Ran(state, course, why, (Task(key, "work", arguments),), holds=holds)
    if not result.ok and course.attempt <= test.retries:
        if scene.now - result.at < test.pause:
            return Ran(state, course, f"test {test.name} failed, again in a moment: {result.why}")
        again = replace(course, attempt=course.attempt + 1)
        return Ran(
            state, again, f"test {test.name}, attempt {again.attempt}", (), (_told(scene, test, course, result, last=False),)
        )
    critical = test.severity is Severity.CRITICAL
    tested = Tested(test.name, critical, result.ok, result.why, course.round)
    state = remember(state, tests=(*memory_of(state).tests, tested))
    following = replace(course, index=course.index + 1, attempt=1)
    return Ran(state, following, result.why, (), (_told(scene, test, course, result, last=True),))


def _told(scene: Scene, test: TestCase, course: Course, result: TaskResult, *, last: bool) -> Tell:
    verdict = "passed" if result.ok else "failed"
    old = " (old version)" if course.round == "old" else ""
    why = f"test {test.name}{old} {verdict}: {result.why}"
    loud = last and not result.ok
    facts = (
        ("test", test.name),
        ("severity", test.severity.value),
        ("attempt", str(course.attempt)),
        ("passed", str(result.ok).lower()),
    )
    return Tell(
        f"test-{verdict}",
        why,
        notice=NoticeKind.TEST if loud else None,
        title=f"{scene.execution.target}: {test.severity.value} test {test.name} failed{old}",
        facts=(*facts, *sorted(result.facts.items())),
        lines=words(result.lines, "failed"),
    )


def failed(state: State, round_: str) -> tuple[Tested, ...]:
    """List the critical tests of a round that failed."""
    return tuple(t for t in memory_of(state).tests if t.round == round_ and t.critical and not t.passed)


def minor(state: State) -> tuple[str, ...]:
    """Word the minor failures, for the report."""
    return tuple(f"minor: {t.name}: {t.why}" for t in memory_of(state).tests if not t.critical and not t.passed)
