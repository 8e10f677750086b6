"""The plugins of the pretend data plane that decide who gets through, in the order in which they run.

Rewrite phase: `real-ip` (23000), `key-auth` (2500). Access phase: `ip-restriction` (3000), `consumer-restriction` (2400),
`limit-count` (1002). A plugin answers, or lets the request go on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rollout.sandbox.apisix_flavours import Flavour
from rollout.sandbox.apisix_http import PLAIN, Request, Response, json_response, nginx_page

Json = dict[str, Any]
TRUSTED = ("127.0.0.1",)
"""From whom nginx believes `X-Real-IP`, by default (`real_ip_from`)."""


@dataclass(slots=True)
class Passing:
    """One request on its way: whose address counts, and which consumer it turned out to be (empty: nobody's)."""

    request: Request
    flavour: Flavour
    remote: str
    now: float
    consumer: Json = field(default_factory=dict)
    counters: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)


def remote_address(request: Request) -> str:
    """Find the address that counts before any plugin runs: the peer's, or what a trusted peer says in `X-Real-IP`."""
    claimed = request.headers.get("x-real-ip", "")
    return claimed if claimed and request.client in TRUSTED else request.client


def active(conf: Json, request: Request, flavour: Flavour) -> bool:
    """Say whether a plugin runs for a request: not switched off, and its `_meta.filter` holds."""
    meta = conf.get("_meta") or {}
    if meta.get("disable") is True or (not flavour.v3 and conf.get("disable") is True):
        return False
    return all(_holds(condition, request) for condition in meta.get("filter") or ())


def _holds(condition: list[Any], request: Request) -> bool:
    name, operator, wanted = condition
    if name.startswith("arg_"):
        seen = request.query.get(name.removeprefix("arg_"))
    else:
        seen = request.headers.get(name.removeprefix("http_").replace("_", "-"))
    return (seen == wanted) is (operator == "==")


def contains(networks: Iterable[str], address: str) -> bool:
    """Say whether an address is in a list of addresses and networks."""
    seen = ipaddress.ip_address(address)
    return any(seen in ipaddress.ip_network(network, strict=False) for network in networks)


def real_ip(conf: Json, passing: Passing) -> None:
    """Take the address from a header, if the peer is trusted to set it; the last one that is not trusted itself counts."""
    trusted = conf.get("trusted_addresses")
    if trusted and not contains(trusted, passing.remote):
        return
    header = str(conf.get("source", "")).removeprefix("http_").replace("_", "-")
    hops = [hop.strip() for hop in passing.request.headers.get(header, "").split(",") if hop.strip()]
    if not hops:
        return
    untrusted = [hop for hop in hops if not contains(trusted or (), hop)] if conf.get("recursive") else hops
    passing.remote = (untrusted or hops)[-1]


def key_auth(passing: Passing, consumers: list[Json]) -> Response | None:
    """Find the consumer by its key in the `apikey` header."""
    key = passing.request.headers.get("apikey", "")
    if not key:
        return json_response(401, {"message": "Missing API key found in request"}, content_type=PLAIN)
    known = [c for c in consumers if (c.get("plugins") or {}).get("key-auth", {}).get("key") == key]
    if not known:
        return json_response(401, {"message": "Invalid API key in request"}, content_type=PLAIN)
    passing.consumer = known[0]
    return None


def ip_restriction(conf: Json, passing: Passing) -> Response | None:
    """Block by address."""
    blocked = contains(conf.get("blacklist") or (), passing.remote)
    if conf.get("whitelist"):
        blocked = not contains(conf["whitelist"], passing.remote)
    if not blocked:
        return None
    status = int(conf.get("response_code", 403)) if passing.flavour.honours_response_code else 403
    words = conf.get("message", "Your IP address is not allowed")
    body = (conf.get("_meta") or {}).get("error_response") or {"message": words}
    return json_response(status, body, content_type=PLAIN)


def consumer_restriction(conf: Json, passing: Passing) -> Response | None:
    """Block by consumer name; somebody without a name gets 401."""
    name = str(passing.consumer.get("username", ""))
    if not name:
        words = "The request is rejected, please check the consumer_name for this request"
        if not passing.flavour.v3:
            words = "Missing authentication or identity verification."
        return json_response(401, {"message": words}, content_type=PLAIN)
    blocked = name in (conf.get("blacklist") or ()) or (bool(conf.get("whitelist")) and name not in conf["whitelist"])
    if not blocked:
        return None
    words = conf.get("rejected_msg") or "The consumer_name is forbidden."
    return json_response(int(conf.get("rejected_code", 403)), {"message": words}, content_type=PLAIN)


def limit_count(conf: Json, passing: Passing) -> Response | None:
    """Count requests by address in a fixed window."""
    key = (str(sorted(conf.items())), passing.remote)
    start, count = passing.counters.get(key, (passing.now, 0))
    if passing.now >= start + conf["time_window"]:
        start, count = passing.now, 0
    passing.counters[key] = (start, count + 1)
    return nginx_page(int(conf.get("rejected_code", 503))) if count >= conf["count"] else None


ACCESS: tuple[tuple[str, Callable[[Json, Passing], Response | None]], ...] = (
    ("ip-restriction", ip_restriction),
    ("consumer-restriction", consumer_restriction),
    ("limit-count", limit_count),
)
