"""The organisation's guard rails: floors and caps that a plan may not undercut, and times in which nothing goes forward.

A plan can be stricter, never laxer. Stepping back is never frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from rollout.core.errors import Problem
from rollout.core.freeze import Freeze, FreezeWindow, freeze_at
from rollout.core.images import parse_image
from rollout.core.plan import Plan
from rollout.core.plan_base import Contradiction, Part
from rollout.core.plan_canary import CanaryPlan
from rollout.core.plan_offline import OfflinePlan
from rollout.core.quantities import Duration, DurationOrZero, Line, Share, Whole, format_duration, format_share
from rollout.core.wording import moment

__all__ = ["Freeze", "FreezeWindow", "Policy"]

Globs = Annotated[tuple[Line, ...], Field(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class _Bound:
    """One floor or cap: the plan's key and value, the policy's key and value, both as written."""

    key: str
    value: str
    rule: str
    bound: str
    broken: bool
    floor: bool

    @property
    def problem(self) -> Problem:
        side, most = ("below", "at least") if self.floor else ("above", "at most")
        message = f"{self.value} is {side} the policy's {self.rule} ({self.bound})"
        return Problem(message, key=self.key, remedy=f"{most} {self.bound}, or have the policy changed")


class Policy(Part):
    """Floors, caps, allowed places and freeze windows. Shares are 0.0 to 1.0.

    `maximum_step` also caps the replicas that a canary starts with. `maximum_blind` caps maxBlind and maxPartlyBlind.
    Patterns are shell globs; images are matched by their full name (`docker.io/library/nginx:1.27.4`).
    """

    minimum_soak: DurationOrZero = timedelta(hours=24)
    minimum_interval: DurationOrZero = timedelta(hours=6)
    maximum_initial_share: Share = 0.25
    maximum_share: Share = 0.25
    maximum_step: Annotated[Whole, Field(ge=1, le=100)] = 1
    maximum_replicas: Annotated[Whole, Field(ge=1, le=100)] = 10
    maximum_blind: Duration = timedelta(hours=2)
    minimum_signals: Annotated[Whole, Field(ge=0, le=50)] = 0
    """How many signals that are required and not dry runs a canary plan must have."""
    allowed_namespaces: Globs = ("*",)
    allowed_images: Globs = ("*",)
    freeze_windows: Annotated[tuple[FreezeWindow, ...], Field(max_length=200)] = ()

    def contradictions(self) -> Iterator[Contradiction]:
        """A cap of nothing would refuse every canary."""
        if not self.maximum_initial_share:
            yield Contradiction("maximumInitialShare", "0% refuses every canary")

    def check(self, plan: Plan) -> tuple[Problem, ...]:
        """Say where the plan is laxer than this policy allows, with the floor or cap named; empty when nowhere."""
        problems = [*self._check_places(plan)]
        if isinstance(plan, CanaryPlan):
            problems += [bound.problem for bound in self._bounds(plan) if bound.broken]
            watched = sum(signal.counts for signal in plan.spec.signals)
            if watched < self.minimum_signals:
                message = f"{watched} required signals are fewer than the policy's minimumSignals ({self.minimum_signals})"
                problems.append(Problem(message, key="spec.signals"))
        else:
            problems += self._frozen_start(plan)
        return tuple(problems)

    def frozen(self, now: datetime) -> Freeze | None:
        """Say whether forward steps are frozen now, by which window, and until when (UTC)."""
        return freeze_at(self.freeze_windows, now)

    def _frozen_start(self, plan: OfflinePlan) -> Iterator[Problem]:
        """A maintenance that a freeze keeps from beginning until its grace is over would only ever be cancelled."""
        window = plan.spec.window
        freeze = self.frozen(window.starts_at) if window.exists else None
        if freeze is not None and freeze.until > window.starts_at + window.start_grace:
            message = f"{moment(window.starts_at)} lies in the freeze window {freeze.name!r}: nothing is begun in it"
            remedy = f"it is free from {moment(freeze.until)}"
            yield Problem(message, key="spec.window.startAt", remedy=remedy, also=("spec.window",))

    def _check_places(self, plan: Plan) -> Iterator[Problem]:
        allowed = ", ".join(self.allowed_namespaces)
        for place, target in plan.places:
            if not self._allows(target.namespace):
                message = f"namespace {target.namespace!r} is not among the policy's allowedNamespaces"
                yield Problem(message, key=f"{place}.namespace", remedy=f"allowed: {allowed}")
        home = [target.namespace for _, target in plan.places]
        for key, job in plan.jobs if isinstance(plan, OfflinePlan) and home else ():
            if job.namespace and job.namespace not in home and not self._allows(job.namespace):
                message = f"the Job would run in namespace {job.namespace!r}, which is not among the policy's allowedNamespaces"
                remedy = f"leave it out: then it is the target's, {home[0]}; allowed: {allowed}"
                yield Problem(
                    message, key=f"{key}.manifest.metadata.namespace", remedy=remedy, also=("spec.target", "spec.targets")
                )
        for key, image in plan.images:
            reference = parse_image(image)
            full = str(reference).replace(reference.written_name, reference.repository, 1)
            if not any(fnmatchcase(full, pattern) for pattern in self.allowed_images):
                message = f"image {full} is not among the policy's allowedImages"
                yield Problem(message, key=key, remedy=f"allowed: {', '.join(self.allowed_images)}")

    def _allows(self, namespace: str) -> bool:
        return any(fnmatchcase(namespace, pattern) for pattern in self.allowed_namespaces)

    def _bounds(self, plan: CanaryPlan) -> Iterator[_Bound]:
        spec, replicas = plan.spec, plan.spec.replicas
        for key, span, rule, floor in (
            ("spec.soak", spec.soak, "minimumSoak", self.minimum_soak),
            ("spec.replicas.every", replicas.every, "minimumInterval", self.minimum_interval),
        ):
            yield _Bound(key, format_duration(span), rule, format_duration(floor), span < floor, floor=True)
        for key, span in (("spec.maxBlind", spec.max_blind), ("spec.maxPartlyBlind", spec.max_partly_blind)):
            cap = self.maximum_blind
            yield _Bound(key, format_duration(span), "maximumBlind", format_duration(cap), span > cap, floor=False)
        for key, share, rule, most in (
            ("spec.initialShare", spec.initial_share, "maximumInitialShare", self.maximum_initial_share),
            ("spec.maxShare", spec.max_share, "maximumShare", self.maximum_share),
        ):
            yield _Bound(key, format_share(share), rule, format_share(most), share > most, floor=False)
        for key, number, rule, limit in (
            ("spec.replicas.initial", replicas.initial, "maximumStep", self.maximum_step),
            ("spec.replicas.step", replicas.step, "maximumStep", self.maximum_step),
            ("spec.replicas.max", replicas.max, "maximumReplicas", self.maximum_replicas),
        ):
            yield _Bound(key, str(number), rule, str(limit), number > limit, floor=False)
