"""Whether the daemon's configuration has everything that a plan names: clusters, backends, channels, gateways, Job templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollout.core.errors import Problem, Refused
from rollout.core.job_template import ARTIFACT, ARTIFACT_SHA256, ROLLOUT_ID, namespace_of, rendered
from rollout.core.plan import CanaryPlan, Plan
from rollout.core.plan_errors import nearest
from rollout.core.plan_work import Job

Template = Callable[[str], Mapping[str, Any]]
OURS = (ROLLOUT_ID, ARTIFACT, ARTIFACT_SHA256)
"""Parameters that no plan gives: the daemon does."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The names that the configuration has, by section (None: not known here, so not checked).

    `template` finds a Job template by name, or raises Refused with its remedy.
    """

    clusters: frozenset[str] | None = None
    backends: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    gateways: frozenset[str] | None = None
    credentials: frozenset[str] | None = None
    template: Template | None = None

    def problems(self, plan: Plan) -> Iterator[Problem]:
        """Say every name of a plan that nothing is configured for, with its key and what there is instead."""
        for place, target in plan.places:
            yield from _unknown("cluster", self.clusters, f"{place}.cluster", target.cluster)
        for number, channel in enumerate(plan.spec.notify):
            yield from _unknown("channel", self.channels, f"spec.notify[{number}]", channel)
        if isinstance(plan, CanaryPlan):
            yield from self._signals(plan)
            return
        for number, channel in enumerate(plan.spec.announce.channels):
            yield from _unknown("channel", self.channels, f"spec.announce.channels[{number}]", channel)
        yield from _unknown("gateway", self.gateways, "spec.gate.gateway", plan.spec.gate.gateway)
        for key, http in plan.requests:
            if http.credential:
                yield from _unknown("credential", self.credentials, f"{key}.credential", http.credential)
        if self.template is not None:
            for key, job in plan.jobs:
                yield from _template(self.template, key, job)

    def _signals(self, plan: CanaryPlan) -> Iterator[Problem]:
        for number, signal in enumerate(plan.spec.signals):
            key = f"spec.signals[{number}]"
            if signal.source:
                yield from _unknown("backend", self.backends, f"{key}.backend" if signal.backend else key, signal.source)


ANYTHING = Configured()
"""Nothing is known here, nothing is checked."""


def _unknown(what: str, known: frozenset[str] | None, key: str, name: str) -> Iterator[Problem]:
    if known is None or name in known:
        return
    near = nearest(name, sorted(known))
    remedy = f"configured: {', '.join(sorted(known))}" if known else f"add the {what} to the daemon's configuration"
    yield Problem(f"no {what} {name!r} is configured", key=key, remedy=(f"did you mean {near}? " if near else "") + remedy)


def _template(template: Template, key: str, job: Job) -> Iterator[Problem]:
    """Look a Job's template up, and whether the plan gives what it needs."""
    if job.template is None:
        return
    try:
        found = template(job.template)
    except Refused as no:
        remedy = next((problem.remedy for problem in no.problems if problem.remedy), "mend the template")
        yield Problem(str(no), key=f"{key}.template", remedy=remedy)
        return
    if namespace_of(found, {}) != namespace_of(found, job.parameters):
        words = f"template {job.template} takes its namespace from the plan, past the policy's allowedNamespaces"
        remedy = "write the namespace into the template, or leave it out: then it is the target's"
        yield Problem(words, key=f"{key}.template", remedy=remedy)
    given = {name: value or "-" for name, value in job.parameters.items()} | dict.fromkeys(OURS, "-")
    try:
        rendered(found, given)
    except Refused as no:
        for missing in no.problems:
            yield Problem(missing.message, key=f"{key}.{missing.key}", also=(f"{key}.template", f"{key}.parameters"))
