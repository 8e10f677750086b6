"""Performs the checks and reports of an offline plan: preflight, who will notice, and whether the announcements arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from rollout.core.decision import Execution
from rollout.core.errors import Refused, Rejected, RolloutError, Unavailable
from rollout.core.gate_view import service_nodes
from rollout.core.history import NoticeKind
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.offline_facts import plan_in
from rollout.core.state import State
from rollout.core.target import Target
from rollout.core.wording import listed, number
from rollout.engine.offline_work import WorkTasks
from rollout.ports import Clock, Cluster, Gateway, Store
from rollout.ports_offline import Jobs, Topology

LOOK_TIMEOUT = timedelta(seconds=10)


class CheckTasks:
    """The performers of `offline-preflight`, `assess` and `announcements`."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        jobs: Mapping[str, Jobs],
        gateways: Mapping[str, Gateway],
        topologies: Mapping[str, Topology],
        work: WorkTasks,
        store: Store,
        clock: Clock,
    ) -> None:
        self._clusters = clusters
        self._jobs = jobs
        self._gateways = gateways
        self._topologies = topologies
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
            yield from self._target(target)
        yield from self._gate(execution)
        wanted = {"backup": plan.spec.backup, "migrate": plan.spec.migrate, "restore": plan.spec.restore,
                  "sessions": plan.spec.quiesce.sessions}  # fmt: skip
        named = [(name, job) for name, job in wanted.items() if job is not None]
        for name, job in named:
            try:
                self._work.manifest(execution, state, job, name if name != "restore" else "check", "1")
            except Refused as no:
                missing = [p for p in no.problems if "ARTIFACT" not in p.key]
                if name != "restore" or missing or not no.problems:
                    yield Line(f"{name} Job", "refused", str(no), "mend the plan's parameters or the template")
        jobs = self._jobs.get(execution.target.cluster)
        if named and jobs is not None:
            no_right = jobs.may_create(execution.target.namespace)
            if no_right:
                yield Line("Jobs", "refused", no_right, "grant it as config/kubernetes/rbac.yaml does")
            else:
                yield Line("Jobs", "ok", f"Jobs may be created in {execution.target.namespace}")

    def _target(self, target: Target) -> Iterator[Line]:
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            yield Line("cluster", "refused", f"no cluster {target.cluster!r} is configured", "add it to the configuration")
            return
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
            yield Line("deployment", "ok", f"{target} runs {view.stable.images[target.container]} on {view.stable.replicas} pod(s)")

    def _gate(self, execution: Execution) -> Iterator[Line]:
        gate = plan_in(execution).spec.gate
        gateway = self._gateways.get(gate.gateway)
        if gateway is None:
            yield Line("gate", "refused", f"no gateway {gate.gateway!r} is configured", "add it to the configuration")
            return
        for check in gateway.rehearse(gate.target, gate.config, gate.vantages):
            if check.level == "warning" and check.name == "gate" and check.remedy:
                raise Unavailable(gate.gateway, check.message)
            yield Line(check.name, check.level, check.message, check.remedy)

    def assess(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Who will notice: topology, the gateway's routes, and what the gateway does not see. What cannot be asked is said."""
        del state
        lines = tuple(self._impact(execution))
        return TaskResult(task.key, self._clock.now(), "done", ok=True, why=f"{len(lines)} finding(s)", lines=lines)

    def _impact(self, execution: Execution) -> Iterator[Line]:
        plan = plan_in(execution)
        service = plan.spec.impact.service or plan.target.stable
        for name, topology in self._topologies.items():
            try:
                calls = topology.calls(service, hops=plan.spec.impact.hops)
            except RolloutError as error:
                yield Line("topology", "warning", f"{name} could not say who calls {service}: {error}")
                continue
            for call in calls:
                often = f", {number(call.per_minute)} calls a minute" if call.per_minute is not None else ""
                yield Line("calls", "ok", f"{call.caller} calls {call.callee}{often}")
            if not calls:
                yield Line("topology", "warning", f"{name} has seen no calls to or from {service}")
        for target in plan.targets:
            yield from self._ways(target, plan.spec.gate.gateway)

    def _ways(self, target: Target, gateway: str) -> Iterator[Line]:
        jobs = self._jobs.get(target.cluster)
        found = self._gateways.get(gateway)
        try:
            services = jobs.service_names(target.namespace, target.stable) if jobs is not None else ()
            if found is not None:
                nodes = [node for service in services for node in service_nodes(target.namespace, service)]
                for reach in found.routes_reaching(nodes):
                    yield Line("route", "ok", str(reach))
            if jobs is not None:
                for way in jobs.unseen_ways(target.namespace, target.stable):
                    yield Line("not seen by the gateway", "warning", way)
        except (Unavailable, Rejected, Refused) as error:
            yield Line("ways", "warning", f"not every way to {target} could be looked for: {error}")

    def announcements(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Ask the store where the announcements stand. Ok when every one was delivered everywhere."""
        del state
        rows = [row for row in self._store.notices(execution.id) if row["kind"] == NoticeKind.ANNOUNCEMENT.value]
        bad = [row for row in rows if row["state"] != "delivered"]
        if not bad:
            return TaskResult(task.key, self._clock.now(), "done", ok=True, why=f"{len(rows)} announcement(s) delivered")
        first = bad[0]
        why = f"{len(bad)} announcement(s) did not arrive, the first at {first['channel']}: {first.get('error') or first['state']}"
        return TaskResult(task.key, self._clock.now(), "done", ok=False, why=why)
