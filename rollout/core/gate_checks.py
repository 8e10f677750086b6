"""Whether a gate makes sense as the plan words it, before anything is read or written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from rollout.core.errors import Problem
from rollout.core.gate import (
    CONSUMER_RESTRICTION,
    IP_RESTRICTION,
    ApisixVersion,
    GateConfig,
    GateTarget,
    PlaceKind,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_MESSAGE = 1024
IP_CODES = (403, 404)


def target_problems(target: GateTarget) -> tuple[Problem, ...]:
    """Say what is wrong with where the gate is: no way of naming, several ways, or words that do not fit the kind."""
    found = _cluster_problem(target) if target.kind.in_cluster else _admin_problem(target)
    return (found,) if found else ()


def _cluster_problem(target: GateTarget) -> Problem | None:
    if not (target.namespace and target.name) or target.id or target.host or target.uri or target.label:
        return Problem(f"{target.kind.value} is named by `namespace` and `name`, and by nothing else", key="gate")
    if target.rule and target.kind is not PlaceKind.APISIX_ROUTE:
        return Problem("only an ApisixRoute has rules", key="gate.rule")
    return None


def _admin_problem(target: GateTarget) -> Problem | None:
    ways = (target.id, target.name, target.host or target.uri, target.label)
    wrong = {
        "`namespace` and `rule` need `via: ApisixRoute`": bool(target.namespace or target.rule),
        "exactly one of `id`, `name`, `host`/`uri`, `label` says where the gate is": sum(map(bool, ways)) != 1,
        f"{target.id!r} is no id: 1 to 64 of letters, digits, dot, dash, underscore": bool(target.id)
        and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", target.id),
        f"{target.label!r} is no label: key=value": bool(target.label) and not re.fullmatch(r"[^=]+=.+", target.label),
        "a plugin_config has neither host nor uri": target.kind is PlaceKind.PLUGIN_CONFIG and bool(target.host or target.uri),
        "a service has hosts, but no uri": target.kind is PlaceKind.SERVICE and bool(target.uri),
    }
    return next((Problem(message, key="gate") for message, is_so in wrong.items() if is_so), None)


def config_problems(config: GateConfig, version: ApisixVersion | None = None) -> tuple[Problem, ...]:
    """Say everything that is wrong with a closed gate; with a version also what that server would silently ignore."""
    return (*_list_problems(config), *_message_problems(config.message), *_code_problems(config, version))


def _code_problems(config: GateConfig, version: ApisixVersion | None) -> list[Problem]:
    code, key = config.response_code, "gate.responseCode"
    if config.plugin == CONSUMER_RESTRICTION:
        return [] if code in range(200, 600) else [Problem(f"{code} is no status code", key=key)]
    if code not in IP_CODES:
        return [Problem(f"{IP_RESTRICTION} answers 403 or 404, not {code}", key=key)]
    if code != IP_CODES[0] and version is not None and not version.knows_response_code:
        remedy = "leave responseCode out, or upgrade the gateway to 3.13"
        return [Problem(f"APISIX {version} stores `responseCode: {code}` and still answers 403", key=key, remedy=remedy)]
    return []


def _list_problems(config: GateConfig) -> list[Problem]:
    if config.plugin not in (IP_RESTRICTION, CONSUMER_RESTRICTION):
        return [Problem(f"{config.plugin!r} is no gate: {IP_RESTRICTION} or {CONSUMER_RESTRICTION}", key="gate.plugin")]
    if not config.allow:
        remedy = "list the addresses or consumers that the tests come from"
        return [Problem("the allow-list lets nobody in, so that no test could run", key="gate.allow", remedy=remedy)]
    if config.plugin == CONSUMER_RESTRICTION:
        return [Problem("an empty consumer name", key="gate.allow") for name in config.allow if not name.strip()]
    return list(allow_list_problems(config.allow))


def _message_problems(message: str) -> list[Problem]:
    if not message:
        return [Problem("the gate needs a message for those who are kept out", key="gate.message")]
    if len(message) > MAX_MESSAGE:
        return [Problem(f"the message has {len(message)} characters, at most {MAX_MESSAGE} fit", key="gate.message")]
    return []


def allow_list_problems(allow: Iterable[str]) -> tuple[Problem, ...]:
    """Refuse what is no address, and lists that let everybody in (also halves that add up to everybody), or nobody."""
    problems: list[Problem] = []
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for entry in allow:
        network = _network(entry)
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        elif network is not None:
            v6.append(network)
        else:
            problems.append(Problem(f"{entry!r} is neither an address nor a network", key="gate.allow"))
    if any(network.prefixlen == 0 for network in ipaddress.collapse_addresses(v4)):
        problems.append(Problem("the allow-list lets every IPv4 address in", key="gate.allow"))
    if any(network.prefixlen == 0 for network in ipaddress.collapse_addresses(v6)):
        problems.append(Problem("the allow-list lets every IPv6 address in", key="gate.allow"))
    if (v4 or v6) and all(_nobody(network) for network in v4) and all(_nobody(network) for network in v6):
        problems.append(Problem("the allow-list holds only addresses that no client can have", key="gate.allow"))
    return tuple(problems)


def _network(entry: str) -> Network | None:
    length = entry.partition("/")[2]
    if "%" in entry or entry != entry.strip() or not (length or "0").isdecimal():  # a mask is declined by the gateway
        return None
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _nobody(network: Network) -> bool:
    """Say whether it is nobody's source address: unspecified, multicast, or of class E (IPv4)."""
    reserved = isinstance(network, ipaddress.IPv4Network) and network.is_reserved
    unspecified = network.num_addresses == 1 and network.network_address.is_unspecified
    return network.prefixlen > 0 and (unspecified or network.is_multicast or reserved)
