"""Who will notice a maintenance: callers and callees, the gateway's routes, and what the gateway does not see.

What cannot be asked is said, never left out: a report that is silent about a source reads as if there were nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from rollout.core.decision import Execution
from rollout.core.errors import Refused, Rejected, RolloutError, Unavailable
from rollout.core.gate import PlaceKind
from rollout.core.gate_view import service_nodes
from rollout.core.observation import Line
from rollout.core.offline_facts import plan_in
from rollout.core.plan_gate import Gate
from rollout.core.target import Target
from rollout.core.wording import listed, number
from rollout.ports import Cluster, Gateway
from rollout.ports_offline import Call, Jobs, Topology

LOOK_TIMEOUT = timedelta(seconds=10)
PAST = "not seen by the gateway"
NO_AGENT = frozenset({"User"})
"""SkyWalking's node for callers without an agent: it names nobody."""


class Impact:
    """Writes the report. Clusters and Jobs by cluster name, gateways and topologies by their names in the configuration."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        jobs: Mapping[str, Jobs],
        gateways: Mapping[str, Gateway],
        topologies: Mapping[str, Topology],
    ) -> None:
        self._clusters = clusters
        self._jobs = jobs
        self._gateways = gateways
        self._topologies = topologies

    def lines(self, execution: Execution) -> Iterator[Line]:
        """Find everything; one line a finding."""
        plan = plan_in(execution)
        service = plan.spec.impact.service or plan.target.stable
        if not self._topologies:
            yield Line("topology", "warning", f"no SkyWalking is configured: nobody can say who calls {service}")
        for name, topology in self._topologies.items():
            yield from _calls(name, topology, service, plan.spec.impact.hops)
        for target in plan.targets:
            yield from self._ways(target, plan.spec.gate)

    def _ways(self, target: Target, gate: Gate) -> Iterator[Line]:
        gateway = gate.gateway
        jobs, found = self._jobs.get(target.cluster), self._gateways.get(gateway)
        if jobs is None:
            yield Line("ways", "warning", f"no cluster {target.cluster!r} is configured: nobody looked for ways to {target}")
            return
        try:
            services = jobs.service_names(target.namespace, target.stable)
            if found is None:
                yield Line("route", "warning", f"no gateway {gateway!r} is configured: its routes were not looked for")
            else:
                nodes = [node for service in services for node in service_nodes(target.namespace, service)]
                nodes += [*jobs.service_addresses(target.namespace, target.stable), *self._pods(target)]
                reaches = tuple(found.routes_reaching(nodes, _services_of(found, gate)))
                for reach in reaches:
                    yield Line("route", "ok", str(reach))
                if not reaches:
                    yield Line("route", "warning", f"no route of gateway {gateway} leads to {target}: is this the right gateway?")
            for way in jobs.unseen_ways(target.namespace, target.stable):
                yield Line(PAST, "warning", way)
        except (Unavailable, Rejected, Refused) as error:
            yield Line("ways", "warning", f"not every way to {target} could be looked for: {error}")

    def _pods(self, target: Target) -> list[str]:
        """List the pods' addresses: an ingress controller makes upstreams of those, not of the Service's name."""
        cluster = self._clusters.get(target.cluster)
        view = cluster.look(target, timeout=LOOK_TIMEOUT) if cluster is not None else None
        return [pod.ip for pod in view.pods if pod.ip] if view is not None else []


def _services_of(gateway: Gateway, gate: Gate) -> tuple[str, ...]:
    """Name the gateway's service that the gate stands on or before: its routes lead to the target whatever its upstream says."""
    try:
        found = gateway.find(gate.target, gate.config.plugin)
    except (Refused, Rejected):
        return ()  # the preflight says what is wrong with the gate
    if found.place.kind is PlaceKind.SERVICE:
        return (found.place.id,)
    service = json.loads(found.value).get("service_id") if found.place.kind is PlaceKind.ROUTE else None
    return (str(service),) if service is not None else ()


def _calls(name: str, topology: Topology, service: str, hops: int) -> Iterator[Line]:
    try:
        calls = topology.calls(service, hops=hops)
    except RolloutError as error:
        yield Line("topology", "warning", f"{name} could not say who calls {service}: {error}")
        return
    for call in calls:
        often = f", {number(call.per_minute)} calls a minute" if call.per_minute is not None else ""
        yield Line("calls", "ok", f"{call.caller} calls {call.callee}{often}")
    if not calls:
        yield Line("topology", "warning", f"{name} has seen no calls to or from {service}")
    callers = _callers(calls, service)
    if callers:
        words = f"traces show {listed(callers)} calling {service}; the gate does not keep out who comes past the gateway"
        yield Line(PAST, "warning", words)


def _callers(calls: Sequence[Call], service: str) -> list[str]:
    return list(dict.fromkeys(c.caller for c in calls if c.callee == service and c.caller not in NO_AGENT))
