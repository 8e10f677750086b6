"""Worlds in which the truth is known, behind a pretend backend or a real one, so that one suite can ask both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rollout.adapters.clock import SystemClock
from rollout.core.signals import PodKey, Question, Reading, Window
from rollout.ports import Clock, SignalSource
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json, labels_of, name_of, namespace_of, uid_of
from rollout.sandbox.serve import Sandbox, SandboxOptions, manifests_in

EXAMPLE = Path(__file__).parents[2] / "config" / "kubernetes" / "example"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BAD = Behaviour(error_rate=0.05, log_error_rate=0.02, trace_error_rate=0.03)


@dataclass(frozen=True)
class Truth:
    """What happened at one pod in the window."""

    requests: int
    errors: int
    error_traces: int
    error_logs: int


@dataclass
class SignalWorld:
    """A backend behind its adapter, the pods that it knows, a finished window, and what really happened in it.

    `idle` is a pod that is alive and had no request; `stranger` one that the backend has never heard of.
    """

    source: SignalSource
    service: str
    window: Window
    truth: Mapping[PodKey, Truth]
    idle: PodKey | None
    stranger: PodKey
    clock: Clock

    def question(self, ask: str, *pods: PodKey, window: Window | None = None, **parameters: str) -> Question:
        chosen = tuple(pods or self.truth)
        return Question("s", self.source.name, ask, tuple(sorted(parameters.items())), chosen, window or self.window)

    def read(self, ask: str, *pods: PodKey, window: Window | None = None, **parameters: str) -> Reading:
        asked = self.question(ask, *pods, window=window, **parameters)
        return self.source.read([asked])[asked].reading


def stranger() -> PodKey:
    return PodKey("default", f"stranger-{uuid.uuid4().hex[:5]}", "none", "203.0.113.9")


def idle_deployment() -> Json:
    """A Deployment that no Service selects; its agent calls itself as the others do."""
    container: dict[str, Any] = {"name": "idle", "image": "idle:1", "env": [{"name": "SW_AGENT_NAME", "value": "nginx"}]}
    labels = {"app": "idle"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": "default"}, "spec": spec}


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose ten nginx pods err a little, at rest a few minutes after noon; time moves by hand."""
    options = SandboxOptions(NOON - timedelta(minutes=30), seed=7, speed=0.0)
    with Sandbox(SystemClock(), options, [*manifests_in(EXAMPLE), idle_deployment()]) as made:
        with made.using() as world:
            world.behaviours["nginx:1.27.3"] = BAD
            world.behaviours["nginx:1.27.4"] = BAD
        made.advance(timedelta(minutes=10))
        yield made


def keys_of(made: Sandbox, app: str) -> Sequence[PodKey]:
    with made.using() as world:
        pods = [pod for pod in world.objects("pods") if labels_of(pod).get("app") == app]
        return [PodKey(namespace_of(pod), name_of(pod), uid_of(pod), pod["status"]["podIP"]) for pod in pods]


def sandbox_world(made: Sandbox, source: SignalSource) -> SignalWorld:
    window = Window(made.clock.now() - 8 * MINUTE, made.clock.now() - 3 * MINUTE)
    truth = {}
    with made.using() as world:
        for key in keys_of(made, "nginx"):
            counts = world.traffic.counts(key.uid, window.start, window.end)
            truth[key] = Truth(counts.requests, counts.errors, counts.error_traces, counts.error_logs)
    return SignalWorld(source, "nginx", window, truth, keys_of(made, "idle")[0], stranger(), made.clock)
