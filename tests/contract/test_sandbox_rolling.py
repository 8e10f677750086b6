"""The pretend Deployment controller keeps the arithmetic of the real one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import ApiError
from rollout.sandbox.world import World
from tests.contract.sandbox_builders import (
    NAMESPACE,
    START,
    Extremes,
    condition,
    deployment,
    live_pods,
    pods,
    shop,
    status,
)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def images(world: World) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in live_pods(world)}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most_missing", "most_extra"),
    [(10, 1, 1, 1, 1), (10, "25%", "25%", 2, 3), (3, 1, 0, 0, 1), (4, 0, 1, 1, 0), (7, "100%", 0, 0, 7), (1, 1, 1, 1, 1),
     (5, 0, 0, 1, 0)],
)  # fmt: skip
def test_a_rolling_update_never_leaves_its_bounds(
    replicas: int, surge: int | str, unavailable: int | str, most_missing: int, most_extra: int
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = shop(replicas=replicas, strategy=strategy, minReadySeconds=30)
    world.advance_by(MINUTE)
    seen = Extremes(world, min_ready=30)
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(HOUR)
    assert images(world) == {"web:2"}
    assert seen.fewest_available >= replicas - most_missing
    assert seen.most_pods <= replicas + most_extra
    assert condition(world)["reason"] == "NewReplicaSetAvailable"


def test_min_ready_seconds_pace_the_roll() -> None:
    world = shop(minReadySeconds=420, progressDeadlineSeconds=900)
    world.advance_by(HOUR)
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(timedelta(minutes=20))
    assert 0 < status(world)["updatedReplicas"] < 10
    world.advance_by(HOUR)
    assert status(world)["updatedReplicas"] == status(world)["availableReplicas"] == 10


def test_a_pause_holds_the_roll_where_it_is_and_no_new_template_starts() -> None:
    world = shop(minReadySeconds=60)
    world.advance_by(2 * MINUTE)
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(90 * timedelta(seconds=1))
    world.patch("deployments", NAMESPACE, "web", {"spec": {"paused": True}})
    world.advance_by(2 * MINUTE)
    held = sorted(pod["metadata"]["name"] for pod in live_pods(world))
    world.set_image(NAMESPACE, "web", "app", "web:3")
    world.advance_by(2 * HOUR)
    assert sorted(pod["metadata"]["name"] for pod in live_pods(world)) == held
    assert condition(world)["reason"] == "DeploymentPaused"
    world.patch("deployments", NAMESPACE, "web", {"spec": {"paused": False}})
    world.advance_by(HOUR)
    assert images(world) == {"web:3"}


def test_a_version_that_never_gets_ready_stops_the_roll_and_exceeds_the_deadline() -> None:
    world = shop()
    world.behaviours["web:2"] = Behaviour(ready_after=None)
    seen = Extremes(world)
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(timedelta(seconds=590))
    assert condition(world)["reason"] == "ReplicaSetUpdated"
    world.advance_by(timedelta(seconds=30))
    assert condition(world)["reason"] == "ProgressDeadlineExceeded"
    assert condition(world)["status"] == "False"
    assert seen.fewest_available == 9
    assert seen.most_pods == 11


def test_going_back_reuses_the_old_replica_set_with_a_new_revision() -> None:
    world = shop()
    before = {rs["metadata"]["name"] for rs in world.objects("replicasets", NAMESPACE)}
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(10 * MINUTE)
    world.set_image(NAMESPACE, "web", "app", "web:1")
    world.advance_by(10 * MINUTE)
    annotations = world.get("deployments", NAMESPACE, "web")["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    owner = pods(world)[0]["metadata"]["ownerReferences"][0]["name"]
    assert owner in before


def test_old_replica_sets_are_kept_up_to_the_history_limit() -> None:
    world = shop(revisionHistoryLimit=2)
    for version in range(2, 7):
        world.set_image(NAMESPACE, "web", "app", f"web:{version}")
        world.advance_by(10 * MINUTE)
    sets = [rs for rs in world.objects("replicasets", NAMESPACE) if rs["metadata"]["labels"]["role"] == "release"]
    assert len(sets) == 3


def test_scaling_in_the_middle_of_a_roll_keeps_both_versions_in_proportion() -> None:
    world = shop(minReadySeconds=60)
    world.advance_by(2 * MINUTE)
    world.set_image(NAMESPACE, "web", "app", "web:2")
    world.advance_by(4 * MINUTE)
    share = status(world)["updatedReplicas"] / 11
    world.scale(NAMESPACE, "web", 20)
    world.advance(world.now)
    assert len(live_pods(world)) == 21
    new = sum(pod["spec"]["containers"][0]["image"] == "web:2" for pod in live_pods(world))
    assert abs(new / 21 - share) < 0.1
    world.advance_by(HOUR)
    assert images(world) == {"web:2"}
    assert status(world)["availableReplicas"] == 20


def test_recreate_runs_no_new_pod_while_an_old_one_is_left() -> None:
    world = shop(replicas=3, strategy={"type": "Recreate"})
    world.set_image(NAMESPACE, "web", "app", "web:2")
    mixed = []
    world.observers.append(
        lambda change: mixed.append(change) if len({p["spec"]["containers"][0]["image"] for p in pods(world)}) > 1 else None
    )
    world.advance_by(5 * MINUTE)
    assert images(world) == {"web:2"}
    assert not mixed


def test_a_write_is_seen_before_the_controller_has_looked_at_it() -> None:
    world = shop()
    world.scale(NAMESPACE, "web", 4)
    found = world.get("deployments", NAMESPACE, "web")
    assert found["metadata"]["generation"] == 2
    assert found["status"]["observedGeneration"] == 1
    world.advance(world.now)
    assert status(world)["observedGeneration"] == 2


def test_a_scale_down_takes_young_unready_pods_first() -> None:
    world = shop()
    world.behaviours["web:1"] = Behaviour(ready_after=None)
    old = {pod["metadata"]["name"] for pod in live_pods(world)}
    world.scale(NAMESPACE, "web", 12)
    world.advance_by(MINUTE)
    world.scale(NAMESPACE, "web", 10)
    world.advance_by(MINUTE)
    assert {pod["metadata"]["name"] for pod in live_pods(world)} == old


def test_a_simulated_day_costs_next_to_nothing() -> None:
    world = shop()
    changes: list[object] = []
    world.observers.append(changes.append)
    world.advance_by(timedelta(days=30))
    assert not changes
    assert world.now == START + MINUTE + timedelta(days=30)


def test_the_same_seed_makes_the_same_world() -> None:
    def story(seed: int) -> list[str]:
        world = shop(seed=seed)
        world.behaviours["web:2"] = Behaviour(crash_after=timedelta(seconds=20))
        seen: list[str] = []
        world.observers.append(lambda c: seen.append(f"{c.at} {c.type} {c.resource} {c.name} {c.version}"))
        world.set_image(NAMESPACE, "web", "app", "web:2")
        world.advance_by(HOUR)
        return seen

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_a_deployment_that_the_server_would_refuse_is_refused() -> None:
    world = shop()
    with pytest.raises(ApiError, match="must be greater than or equal to 0"):
        world.patch("deployments", NAMESPACE, "web", {"spec": {"replicas": -1}})
    with pytest.raises(ApiError, match="field is immutable"):
        world.patch("deployments", NAMESPACE, "web", {"spec": {"selector": {"matchLabels": {"role": None}}}})
    containers = [{"name": "typo"}]
    with pytest.raises(ApiError, match="Required value") as refused:
        world.patch("deployments", NAMESPACE, "web", {"spec": {"template": {"spec": {"containers": containers}}}})
    assert refused.value.code == 422
    with pytest.raises(ApiError, match="already exists"):
        world.create(deployment())


def test_deleting_a_deployment_takes_its_pods_along() -> None:
    world = shop()
    world.delete("deployments", NAMESPACE, "web", manager="kubectl")
    world.advance_by(MINUTE)
    assert not pods(world)
    assert not [rs for rs in world.objects("replicasets", NAMESPACE) if rs["metadata"]["labels"]["role"] == "release"]
