"""Pods that have ended stay as objects for long: they are counted once and hold nothing up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollout.core.cohorts import Container, Pod, TargetView, cohorts
from rollout.core.guards import watch
from rollout.core.state import GuardMemory
from rollout.core.target import Target

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
TARGET = Target("default", "shop", "orders", "app", "orders-canary", "orders")


def pod(name: str, *, phase: str = "Running", displaced: str = "", ready: bool = True) -> Pod:
    state = Container("app", "orders:2", image_id="sha256:1", ready=ready)
    return Pod(name, f"uid-{name}", "10.0.0.1", "node-1", "orders-canary", "h", (state,), NOW - timedelta(hours=1), ready=ready,
               ready_since=NOW - timedelta(minutes=50) if ready else None, phase=phase, displaced=displaced)  # fmt: skip


def test_an_evicted_pod_is_told_once_and_does_not_hold_for_as_long_as_its_object_stays() -> None:
    view = TargetView(TARGET, NOW, None, None, (pod("old", phase="Failed", displaced="Evicted", ready=False), pod("new")))
    parts = cohorts(view, "orders:2")
    first = watch(GuardMemory(), parts, "app", NOW)
    second = watch(first.memory, parts, "app", NOW + timedelta(minutes=1))
    assert [trip.pod for trip in first.newly_displaced] == ["old"]
    assert second.newly_displaced == ()
    assert first.displaced == second.displaced == ()
    assert [p.name for p in parts.candidate] == ["new"]


def test_a_pod_that_ended_by_itself_fails_the_candidate() -> None:
    view = TargetView(TARGET, NOW, None, None, (pod("old", phase="Failed", ready=False), pod("new")))
    found = watch(GuardMemory(), cohorts(view, "orders:2"), "app", NOW)
    assert [(trip.cause, trip.pod) for trip in found.failing] == [("Failed", "old")]
