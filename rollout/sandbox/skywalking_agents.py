"""Which pods of the world run a SkyWalking agent, what it calls them, and what it saw, minute by minute.

An agent names its service and instance as the stock Java agent does: `SW_AGENT_NAME` and `SW_AGENT_INSTANCE_NAME` (with the
underscore) of the first container, else `<UUID>@<IP>`. A pod without any such variable has an agent all the same, whose service
is its label `app`; label it `skywalking: "off"` for none.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollout.sandbox.kube_objects import Json, labels_of, namespace_of, uid_of
from rollout.sandbox.traffic_counts import TrafficCounts
from rollout.sandbox.world import World

MINUTE = timedelta(minutes=1)
HEARTBEAT = timedelta(seconds=20)
"""From a container's start to the agent's first heartbeat in the database."""
PERSISTED = timedelta(seconds=25)
"""From a request to its row."""
_FIELDS = {
    "status.podIP": ("status", "podIP"),
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
}


@dataclass(frozen=True, slots=True)
class Agent:
    """One process with an agent."""

    uid: str
    service: str
    instance: str
    ip: str
    since: datetime

    @property
    def service_id(self) -> str:
        """OAP's id of the service."""
        return service_id(self.service)

    @property
    def instance_id(self) -> str:
        """OAP's id of the instance."""
        return f"{self.service_id}_{base64.b64encode(self.instance.encode()).decode()}"


def service_id(name: str) -> str:
    """Encode a service's name as OAP does."""
    return f"{base64.b64encode(name.encode()).decode()}.1"


def agents(world: World) -> Iterator[Agent]:
    """Every agent whose heartbeat has arrived."""
    for pod in world.objects("pods"):
        began = world.traffic.started_at(uid_of(pod))
        ip = pod.get("status", {}).get("podIP", "")
        if began is None or not ip or world.now < began + HEARTBEAT or labels_of(pod).get("skywalking") == "off":
            continue
        variables = _variables(pod)
        service = variables.get("SW_AGENT_NAME") or labels_of(pod).get("app") or namespace_of(pod)
        instance = variables.get("SW_AGENT_INSTANCE_NAME") or f"{uid_of(pod).replace('-', '')}@{ip}"
        yield Agent(uid_of(pod), service[:50], instance[:50], ip, began)


def _variables(pod: Json) -> dict[str, str]:
    containers: list[dict[str, Any]] = pod["spec"].get("containers") or [{}]
    found: dict[str, str] = {}
    for variable in containers[0].get("env") or []:
        path = _FIELDS.get(variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", ""))
        value = pod.get(path[0], {}).get(path[1], "") if path else variable.get("value", "")
        if value:
            found[variable["name"]] = str(value)
    return found


def minute_of(world: World, agent: Agent, minute: datetime) -> TrafficCounts:
    """What is in the database of one minute: nothing of what happened less than 25 s ago."""
    return world.traffic.counts(agent.uid, minute, min(minute + MINUTE, world.now - PERSISTED))


def spread(count: int, minute: datetime) -> Iterator[datetime]:
    """Spread so many records over a minute, newest first."""
    for index in reversed(range(count)):
        yield minute + MINUTE * (index + 0.5) / count
