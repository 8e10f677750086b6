"""Performs the checks and reports of an offline plan: preflight, who will notice, and whether the announcements arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rollout.core.decision import Execution
from rollout.core.errors import Refused, Rejected, Unavailable
from rollout.core.gate import GateObject
from rollout.core.history import NoticeKind
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.offline_facts import plan_in
from rollout.core.plan_gate import Gate
from rollout.core.plan_offline import OfflinePlan
from rollout.core.state import State
from rollout.core.target import Target
from rollout.core.wording import listed, plural
from rollout.engine.offline_gate import is_away
from rollout.engine.offline_impact import LOOK_TIMEOUT, Impact
from rollout.engine.offline_work import WorkTasks
from rollout.engine.overlaps import gates_shared, overlapping
from rollout.engine.recipients import Takes, takes
from rollout.ports import Clock, Cluster, Gateway, Store
from rollout.ports_offline import Jobs, Topology


class CheckTasks:
    """The performers of `offline-preflight`, `assess` and `announcements`.

    `channels`: names of the daemon's; None: not known. `who`: the kinds of notice that they take, where not all.
    """

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        jobs: Mapping[str, Jobs],
        gateways: Mapping[str, Gateway],
        topologies: Mapping[str, Topology],
        work: WorkTasks,
        store: Store,
        clock: Clock,
        *,
        channels: frozenset[str] | None = None,
        who: Takes | None = None,
    ) -> None:
        self._clusters = clusters
        self._jobs = jobs
        self._gateways = gateways
        self._impact = Impact(clusters, jobs, gateways, topologies)
        self._channels = channels
        self._who = who or {}
        self._work = work
        self._store = store
        self._clock = clock

    def performers(self) -> dict[str, Callable[[Execution, State, Task], TaskResult]]:
        """List them by kind of task."""
        return {"offline-preflight": self.preflight, "assess": self.assess, "announcements": self.announcements}

    def preflight(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Everything that would refuse it later, now. Raises Unavailable when the cluster does not answer."""
        lines = tuple(self._checks(execution, state))
        refused = [line for line in lines if line.level == "refused"]
        why = f"{len(lines)} checks, {len(refused)} refused" if refused else f"{len(lines)} checks passed"
        return TaskResult(task.key, self._clock.now(), "done", ok=not refused, why=why, lines=lines)

    def _checks(self, execution: Execution, state: State) -> Iterator[Line]:
        plan = plan_in(execution)
        for target in plan.targets:
            yield from self._target(target, plan.image_of(target))
        yield from self._images(execution)
        for problem in overlapping(self._store, plan, but=execution.id):
            yield Line("targets", "refused", problem.message, problem.remedy)
        yield from self._announced(plan)
        yield from self._gate(execution)
        yield from self._jobs_can_be_made(execution, state)
        for key, http in plan.requests:
            try:
                self._work.shown(http)
            except Refused as no:
                yield Line(key.removeprefix("spec."), "refused", str(no), "mend the plan's credential or the configuration")

    def _jobs_can_be_made(self, execution: Execution, state: State) -> Iterator[Line]:
        """Fill every Job's template, hooks' and tests' too, and ask whether we may create Jobs where they would run."""
        jobs = self._jobs.get(execution.target.cluster)
        namespaces: set[str] = set()
        for key, job in plan_in(execution).jobs:
            name = key.removeprefix("spec.")
            try:
                manifest = self._work.manifest(execution, state, job, name if name != "restore" else "check", "1")
                namespaces.add(manifest["metadata"]["namespace"])
            except Refused as no:
                namespaces.add(job.namespace or execution.target.namespace)
                missing = [p for p in no.problems if "ARTIFACT" not in p.key]
                if name != "restore" or missing or not no.problems:
                    yield Line(f"{name} Job", "refused", str(no), "mend the plan's parameters or the template")
        for namespace in sorted(namespaces) if jobs is not None else ():
            no_right = jobs.may_create(namespace) if jobs is not None else ""
            if no_right:
                yield Line("Jobs", "refused", no_right, "grant it as config/kubernetes/rbac.yaml does")
            else:
                yield Line("Jobs", "ok", f"Jobs may be created in {namespace}")

    def _target(self, target: Target, image: str) -> Iterator[Line]:
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            yield Line("cluster", "refused", f"no cluster {target.cluster!r} is configured", "add it to the configuration")
            return
        for check in cluster.preflight(target, image):
            yield Line(check.name, check.level, check.message, check.remedy)
        view = cluster.look(target, timeout=LOOK_TIMEOUT)
        if view.stable is None:
            yield Line("deployment", "refused", f"there is no Deployment {target}", "correct the plan's target")
        elif target.container not in view.stable.images:
            has = listed(view.stable.images)
            yield Line("container", "refused", f"{target} has no container {target.container!r}; it has {has}", "name it")
        elif not view.stable.replicas:
            yield Line("deployment", "refused", f"{target} has 0 replicas: there is nothing to upgrade", "scale it up first")
        elif view.stable.paused:
            yield Line("deployment", "refused", f"{target} is paused (spec.paused)", "kubectl rollout resume")
        elif not view.stable.rolled_out:
            yield Line("deployment", "warning", f"{target} is not rolled out: {view.stable.available} of {view.stable.replicas}")
        else:
            yield Line(
                "deployment", "ok", f"{target} runs {view.stable.images[target.container]} on {plural(view.stable.replicas, 'pod')}"
            )

    def _images(self, execution: Execution) -> Iterator[Line]:
        """Look for targets that run the new image already: the same text again rolls nothing, and restores nothing."""
        plan = plan_in(execution)
        same = [target for target in plan.targets if self._image(target) == plan.image_of(target)]
        for target in same:
            level = "refused" if len(same) == len(plan.targets) else "warning"
            yield Line("image", level, f"{target} runs {plan.image_of(target)} already", "name the new version")

    def _image(self, target: Target) -> str:
        cluster = self._clusters.get(target.cluster)
        view = cluster.look(target, timeout=LOOK_TIMEOUT) if cluster is not None else None
        return view.stable.images.get(target.container, "") if view is not None and view.stable is not None else ""

    def _announced(self, plan: OfflinePlan) -> Iterator[Line]:
        if self._channels is None or not plan.spec.announce.offsets:
            return
        named = plan.spec.announce.channels
        wanted = named or plan.spec.notify or tuple(sorted(self._channels))
        missing = [name for name in wanted if name not in self._channels]
        if missing:
            words = f"no channel {listed(missing)} is configured: nobody there would be told"
            yield Line("announcements", "refused", words, "add it to the configuration")
        elif not wanted:
            words = "no channel is configured: nobody would be told of the maintenance"
            yield Line("announcements", "refused", words, "configure a channel, or say announce: {offsets: []}")
        elif not named and not any(takes(self._who, name, NoticeKind.ANNOUNCEMENT) for name in wanted):
            words = f"{listed(wanted)} takes no announcement (`events`): nobody would be told of the maintenance"
            yield Line("announcements", "refused", words, "add announcement to its `events`, or name announce.channels in the plan")

    def _gate(self, execution: Execution) -> Iterator[Line]:
        gate = plan_in(execution).spec.gate
        gateway = self._gateways.get(gate.gateway)
        if gateway is None:
            yield Line("gate", "refused", f"no gateway {gate.gateway!r} is configured", "add it to the configuration")
            return
        for check in gateway.rehearse(gate.target, gate.config, gate.vantages):
            if is_away(check):
                raise Unavailable(gate.gateway, check.message)
            yield Line(check.name, check.level, check.message, check.remedy)
        found = _found(gateway, gate)
        shared = gates_shared(
            self._store,
            plan_in(execution),
            self._clock.now(),
            but=execution.id,
            same=lambda other: _same(gateway, found, gate, other),
        )
        for problem in shared:
            yield Line("gate", "refused", problem.message, problem.remedy)

    def assess(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Who will notice: topology, the gateway's routes, and what the gateway does not see. What cannot be asked is said."""
        del state
        lines = tuple(self._impact.lines(execution))
        return TaskResult(task.key, self._clock.now(), "done", ok=True, why=plural(len(lines), "finding"), lines=lines)

    def announcements(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Ask the store where the announcements stand. Ok when every one was delivered everywhere."""
        del state
        rows = [row for row in self._store.notices(execution.id) if row["kind"] == NoticeKind.ANNOUNCEMENT.value]
        bad = [row for row in rows if row["state"] != "delivered"]
        if not bad:
            return TaskResult(task.key, self._clock.now(), "done", ok=True, why=f"{plural(len(rows), 'announcement')} delivered")
        first = bad[0]
        said = first.get("error") or first["state"]
        why = f"{plural(len(bad), 'announcement')} did not arrive, the first at {first['channel']}: {said}"
        return TaskResult(task.key, self._clock.now(), "done", ok=False, why=why)


def _found(gateway: Gateway, gate: Gate) -> GateObject | None:
    """Find the object that a plan's gate stands on; None where it cannot be said which. Raises Unavailable."""
    try:
        return gateway.find(gate.target, gate.config.plugin)
    except (Refused, Rejected):
        return None


def _same(gateway: Gateway, mine: GateObject | None, gate: Gate, other: Gate) -> str:
    """Name the object where another plan's gate stands on it too, whatever it is called there."""
    apart = gate.target.rule and other.target.rule and gate.target.rule != other.target.rule
    theirs = _found(gateway, other) if mine is not None and not apart else None
    return str(theirs.place) if mine is not None and theirs is not None and theirs.place == mine.place else ""
