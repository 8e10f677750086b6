"""What one seed is about: the cluster, the plan, how the new version behaves, and what people and the weather do meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any

from rollout.core.plan import CanaryPlan, plan_of
from rollout.core.policy import FreezeWindow
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json

M, H = timedelta(minutes=1), timedelta(hours=1)
OLD, NEW, HOTFIX = "shop:1.0", "shop:2.0", "shop:1.0-hotfix"
NAMESPACE, STABLE, CANARY = "default", "shop", "shop-canary"
LOOK_EVERY = 15 * M
BACKENDS = {"apisix-5xx": "prometheus", "skywalking-traces": "skywalking"}
TRAPPED = 0.1
TRAPS = ("stopped unseen", "shrinks while growing", "dies stepping back", "addition unseen", "hold unseen", "aborted unseen",
         "old picture")  # fmt: skip
"""Coincidences that dice would need a million seeds for (traps.py)."""
GOOD = frozenset({"healthy", "evicted"})
LITTLE = 0.04
"""How many stories have so little traffic that a day brings no certificate."""


@dataclass(frozen=True)
class Happening:
    """Something that people or the weather do, so long after the submission."""

    after: timedelta
    what: str
    argument: float = 0.0


@dataclass
class Scenario:
    """One seed's story before it is told."""

    seed: int
    random: Random
    stable: int = 6
    most: int = 2
    signals: tuple[str, ...] = ()
    conduct: str = "healthy"
    behaviour: Behaviour = field(default_factory=Behaviour)
    approval: bool = False
    freeze: tuple[FreezeWindow, ...] = ()
    happenings: list[Happening] = field(default_factory=list)
    trouble: float = 0.0
    sqlite: bool = False
    trap: str = ""
    little_traffic: bool = False
    old: Behaviour = field(default_factory=lambda: Behaviour(error_rate=0.0005))

    @property
    def words(self) -> str:
        signals = ", ".join(self.signals) or "Kubernetes alone"
        told = f"{self.stable} stable pods, up to {self.most} canaries, watched by {signals}; the new version: {self.conduct}"
        asked = "; a person must approve" if self.approval else ""
        frozen = "; frozen at night" if self.freeze else ""
        store = "; kept in SQLite" if self.sqlite else ""
        traffic = "; little traffic" if self.little_traffic else ""
        meanwhile = ", ".join([*(h.what for h in self.happenings), *([self.trap] if self.trap else [])])
        return f"{told}{asked}{frozen}{store}{traffic}; meanwhile: {meanwhile or 'nothing'}; trouble {self.trouble:.1%} a call"


CONDUCTS = (
    ("healthy", 8), ("crash loop", 2), ("out of memory", 2), ("pull error", 1), ("config error", 1), ("never ready", 1),
    ("readiness lost", 2), ("errors", 3), ("few errors", 2),
)  # fmt: skip

HAPPENINGS = (
    "canary to 0", "canary raised", "canary lowered", "canary image", "hotfix", "stable paused", "stable scaled down",
    "stable scaled up", "canary evicted", "canary deleted", "stable unready", "pause", "resume", "abort", "approve",
    "cluster away", "store away", "source away", "every source away", "quiet", "daemon stalled", "daemon killed",
    "clock forward", "clock back", "watch behind",
)  # fmt: skip


def scenario(seed: int) -> Scenario:
    """Draw a story from its seed."""
    random = Random(seed)
    made = Scenario(seed, random)
    if random.random() < 0.2:
        made.stable, made.most = 10, 3
    made.signals = random.choice(((), ("apisix-5xx",), ("apisix-5xx",), ("apisix-5xx", "skywalking-traces")))
    names, weights = zip(*CONDUCTS, strict=True)
    made.conduct = random.choices(names, weights)[0]
    made.behaviour = _behaviour(
        made.conduct, timedelta(hours=random.choice((0.02, 0.5, 3, 9, 20, 25, 26)) * random.uniform(0.9, 1.1))
    )
    if made.conduct in {"crash loop", "out of memory", "readiness lost"} and random.random() < 0.15:
        trouble = made.behaviour.crash_after or made.behaviour.oom_after or made.behaviour.unready_after or H
        made.happenings.append(Happening(max(trouble - H, M), "store away", 1.0))
    made.approval = random.random() < 0.15
    if random.random() < 0.15:
        made.freeze = (FreezeWindow.model_validate({"name": "night", "times": "20:00-06:00", "timezone": "Europe/Berlin"}),)
    made.trouble = random.choice((0.0, 0.005, 0.02, 0.02, 0.08))
    made.sqlite = seed % 40 == 7
    for _ in range(random.choice((0, 1, 1, 2, 3, 5))):
        what = random.choice(HAPPENINGS)
        made.happenings.append(Happening(timedelta(hours=random.uniform(0, 27)), what, random.random()))
    if any(h.what in {"pause", "stable paused"} for h in made.happenings):
        made.happenings.append(Happening(timedelta(hours=random.uniform(10, 40)), "resume"))
    made.happenings.sort(key=lambda h: h.after)
    hidden = Random(f"traps of {seed}")
    if hidden.random() < TRAPPED:
        made.trap = hidden.choice(TRAPS)
    made.little_traffic = bool(made.signals) and Random(f"traffic of {seed}").random() < LITTLE
    return made


def _behaviour(conduct: str, when: timedelta) -> Behaviour:
    match conduct:
        case "crash loop":
            return Behaviour(crash_after=when)
        case "out of memory":
            return Behaviour(oom_after=when)
        case "pull error":
            return Behaviour(pull_error="manifest unknown")
        case "config error":
            return Behaviour(config_error="secret not found")
        case "never ready":
            return Behaviour(ready_after=None)
        case "readiness lost":
            return Behaviour(unready_after=when)
        case "errors":
            return Behaviour(error_rate=0.7, onset=when)
        case "few errors":
            return Behaviour(error_rate=0.05, onset=when)
        case _:
            return Behaviour(error_rate=0.0005)


@cache
def plan(signals: tuple[str, ...], most: int, *, approval: bool) -> CanaryPlan:
    """Make the plan: the documented procedure with fewer looks."""
    spec: dict[str, Any] = {
        "target": {"namespace": NAMESPACE, "stable": STABLE},
        "image": NEW,
        "replicas": {"max": most},
        "initialShare": "15%",
        "signals": [{"preset": name, "window": "15m"} for name in signals],
        "promotion": {"pace": "2m", "watch": "60m"},
        "approvals": {"beforePromotion": approval, "within": "12h"},
        "maxBlind": "60m",
    }
    made = plan_of({"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": "shop"}, "spec": spec})
    assert isinstance(made, CanaryPlan)
    return made


def manifests(stable: int) -> list[Json]:
    """Write the two Deployments and the Service that selects both."""
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": STABLE, "namespace": NAMESPACE},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    }  # fmt: skip
    return [_deployment(STABLE, stable, "release"), _deployment(CANARY, 0, "canary"), service]


def _deployment(name: str, replicas: int, role: str) -> Json:
    labels = {"app": "shop", "role": role}
    container = {"name": STABLE, "image": OLD, "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip
