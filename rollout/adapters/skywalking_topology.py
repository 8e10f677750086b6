"""Who calls whom, as SkyWalking's traces show it: for the report of who will notice an offline upgrade.

`getServiceTopology(serviceId, duration)` shows one hop (8.0 and later); wider circles are walked service by service. `source` calls
`target`; both are node ids. The node `User` stands for callers without an agent. A metric of the relation says how often:
`service_relation_server_cpm`, read by MQE or by `readMetricsValues` as the server's version knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from rollout.adapters.http import Backend
from rollout.adapters.skywalking import SkyWalkingSettings
from rollout.adapters.skywalking_answers import Server, Transport
from rollout.adapters.skywalking_asks import Results
from rollout.adapters.skywalking_graphql import Call as Ask
from rollout.adapters.skywalking_graphql import service_id
from rollout.core.errors import Unavailable
from rollout.ports import Clock
from rollout.ports_offline import Call

LOOK_BACK = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
MOST_SERVICES = 50
"""Services whose neighbours are asked for: a bound for a wide circle in a dense topology."""

Relation = tuple[str, str]


class SkyWalkingTopology:
    """One OAP's topology, with a connection of its own."""

    def __init__(self, name: str, settings: SkyWalkingSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._backend = Backend(name, settings, clock, url=settings.url)
        self._transport = Transport(name, self._backend)

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def calls(self, service: str, *, hops: int) -> Sequence[Call]:
        """List the calls of the last hour to and from a service, up to so many hops. Raises Unavailable, Rejected."""
        server = self._transport.meet(self._clock.now())
        names = {service_id(service): service}
        found: dict[Relation, None] = {}
        asked: set[str] = set()
        circle = [service_id(service)]
        for _ in range(hops):
            wanted = [one for one in circle if one not in asked][:MOST_SERVICES]
            if not wanted:
                break
            asked |= set(wanted)
            circle = []
            for relation in self._neighbours(server, wanted, names):
                found.setdefault(relation)
                circle += relation
        often = self._often(server, tuple(found), names)
        return tuple(Call(names.get(a, a), names.get(b, b), often.get((a, b))) for a, b in found)

    def _neighbours(self, server: Server, ids: Sequence[str], names: dict[str, str]) -> list[Relation]:
        now = server.time.now(self._clock.now())
        duration = server.time.minutes(now - LOOK_BACK, now)
        text = "getServiceTopology(serviceId:$service,duration:$duration){nodes{id name} calls{id source target}}"
        asks = [Ask(one, text, {"service": ("ID!", one), "duration": ("Duration!", duration)}) for one in ids]
        answers = self._run(server, asks, required=True)
        relations: list[Relation] = []
        for topology in answers.values():
            try:
                names.update(_pairs(topology, "nodes", "id", "name"))
                relations += _pairs(topology, "calls", "source", "target")
            except (TypeError, KeyError) as error:
                raise Unavailable(self._name, f"its topology is of another shape than SkyWalking's ({error})") from error
        return relations

    def _often(self, server: Server, relations: Sequence[Relation], names: Mapping[str, str]) -> dict[Relation, float]:
        now = server.time.now(self._clock.now())
        duration = server.time.minutes(now - LOOK_BACK, now)
        asks = [_cpm(server, one, names, duration) for one in relations if all(end in names for end in one)]
        found: dict[Relation, float] = {}
        for key, answer in self._run(server, asks, required=False).items():
            values = _numbers(answer)
            if values and isinstance(key, tuple):
                found[key[0], key[1]] = sum(values) / len(values)
        return found

    def _run(self, server: Server, asks: Sequence[Ask], *, required: bool) -> Mapping[object, object]:
        results = Results()
        self._transport.run(asks, self._settings.complexity or server.dialect.complexity, results)
        if required and results.failures:
            raise Unavailable(self._name, next(iter(results.failures.values())))
        return dict(results.answers)


def _cpm(server: Server, relation: Relation, names: Mapping[str, str], duration: object) -> Ask:
    source, target = relation
    entity = {"serviceName": names[source], "normal": source.endswith(".1"),
              "destServiceName": names[target], "destNormal": target.endswith(".1")}  # fmt: skip
    if server.dialect.mqe:
        text = "execExpression(expression:$metric,entity:$entity,duration:$duration){type error results{values{value}}}"
        metric = ("String!", "service_relation_server_cpm")
        return Ask(relation, text, {"metric": metric, "entity": ("Entity!", entity), "duration": ("Duration!", duration)})
    text = "readMetricsValues(condition:$condition,duration:$duration){values{values{value}}}"
    condition = {"name": "service_relation_server_cpm", "entity": {"scope": "ServiceRelation", **entity}}
    return Ask(relation, text, {"condition": ("MetricsCondition!", condition), "duration": ("Duration!", duration)})


def _pairs(topology: object, key: str, first: str, second: str) -> list[tuple[str, str]]:
    """Read two texts of each entry of one of the topology's lists; null is an empty list. Raises TypeError, KeyError."""
    if not isinstance(topology, Mapping):
        raise TypeError("no object")
    entries = topology.get(key) or []
    if not isinstance(entries, list):
        raise TypeError(f"{key}: no list")
    pairs = [(entry[first], entry[second]) for entry in entries]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise TypeError(f"{key}: no text")
    return pairs


def _numbers(answer: object) -> list[float]:
    """Collect every `value` of an answer, however deep; OAP writes them as numbers or as texts, and nulls where it knows none."""
    if isinstance(answer, Mapping):
        value = answer.get("value")
        own = [float(value)] if isinstance(value, (int, float, str)) and str(value).replace(".", "", 1).isdigit() else []
        return own + [number for item in answer.values() for number in _numbers(item)]
    if isinstance(answer, list):
        return [number for item in answer for number in _numbers(item)]
    return []
