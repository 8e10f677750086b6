"""The offline procedure by hand: the ladder is stepped with fabricated results, no engine, no world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.cohorts import ANNOTATION_STOPPED, Container, Deployment, Pod, TargetView
from rollout.core.commands import Command, Verb
from rollout.core.decision import Decision, Execution, Timing
from rollout.core.gate import Part, Place, PlaceKind, SavedGate
from rollout.core.history import Notice, NoticeKind, Outcome
from rollout.core.machine import Question, begin, decide
from rollout.core.observation import Line, Observation, Task, TaskResult
from rollout.core.plan import OfflinePlan, plan_of
from rollout.core.policy import Policy
from rollout.core.state import Ended, State
from rollout.core.state_offline import (
    Announcing,
    Assessing,
    BackingUp,
    ClosingGate,
    Deciding,
    OfflineMemory,
    RollingBack,
    Stopping,
)
from rollout.core.target import Target

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SAVED = SavedGate(Place(PlaceKind.ROUTE, "1"), "ip-restriction", (Part("", None),)).to_json()
JOB = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}}


def plan(**more: Any) -> OfflinePlan:  # noqa: ANN401 - the plan's own values
    spec = {
        "target": {"namespace": "shop", "stable": "orders"}, "image": "orders:2.0", "schemaChange": True,
        "window": {"startAt": "2026-11-22 09:00", "timezone": "UTC", "duration": "2h"},
        "announce": {"offsets": ["2h", "1h", "10m"]},
        "gate": {"route": {"id": "1"}, "allow": ["192.0.2.10"], "probes": {"outside": [{"url": "/"}]}},
        "backup": {"manifest": JOB}, "migrate": {"manifest": JOB}, "restore": {"manifest": JOB, "expected": "10m"},
        "tests": [{"name": "health", "http": {"url": "http://shop/"}}], **more,
    }  # fmt: skip
    spec = {key: value for key, value in spec.items() if value is not None}
    made = plan_of({"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}, "spec": spec})
    assert isinstance(made, OfflinePlan)
    return made


def view(target: Target, replicas: int = 2, image: str = "orders:1.0") -> TargetView:
    name = target.stable
    deployment = Deployment(name, "shop", "u", "7", 1, 1, replicas, {name: image}, replicas, replicas, replicas, replicas)
    pods = tuple(
        Pod(f"{name}-{n}", str(n), "10.0.0.1", "node", name, "x", (Container(name, image, ready=True),), START, ready=True)
        for n in range(replicas)
    )
    return TargetView(target, START, deployment, None, pods)


class Ladder:
    """One rollout in memory; `look` decides once and takes the decision as committed."""

    def __init__(self, made: OfflinePlan | None = None, state: State | None = None, now: datetime = START) -> None:
        self.plan = made or plan()
        self.now = now
        self.execution = Execution("orders-1a2b3c4d", self.plan, ())
        self.state = state or begin(self.execution, now)
        self.results: dict[str, TaskResult] = {}
        self.told: list[str] = []
        self.announced = 0
        self.notices: list[Notice] = []

    def answer(self, key: str, *, ok: bool = True, lines: tuple[Line, ...] = (), facts: Mapping[str, str] | None = None) -> None:
        self.results[key] = TaskResult(key, self.now, "done", ok=ok, why="said so", lines=lines, facts=facts or {})

    def stuck(self, tasks: Sequence[Task], kind: str, trouble: str) -> None:
        """Let the Job that was asked for be there, and not start."""
        (task,) = (task for task in tasks if task.kind == kind)
        facts = {"trouble": trouble}
        self.results[task.key] = TaskResult(task.key, self.now, "unavailable", ok=False, why=trouble, facts=facts)

    def at(self, step: type) -> bool:
        return isinstance(self.state.step, step)

    def look(
        self,
        *commands: Verb,
        replicas: int = 2,
        after: timedelta = timedelta(),
        images: Mapping[str, str] | None = None,
        gone: bool = False,
        fenced: bool = False,
    ) -> Decision:
        self.now += after
        given = tuple(
            Command(n, verb, "me", "", self.now, (("by", "30m"),) if verb is Verb.EXTEND else ())
            for n, verb in enumerate(commands, 1)
        )
        views = (view(t, replicas, (images or {}).get(t.stable, "orders:1.0")) for t in self.plan.targets)
        if fenced:
            stopped = {ANNOTATION_STOPPED: self.execution.id}
            views = (replace(one, stable=replace(one.stable, annotations=stopped)) for one in views if one.stable is not None)
        first, *others = (replace(one, stable=None, pods=()) if gone else one for one in views)
        seen = Observation(first, (), self.results, others=tuple(others))
        decision = decide(Question(self.execution, Policy(), Timing()), self.state, seen, given, self.now)
        self.state = decision.state
        self.told += [event.kind for event in decision.events]
        self.notices += decision.notices
        self.announced += sum(n.kind is NoticeKind.ANNOUNCEMENT for n in decision.notices)
        return decision

    def wait(self, span: timedelta, **shown: Any) -> Decision:  # noqa: ANN401 - as `look` takes them
        """Look every minute until so much time has passed; time in which nobody looks runs nothing out."""
        minute = timedelta(minutes=1)
        for _ in range(span // minute - 1):
            self.look(after=minute, **shown)
        return self.look(after=minute, **shown)


def in_step(step: Any, *, now: datetime = START, made: OfflinePlan | None = None, **memory: Any) -> Ladder:  # noqa: ANN401 - as stored
    ladder = Ladder(made, now=now)
    kept = OfflineMemory(announced=(timedelta(hours=2), timedelta(hours=1), timedelta(minutes=10)), rehearsed_at=now, **memory)
    ladder.state = replace(ladder.state, step=step, entered_at=now, deadline=None, looked_at=now, saved_at=now, offline=kept)
    return ladder


def needed(decision: Decision) -> list[Notice]:
    return [n for n in decision.notices if n.kind is NoticeKind.NEEDS_PERSON]


def test_nothing_is_announced_before_the_checks_were_answered() -> None:
    ladder = Ladder(now=START - timedelta(hours=3))
    decision = ladder.look()
    assert ladder.at(Assessing)
    assert {task.kind for task in decision.tasks} == {"offline-preflight", "assess"}
    assert ladder.announced == 0


def test_a_refused_check_ends_it_with_its_remedy() -> None:
    ladder = Ladder(now=START - timedelta(hours=3))
    ladder.answer("preflight", ok=False, lines=(Line("gate", "refused", "no such route", "name it"),))
    ladder.answer("assess")
    ladder.look()
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.REFUSED
    assert "name it" in ladder.state.step.why


def test_missed_offsets_are_merged_into_one_announcement() -> None:
    ladder = Ladder(now=START - timedelta(minutes=30))
    ladder.answer("preflight")
    ladder.answer("assess")
    ladder.look()
    ladder.look()
    ladder.look(after=timedelta(minutes=1))
    assert ladder.told.count("announced") == 1
    assert ladder.announced == 1


def test_a_start_after_the_grace_is_cancelled_and_announced() -> None:
    ladder = in_step(Announcing(START - timedelta(hours=2)), now=START + timedelta(minutes=16))
    ladder.look()
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.CANCELLED
    assert ladder.announced == 1


def test_without_acknowledgement_nothing_begins() -> None:
    ladder = in_step(Announcing(START - timedelta(hours=2)), made=plan(impact={"acknowledgement": True}))
    task = next(t for t in ladder.look().tasks if t.kind == "announcements")
    ladder.answer(task.key)
    ladder.look()
    assert ladder.at(Announcing)
    ladder.look(Verb.ACKNOWLEDGE)
    ladder.look()
    assert ladder.at(ClosingGate)


def test_an_announcement_that_did_not_arrive_holds_the_gate_and_asks() -> None:
    ladder = in_step(Announcing(START - timedelta(hours=2)))
    task = next(t for t in ladder.look().tasks if t.kind == "announcements")
    ladder.answer(task.key, ok=False)
    decision = ladder.look(after=timedelta(seconds=5))
    assert ladder.at(Announcing)
    assert any(n.kind is NoticeKind.NEEDS_PERSON for n in decision.notices)
    ladder.look(Verb.APPROVE)
    ladder.look()
    assert ladder.at(ClosingGate)


def test_the_gate_is_not_closed_before_what_stood_there_is_stored() -> None:
    ladder = in_step(ClosingGate(START))
    first = ladder.look()
    assert [task.kind for task in first.tasks] == ["gate-read"]
    ladder.answer(first.tasks[0].key, facts={"saved": SAVED})
    second = ladder.look()
    assert second.tasks == ()
    assert second.material
    assert ladder.state.offline is not None
    assert ladder.state.offline.saved_gate == SAVED
    assert [task.kind for task in ladder.look().tasks] == ["gate-close"]


def test_an_unproven_gate_waits_for_a_persons_word() -> None:
    ladder = in_step(ClosingGate(START), saved_gate=SAVED, closed_at=START)
    for _ in range(8):
        decision = ladder.look(after=timedelta(seconds=10))
        for task in decision.tasks:
            ladder.answer(task.key, facts={"proven": "unproven"})
    assert ladder.at(ClosingGate)
    assert any(hold.kind.value == "gate" for hold in ladder.state.holds)
    ladder.look(Verb.APPROVE)
    assert ladder.at(Stopping)
    assert ladder.state.offline is not None
    assert not ladder.state.offline.gate_proven


def test_a_gate_that_lets_outside_requests_through_is_taken_back() -> None:
    ladder = in_step(ClosingGate(START), saved_gate=SAVED, closed_at=START)
    for _ in range(40):
        decision = ladder.look(after=timedelta(seconds=10))
        for task in decision.tasks:
            ladder.answer(task.key, facts={"proven": "no"} if task.kind == "gate-verify" else {})
    assert "stepping-back" in ladder.told
    assert "stopped" not in ladder.told


def test_no_migration_without_a_verified_artifact() -> None:
    ladder = in_step(BackingUp(START), saved_gate=SAVED, closed_at=START, stopped_at=START)
    ladder.answer("job-backup-1", facts={"artifact": "a", "size": "0", "sha256": "00"})
    ladder.look(replicas=0)
    assert isinstance(ladder.state.step, Deciding)
    assert ladder.state.step.origin == "backup"


def test_a_hook_that_failed_is_run_again_when_a_person_lets_the_stop_be_tried_again() -> None:
    made = plan(quiesce={"hooks": [{"name": "drain", "http": {"url": "http://shop/drain"}}]})
    ladder = in_step(Stopping(START), made=made, saved_gate=SAVED, closed_at=START)
    (first,) = (task for task in ladder.look().tasks if task.kind == "work")
    ladder.answer(first.key, ok=False)
    ladder.look(after=timedelta(seconds=5))
    assert isinstance(ladder.state.step, Deciding)
    ladder.look(Verb.APPROVE, after=timedelta(minutes=3))
    (second,) = (task for task in ladder.look().tasks if task.kind == "work")
    assert ladder.at(Stopping)
    assert second.key != first.key


def test_the_gate_is_guarded_in_the_whole_window_and_a_breach_is_told_once() -> None:
    ladder = in_step(BackingUp(START), saved_gate=SAVED, closed_at=START, stopped_at=START)
    task = next(t for t in ladder.look(replicas=0).tasks if t.kind == "gate-guard")
    ladder.answer(task.key, ok=False)
    ladder.look(replicas=0, after=timedelta(seconds=1))
    ladder.look(replicas=0, after=timedelta(seconds=1))
    assert ladder.told.count("gate-guard") == 1


def test_at_the_last_moment_it_goes_back_by_itself_only_where_nothing_can_be_lost() -> None:
    late = START + timedelta(hours=1, minutes=50)
    kept: dict[str, Any] = {"saved_gate": SAVED, "closed_at": START, "stopped_at": START, "touched": True}
    proven = in_step(Deciding(START, "broken", "tests"), now=late, gate_proven=True, **kept)
    proven.look()
    unproven = in_step(Deciding(START, "broken", "tests"), now=late, **kept)
    unproven.look()
    assert "stepping-back" in proven.told
    assert isinstance(unproven.state.step, Deciding)
    assert any(hold.kind.value == "overdue" for hold in unproven.state.holds)


def test_a_failed_restore_leaves_the_gate_closed_and_asks() -> None:
    step = RollingBack(START, "broken", "failed", Outcome.FAILED)
    ladder = in_step(replace(step, stuck="the restore failed"), saved_gate=SAVED, closed_at=START, touched=True)
    decision = ladder.look(replicas=0)
    assert any(n.kind is NoticeKind.NEEDS_PERSON for n in decision.notices)
    ladder.look(Verb.OPEN, replicas=0)
    assert ladder.at(RollingBack)
    assert "not-possible" in ladder.told


def test_cancel_before_the_start_changes_nothing() -> None:
    ladder = in_step(Announcing(START), now=START - timedelta(minutes=20))
    decision = ladder.look(Verb.CANCEL)
    assert isinstance(ladder.state.step, Ended)
    assert ladder.state.step.outcome is Outcome.CANCELLED
    assert decision.forward == ()


def test_extend_moves_the_windows_end_and_is_announced_once() -> None:
    ladder = in_step(BackingUp(START), saved_gate=SAVED, closed_at=START, stopped_at=START)
    ladder.look(Verb.EXTEND, replicas=0)
    ladder.look(replicas=0)
    assert ladder.state.offline is not None
    assert ladder.state.offline.extended == timedelta(minutes=30)
    assert ladder.announced == 1
