"""The countdown of the live pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollout.adapters.planfile import parse_planfile
from rollout.cli.upcoming import upcoming
from rollout.core.decision import Execution
from rollout.core.history import Outcome
from rollout.core.state import (
    Certifying,
    Ended,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Retreating,
    Snapshot,
    Soaking,
    Starting,
    State,
    Step,
    Watching,
)
from tests.cli.console import PLAN

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SNAPSHOT = Snapshot("nginx:1.27.3", 0, "nginx:1.28.0", 420, NOW)
HOUR = timedelta(hours=1)


def words(step: Step) -> str:
    plan = parse_planfile(PLAN.replace("STABLE", "web").replace("NAME", "web").encode(), "web.yaml").plan
    return str(upcoming(Execution("web-1", plan, ()), State(step, NOW, NOW), NOW))


def test_the_soak_counts_down_to_the_next_replica_and_then_to_the_promotion() -> None:
    growing = Soaking(size=1, since=NOW, grown_at=NOW, confirmed=True, credited=2 * HOUR, credited_at_size=2 * HOUR)
    grown = Soaking(size=3, since=NOW, grown_at=NOW, confirmed=True, credited=20 * HOUR, credited_at_size=5 * HOUR)

    assert words(growing) == "replica 2 of 3 in 4 h"
    assert words(grown) == "the promotion in 4 h"
    assert words(Soaking(size=2, since=NOW)) == "replica 2 becomes ready"


def test_the_last_size_is_held_for_its_whole_interval_though_the_soak_is_over() -> None:
    late = Soaking(size=3, since=NOW, grown_at=NOW, confirmed=True, credited=30 * HOUR, credited_at_size=5 * HOUR)

    assert words(late) == "the promotion in 1 h"


def test_every_step_has_something_to_wait_for_and_rest_has_nothing() -> None:
    reason = Reason("why", "abort", Outcome.ABORTED)
    steps = (
        Preflight(), Starting(None), Certifying(3, NOW, 24 * HOUR), Promoting(3, SNAPSHOT, NOW), Retiring(SNAPSHOT, NOW),
        Retreating(reason, NOW),
    )  # fmt: skip

    assert all(words(step) for step in steps)
    assert words(Watching(3, SNAPSHOT, NOW, HOUR)) == "web-canary to 0, done now"
    assert words(Ended(Outcome.SUCCEEDED, "why", NOW)) == ""
