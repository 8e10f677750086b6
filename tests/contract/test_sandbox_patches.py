"""Patches of the pretend API mean what they mean to the real one."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.sandbox.kube_objects import ApiError
from rollout.sandbox.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from rollout.sandbox.storage import Change
from rollout.sandbox.world import World
from tests.contract.sandbox_builders import NAMESPACE, shop

Json = dict[str, Any]


def patched(patch: object, content_type: str = STRATEGIC_PATCH, world: World | None = None, *, dry_run: bool = False) -> Json:
    found: Json = (world or shop()).patch("deployments", NAMESPACE, "web", patch, content_type=content_type, dry_run=dry_run)
    return found


def owner_of(obj: Json, *path: str) -> set[str]:
    found = set()
    for entry in obj["metadata"]["managedFields"]:
        node = entry["fieldsV1"]
        for part in path:
            node = node.get(part) if node is not None else None
        if node is not None:
            found.add(entry["manager"])
    return found


IMAGE_PATH = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"app"}', "f:image")


def test_containers_are_merged_by_name_in_a_strategic_patch_and_replaced_in_a_merge_patch() -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}}
    both = patched(body)["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in both] == ["side", "app"]
    only = patched(body, MERGE_PATCH)["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in only] == ["side"]


def test_a_container_can_be_deleted_by_a_strategic_patch() -> None:
    target = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}
    body = {"containers": [{"name": "a", "$patch": "delete"}], "$setElementOrder/containers": [{"name": "b"}]}
    assert apply_patch(target, body, STRATEGIC_PATCH) == {"containers": [{"name": "b", "image": "1"}]}


def test_a_patch_that_carries_an_old_version_is_a_conflict_and_writes_nothing() -> None:
    world = shop()
    seen = world.get("deployments", NAMESPACE, "web")["metadata"]["resourceVersion"]
    world.annotate(NAMESPACE, "web", {"a": "b"})
    for language in (STRATEGIC_PATCH, MERGE_PATCH):
        body = {"metadata": {"resourceVersion": seen}, "spec": {"replicas": 3}}
        with pytest.raises(ApiError) as refused:
            patched(body, language, world)
        assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert world.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 10


def test_a_json_patch_writes_only_when_its_tests_hold() -> None:
    world = shop()
    test = {"op": "test", "path": "/spec/replicas", "value": 9}
    replace = {"op": "replace", "path": "/spec/replicas", "value": 3}
    with pytest.raises(ApiError) as refused:
        patched([test, replace], JSON_PATCH, world)
    assert refused.value.code == 422
    assert patched([{**test, "value": 10}, replace], JSON_PATCH, world)["spec"]["replicas"] == 3


def test_testing_an_absent_key_for_null_holds_where_its_parent_exists() -> None:
    absent = {"op": "test", "path": "/metadata/annotations/rollout~1stopped", "value": None}
    below_nothing = {"op": "test", "path": "/metadata/nothing/here", "value": None}
    world = shop()
    world.annotate(NAMESPACE, "web", {"other": "x"})
    write = {"op": "add", "path": "/metadata/annotations/rollout~1stopped", "value": "r1"}
    assert patched([absent, write], JSON_PATCH, world)["metadata"]["annotations"]["rollout/stopped"] == "r1"
    for failing in (absent, below_nothing):
        with pytest.raises(ApiError):
            patched([failing], JSON_PATCH, world)


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/list/-", "value": 3}, {"list": [1, 2, 3], "map": {"k": "v"}}),
        ({"op": "add", "path": "/list/0", "value": 0}, {"list": [0, 1, 2], "map": {"k": "v"}}),
        ({"op": "remove", "path": "/list/1"}, {"list": [1], "map": {"k": "v"}}),
        ({"op": "move", "from": "/map/k", "path": "/k"}, {"list": [1, 2], "map": {}, "k": "v"}),
        ({"op": "copy", "from": "/map", "path": "/again"}, {"list": [1, 2], "map": {"k": "v"}, "again": {"k": "v"}}),
        ({"op": "replace", "path": "/map/new", "value": "w"}, {"list": [1, 2], "map": {"k": "v", "new": "w"}}),
        ({"op": "replace", "path": "/map/k", "value": "w"}, {"list": [1, 2], "map": {"k": "w"}}),
    ],
)
def test_json_patch_operations(operation: Json, result: Json) -> None:
    target: Json = {"list": [1, 2], "map": {"k": "v"}}
    assert apply_patch(target, [operation], JSON_PATCH) == result
    assert target == {"list": [1, 2], "map": {"k": "v"}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/absent"},
        {"op": "replace", "path": "/list/1", "value": 1},
        {"op": "add", "path": "/absent/below", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_apply_is_invalid(operation: Json) -> None:
    with pytest.raises(ApiError) as refused:
        apply_patch({"list": [1]}, [operation], JSON_PATCH)
    assert refused.value.code == 422


def test_an_unknown_language_is_an_unsupported_media_type() -> None:
    with pytest.raises(ApiError) as refused:
        patched({}, "application/json")
    assert refused.value.code == 415


def test_null_removes_and_a_patch_that_changes_nothing_writes_nothing() -> None:
    world = shop()
    world.annotate(NAMESPACE, "web", {"a": "b"})
    without = world.annotate(NAMESPACE, "web", {"a": None})
    assert "a" not in without["metadata"].get("annotations", {})
    again = patched({"spec": {"replicas": 10}}, world=world)
    assert again["metadata"]["resourceVersion"] == without["metadata"]["resourceVersion"]


def test_managed_fields_name_the_last_writer_of_image_and_replicas() -> None:
    world = shop()
    assert owner_of(world.get("deployments", NAMESPACE, "web"), *IMAGE_PATH) == {"kubectl-client-side-apply"}
    world.set_image(NAMESPACE, "web", "app", "web:2", manager="rollout")
    world.scale(NAMESPACE, "web", 4, manager="somebody")
    found = world.get("deployments", NAMESPACE, "web")
    assert owner_of(found, *IMAGE_PATH) == {"rollout"}
    assert owner_of(found, "f:spec", "f:replicas") == {"somebody"}
    assert owner_of(found, "f:spec", "f:selector") == {"kubectl-client-side-apply"}


def test_the_generation_grows_with_the_spec_only() -> None:
    world = shop()
    assert world.annotate(NAMESPACE, "web", {"a": "b"})["metadata"]["generation"] == 1
    assert patched({"spec": {"replicas": 3}}, world=world)["metadata"]["generation"] == 2


def test_observers_see_every_change_with_its_writer() -> None:
    world = shop()
    seen: list[Change] = []
    world.observers.append(seen.append)
    world.scale(NAMESPACE, "web", 4, manager="somebody")
    change = seen[0]
    assert (change.resource, change.name, change.manager, change.at) == ("deployments", "web", "somebody", world.now)
    assert change.old is not None
    assert (change.old["spec"]["replicas"], change.new["spec"]["replicas"]) == (10, 4)


def test_a_dry_run_answers_and_leaves_the_world_alone() -> None:
    world = shop()
    assert patched({"spec": {"replicas": 3}}, world=world, dry_run=True)["spec"]["replicas"] == 3
    assert world.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 10
