"""The real daemon and the sandbox in one process, with time that passes only while nothing is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rollout.adapters.clock import SystemClock
from rollout.adapters.resources import config_folder
from rollout.core.cohorts import TargetView
from rollout.core.target import Target
from rollout.engine.daemon import Daemon, Periods
from rollout.sandbox.apisix_admin import ADMIN_KEY
from rollout.sandbox.serve import Sandbox, SandboxOptions, manifests_in
from rollout.settings import Settings
from rollout.store import schema
from rollout.wiring import Parts, build_daemon, open_parts

STEP = timedelta(seconds=120)
"""As far as time goes at once: as often as the daemon looks of itself."""
SHORTEST = timedelta(milliseconds=200)
PATIENCE_SECONDS = 20.0
"""Real time after which waiting for the daemon to settle is given up: then something is wrong."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a stage is told: the sandbox's seed and traffic, the database. `start`: when its time begins; None: now."""

    folder: Path
    database: str
    start: datetime | None = None
    requests_per_minute: float = 600.0
    seed: int = 7


class Stage:
    """Starts everything as a context manager; `play` moves time until a condition holds."""

    def __init__(self, scene: Scene) -> None:
        self._stack = ExitStack()
        self._real = SystemClock()
        options = SandboxOptions(
            start=(scene.start or self._real.now()).replace(microsecond=0, second=0),
            seed=scene.seed,
            speed=0.0,
            requests_per_minute=scene.requests_per_minute,
        )
        self.sandbox = Sandbox(self._real, options, manifests_in(config_folder() / "kubernetes" / "example"))
        self._scene = scene
        self.settings: Settings
        self.parts: Parts
        self.daemon: Daemon
        self._tick = threading.Event()
        self._versions: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # what was opened is given back where the rest cannot be
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        stack.enter_context(self.sandbox)
        kubeconfig = self.sandbox.kubeconfig(self._scene.folder / "kubeconfig")
        self.settings = Settings.model_validate(settings_for(self.sandbox.urls, kubeconfig))
        schema.upgrade(self._scene.database, clock=self.sandbox.clock)
        self.parts = stack.enter_context(open_parts(self.settings, clock=self.sandbox.clock, database=self._scene.database))
        periods = Periods(
            claim=timedelta(seconds=0.2),
            commands=timedelta(seconds=0.2),
            ask=timedelta(seconds=0.25),
            outbox=timedelta(seconds=0.2),
        )
        self.daemon = build_daemon(self.parts, periods=periods, name="demo")
        stack.callback(self.daemon.stop)
        self.daemon.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def play(self, until: Callable[[], bool], target: Target, seen: Callable[[datetime], None]) -> bool:
        """Let time pass, step by step, until the condition holds (True) or the daemon no longer settles (False)."""
        while not until():
            if not self._settled(target):
                return until()
            if until():
                return True
            self.sandbox.advance(self._next_step())
            self.daemon.engine.wakes.nudge()
            self._settled(target)
            self.daemon.upkeep.ask()
            self._deliver()
            seen(self.sandbox.clock.now())
        return True

    def _deliver(self) -> None:
        """Let notices leave before time goes on, where a commit may have owed any."""
        versions = {active.execution.id: active.version for active in self.daemon.engine.actives()}
        if versions != self._versions:
            self._versions = versions
            self.daemon.outbox.deliver()

    def _next_step(self) -> timedelta:
        """Go to whatever comes first: the daemon's next look, the cluster's next event, a minute."""
        now = self.sandbox.clock.now()
        with self.sandbox.using() as world:
            due = world.next_due()
        times = [at for at in (self.daemon.engine.wakes.next_at(), due) if at is not None]
        soonest = min(times, default=now + STEP) - now
        return max(SHORTEST, min(soonest, STEP))

    def _settled(self, target: Target) -> bool:
        """Wait until the watches have brought everything and nothing of the daemon is under way."""
        deadline = self._real.monotonic() + PATIENCE_SECONDS
        quiet = 0
        while quiet < 2 and self._real.monotonic() < deadline:  # noqa: PLR2004 - idle twice: work that begets work is over
            quiet = quiet + 1 if self.daemon.idle() and self._caught_up(target) else 0
            if quiet < 2:  # noqa: PLR2004 - as above
                self._tick.wait(0.0005)
        return quiet >= 2  # noqa: PLR2004 - as above

    def _caught_up(self, target: Target) -> bool:
        """Compare what the daemon's memory shows with what the pretend cluster holds."""
        with self.sandbox.using() as world:
            objects = {o["metadata"]["name"]: o for o in world.objects("deployments", target.namespace)}
            pods = {(p["metadata"]["name"], _ready(p)) for p in world.objects("pods", target.namespace) if _is_of(p, target)}
        view = self.parts.clusters[target.cluster].view(target)
        if not self.daemon.engine.actives():
            return True
        if not isinstance(view, TargetView) or view.stable is None or (target.canary and view.canary is None):
            return False
        both = filter(None, (view.stable, view.canary))
        same = all(d.resource_version == objects[d.name]["metadata"]["resourceVersion"] for d in both)
        return same and {(pod.name, pod.ready) for pod in view.pods} == pods


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _is_of(pod: Mapping[str, Any], target: Target) -> bool:
    """Say whether a pod is one of the target's or its canary's: neither another service's, nor a Job's."""
    return str(pod["metadata"]["name"]).startswith(f"{target.stable}-") and "job-name" not in pod["metadata"].get("labels", {})


def settings_for(urls: Mapping[str, str], kubeconfig: Path) -> dict[str, Any]:
    """Write the configuration of a daemon that works on a sandbox, in the form of the configuration file."""
    kinds = ("prometheus", "skywalking", "elasticsearch", "alertmanager")
    return {
        "clusters": [{"name": "default", "kubeconfig": str(kubeconfig), "context": "sandbox"}],
        "backends": [{"name": kind, "type": kind, "url": urls[kind]} for kind in kinds if kind in urls],
        "gateways": _gateways(urls),
        "channels": [{"name": "operations", "type": "slack", "url": f"{urls['webhooks']}/hooks/operations"}],
        "timing": {"lease": "24d", "askEvery": "1s", "lookEvery": "2m", "longestGap": "5m"},
    }


def _gateways(urls: Mapping[str, str]) -> list[dict[str, Any]]:
    if "apisix" not in urls:
        return []
    return [{"name": "apisix", "type": "apisix", "adminUrl": urls["apisix"], "apiKey": ADMIN_KEY, "nodes": [urls["gateway"]]}]
