"""Who calls whom, as a scenario says it: `getServiceTopology` and the calls a minute of one relation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rollout.sandbox.skywalking_agents import service_id

CALLS = "service_relation_server_cpm"
"""The metric of a relation that the server side counts."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One service calls another, so many times a minute."""

    source: str
    target: str
    per_minute: int


def neighbours(relations: Iterable[Relation], service: str) -> dict[str, Any]:
    """Answer `getServiceTopology(serviceId)`: one hop around a service, both directions."""
    near = [r for r in relations if service in (service_id(r.source), service_id(r.target))]
    names = dict.fromkeys(name for relation in near for name in (relation.source, relation.target))
    nodes = [{"id": service_id(name), "name": name, "type": "SpringMVC", "isReal": True} for name in names]
    calls = [
        {"id": f"{service_id(r.source)}-{service_id(r.target)}", "source": service_id(r.source), "target": service_id(r.target)}
        for r in near
    ]
    return {"nodes": nodes, "calls": calls}


def per_minute(relations: Iterable[Relation], source: object, target: object) -> int | None:
    """Look the calls a minute of one relation up; None where there is no such relation."""
    return next((r.per_minute for r in relations if (r.source, r.target) == (source, target)), None)
