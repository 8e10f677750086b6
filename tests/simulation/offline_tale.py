"""What a seed of the offline simulation is about: the plan, how its Jobs and the new version behave, and who reaches in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from rollout.core.plan import OfflinePlan, plan_of
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json
from tests.simulation.offline_players import INSIDE, OUTSIDE
from tests.simulation.pretend import START

M, H = timedelta(minutes=1), timedelta(hours=1)
OLD, NEW = "orders:1.0", "orders:2.0"
BACKUP, MIGRATE, RESTORE = "job-backup:1", "job-migrate:1", "job-restore:1"
WINDOW_START = START + H
GRACE = 20 * M
ARTIFACT = 'rollout-artifact: {"id": "@", "size": 4096, "sha256": "' + "ab" * 32 + '"}'
JOBS = {
    "good": Behaviour(completes_after=timedelta(seconds=100), log=("working", ARTIFACT)),
    "fails": Behaviour(completes_after=timedelta(seconds=100), exit_code=1, log=("broken",)),
    "hangs": Behaviour(completes_after=timedelta(hours=9)),
    "silent": Behaviour(completes_after=timedelta(seconds=100), log=("working",)),
}
"""How the Jobs of a tale may behave."""


@dataclass
class Tale:
    """What a seed is about."""

    random: Random
    trouble: float = 0.0
    new_passes: bool = True
    new_lingers: bool = False
    """The new version's pods take their time to end, as the old one's always do."""
    backup: str = "good"
    migrate: str = "good"
    restore: str = "good"
    on_failure: str = "ask"
    person: str = "rollback"
    before: Json | None = None
    hands: list[tuple[timedelta, str]] = field(default_factory=list)

    @property
    def words(self) -> str:
        """Say what the story is about."""
        jobs = ", ".join(
            f"{name} {how}" for name, how in (("backup", self.backup), ("migration", self.migrate), ("restore", self.restore))
        )
        new = "passes its tests" if self.new_passes else "fails its tests"
        before = "a gate with a blacklist" if self.before else "no gate before"
        hands = ", ".join(f"{what} after {round(after.total_seconds() / 60)} min" for after, what in self.hands) or "nothing"
        return (f"{jobs}; the new version {new}; on failure {self.on_failure}, and people say {self.person}; {before}; "
                f"meanwhile: {hands}; trouble {self.trouble:.0%} a call")  # fmt: skip


def tale(seed: int) -> Tale:
    """Draw one."""
    random = Random(seed)
    made = Tale(random)
    made.trouble = random.choice((0.0, 0.01, 0.03, 0.06))
    made.new_passes = random.random() < 0.55
    made.backup = random.choices(("good", "fails", "silent"), (10, 1, 1))[0]
    made.migrate = random.choices(("good", "fails", "hangs"), (8, 1, 1))[0]
    made.restore = random.choices(("good", "fails"), (7, 1))[0]
    made.on_failure = random.choice(("ask", "rollback"))
    made.person = random.choice(("rollback", "nobody", "approve", "open", "abort"))
    made.before = random.choice((None, None, {"blacklist": ["203.0.113.9"], "message": "go away"}))
    happen = ("gate opened by hand", "scaled up by hand", "gateway away", "store away", "cluster away", "abort", "pause", "extend",
              "cancel", "daemon killed", "daemon asleep", "daemon stalled")  # fmt: skip
    for _ in range(random.choice((0, 0, 1, 2))):
        after = random.choice((timedelta(hours=random.uniform(0, 1)), H + timedelta(minutes=random.uniform(0.5, 9))))
        made.hands.append((after, random.choice(happen)))
    made.hands.sort()
    return made


def plan_for(made: Tale) -> OfflinePlan:
    """The plan: an upgrade with a schema change, everything in it."""

    def job(image: str, **more: Any) -> Json:  # noqa: ANN401 - the plan's own values
        container = {"name": "work", "image": image}
        if image == RESTORE:
            container["args"] = ["$(ARTIFACT)"]  # type: ignore[assignment]
        pod = {"restartPolicy": "Never", "containers": [container]}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
        return {"manifest": manifest, "deadline": "10m", **more}

    spec = {
        "target": {"namespace": "shop", "stable": "orders"}, "image": NEW, "schemaChange": True,
        "window": {"startAt": "2026-11-22 09:00", "timezone": "UTC", "duration": "90m", "startGrace": "20m"},
        "announce": {"offsets": ["40m", "30m", "10m"]},
        "gate": {"route": {"id": "1"}, "allow": [f"{INSIDE}/32"], "message": "closed", "probes": {
            "outside": [{"url": "/", "sourceAddress": OUTSIDE}], "inside": [{"url": "/", "sourceAddress": INSIDE}]}},
        "backup": job(BACKUP), "migrate": job(MIGRATE), "restore": job(RESTORE, expected="5m"),
        "tests": [{"name": "health", "http": {"url": "http://shop/"}, "timeout": "10s", "pause": "1s"}],
        "onFailure": made.on_failure, "margin": "10m", "watch": "5m",
    }  # fmt: skip
    plan = plan_of({"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}, "spec": spec})
    assert isinstance(plan, OfflinePlan)
    return plan


def manifests() -> list[Json]:
    """The service that is upgraded."""
    labels = {"app": "orders"}
    container = {"name": "orders", "image": OLD, "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders", "namespace": "shop"},
                  "spec": {"replicas": 2, "selector": {"matchLabels": labels},
                           "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}  # fmt: skip
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"},
               "spec": {"selector": labels, "ports": [{"port": 80}]}}  # fmt: skip
    return [deployment, service]
