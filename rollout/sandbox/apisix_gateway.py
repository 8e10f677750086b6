"""The pretend data plane: it matches routes, runs the plugins that keep people out, and passes the rest on to pods.

It holds its configuration in memory, as a real gateway does: etcd may be away, and a change may arrive late (`freeze`).
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Any

from rollout.sandbox import apisix_plugins as plugins
from rollout.sandbox.apisix_etcd import Etcd
from rollout.sandbox.apisix_flavours import Flavour
from rollout.sandbox.apisix_http import PLAIN, Request, Response, json_response, nginx_page
from rollout.sandbox.apisix_plugins import Passing
from rollout.sandbox.apisix_schema import unseal

Json = dict[str, Any]
Backend = Callable[[str, int, Request], Response]
"""Answers for the pod at a host and port. Raises OSError when nobody listens there."""
Discover = Callable[[str], list[tuple[str, int]]]
"""Finds the pods behind an upstream's `service_name`."""
_KINDS = ("routes", "services", "upstreams", "plugin_configs", "global_rules", "consumers", "consumer_groups")
_UPSTREAM_TIMEOUT = 10.0


class DataPlane:
    """One gateway node. `backend` stands for the pods; `passed` is told of every request that gets through to one."""

    def __init__(
        self,
        flavour: Flavour,
        etcd: Etcd,
        now: Callable[[], float],
        backend: Backend | None = None,
        discover: Discover | None = None,
    ) -> None:
        self.flavour = flavour
        self.backend: Backend = backend or over_http
        self.discover: Discover = discover or (lambda _: [])
        self.passed: list[Callable[[str, Request], None]] = []
        self._etcd = etcd
        self._now = now
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str], tuple[float, int]] = {}
        self._turn = 0
        self._frozen: dict[str, list[Json]] | None = None
        self._config: tuple[int, dict[str, list[Json]]] = (-1, {})

    def freeze(self) -> None:
        """Go on with the configuration of this moment: the watch is lost, changes arrive later."""
        self._frozen = self._loaded()

    def thaw(self) -> None:
        """See the present configuration again."""
        self._frozen = None

    def forget(self) -> None:
        """Be as after a reload while etcd is away: no configuration at all, so no route for anybody."""
        self._frozen = {kind: [] for kind in _KINDS}

    def _loaded(self) -> dict[str, list[Json]]:
        if self._frozen is not None:
            return self._frozen
        revision = self._etcd.revision
        seen, config = self._config
        if seen != revision:
            config = {kind: [unseal(self.flavour, e.value) for _, e in self._etcd.snapshot(kind)] for kind in _KINDS}
            self._config = (revision, config)
        return config

    def handle(self, request: Request) -> Response:
        """Answer one request from outside."""
        config = self._loaded()
        passing = Passing(request, self.flavour, plugins.remote_address(request), self._now(), counters=self._counters)
        for rule in config["global_rules"]:
            refused = self._run(rule.get("plugins") or {}, passing, config)
            if refused is not None:
                return refused
        route = self._match(config, request, passing.remote)
        if route is None:
            return json_response(404, {"error_msg": "404 Route Not Found"}, content_type=PLAIN)
        refused = self._run(_merged(config, route), passing, config)
        return refused if refused is not None else self._pass_on(config, route, passing)

    def _run(self, confs: dict[str, Json], passing: Passing, config: dict[str, list[Json]]) -> Response | None:
        on = {name: conf for name, conf in confs.items() if plugins.active(conf, passing.request, self.flavour)}
        if "real-ip" in on:
            plugins.real_ip(on["real-ip"], passing)
        if "key-auth" in on:
            refused = plugins.key_auth(passing, config["consumers"])
            if refused is not None:
                return refused
            # A consumer's own plugins replace those of the route, whole and also when they are switched off there.
            group = _by_id(config["consumer_groups"], passing.consumer.get("group_id"))
            own = {**(group.get("plugins") or {}), **(passing.consumer.get("plugins") or {})}
            merged = {**confs, **own}
            on = {name: conf for name, conf in merged.items() if plugins.active(conf, passing.request, self.flavour)}
        with self._lock:
            answers = (run(on[name], passing) for name, run in plugins.ACCESS if name in on)
            return next((answer for answer in answers if answer is not None), None)

    def _match(self, config: dict[str, list[Json]], request: Request, remote: str) -> Json | None:
        found = [route for route in config["routes"] if _matches(config, route, request, remote)]
        return max(found, key=lambda route: _rank(config, route), default=None)

    def _pass_on(self, config: dict[str, list[Json]], route: Json, passing: Passing) -> Response:
        nodes = _nodes(config, route, self.discover)
        if not nodes:
            return json_response(503, {"error_msg": "no valid upstream node"}, content_type=PLAIN)
        with self._lock:
            self._turn += 1
            host, port = nodes[self._turn % len(nodes)]
        request = passing.request
        headers = {**request.headers, "x-forwarded-for": passing.remote, "x-real-ip": passing.remote}
        onward = Request(request.method, request.path, request.query, headers, request.body, passing.remote, request.target)
        for told in self.passed:
            told(f"{host}:{port}", onward)
        try:
            return self.backend(host, port, onward)
        except OSError:
            return nginx_page(502)


def _by_id(values: list[Json], ident: object) -> Json:
    wanted = str(ident)
    return next((value for value in values if str(value.get("id")) == wanted), {}) if ident is not None else {}


def _merged(config: dict[str, list[Json]], route: Json) -> dict[str, Json]:
    service = _by_id(config["services"], route.get("service_id"))
    shared = _by_id(config["plugin_configs"], route.get("plugin_config_id"))
    return {**(service.get("plugins") or {}), **(shared.get("plugins") or {}), **(route.get("plugins") or {})}


def _matches(config: dict[str, list[Json]], route: Json, request: Request, remote: str) -> bool:
    if route.get("status", 1) == 0:
        return False
    methods, allowed = route.get("methods") or (), route.get("remote_addrs") or ()
    if (methods and request.method not in methods) or (allowed and not plugins.contains(allowed, remote)):
        return False
    host = request.headers.get("host", "").partition(":")[0].lower()
    hosts = _hosts(config, route)
    if hosts and not any(_fits(wanted, host, suffix=True) for wanted in hosts):
        return False
    if not all(_variable(request, name) == wanted for name, operator, wanted in route.get("vars") or () if operator == "=="):
        return False
    return any(_fits(uri, request.path) for uri in _uris(route))


def _variable(request: Request, name: str) -> str | None:
    if name.startswith("arg_"):
        return request.query.get(name.removeprefix("arg_"))
    return request.headers.get(name.removeprefix("http_").replace("_", "-"))


def _fits(pattern: str, text: str, *, suffix: bool = False) -> bool:
    if suffix:
        return text.endswith(pattern[1:]) if pattern.startswith("*") else text == pattern
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _hosts(config: dict[str, list[Json]], route: Json) -> list[str]:
    own = [*(route.get("hosts") or ()), *([route["host"]] if route.get("host") else ())]
    return own or list(_by_id(config["services"], route.get("service_id")).get("hosts") or ())


def _uris(route: Json) -> list[str]:
    return [*(route.get("uris") or ()), *([route["uri"]] if route.get("uri") else ())]


def _rank(config: dict[str, list[Json]], route: Json) -> tuple[int, bool, int, int]:
    """Order routes that match one request: a longer path before a shorter, then the priority; hosts first of all."""
    longest = max(_uris(route), key=lambda uri: (not uri.endswith("*"), len(uri)))
    return (len(_hosts(config, route)) > 0, not longest.endswith("*"), len(longest), int(route.get("priority") or 0))


def _nodes(config: dict[str, list[Json]], route: Json, discover: Discover) -> list[tuple[str, int]]:
    service = _by_id(config["services"], route.get("service_id"))
    upstream: Json = {}
    for holder in (service, route):
        found = holder.get("upstream") or _by_id(config["upstreams"], holder.get("upstream_id"))
        upstream = found or upstream
    if upstream.get("service_name"):
        return discover(str(upstream["service_name"]))
    nodes = upstream.get("nodes") or {}
    if isinstance(nodes, dict):
        pairs = [(name.rpartition(":")[0], int(name.rpartition(":")[2])) for name, weight in nodes.items() if weight]
    else:
        pairs = [(node["host"], int(node["port"])) for node in nodes if node.get("weight", 1)]
    return sorted(pairs)


def over_http(host: str, port: int, request: Request) -> Response:
    """Pass a request on to a real listener."""
    connection = http.client.HTTPConnection(host, port, timeout=_UPSTREAM_TIMEOUT)
    try:
        connection.request(request.method, request.target, request.body.encode() or None, dict(request.headers))
        answer = connection.getresponse()
        kind = answer.headers.get("Content-Type", PLAIN)
        return Response(answer.status, answer.read().decode("utf-8", "replace"), kind)
    finally:
        connection.close()
