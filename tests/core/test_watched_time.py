"""What must last is counted in time that somebody watched: a clock that jumps, a sleep or a freeze lets nothing run out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.core import state_offline as states
from rollout.core.cohorts import TargetView
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.history import Outcome
from rollout.core.machine import begin, decide
from rollout.core.signals import Answer, Counts, PodCount, Unreachable
from rollout.core.state import (
    Certifying,
    Hold,
    HoldKind,
    Paused,
    Preflight,
    Promoting,
    Reason,
    Retreating,
    Snapshot,
    Soaking,
    State,
)
from rollout.core.windows import questions
from tests.core.builders import canary_plan
from tests.core.scenes import NEW, NOW, OLD, H, M, S, parts, pod, question, seen, stable_pods, state, view
from tests.core.test_offline import SAVED, START, Ladder, in_step, plan

PLAIN = question(canary_plan())
LOST = view(1, pods=(pod("nginx-canary-0", ready=False), *stable_pods()))
JUMPS = [100 * S, 149 * S, 10 * M, H, 30 * H]
SOAKING = state(Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True))


class Eye:
    """Looks at one rollout again and again; `at` is the wall clock, whatever it does."""

    def __init__(self, before: State, asked: Any = PLAIN) -> None:  # noqa: ANN401 - a Question
        self.state = before
        self.question = asked
        self.at = NOW
        self.why = ""

    def look(self, shown: Any, *, after: timedelta, times: int = 1, answers: tuple[Answer, ...] = ()) -> State:  # noqa: ANN401
        """Look `times` times, each `after` the one before."""
        for _ in range(times):
            self.at += after
            made = decide(self.question, self.state, seen(shown, answers=answers), (), self.at)
            self.state, self.why = made.state, made.why
        return self.state

    @property
    def left(self) -> bool:
        return isinstance(self.state.step, Retreating)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_pod_that_is_unready_for_a_moment_is_not_left_because_the_clock_jumped(jump: timedelta) -> None:
    eye = Eye(SOAKING)
    eye.look(view(), after=10 * S)
    eye.look(LOST, after=10 * S, times=2)
    eye.look(LOST, after=jump)
    assert not eye.left, eye.why
    eye.look(LOST, after=5 * S)
    assert not eye.left, eye.why
    eye.look(view(), after=5 * S)
    eye.look(view(), after=60 * S, times=5)
    assert isinstance(eye.state.step, Soaking)


@pytest.mark.parametrize("jump", [*JUMPS, -H, -10 * M])
def test_a_pod_that_stays_unready_is_left_within_its_grace_of_watched_time(jump: timedelta) -> None:
    eye = Eye(SOAKING)
    eye.look(view(), after=10 * S)
    eye.look(LOST, after=10 * S, times=4)
    eye.look(LOST, after=jump)
    eye.look(LOST, after=10 * S, times=9)
    assert eye.left, eye.why


@pytest.mark.parametrize("jump", [10 * M, H, 30 * H])
def test_an_added_pod_keeps_its_whole_start_deadline(jump: timedelta) -> None:
    grown = state(Soaking(2, NOW - 7 * H, None, 6 * H, timedelta(), confirmed=True, sized_at=NOW - M), looked_at=NOW)
    starting = view(2, pods=(pod("nginx-canary-0"), pod("nginx-canary-1", ready=False), *stable_pods()))
    eye = Eye(grown)
    eye.look(starting, after=jump)
    eye.look(starting, after=5 * S, times=3)
    assert not eye.left, eye.why
    eye.look(starting, after=30 * S, times=18)
    assert eye.left, "nine minutes more were watched"


SIGNALS = question(canary_plan(signals=["apisix-5xx"]))


def answers(shown: TargetView, used_until: datetime, now: datetime) -> tuple[Answer, ...]:
    """Everything that is due, all well."""
    signals = SIGNALS.execution.signals
    due = questions(signals, {"apisix-5xx": used_until}, parts(shown), "default", 3 * M, now)
    return tuple(Answer(one, Counts({key.name: PodCount(0.0, 100.0) for key in one.pods}), "q", now) for one in due)


def signal(**changed: Any) -> SignalState:  # noqa: ANN401 - any field
    known = SignalState("apisix-5xx", used_until=NOW - 2 * M, seen_at=NOW - 2 * M, since=NOW - H, verdict=Verdict.HEALTHY, why="ok")
    return replace(known, **changed)


@pytest.mark.parametrize("down", [H, 3 * H, 30 * H])
def test_a_daemon_that_was_down_catches_up_and_blames_no_backend_for_it(down: timedelta) -> None:
    eye = Eye(replace(SOAKING, signals=(signal(),), looked_at=NOW), SIGNALS)
    eye.look(view(), after=down)
    for _ in range(20):
        used = eye.state.signals[0].used_until
        assert used is not None
        eye.look(view(), after=5 * S, answers=answers(view(), used, eye.at))
        assert not eye.left, eye.why
    assert eye.state.signals[0].verdict is Verdict.HEALTHY


def test_a_first_answer_that_was_due_while_nobody_looked_makes_no_source_blind() -> None:
    waiting = signal(used_until=None, seen_at=None, verdict=Verdict.WARMING, why="no window has been read yet")
    eye = Eye(replace(SOAKING, signals=(waiting,), looked_at=NOW), SIGNALS)
    eye.look(view(), after=3 * H)
    eye.look(view(), after=1 * S, times=5)
    assert not eye.left, eye.why


@pytest.mark.parametrize("jump", [timedelta(), 20 * M, 3 * H])
def test_blindness_that_was_watched_counts_on_after_a_time_in_which_nobody_looked(jump: timedelta) -> None:
    eye = Eye(replace(SOAKING, looked_at=NOW))
    gone = Unreachable("away")
    eye.look(gone, after=M, times=25)
    eye.look(gone, after=jump)
    assert not eye.left, eye.why
    eye.look(gone, after=M, times=4)
    assert not eye.left, "not half an hour was watched"
    eye.look(gone, after=M, times=20)
    assert eye.left, "and three quarters at most, however the rollouts are spread"


def test_a_clock_that_goes_back_lengthens_no_blindness() -> None:
    eye = Eye(replace(SOAKING, looked_at=NOW))
    eye.look(Unreachable("away"), after=M, times=20)
    eye.look(Unreachable("away"), after=-H)
    eye.look(Unreachable("away"), after=M, times=26)
    assert eye.left, eye.why


def test_nobody_is_told_of_a_hold_that_lasted_only_because_the_clock_jumped() -> None:
    eye = Eye(replace(SOAKING, looked_at=NOW))
    eye.look(Unreachable("away"), after=S)
    eye.look(Unreachable("away"), after=H)
    assert [hold.told for hold in eye.state.holds if hold.kind is HoldKind.CLUSTER_UNSEEN] == [False]


def test_a_step_back_is_not_called_stuck_because_the_laptop_slept() -> None:
    reason = Reason("it failed", "signal", Outcome.FAILED)
    back = state(Retreating(reason, NOW - S), looked_at=NOW, deadline=NOW + 5 * M - S)
    eye = Eye(back)
    eye.look(view(), after=H)
    assert isinstance(eye.state.step, Retreating)
    assert eye.state.step.stuck_told_at is None
    eye.look(view(), after=30 * S, times=11)
    assert isinstance(eye.state.step, Retreating)
    assert eye.state.step.stuck_told_at is not None


def test_a_person_who_is_waited_for_has_the_whole_time_whatever_the_clock_does() -> None:
    asked = question(canary_plan(approvals={"beforePromotion": True, "within": "1h"}))
    eye = Eye(state(Certifying(1, NOW, 24 * H), looked_at=NOW, deadline=NOW + 72 * H), asked)
    eye.look(view(), after=149 * S)
    eye.look(view(), after=H)
    eye.look(view(), after=M, times=56)
    assert not eye.left, eye.why
    eye.look(view(), after=M, times=5)
    assert eye.left, eye.why


@pytest.mark.parametrize("heir", [True, False])
def test_the_minute_in_which_a_daemon_died_and_another_came_is_not_credited(heir: bool) -> None:  # noqa: FBT001 - both sides
    step = decide(PLAIN, replace(SOAKING, looked_at=NOW), seen(view(), taken_over=heir), (), NOW + M).state.step
    assert isinstance(step, Soaking)
    assert step.credited == (H if heir else H + M)


@pytest.mark.parametrize("away", [True, False])
def test_a_database_that_takes_nothing_runs_no_deadline_of_a_promotion_out(away: bool) -> None:  # noqa: FBT001 - both sides
    """What the promotion has reached cannot be kept meanwhile, nor its deadline be set anew."""
    promoting = Promoting(1, Snapshot(OLD, 0, NEW, 420, NOW), NOW, NOW, updated=2)
    before = state(promoting, deadline=NOW + 20 * M, looked_at=NOW)
    rolling = view(1, stable_changed={"images": {"nginx": NEW}, "updated": 2, "min_ready_seconds": 420})
    for minute in range(1, 60):
        shown = seen(rolling, unsaved_since=NOW if away else None)
        before = decide(PLAIN, before, shown, (), NOW + minute * M).kept
    last = decide(PLAIN, before, seen(rolling), (), NOW + 60 * M).state.step
    assert isinstance(last, Promoting if away else Retreating)


# -- maintenance -------------------------------------------------------------------------------------------------------


def held(ladder: Ladder, kind: HoldKind) -> Ladder:
    paused = Paused("ann", "", ladder.now) if kind is HoldKind.PAUSED else None
    ladder.state = replace(ladder.state, paused=paused, holds=(Hold(kind, "so", ladder.now),), looked_at=ladder.now)
    return ladder


BACKUP: dict[str, Any] = {"saved_gate": SAVED, "closed_at": START, "gate_proven": True, "stopped_at": START}
BEFORE = states.TargetBefore("default/shop/orders", "orders:1.0", 2, "orders:2.0")
JUDGED = [
    (states.ClosingGate(START), {}),
    (states.ClosingGate(START), {"saved_gate": SAVED}),
    (states.Stopping(START), BACKUP),
    (states.BackingUp(START), BACKUP),
    (states.Migrating(START), {**BACKUP, "backup": states.Backup("a", 1, "ab" * 32, START), "touched": True, "migrations": 1}),
    (states.Upgrading(START), {**BACKUP, "backup": states.Backup("a", 1, "ab" * 32, START), "touched": True, "before": (BEFORE,)}),
    (states.RollingBack(START, "x", "y", Outcome.FAILED, stage=states.BackStage.RESTORE),
     {**BACKUP, "backup": states.Backup("a", 1, "ab" * 32, START), "touched": True, "before": (BEFORE,)}),
]  # fmt: skip


@pytest.mark.parametrize(("step", "memory"), JUDGED, ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("jump", [H - M, 80 * M])
def test_no_deadline_of_a_maintenance_runs_out_while_nobody_looks(step: Any, memory: Any, jump: timedelta) -> None:  # noqa: ANN401
    ladder = in_step(step, **memory)
    ladder.state = replace(ladder.state, looked_at=START)
    replicas = 2 if isinstance(step, states.ClosingGate | states.Stopping) else 0
    ladder.look(after=jump, replicas=replicas)
    ladder.look(after=5 * S, replicas=replicas)
    assert ladder.at(type(step)), ladder.state.step
    assert getattr(ladder.state.step, "stuck", "") == ""


@pytest.mark.parametrize(("step", "memory"), JUDGED[:-1], ids=lambda it: type(it).__name__)
def test_a_pause_takes_nothing_from_the_time_that_a_step_of_a_maintenance_has(step: Any, memory: Any) -> None:  # noqa: ANN401
    ladder = held(in_step(step, **memory), HoldKind.PAUSED)
    replicas = 2 if isinstance(step, states.ClosingGate | states.Stopping) else 0
    for _ in range(59):
        ladder.look(after=M, replicas=replicas)
    ladder.state = replace(ladder.state, paused=None)
    ladder.look(after=S, replicas=replicas)
    ladder.look(after=S, replicas=replicas)
    assert ladder.at(type(step)), ladder.state.step


def test_an_open_gate_is_watched_for_as_long_as_the_plan_says_and_a_sleep_is_no_watch() -> None:
    ladder = in_step(states.WatchingOpen(START, Outcome.SUCCEEDED, "ok"), saved_gate=SAVED)
    ladder.state = replace(ladder.state, looked_at=START)
    ladder.look(after=2 * H, images={"orders": "orders:2.0"})
    for _ in range(3):
        ladder.answer(f"watch-{int(ladder.now.timestamp() // 60):012d}")
        ladder.look(after=M, images={"orders": "orders:2.0"})
    assert ladder.at(states.WatchingOpen)


def test_a_hook_that_runs_keeps_its_name_when_the_clock_jumps() -> None:
    from tests.core.test_offline import plan  # noqa: PLC0415 - one test

    made = plan(quiesce={"hooks": [{"name": "quiet", "command": ["true"]}]})
    ladder = in_step(states.Stopping(START), made=made, **BACKUP)
    ladder.state = replace(ladder.state, looked_at=START)
    before = [task.key for task in ladder.look(after=S).tasks if task.kind == "work"]
    after = [task.key for task in ladder.look(after=10 * M).tasks if task.kind == "work"]
    assert before == after != []


@pytest.mark.parametrize("down", JUMPS)
def test_a_canary_that_was_submitted_while_no_daemon_was_there_is_not_refused_for_that(down: timedelta) -> None:
    eye = Eye(begin(PLAIN.execution, NOW))
    eye.look(Unreachable("not seen yet"), after=down)
    eye.look(Unreachable("not seen yet"), after=S, times=5)
    assert isinstance(eye.state.step, Preflight)


def test_a_maintenance_that_was_submitted_while_no_daemon_was_there_is_not_refused_for_that() -> None:
    ladder = Ladder(plan(window={"startAt": "2026-11-24 09:00", "timezone": "UTC", "duration": "2h"}))
    for after in (3 * H, S, S):
        ladder.now += after
        ladder.look()
    assert isinstance(ladder.state.step, states.Assessing)
