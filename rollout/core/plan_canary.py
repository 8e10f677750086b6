"""The canary plan: its defaults are the documented procedure, so that a target and an image are enough.

A day of soak, one replica more every six hours up to three, never more than a quarter of the traffic, then the stable pods one
by one, each judged for seven minutes, and an hour of watching before the canary is put away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from rollout.core.images import Image
from rollout.core.plan_base import Contradiction, Document, Part
from rollout.core.plan_signals import SignalSpec
from rollout.core.quantities import (
    Duration,
    DurationOrZero,
    Flag,
    Label,
    Line,
    Name,
    Share,
    Text,
    Whole,
    Zone,
    format_duration,
    format_share,
)
from rollout.core.signals_compiled import Signal
from rollout.core.target import Target
from rollout.core.wording import plural

H, M = timedelta(hours=1), timedelta(minutes=1)


class Mode(StrEnum):
    """`observe` judges beside a canary that people drive by hand: everything is asked, recorded and told, nothing changed."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class SupersedeBy(StrEnum):
    """What happens to a rollout in mid-promotion that is superseded: its stable rolled back first, or taken as it is."""

    ROLLBACK = "rollback"
    ADOPT = "adopt"


def _from_stable(suffix: str = "") -> Any:  # noqa: ANN401 - pydantic's Field takes the factory as it is
    return Field(default_factory=lambda data: f"{data.get('stable', '')}{suffix}")


class CanaryTarget(Part):
    """The pair of Deployments, the Service that selects both, the container whose image changes."""

    cluster: Label = "default"
    namespace: Label
    stable: Name
    canary: Name = _from_stable("-canary")
    service: Name = _from_stable()
    container: Name = _from_stable()

    def contradictions(self) -> Iterator[Contradiction]:
        """Two Deployments, not one."""
        if self.canary == self.stable:
            yield Contradiction(
                "canary", f"{self.canary!r} is the stable Deployment itself", "name a second Deployment", ("stable",)
            )


class Replicas(Part):
    """How the canary grows: from `initial` to `max`, `step` at a time, not sooner than `every` after the last was confirmed."""

    initial: Annotated[Whole, Field(ge=1, le=100)] = 1
    max: Annotated[Whole, Field(ge=1, le=100)] = 3
    step: Annotated[Whole, Field(ge=1, le=100)] = 1
    every: Duration = 6 * H

    def contradictions(self) -> Iterator[Contradiction]:
        """Growth goes upwards."""
        if self.initial > self.max:
            yield Contradiction("initial", f"{self.initial} is more than replicas.max ({self.max})", also=("max",))

    @property
    def additions(self) -> int:
        """How many times replicas are added."""
        return -(-(self.max - self.initial) // self.step)


class Promotion(Part):
    """The stable Deployment's turn.

    `pace`: how long each new pod is judged before the next (written as minReadySeconds). `progress_deadline`: how long without
    one more updated pod until stepping back. `watch`: how long after the last pod.
    """

    pace: Duration = 7 * M
    watch: DurationOrZero = 60 * M
    progress_deadline: Duration = 20 * M

    def contradictions(self) -> Iterator[Contradiction]:
        """A pod must be able to become available before the deadline."""
        if self.progress_deadline <= self.pace:
            yield Contradiction(
                "progressDeadline",
                f"{format_duration(self.progress_deadline)} is not longer than promotion.pace ({format_duration(self.pace)})",
                "no pod could become available in time",
                ("pace",),
            )


class Approvals(Part):
    """Where a person is asked. `within`: how long an answer is awaited before the canary is stepped back."""

    before_promotion: Flag = False
    within: Duration = 72 * H


class CanarySpec(Part):
    """Everything that a canary rollout is told. Shares are 0.0 to 1.0."""

    target: CanaryTarget
    image: Image
    description: Text = ""
    replicas: Replicas = Replicas()
    soak: Duration = 24 * H
    max_soak: Duration = 72 * H
    initial_share: Share = 0.10
    max_share: Share = 0.25
    start_deadline: Duration = 10 * M
    warm_up: DurationOrZero = 3 * M
    promotion: Promotion = Promotion()
    approvals: Approvals = Approvals()
    max_blind: Duration = 30 * M
    max_partly_blind: Duration = 2 * H
    signals: Annotated[tuple[SignalSpec, ...], Field(max_length=50)] = ()
    notify: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    """Names of channels; empty: every channel of the daemon."""
    mode: Mode = Mode.ENFORCE
    timezone: Zone = "UTC"
    """In which times are shown to people; decisions are made in UTC."""
    follows: Line | None = None
    supersede: Line | None = None
    supersede_by: SupersedeBy | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """The procedure must be able to end."""
        if self.max_soak < self.soak:
            words = f"{format_duration(self.max_soak)} is shorter than soak ({format_duration(self.soak)})"
            yield Contradiction("maxSoak", words, also=("soak",))
        growth = (self.replicas.additions + 1) * self.replicas.every
        if self.max_soak < growth:
            yield Contradiction(
                "maxSoak",
                f"{format_duration(self.max_soak)} is shorter than growing to {self.replicas.max} replicas and staying there "
                f"takes ({plural(self.replicas.additions, 'addition')} and one more interval of "
                f"{format_duration(self.replicas.every)} are {format_duration(growth)})",
                also=("replicas",),
            )
        if self.initial_share > self.max_share:
            words = f"{format_share(self.initial_share)} is more than maxShare ({format_share(self.max_share)})"
            yield Contradiction("initialShare", words, also=("maxShare",))
        if not self.initial_share:
            yield Contradiction("initialShare", "0% would never let the canary start", "for example 10%")
        if self.max_partly_blind < self.max_blind:
            words = f"{format_duration(self.max_partly_blind)} is shorter than maxBlind ({format_duration(self.max_blind)})"
            yield Contradiction("maxPartlyBlind", words, also=("maxBlind",))
        if self.supersede_by is not None and self.supersede is None:
            yield Contradiction("supersedeBy", "supersede is missing", "name the rollout that is superseded", ("supersede",))
        yield from self._repeated()

    def _repeated(self) -> Iterator[Contradiction]:
        for name, times in Counter(signal.label for signal in self.signals).items():
            if name and times > 1:
                yield Contradiction("signals", f"{times} signals are called {name!r}", "give each a name of its own")
        for name, times in Counter(self.notify).items():
            if times > 1:
                yield Contradiction("notify", f"{name!r} is named {times} times")


class CanaryPlan(Document):
    """A canary rollout as a file describes it."""

    kind: Literal["Canary"]
    spec: CanarySpec

    @cached_property
    def target(self) -> Target:
        """What is upgraded."""
        t = self.spec.target
        return Target(t.cluster, t.namespace, t.stable, t.container, t.canary, t.service)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The one target, in the form that all kinds of plan have."""
        return (self.target,)

    @property
    def places(self) -> tuple[tuple[str, Target], ...]:
        """The target with its key."""
        return (("spec.target", self.target),)

    @property
    def image(self) -> str:
        """The new image."""
        return self.spec.image

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Every image that the plan brings, with its key."""
        return (("spec.image", self.spec.image),)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals with every default filled in."""
        return compile_signals(self)


def compile_signals(plan: CanaryPlan) -> tuple[Signal, ...]:
    """Fill in every default of every signal, in the plan's order."""
    return tuple(signal.compile(plan.target) for signal in plan.spec.signals)
