"""A pretend ingress controller: it makes the gateway's routes from ApisixRoutes, and undoes what others change of them.

As the real one (2.x): the name is `namespace_name_rule`, the id its CRC-32, labels say whose it is, plugins of the ApisixRoute win
over those of the ApisixPluginConfig that it names, and an item with `enable: false` is left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

from rollout.sandbox.apisix_etcd import Etcd

Json = dict[str, Any]
NodesOf = Callable[[str, str, int], dict[str, int]]
"""Namespace, Service and port to `{"ip:port": weight}`."""
NAME = "apisix-ingress-controller"
DESCRIPTION = "Created by apisix-ingress-controller, DO NOT modify it manually"


class IngressController:
    """Writes past the Admin API's rules into its store, as the real one does through the Admin API."""

    def __init__(self, etcd: Etcd, nodes_of: NodesOf) -> None:
        self._etcd = etcd
        self._nodes_of = nodes_of

    def sync(self, routes: Iterable[Json], plugin_configs: Iterable[Json] = ()) -> None:
        """Make every route of every ApisixRoute as its spec says; take away those whose rule is gone."""
        shared = {(c["metadata"]["namespace"], c["metadata"]["name"]): c for c in plugin_configs}
        wanted = {value["id"]: value for route in routes for value in self._made_of(route, shared)}
        for ident, entry in self._etcd.snapshot("routes"):
            if entry.value.get("desc") == DESCRIPTION and ident not in wanted:
                self._etcd.delete("routes", ident)
        for ident, value in wanted.items():
            known = self._etcd.read("routes", ident)
            if known is None or known.value != value:
                self._etcd.write("routes", ident, value)

    def _made_of(self, route: Json, shared: dict[tuple[str, str], Json]) -> Iterable[Json]:
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        labels = {"k8s/kind": "ApisixRoute", "k8s/namespace": namespace, "k8s/name": name, "manager-by": NAME}
        for rule in route["spec"].get("http") or ():
            full = f"{namespace}_{name}_{rule['name']}"
            nodes: dict[str, int] = {}
            for backend in rule.get("backends") or ():
                nodes |= self._nodes_of(namespace, backend["serviceName"], int(backend["servicePort"]))
            config = shared.get((rule.get("plugin_config_namespace") or namespace, rule.get("plugin_config_name", "")), {})
            items = [*(config.get("spec", {}).get("plugins") or ()), *(rule.get("plugins") or ())]
            yield {
                "id": route_id(full),
                "name": full,
                "desc": DESCRIPTION,
                "labels": labels,
                "uris": list(rule["match"].get("paths") or ["/*"]),
                **({"hosts": rule["match"]["hosts"]} if rule["match"].get("hosts") else {}),
                "plugins": {item["name"]: item.get("config") or {} for item in items if item.get("enable", True)},
                "upstream": {"type": "roundrobin", "nodes": nodes},
            }


def route_id(name: str) -> str:
    """The id that a name gets: its CRC-32 in hexadecimal, without padding."""
    return f"{zlib.crc32(name.encode()):x}"
