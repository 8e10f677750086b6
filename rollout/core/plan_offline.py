"""The offline plan: gate closed, writers stopped, backup, upgrade, tests through the gate, and open again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rollout.core.images import Image
from rollout.core.plan_base import Document, Part
from rollout.core.quantities import Flag, Label, Name, Text, Zone
from rollout.core.signals_compiled import Signal
from rollout.core.target import Target


class OfflineTarget(Part):
    """One Deployment that is upgraded."""

    cluster: Label = "default"
    namespace: Label
    stable: Name
    container: Name = Field(default_factory=lambda fields: str(fields.get("stable", "")))


class OfflineSpec(Part):
    """Everything that an offline rollout is told."""

    target: OfflineTarget
    image: Image
    description: Text = ""
    stop: Flag = True
    timezone: Zone = "UTC"
    notify: Annotated[tuple[Label, ...], Field(max_length=50)] = ()


class OfflinePlan(Document):
    """An offline rollout as a file describes it."""

    kind: Literal["Offline"]
    spec: OfflineSpec

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is upgraded, in order."""
        t = self.spec.target
        return (Target(t.cluster, t.namespace, t.stable, t.container),)

    @property
    def target(self) -> Target:
        """The first target: the one that the rollout is listed under."""
        return self.targets[0]

    @property
    def image(self) -> str:
        """The new image of the first target."""
        return self.spec.image

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Every image that the plan brings, with its key."""
        return (("spec.image", self.spec.image),)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The offline procedure is judged by tests, not by signals."""
        return ()
