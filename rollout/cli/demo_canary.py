"""The demo's canary stories: what arrives, how it behaves, and how it has to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from rollout.cli.demo_story import Finding, Opening, notices_arrived
from rollout.cli.stage import Stage
from rollout.core.history import Outcome
from rollout.ports import RolloutRow
from rollout.sandbox.behaviour import HEALTHY, Behaviour

NAMESPACE, STABLE, CANARY, REPLICAS = "default", "nginx", "nginx-canary", 10

PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata:
  name: {name}
spec:
  description: {about}
  target: {{namespace: default, stable: nginx, service: nginx-svc}}
  image: {image}
  signals:
{signals}
"""
SIGNALS = ("apisix-5xx", "apisix-latency", "skywalking-traces", "skywalking-success-rate", "error-logs")
WINDOW = "5m"


@dataclass(frozen=True, slots=True)
class CanaryScenario:
    """A new version of nginx, as a canary."""

    name: str
    about: str
    image: str
    behaviour: Behaviour
    ends_as: Outcome
    lasts: timedelta

    @property
    def plan(self) -> str:
        """Its plan file: the documented procedure, with nothing changed but the length of the windows."""
        signals = "\n".join(f"    - {{preset: {name}, window: {WINDOW}}}" for name in SIGNALS)
        return PLAN.format(name=f"demo-{self.name}", about=self.about, image=self.image, signals=signals)

    def open(self, stage: Stage) -> Opening:
        """Let the version that runs be healthy, and the new one be as the story wants it."""
        with stage.sandbox.using() as world:
            before = str(world.get("deployments", NAMESPACE, STABLE)["spec"]["template"]["spec"]["containers"][0]["image"])
            world.behaviours[before] = HEALTHY
            world.behaviours[self.image] = self.behaviour
        title = f"{self.name}: {self.about} ({before} -> {self.image})"
        return Opening(title, self.plan, partial(verify, stage, self, before))


CANARIES = (
    CanaryScenario("good", "a good version goes all the way", "nginx:1.28.0", HEALTHY, Outcome.SUCCEEDED, timedelta(hours=27)),
    CanaryScenario(
        "bad",
        "a version that begins to err after three hours is caught and stepped back",
        "nginx:1.29.0",
        Behaviour(error_rate=0.03, onset=timedelta(hours=3)),
        Outcome.FAILED,
        timedelta(hours=5),
    ),
    CanaryScenario(
        "crash",
        "a version that crashes after twenty minutes is stepped back by what Kubernetes shows",
        "nginx:1.29.1",
        Behaviour(crash_after=timedelta(minutes=20)),
        Outcome.FAILED,
        timedelta(hours=1),
    ),
)


def verify(stage: Stage, scenario: CanaryScenario, image_before: str, row: RolloutRow) -> Iterator[Finding]:
    """Look at the database, the pretend cluster and the webhook, and say whether it ended as it should."""
    yield Finding(row.outcome is scenario.ends_as, f"the database says {row.outcome.value}, expected {scenario.ends_as.value}")
    wanted = scenario.image if scenario.ends_as is Outcome.SUCCEEDED else image_before
    with stage.sandbox.using() as world:
        stable, canary = (world.get("deployments", NAMESPACE, name) for name in (STABLE, CANARY))
        pods = [pod for pod in world.objects("pods", NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
    images = [str(pod["spec"]["containers"][0]["image"]) for pod in pods]
    runs = stable["spec"]["template"]["spec"]["containers"][0]["image"]
    yield Finding(runs == wanted, f"{STABLE} is set to {runs}, expected {wanted}")
    yield Finding(images == [wanted] * REPLICAS, f"{images.count(wanted)} of {len(images)} pods run {wanted}, expected {REPLICAS}")
    replicas = canary["spec"]["replicas"]
    yield Finding(replicas == 0, f"{CANARY} has {replicas} replicas, expected 0")
    yield notices_arrived(stage, row)
