"""Pods of the pretend cluster fail, restart and go in the ways that the guards have to tell apart."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import parse_stamp
from rollout.sandbox.world import World
from tests.contract.sandbox_builders import NAMESPACE, condition, container_state, live_pods, pods, shop, status

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def canary(world: World, behaviour: Behaviour, image: str = "web:2") -> None:
    world.behaviours[image] = behaviour
    world.set_image(NAMESPACE, "web-canary", "app", image)
    world.scale(NAMESPACE, "web-canary", 1)


def test_a_crash_loop_backs_off_longer_each_time() -> None:
    world = shop()
    starts: list[datetime] = []
    restarts: list[int] = []
    canary(world, Behaviour(crash_after=3 * SECOND))

    def saw(_: object) -> None:
        for pod in pods(world, "canary"):
            seen = pod["status"].get("containerStatuses")
            if seen and "running" in seen[0]["state"] and seen[0]["restartCount"] not in restarts:
                restarts.append(seen[0]["restartCount"])
                starts.append(world.now)

    world.observers.append(saw)
    world.advance_by(30 * MINUTE)
    pod = container_state(pods(world, "canary")[0])
    assert pod["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert pod["lastState"]["terminated"]["reason"] == "Error"
    gaps = [(b - a).total_seconds() for a, b in pairwise(starts)]
    assert gaps[:7] == [4.0, 13.0, 23.0, 43.0, 83.0, 163.0, 303.0]
    assert pod["restartCount"] == len(starts) - 1
    assert "readyReplicas" not in status(world, "web-canary")


def test_an_out_of_memory_kill_shows_after_the_restart_too() -> None:
    world = shop()
    canary(world, Behaviour(oom_after=2 * MINUTE, crash_times=1))
    world.advance_by(10 * MINUTE)
    pod = container_state(pods(world, "canary")[0])
    assert pod["ready"]
    assert pod["restartCount"] == 1
    assert pod["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert pod["lastState"]["terminated"]["exitCode"] == 137


def test_an_image_that_cannot_be_pulled_waits_until_it_can() -> None:
    world = shop()
    canary(world, Behaviour(pull_error="manifest unknown"))
    world.advance_by(5 * SECOND)
    assert container_state(pods(world, "canary")[0])["state"]["waiting"]["reason"] in {"ErrImagePull", "ImagePullBackOff"}
    assert container_state(pods(world, "canary")[0])["imageID"] == ""
    world.advance_by(HOUR)
    assert container_state(pods(world, "canary")[0])["state"]["waiting"]["reason"] == "ImagePullBackOff"
    world.behaviours["web:2"] = Behaviour()
    world.advance_by(10 * MINUTE)
    assert container_state(pods(world, "canary")[0])["imageID"].startswith("docker.io/library/web@sha256:")


def test_a_config_error_is_told_with_its_reason() -> None:
    world = shop()
    canary(world, Behaviour(config_error='configmap "web" not found'))
    world.advance_by(MINUTE)
    waiting = container_state(pods(world, "canary")[0])["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "web" not found'}


def test_readiness_that_is_lost_takes_the_endpoint_away_and_comes_back() -> None:
    world = shop()
    canary(world, Behaviour(unready_after=10 * MINUTE, unready_for=2 * MINUTE))
    world.advance_by(9 * MINUTE)
    slice_ = world.objects("endpointslices", NAMESPACE)[0]
    assert sum(end["conditions"]["ready"] for end in slice_["endpoints"]) == 11
    world.advance_by(2 * MINUTE)
    slice_ = world.objects("endpointslices", NAMESPACE)[0]
    assert sum(end["conditions"]["ready"] for end in slice_["endpoints"]) == 10
    world.advance_by(2 * MINUTE)
    assert status(world, "web-canary")["readyReplicas"] == 1


def test_a_version_that_turns_bad_changes_the_pods_that_run_already() -> None:
    world = shop()
    world.behaviours["web:1"] = Behaviour(crash_after=timedelta())
    world.advance_by(MINUTE)
    assert status(world).get("readyReplicas", 0) == 0


def test_an_evicted_pod_says_so_and_is_replaced() -> None:
    world = shop()
    victim = live_pods(world)[0]["metadata"]["name"]
    world.evict(NAMESPACE, victim)
    going = world.get("pods", NAMESPACE, victim)
    assert "deletionTimestamp" in going["metadata"]
    reason = next(c["reason"] for c in going["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert reason == "EvictionByEvictionAPI"
    world.advance_by(MINUTE)
    assert world.find("pods", NAMESPACE, victim) is None
    assert status(world)["availableReplicas"] == 10


def test_a_pod_ended_by_node_pressure_stays_as_failed_beside_its_replacement() -> None:
    world = shop()
    victim = live_pods(world)[0]["metadata"]["name"]
    world.evict_for_pressure(NAMESPACE, victim)
    world.advance_by(MINUTE)
    assert world.get("pods", NAMESPACE, victim)["status"]["reason"] == "Evicted"
    assert len(pods(world)) == 11
    assert status(world)["replicas"] == status(world)["availableReplicas"] == 10


def test_a_drained_node_is_left_by_all_its_pods() -> None:
    world = shop()
    world.drain("node-1")
    world.advance_by(5 * MINUTE)
    assert {pod["spec"]["nodeName"] for pod in pods(world)} == {"node-2", "node-3"}
    assert status(world)["availableReplicas"] == 10


def test_pods_of_a_dead_node_are_replaced_and_stay_terminating_until_it_returns() -> None:
    world = shop()
    lost = {pod["metadata"]["name"] for pod in pods(world) if pod["spec"]["nodeName"] == "node-1"}
    world.lose_node("node-1")
    world.advance_by(MINUTE)
    assert status(world)["readyReplicas"] == 10 - len(lost)
    world.advance_by(10 * MINUTE)
    stuck = {pod["metadata"]["name"] for pod in pods(world) if "deletionTimestamp" in pod["metadata"]}
    assert stuck == lost
    assert status(world)["readyReplicas"] == 10
    world.restore_node("node-1")
    world.advance_by(MINUTE)
    assert len(pods(world)) == 10


def test_without_an_open_node_a_pod_is_unschedulable_and_says_why() -> None:
    world = shop()
    for node in ("node-1", "node-2", "node-3"):
        world.cordon(node)
    canary(world, Behaviour())
    world.advance_by(MINUTE)
    scheduled = next(c for c in pods(world, "canary")[0]["status"]["conditions"] if c["type"] == "PodScheduled")
    assert scheduled["reason"] == "Unschedulable"
    assert "3 node(s) were unschedulable" in scheduled["message"]
    world.cordon("node-2", closed=False)
    world.advance_by(MINUTE)
    assert status(world, "web-canary")["readyReplicas"] == 1


def test_a_deleted_pod_stops_serving_at_once_and_goes_within_its_grace() -> None:
    world = shop()
    victim = live_pods(world)[0]["metadata"]
    world.delete_pod(NAMESPACE, victim["name"])
    world.advance(world.now)
    ends = world.objects("endpointslices", NAMESPACE)[0]["endpoints"]
    leaving = next(end for end in ends if end["targetRef"]["name"] == victim["name"])
    assert leaving["conditions"] == {"ready": False, "serving": True, "terminating": True}
    world.advance_by(30 * SECOND)
    assert world.find("pods", NAMESPACE, victim["name"]) is None


def test_ready_conditions_tell_since_when() -> None:
    world = shop()
    ready = next(c for c in live_pods(world)[0]["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"
    assert timedelta() < world.now - parse_stamp(ready["lastTransitionTime"]) < MINUTE
    assert condition(world, "Available")["status"] == "True"


def test_a_job_runs_to_success_and_another_to_its_backoff_limit() -> None:
    world = shop()
    world.behaviours["migrate:bad"] = Behaviour(exit_code=3, log=("ERROR column exists",))
    for name, image in (("good", "migrate:1"), ("bad", "migrate:bad")):
        pod_spec = {"restartPolicy": "Never", "containers": [{"name": "job", "image": image}]}
        spec = {"backoffLimit": 1, "template": {"spec": pod_spec}}
        metadata = {"name": name, "namespace": NAMESPACE}
        world.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    world.advance_by(5 * MINUTE)
    good, bad = (world.get("jobs", NAMESPACE, name)["status"] for name in ("good", "bad"))
    assert [c["type"] for c in good["conditions"]] == ["Complete"]
    assert good["succeeded"] == 1
    assert [c["type"] for c in bad["conditions"]] == ["Failed"]
    assert bad["failed"] == 2
