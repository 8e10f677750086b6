"""What the gateway's configuration says about who reaches a service: precedence, ways round the gate, and impact.

Per plugin name the whole configuration of the highest level wins, without merging:
consumer > consumer group > route > plugin_config > service. Global rules run besides, so they can only keep more people out.
A gate is therefore passed by a consumer that has the plugin itself, by a route that has it itself, and by any other route that
leads to the same pods. None of that shows in the object the gate stands on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout.core.gate import IP_RESTRICTION, GateObject, Place, PlaceKind
from rollout.core.gate_plan import disabled

AUTHENTICATION = frozenset(
    {"key-auth", "basic-auth", "jwt-auth", "hmac-auth", "ldap-auth", "wolf-rbac", "jwe-decrypt", "multi-auth"}
)
"""Plugins that name a consumer; without one on the way no consumer's own plugins apply."""
CONTROLLER = "apisix-ingress-controller"
_CONTROLLER_DESC = "Created by apisix-ingress-controller"

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One read of everything on a gateway that decides who reaches what. Values as the Admin API gives them; never shown."""

    routes: tuple[Value, ...] = field(default=(), repr=False)
    services: tuple[Value, ...] = field(default=(), repr=False)
    upstreams: tuple[Value, ...] = field(default=(), repr=False)
    plugin_configs: tuple[Value, ...] = field(default=(), repr=False)
    global_rules: tuple[Value, ...] = field(default=(), repr=False)
    consumers: tuple[Value, ...] = field(default=(), repr=False)
    consumer_groups: tuple[Value, ...] = field(default=(), repr=False)
    stream_routes: tuple[Value, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, order=True)
class RouteReach:
    """One route or stream route that leads to the nodes asked for: `through` says how (`upstream up-a`, `service svc-pay`)."""

    id: str
    name: str
    hosts: tuple[str, ...]
    uris: tuple[str, ...]
    through: str
    enabled: bool = True

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        where = ", ".join((*self.hosts, *self.uris))
        return f"route {self.id}{name} {where} by {self.through}".replace("  ", " ")


def owner_of(value: Value) -> str:
    """Say which controller writes this object, empty when none does; its next event or hourly sync undoes our change."""
    labels = value.get("labels")
    labels = labels if isinstance(labels, Mapping) else {}
    by_label = CONTROLLER in (labels.get("managed-by"), labels.get("manager-by")) or "k8s/kind" in labels
    if not by_label and not str(value.get("desc") or "").startswith(_CONTROLLER_DESC):
        return ""
    kind = str(labels.get("k8s/kind") or "")
    place = "/".join(filter(None, (str(labels.get("k8s/namespace") or ""), str(labels.get("k8s/name") or ""))))
    return f"{CONTROLLER} ({kind} {place})" if kind and place else CONTROLLER


def routes_reaching(view: GatewayView, nodes: Iterable[str], services: Iterable[str] = ()) -> tuple[RouteReach, ...]:
    """Find every route that leads to any of these hosts (pod IPs, cluster IPs, DNS names of a Service) or gateway services.

    A node may carry a port; hosts are compared without it. Routes that are switched off are listed too, marked.
    """
    wanted = frozenset(map(_host_of, nodes))
    ids = frozenset(services)
    found = (_reach(view, route, wanted, ids) for route in (*view.routes, *view.stream_routes))
    return tuple(sorted(reach for reach in found if reach is not None))


def service_nodes(namespace: str, service: str) -> tuple[str, ...]:
    """List the names under which a Kubernetes Service can stand in an upstream, discovery names (`ns/name:port`) included."""
    short = f"{service}.{namespace}"
    return (short, f"{short}.svc", f"{short}.svc.cluster.local", f"{namespace}/{service}")


def _reach(view: GatewayView, route: Value, nodes: frozenset[str], services: frozenset[str]) -> RouteReach | None:
    through = next((label for label, hosts in _destinations(view, route) if hosts & nodes), "")
    service = str(route.get("service_id") or "")
    if not through and service in services:
        through = f"service {service}"
    if not through:
        return None
    return RouteReach(_id(route), str(route.get("name") or ""), hosts_of(view, route), uris_of(route), through, _enabled(route))


def _destinations(view: GatewayView, route: Value) -> Iterator[tuple[str, frozenset[str]]]:
    """Walk every upstream a route may use: its own, its service's, and those of `traffic-split`, with the hosts behind each."""
    service = _find(view.services, route.get("service_id"))
    label = f"service {_id(service)}" if service else ""
    for holder, prefix in ((route, ""), (service or {}, label)):
        if isinstance(holder.get("upstream"), Mapping):
            yield prefix or "its own upstream", _hosts(holder["upstream"])
        if holder.get("upstream_id") is not None:
            upstream = _find(view.upstreams, holder["upstream_id"])
            words = f"upstream {holder['upstream_id']}"
            yield f"{prefix}, {words}" if prefix else words, _hosts(upstream or {})
    split = plugins_on(view, route).get("traffic-split", {})
    for rule in split.get("rules") or ():
        for weighted in rule.get("weighted_upstreams") or ():
            upstream = weighted.get("upstream") or _find(view.upstreams, weighted.get("upstream_id")) or {}
            yield "traffic-split", _hosts(upstream)


def _hosts(upstream: Value) -> frozenset[str]:
    """Read the nodes in both forms (`{"host:port": weight}` and `[{host, port, weight}]`), and a discovery name."""
    nodes = upstream.get("nodes")
    hosts = list(nodes) if isinstance(nodes, Mapping) else [str(node.get("host", "")) for node in nodes or ()]
    if upstream.get("service_name"):
        hosts.append(str(upstream["service_name"]))
    return frozenset(map(_host_of, hosts))


def _host_of(node: str) -> str:
    """Take the host of `host`, `host:port`, `[v6]:port` or a bare IPv6 address, in lower case."""
    text = node.strip().lower().rstrip(".")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.rpartition(":")
    return host if colon and ":" not in host and (port.isdigit() or "/" in host) else text


def hosts_of(view: GatewayView, route: Value) -> tuple[str, ...]:
    """List the host names a route answers for: its own, else its service's; empty means all."""
    service = _find(view.services, route.get("service_id")) or {}
    own = [*(route.get("hosts") or ()), *([route["host"]] if route.get("host") else ())]
    return tuple(map(str, own or service.get("hosts") or ()))


def uris_of(route: Value) -> tuple[str, ...]:
    """List the paths a route answers for."""
    return tuple(map(str, [*(route.get("uris") or ()), *([route["uri"]] if route.get("uri") else ())]))


def plugins_on(view: GatewayView, route: Value) -> dict[str, Any]:
    """Merge the plugins that run for a route without a consumer: route wins over plugin_config, that over service."""
    merged: dict[str, Any] = {}
    for value in (
        _find(view.services, route.get("service_id")),
        _find(view.plugin_configs, route.get("plugin_config_id")),
        route,
    ):
        merged.update((value or {}).get("plugins") or {})
    return merged


def governing(view: GatewayView, route: Value, plugin: str) -> Place | None:
    """Say which object's `plugin` acts on a route; None when no level has it."""
    for kind, value in (
        (PlaceKind.ROUTE, route),
        (PlaceKind.PLUGIN_CONFIG, _find(view.plugin_configs, route.get("plugin_config_id"))),
        (PlaceKind.SERVICE, _find(view.services, route.get("service_id"))),
    ):
        if value and plugin in (value.get("plugins") or {}):
            return Place(kind, _id(value))
    return None


def bypasses(view: GatewayView, gate: GateObject, places: Iterable[Place] = ()) -> tuple[str, ...]:
    """List, in words, the ways past a closed gate that the configuration shows. Empty does not prove that there is none.

    `places`: what the gate is here, where that is not its own place (the routes that a controller made of one object).
    """
    gated = frozenset(places) or frozenset((gate.place,))
    covered = [route for route in view.routes if any(_covers(route, place) for place in gated)]
    nodes = frozenset().union(*(hosts for route in covered for _, hosts in _destinations(view, route)))
    found = [*_own_plugin(view, covered, gate.plugin, gated), *_consumers(view, covered, gate), *_spoofed(view, covered, gate)]
    for route in view.routes:
        if route not in covered and _enabled(route) and governing(view, route, gate.plugin) not in gated:
            found.extend(_other_route(view, route, covered, nodes))
    found.extend(
        f"stream route {_id(stream)} leads to the same pods on port {stream.get('server_port', '?')}"
        for stream in view.stream_routes
        if any(hosts & nodes for _, hosts in _destinations(view, stream))
    )
    return tuple(found)


def besides(view: GatewayView, gate: GateObject, places: Iterable[Place] = ()) -> tuple[str, ...]:
    """List, in words, what else of the gate's kind there is: rules that run besides it, and those it takes the place of."""
    gated = frozenset(places) or frozenset((gate.place,))
    found = [
        f"global rule {_id(rule)} has its own {gate.plugin}, which runs besides the gate: who is let in must pass both"
        for rule in view.global_rules
        if gate.plugin in (rule.get("plugins") or {}) and not disabled(rule["plugins"][gate.plugin])
    ]
    for route in view.routes:
        over = {place.kind for place in gated if _covers(route, place)}
        for kind, value in _levels(view, route):
            if over & _ABOVE[kind] and gate.plugin in (value.get("plugins") or {}):
                what = f"{Place(kind, _id(value))} has its own {gate.plugin}"
                found.append(f"{what}, which does not act on route {_named(route)} while the gate is closed")
    return tuple(dict.fromkeys(found))


_ABOVE = {
    PlaceKind.PLUGIN_CONFIG: frozenset({PlaceKind.ROUTE}),
    PlaceKind.SERVICE: frozenset({PlaceKind.ROUTE, PlaceKind.PLUGIN_CONFIG}),
}
"""Which levels replace a plugin of this one."""


def _levels(view: GatewayView, route: Value) -> Iterator[tuple[PlaceKind, Value]]:
    """Walk the levels under a route whose plugins it can replace."""
    for kind, value in (
        (PlaceKind.PLUGIN_CONFIG, _find(view.plugin_configs, route.get("plugin_config_id"))),
        (PlaceKind.SERVICE, _find(view.services, route.get("service_id"))),
    ):
        if value is not None:
            yield kind, value


def _covers(route: Value, place: Place) -> bool:
    if place.kind is PlaceKind.SERVICE:
        return str(route.get("service_id")) == place.id
    if place.kind is PlaceKind.PLUGIN_CONFIG:
        return str(route.get("plugin_config_id")) == place.id
    return place.kind is PlaceKind.ROUTE and _id(route) == place.id


def _own_plugin(view: GatewayView, covered: list[Value], plugin: str, gated: frozenset[Place]) -> Iterator[str]:
    for route in covered:
        governor = governing(view, route, plugin)
        if governor is not None and governor not in gated and _enabled(route):
            conf = plugins_on(view, route)[plugin]
            state = "switched off, which switches the gate off as well" if disabled(conf) else "which replaces the gate's"
            yield f"route {_named(route)}: {governor} has its own {plugin}, {state}"


def _consumers(view: GatewayView, covered: list[Value], gate: GateObject) -> Iterator[str]:
    everywhere = {name for rule in view.global_rules for name in rule.get("plugins") or {}}
    known = [route for route in covered if AUTHENTICATION & (plugins_on(view, route).keys() | everywhere)]
    if not known:
        return
    for words, values in (("consumer", view.consumers), ("consumer group", view.consumer_groups)):
        for value in values:
            if gate.plugin in (value.get("plugins") or {}):
                name = value.get("username") or _id(value)
                yield f"{words} {name} has its own {gate.plugin}, which replaces the gate's for it"


def _spoofed(view: GatewayView, covered: list[Value], gate: GateObject) -> Iterator[str]:
    """Find `real-ip` that believes anybody: whoever writes an allowed address into the header is let in."""
    if gate.plugin != IP_RESTRICTION:
        return
    places = [(f"route {_named(route)}", plugins_on(view, route)) for route in covered if _enabled(route)]
    places += [(f"global rule {_id(rule)}", rule.get("plugins") or {}) for rule in view.global_rules]
    for where, plugins in places:
        conf = plugins.get("real-ip")
        if not isinstance(conf, Mapping) or disabled(conf):
            continue
        source, trusted = str(conf.get("source") or ""), conf.get("trusted_addresses") or ()
        anybody = not trusted or any(str(address).endswith("/0") for address in trusted)
        if anybody and source.startswith(("http_", "arg_", "cookie_")):
            yield f"{where}: real-ip believes {source} of anybody, so a client that names its own address passes the gate"


def _other_route(view: GatewayView, route: Value, covered: list[Value], nodes: frozenset[str]) -> Iterator[str]:
    twin = next((other for other in covered if _enabled(other) and _wins(view, route, other)), None)
    if twin is not None:
        gap = _priority(route) - _priority(twin)
        rank = "a higher" if gap > 0 else "the same" if gap == 0 else "a lower"
        yield f"route {_named(route)} answers for the same host and path as {_named(twin)} with {rank} priority, ungated"
    elif any(hosts & nodes for _, hosts in _destinations(view, route)):
        yield f"route {_named(route)} leads to the same pods, ungated"


def _wins(view: GatewayView, route: Value, gated: Value) -> bool:
    """Say whether a request for the gated route may go to the other one: by priority, or by a path that says more."""
    longest = [max(map(len, uris_of(one)), default=0) for one in (route, gated)]
    return _overlap(view, route, gated) and (_priority(route) >= _priority(gated) or longest[0] > longest[1])


def _overlap(view: GatewayView, one: Value, other: Value) -> bool:
    """Say whether two routes can match one request. `vars` and `filter_func` only narrow a route, so they are left out."""
    methods = [frozenset(route.get("methods") or ()) for route in (one, other)]
    if all(methods) and not methods[0] & methods[1]:
        return False
    return _any_pair(hosts_of(view, one), hosts_of(view, other), _host_overlap) and _any_pair(
        uris_of(one), uris_of(other), _uri_overlap
    )


def _any_pair(ones: tuple[str, ...], others: tuple[str, ...], overlap: Callable[[str, str], bool]) -> bool:
    return not ones or not others or any(overlap(a, b) for a in ones for b in others)


def _host_overlap(one: str, other: str) -> bool:
    for wild, name in ((one, other), (other, one)):
        if wild.startswith("*") and name.lstrip("*").endswith(wild[1:]):
            return True
    return one.lower() == other.lower()


def _uri_overlap(one: str, other: str) -> bool:
    for wild, path in ((one, other), (other, one)):
        if wild.endswith("*") and path.rstrip("*").startswith(wild[:-1]):
            return True
    return one == other


def _find(values: Iterable[Value], wanted: object) -> Value | None:
    return None if wanted is None else next((value for value in values if _id(value) == str(wanted)), None)


def _id(value: Value) -> str:
    return str(value.get("id") or value.get("username") or "")


def _named(value: Value) -> str:
    return f"{_id(value)} ({value['name']})" if value.get("name") else _id(value)


def _enabled(route: Value) -> bool:
    return bool(route.get("status", 1) != 0)


def _priority(route: Value) -> int:
    return int(route.get("priority") or 0)


def view_from_json(text: str) -> GatewayView:
    """Read a view from JSON lists by field name; for tests and for `doctor` from a file."""
    return GatewayView(**{key: tuple(values) for key, values in json.loads(text).items()})
