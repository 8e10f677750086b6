from __future__ import annotations

import pytest

from rollout.adapters import kubernetes_patch as patches
from rollout.adapters import kubernetes_slim as slim
from rollout.core.effects import FieldName, FieldTest, PatchDeployment
from tests.adapters import kube_json as kube

SEEN = patches.Layout(index=1, annotated=True, annotations=frozenset({"rollout/id"}))


def patch(
    *,
    image: str | None = None,
    replicas: int | None = None,
    paused: bool | None = None,
    min_ready_seconds: int | None = None,
    annotations: tuple[tuple[str, str | None], ...] = (),
    if_version: str | None = None,
    if_fields: tuple[FieldTest, ...] = (),
) -> PatchDeployment:
    return PatchDeployment(
        "test", "shop", "nginx", "nginx", image, replicas, paused, min_ready_seconds, annotations, if_version, if_fields
    )


def test_going_forward_sends_the_named_fields_and_the_version_that_was_seen() -> None:
    sent = patches.merge_patch(
        patch(image="nginx:2", replicas=1, annotations=(("rollout/id", "r1"), ("rollout/stopped", None)), if_version="42")
    )
    assert sent == {
        "metadata": {"annotations": {"rollout/id": "r1", "rollout/stopped": None}, "resourceVersion": "42"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:2"}]}}},
    }


def test_zero_and_false_are_values_and_not_absences() -> None:
    assert patches.merge_patch(patch(replicas=0, paused=False, min_ready_seconds=0)) == {
        "spec": {"replicas": 0, "paused": False, "minReadySeconds": 0}
    }


def test_every_test_comes_before_every_write() -> None:
    ops = patches.json_patch(
        patch(
            image="nginx:1",
            replicas=0,
            annotations=(("rollout/stopped", "r1"),),
            if_fields=(FieldTest(FieldName.IMAGE, "nginx:2"), FieldTest(FieldName.ROLLOUT_ID, "r1")),
        ),
        SEEN,
    )
    assert [op["op"] for op in ops] == ["test", "test", "test", "add", "add", "add"]
    assert ops[0] == {"op": "test", "path": "/spec/template/spec/containers/1/name", "value": "nginx"}
    assert {"op": "test", "path": "/spec/template/spec/containers/1/image", "value": "nginx:2"} in ops
    assert {"op": "test", "path": "/metadata/annotations/rollout~1id", "value": "r1"} in ops
    assert {"op": "add", "path": "/metadata/annotations/rollout~1stopped", "value": "r1"} in ops


def test_absence_is_tested_as_null_and_so_is_what_the_server_never_stores() -> None:
    ops = patches.json_patch(
        patch(
            replicas=0,
            if_fields=(
                FieldTest(FieldName.STOPPED, None),
                FieldTest(FieldName.PAUSED, value=False),
                FieldTest(FieldName.MIN_READY_SECONDS, 0),
                FieldTest(FieldName.REPLICAS, 0),
            ),
        ),
        SEEN,
    )
    assert [op["value"] for op in ops if op["op"] == "test"] == [None, None, None, 0]


def test_only_an_annotation_that_is_there_is_removed() -> None:
    ops = patches.json_patch(
        patch(annotations=(("rollout/id", None), ("rollout/stopped", None)), if_fields=(FieldTest(FieldName.REPLICAS, 1),)), SEEN
    )
    assert [op for op in ops if op["op"] == "remove"] == [{"op": "remove", "path": "/metadata/annotations/rollout~1id"}]


def test_a_deployment_without_annotations_gets_the_map_first_and_only_if_it_still_has_none() -> None:
    bare = patches.Layout(index=0, annotated=False)
    ops = patches.json_patch(
        patch(replicas=0, annotations=(("rollout/stopped", "r1"),), if_fields=(FieldTest(FieldName.ROLLOUT_ID, None),)), bare
    )
    assert ops[0] == {"op": "test", "path": "/metadata/annotations", "value": None}
    assert [op["path"] for op in ops[1:]] == ["/metadata/annotations", "/spec/replicas", "/metadata/annotations/rollout~1stopped"]


def test_a_patch_that_steps_back_is_told_by_its_tests_or_by_its_tombstone() -> None:
    assert patches.backward(patch(replicas=0, if_fields=(FieldTest(FieldName.ROLLOUT_ID, "r1"),)))
    assert patches.backward(patch(replicas=0, annotations=(("rollout/stopped", "r1"),), if_version="1"))
    assert not patches.backward(patch(replicas=1, annotations=(("rollout/stopped", None),), if_version="1"))


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (FieldTest(FieldName.ROLLOUT_ID, "r1"), ["rollout/id is 'r2', expected 'r1'"]),
        (FieldTest(FieldName.ROLLOUT_ID, "r2"), []),
        (FieldTest(FieldName.STOPPED, None), []),
        (FieldTest(FieldName.STOPPED, "r2"), ["rollout/stopped is absent, expected 'r2'"]),
        (FieldTest(FieldName.IMAGE, "nginx:9"), ["image is 'nginx:1.27.3', expected 'nginx:9'"]),
        (FieldTest(FieldName.PAUSED, None), []),
        (FieldTest(FieldName.PAUSED, value=False), []),
        (FieldTest(FieldName.PAUSED, value=True), ["paused is False, expected True"]),
        (FieldTest(FieldName.MIN_READY_SECONDS, None), []),
        (FieldTest(FieldName.REPLICAS, 3), ["replicas is 10, expected 3"]),
    ],
)
def test_what_a_refused_patch_ran_into_is_worded(test: FieldTest, words: list[str]) -> None:
    document = kube.deployment(annotations={"rollout/id": "r2"})
    assert patches.differences(patch(replicas=0, if_fields=(test,)), document) == words


def test_the_layout_is_read_from_what_the_watch_keeps() -> None:
    document = kube.deployment(annotations={"rollout/id": "r1", "other": "x"})
    document["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar", "image": "s:1"})
    assert patches.layout(slim.deployment(document), "nginx") == SEEN
    assert patches.layout(slim.deployment(document), "nobody").index is None
