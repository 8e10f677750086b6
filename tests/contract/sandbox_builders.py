"""Builders for the tests of the sandbox: a shop with a stable Deployment, its canary and one Service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.sandbox.storage import Change
from rollout.sandbox.world import World

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
NAMESPACE = "shop"
Json = dict[str, Any]


def deployment(name: str = "web", replicas: int = 10, image: str = "web:1", role: str = "release", **spec: object) -> Json:
    labels = {"app": "web", "role": role}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "strategy": strategy, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": body}


def service() -> Json:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-svc", "namespace": NAMESPACE}, "spec": spec}


def manifests(replicas: int = 10, **spec: object) -> list[Json]:
    return [deployment("web", replicas, "web:1", "release", **spec), deployment("web-canary", 0, role="canary"), service()]


def shop(*, settle: timedelta = timedelta(minutes=1), seed: int = 1, replicas: int = 10, **spec: object) -> World:
    """A world in which the shop has stood for a minute."""
    world = World(START, seed)
    world.load(manifests(replicas, **spec))
    world.advance_by(settle)
    return world


def status(world: World, name: str = "web") -> Json:
    found: Json = world.get("deployments", NAMESPACE, name)["status"]
    return found


def condition(world: World, type_: str = "Progressing", name: str = "web") -> Json:
    return next(c for c in status(world, name)["conditions"] if c["type"] == type_)


def pods(world: World, role: str = "release") -> list[Json]:
    return [pod for pod in world.objects("pods", NAMESPACE) if pod["metadata"]["labels"]["role"] == role]


def live_pods(world: World, role: str = "release") -> list[Json]:
    return [pod for pod in pods(world, role) if "deletionTimestamp" not in pod["metadata"]]


def container_state(pod: Json) -> Json:
    found: Json = pod["status"]["containerStatuses"][0]
    return found


class Extremes:
    """Watches a Deployment at every change: the fewest available and the most pods it ever had."""

    def __init__(self, world: World, min_ready: int = 0) -> None:
        self.fewest_available = 1_000
        self.most_pods = 0
        self._world = world
        self._min_ready = min_ready
        world.observers.append(self._saw)

    def _saw(self, change: Change) -> None:
        if change.resource not in {"pods", "deployments"} or change.namespace != NAMESPACE:
            return
        present = live_pods(self._world)
        available = 0
        for pod in present:
            at = self._world.kubelet.available_at(pod, self._min_ready)
            available += at is not None and at <= self._world.now
        self.fewest_available = min(self.fewest_available, available)
        self.most_pods = max(self.most_pods, len(present))
