"""Deployments: rolling from one ReplicaSet to the next within maxSurge and maxUnavailable.

The arithmetic is that of kubernetes pkg/controller/deployment (rolling.go, sync.go), step by step, so that what holds for the
pretend cluster holds for a real one.
"""

from __future__ import annotations

import json
import operator
from datetime import datetime
from hashlib import sha256

from rollout.sandbox import deployment_status as ds
from rollout.sandbox.kernel import CONTROLLER, Kernel
from rollout.sandbox.kube_objects import (
    Json,
    copied,
    name_of,
    namespace_of,
    owner_reference,
    stamp,
    uid_of,
    with_annotations,
)

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
HASH = "pod-template-hash"


class Deployments:
    """The Deployment controller."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._hashes: dict[int, tuple[Json, str]] = {}
        self._seen: dict[tuple[str, str], tuple[Json, list[Json], datetime]] = {}
        kernel.reconcilers["deployments"] = self.reconcile

    def sets(self, deployment: Json) -> list[Json]:
        """List its ReplicaSets, oldest first."""
        return list(self._kernel.storage.children(uid_of(deployment), "replicasets"))

    def reconcile(self, namespace: str, name: str) -> None:
        """Do one round: create the new ReplicaSet, scale, write the status, clean up."""
        deployment = self._kernel.storage.find("deployments", namespace, name)
        if deployment is None:
            self._seen.pop((namespace, name), None)
            return
        if self._is_settled(deployment):
            return
        deployment = self._mark_paused(deployment)
        paused = bool(deployment["spec"].get("paused"))
        deployment = self._ensure_newest(deployment, create=not paused)
        sets = self.sets(deployment)
        newest = self._newest(deployment, sets)
        if paused or self._is_scaling(deployment, sets):
            self._scale_proportionally(deployment, sets, newest)
        elif newest is not None and not self._grow(deployment, sets, newest):
            self._shrink(deployment, [rs for rs in sets if rs is not newest], newest)
        self._write_status(deployment)

    def _is_settled(self, deployment: Json) -> bool:
        """Say whether it was looked at in exactly this state, and no deadline has passed since."""
        key = (namespace_of(deployment), name_of(deployment))
        seen, sets, at = self._seen.get(key, (None, [], self._kernel.now))
        now_sets = self.sets(deployment)
        same = seen is deployment and len(sets) == len(now_sets) and all(map(operator.is_, sets, now_sets))
        self._seen[key] = (deployment, now_sets, self._kernel.now)
        due = ds.deadline(deployment, deployment["status"])
        return same and not ds.recreates(deployment) and not (due is not None and at < due <= self._kernel.now)

    def _template_hash(self, template: Json) -> str:
        known = self._hashes.get(id(template))
        if known is not None and known[0] is template:
            return known[1]
        text = json.dumps(template, sort_keys=True)
        value = str(int(sha256(text.encode()).hexdigest()[:8], 16))
        if len(self._hashes) > 2_000:  # noqa: PLR2004 - a cache, not a rule
            self._hashes.clear()
        self._hashes[id(template)] = (template, value)
        return value

    def _newest(self, deployment: Json, sets: list[Json]) -> Json | None:
        return next((rs for rs in sets if self._is_newest(deployment, rs)), None)

    def _mark_paused(self, deployment: Json) -> Json:
        status = deployment["status"]
        condition = ds.condition_of(status, "Progressing")
        reason = condition["reason"] if condition else ""
        paused = bool(deployment["spec"].get("paused"))
        if reason == "ProgressDeadlineExceeded" or paused == (reason == "DeploymentPaused"):
            return deployment
        word = ("DeploymentPaused", "Deployment is paused") if paused else ("DeploymentResumed", "Deployment is resumed")
        status = ds.with_condition(status, ("Progressing", "Unknown", *word), self._kernel.now)
        return self._put("deployments", {**deployment, "status": status})

    def _ensure_newest(self, deployment: Json, *, create: bool) -> Json:
        sets = self.sets(deployment)
        newest = self._newest(deployment, sets)
        if newest is None and not create:
            return deployment
        revision = str(max((int(_revision(rs)) for rs in sets if rs is not newest), default=0) + 1)
        if newest is None:
            newest = self._create_set(deployment, sets, revision)
            words = f'Created new replica set "{name_of(newest)}"'
            progress = ("Progressing", "True", "NewReplicaSetCreated", words)
            status = ds.with_condition(deployment["status"], progress, self._kernel.now)
            return self._put("deployments", with_annotations({**deployment, "status": status}, **{ds.REVISION: revision}))
        if len(sets) > 1 and int(_revision(newest)) < int(revision):
            newest = self._put("replicasets", with_annotations(newest, **{ds.REVISION: revision}))
            progress = ("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name_of(newest)}"')
            status = ds.with_condition(deployment["status"], progress, self._kernel.now)
            deployment = self._put("deployments", {**deployment, "status": status})
        if newest["spec"].get("minReadySeconds", 0) != deployment["spec"].get("minReadySeconds", 0):
            self._put_spec(newest, minReadySeconds=deployment["spec"].get("minReadySeconds", 0))
        if (deployment["metadata"].get("annotations") or {}).get(ds.REVISION) != _revision(newest):
            deployment = self._put("deployments", with_annotations(deployment, **{ds.REVISION: _revision(newest)}))
        return deployment

    def _create_set(self, deployment: Json, sets: list[Json], revision: str) -> Json:
        template = copied(deployment["spec"]["template"])
        value = self._template_hash(deployment["spec"]["template"])
        labels = {**(template.get("metadata", {}).get("labels") or {}), HASH: value}
        template["metadata"] = {**template.get("metadata", {}), "labels": labels}
        replicas = self._new_replicas(deployment, sets, 0)
        selector = {"matchLabels": {**deployment["spec"]["selector"]["matchLabels"], HASH: value}}
        spec = {"replicas": replicas, "selector": selector, "template": template}
        if deployment["spec"].get("minReadySeconds"):
            spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        metadata = {
            "name": f"{name_of(deployment)}-{value}", "namespace": namespace_of(deployment), "labels": labels,
            "uid": self._kernel.new_uid(), "creationTimestamp": stamp(self._kernel.now), "generation": 1,
            "ownerReferences": [owner_reference(deployment)],
            "annotations": {ds.REVISION: revision, **_scale_notes(deployment)},
        }  # fmt: skip
        rs = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec, "status": {"replicas": 0}}
        made = self._kernel.storage.add("replicasets", rs, CONTROLLER, self._kernel.now)
        if replicas:
            self._tell_scaled(deployment, made, 0, replicas)
        return made

    def _new_replicas(self, deployment: Json, sets: list[Json], present: int) -> int:
        """NewRSNewReplicas: grow as far as maxSurge lets, never above what is wanted."""
        wanted = int(deployment["spec"]["replicas"])
        if ds.recreates(deployment):
            return present if any(self._has_pods(rs) for rs in sets if not self._is_newest(deployment, rs)) else wanted
        room = wanted + ds.fenceposts(deployment)[0] - sum(rs["spec"]["replicas"] for rs in sets)
        return present if room <= 0 else present + min(room, wanted - present)

    def _has_pods(self, rs: Json) -> bool:
        pods = self._kernel.storage.children(uid_of(rs), "pods")
        return rs["spec"]["replicas"] > 0 or any(pod["status"].get("phase") not in {"Succeeded", "Failed"} for pod in pods)

    def _is_newest(self, deployment: Json, rs: Json) -> bool:
        return bool(rs["metadata"]["labels"].get(HASH) == self._template_hash(deployment["spec"]["template"]))

    def _is_scaling(self, deployment: Json, sets: list[Json]) -> bool:
        wanted = str(deployment["spec"]["replicas"])
        active = [rs for rs in sets if rs["spec"]["replicas"] > 0]
        return any(rs["metadata"]["annotations"].get(DESIRED, wanted) != wanted for rs in active)

    def _scale_proportionally(self, deployment: Json, sets: list[Json], newest: Json | None) -> None:
        """Spread a change of spec.replicas over the active ReplicaSets in proportion to their sizes (sync.go scale)."""
        wanted = int(deployment["spec"]["replicas"])
        active = [rs for rs in sets if rs["spec"]["replicas"] > 0]
        if len(active) <= 1:
            only = active[0] if active else newest
            if only is not None and (only["spec"]["replicas"] != wanted or only["metadata"]["annotations"][DESIRED] != str(wanted)):
                self._resize(deployment, only, wanted)
            return
        if newest is not None and newest["status"].get("availableReplicas", 0) == newest["spec"]["replicas"] == wanted:
            for rs in active:
                if rs is not newest:
                    self._resize(deployment, rs, 0)
            return
        allowed = wanted + (ds.fenceposts(deployment)[0] if wanted and not ds.recreates(deployment) else 0)
        left = allowed - sum(rs["spec"]["replicas"] for rs in active)
        ordered = sorted(active, key=lambda rs: (-rs["spec"]["replicas"], int(_revision(rs)) * (-1 if left > 0 else 1)))
        parts: list[int] = []
        for rs in ordered:
            parts.append(_proportion(rs, wanted, allowed, left - sum(parts)))
        parts[0] += left - sum(parts)
        for rs, part in zip(ordered, parts, strict=True):
            self._resize(deployment, rs, max(rs["spec"]["replicas"] + part, 0))

    def _grow(self, deployment: Json, sets: list[Json], newest: Json) -> bool:
        wanted, present = int(deployment["spec"]["replicas"]), int(newest["spec"]["replicas"])
        if present == wanted:
            return False
        size = wanted if present > wanted else self._new_replicas(deployment, sets, present)
        if size != present:
            self._resize(deployment, newest, size)
        return size != present

    def _shrink(self, deployment: Json, older: list[Json], newest: Json) -> None:
        """Take old pods away: first those that are not available anyway, then as maxUnavailable lets."""
        if ds.recreates(deployment):
            for rs in older:
                self._resize(deployment, rs, 0)
            return
        total = sum(rs["spec"]["replicas"] for rs in [*older, newest])
        least = deployment["spec"]["replicas"] - ds.max_unavailable(deployment)
        missing = newest["spec"]["replicas"] - newest["status"].get("availableReplicas", 0)
        room = total - least - missing
        if room <= 0:
            return
        for rs in [rs for rs in older if rs["spec"]["replicas"]]:
            unhealthy = min(room, rs["spec"]["replicas"] - rs["status"].get("availableReplicas", 0))
            if unhealthy > 0:
                room -= unhealthy
                self._resize(deployment, rs, rs["spec"]["replicas"] - unhealthy)
        older = [self._kernel.storage.get("replicasets", namespace_of(rs), name_of(rs)) for rs in older]
        spare = sum(rs["status"].get("availableReplicas", 0) for rs in [*older, newest]) - least
        for rs in older:
            fewer = min(spare, rs["spec"]["replicas"])
            if fewer > 0:
                spare -= fewer
                self._resize(deployment, rs, rs["spec"]["replicas"] - fewer)

    def _resize(self, deployment: Json, rs: Json, replicas: int) -> None:
        before = rs["spec"]["replicas"]
        notes = _scale_notes(deployment)
        known = rs["metadata"].get("annotations") or {}
        if before == replicas and all(known.get(key) == value for key, value in notes.items()):
            return
        rs = with_annotations(rs, **notes)
        if before == replicas:
            self._put("replicasets", rs)
            return
        self._put_spec(rs, replicas=replicas)
        self._tell_scaled(deployment, rs, before, replicas)

    def _tell_scaled(self, deployment: Json, rs: Json, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        words = f"Scaled {way} replica set {name_of(rs)} from {before} to {after}"
        self._kernel.event(deployment, "ScalingReplicaSet", words, source="deployment-controller")

    def _put(self, resource: str, obj: Json) -> Json:
        return self._kernel.storage.replace(resource, obj, CONTROLLER, self._kernel.now)

    def _put_spec(self, rs: Json, **changes: int) -> Json:
        metadata = {**rs["metadata"], "generation": rs["metadata"]["generation"] + 1}
        return self._put("replicasets", {**rs, "metadata": metadata, "spec": {**rs["spec"], **changes}})

    def _write_status(self, deployment: Json) -> None:
        namespace, name = namespace_of(deployment), name_of(deployment)
        sets = self.sets(deployment)
        newest = self._newest(deployment, sets)
        status = ds.judged(deployment, ds.numbers(deployment, sets, newest), newest, self._kernel.now)
        if status != deployment["status"]:
            deployment = self._put("deployments", {**deployment, "status": status})
        due = ds.deadline(deployment, status)
        if due is not None and due > self._kernel.now:
            self._kernel.call_at(due, lambda: self._kernel.mark("deployments", namespace, name))
        if newest is not None and ds.is_complete(deployment, status):
            self._clean_up(deployment, [rs for rs in sets if rs is not newest])

    def _clean_up(self, deployment: Json, older: list[Json]) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [rs for rs in older if not rs["spec"]["replicas"] and not rs["status"].get("replicas", 0)]
        idle.sort(key=lambda rs: int(_revision(rs)))
        for rs in idle[: max(len(idle) - limit, 0)]:
            self._kernel.storage.remove("replicasets", namespace_of(rs), name_of(rs), CONTROLLER, self._kernel.now)


def _revision(rs: Json) -> str:
    return str((rs["metadata"].get("annotations") or {}).get(ds.REVISION, "0"))


def _scale_notes(deployment: Json) -> dict[str, str]:
    wanted = deployment["spec"]["replicas"]
    surge = 0 if ds.recreates(deployment) else ds.fenceposts(deployment)[0]
    return {DESIRED: str(wanted), MAX: str(wanted + surge)}


def _proportion(rs: Json, wanted: int, allowed: int, left: int) -> int:
    """Its part of what is still to be added or taken (GetReplicaSetProportion): by its share of the former maximum."""
    size = int(rs["spec"]["replicas"])
    if not wanted:
        part = -size
    else:
        former = int(rs["metadata"]["annotations"].get(MAX, "0")) or int(rs["status"].get("replicas", 0)) or 1
        part = round(size * allowed / former) - size
    return min(part, left) if left > 0 else max(part, left)
