"""What to write to a gate: decided from what was read, never from what was done before.

The rules are those of the gateway's Admin API as measured on 2.15, 3.2, 3.9, 3.13 and 3.18:
a sub-path PATCH replaces one plugin and creates what is missing above it; a null removes only what is there; a PATCH on 3.1 to
3.17 damages the secrets of certain other plugins on the object, so those objects are read (decrypted) and PUT back whole,
without the two times that newer servers decline. Nobody ever sends `If-Match` (the answer is 412 and the write is made), an
empty `plugins` (wipes all of them from 3.16 on), or a `ttl` (the whole route expires).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rollout.core.gate import (
    CONSUMER_RESTRICTION,
    DEFAULT_MESSAGE,
    ApisixVersion,
    GateConfig,
    GateObject,
    GateWrite,
    MergePatchNull,
    Nothing,
    Part,
    PutWhole,
    SavedGate,
    SubPathPatch,
    canonical,
)

ENCRYPTED_PLUGINS = frozenset(
    {
        "authz-casdoor", "authz-keycloak", "aws-lambda", "azure-functions", "basic-auth", "cas-auth",
        "clickhouse-logger", "csrf", "dingtalk-auth", "elasticsearch-logger", "error-log-logger", "feishu-auth",
        "google-cloud-logging", "graphql-limit-count", "hmac-auth", "http-logger", "jwe-decrypt", "jwt-auth",
        "kafka-logger", "kafka-proxy", "key-auth", "lago", "ldap-auth-advanced", "limit-conn", "limit-count",
        "limit-req", "loggly", "loki-logger", "openfunction", "openid-connect", "openwhisk", "rocketmq-logger",
        "saml-auth", "sls-logger", "splunk-hec-logging", "tencent-cloud-cls",
    }
)  # fmt: skip
"""Plugins with secrets of their own; those whose name starts with `ai-` count too."""
STAMPS = ("create_time", "update_time")
_IP_DEFAULTS = {"message": DEFAULT_MESSAGE, "response_code": 403}
_CONSUMER_DEFAULTS = {"type": "consumer_name", "rejected_code": 403}


def needs_whole_put(version: ApisixVersion | None, plugins: tuple[str, ...]) -> bool:
    """Say whether a PATCH could destroy secrets beside us. An unknown version counts as one that could."""
    risky = version is None or version.patch_damages_secrets
    return risky and any(name in ENCRYPTED_PLUGINS or name.startswith("ai-") for name in plugins)


def plan_close(current: GateObject, config: GateConfig) -> GateWrite | Nothing:
    """Choose the write that makes the gate exactly `config`."""
    if is_closed(current, config):
        return Nothing(f"{current} already lets only the allow-list through")
    return _put_or_patch(current, canonical(config.desired()))


def plan_open(saved: SavedGate, current: GateObject) -> GateWrite | Nothing:
    """Choose the write that puts back what was saved."""
    if is_as_saved(current, saved):
        return Nothing(f"{current} is as it was found")
    config = saved.parts[0].config if saved.parts else None
    if config is not None:
        return _put_or_patch(current, config)
    if needs_whole_put(current.version, current.plugins):
        return _whole(current, None)
    return MergePatchNull(current.place, current.plugin)


def _put_or_patch(current: GateObject, config: str) -> GateWrite:
    if needs_whole_put(current.version, current.plugins):
        return _whole(current, config)
    return SubPathPatch(current.place, current.plugin, config)


def _whole(current: GateObject, config: str | None) -> PutWhole:
    value: dict[str, Any] = json.loads(current.value)
    for stamp in STAMPS:
        value.pop(stamp, None)
    plugins = dict(value.get("plugins") or {})
    if config is None:
        plugins.pop(current.plugin, None)
    else:
        plugins[current.plugin] = json.loads(config)
    value["plugins"] = plugins
    return PutWhole(current.place, canonical(value))


def is_closed(current: GateObject, config: GateConfig) -> bool:
    """Say whether every part lets exactly the allow-list through, whatever defaults the server has filled in."""
    return bool(current.parts) and all(part_is_closed(current, part, config) for part in current.parts)


def part_is_closed(current: GateObject, part: Part, config: GateConfig) -> bool:
    """Say whether this one part does. Disabled or filtered plugins let others through, so they are open."""
    found = effective(current, part)
    if current.plugin != config.plugin or found is None:
        return False
    return meaning(config.plugin, found) == meaning(config.plugin, config.desired())


def is_as_saved(current: GateObject, saved: SavedGate) -> bool:
    """Say whether the plugin means what it meant when it was saved; another order or a filled-in default is no change."""
    if (current.place, current.plugin) != (saved.place, saved.plugin):
        return False
    before = {part.rule: part.config for part in saved.parts}
    now = {part.rule: part.config for part in current.parts}
    # A rule that is gone cannot be put back and lets nobody through; a new one was never ours.
    return all(_same(current, before[rule], now[rule]) for rule in before.keys() & now.keys())


def grown(saved: SavedGate, current: GateObject, config: GateConfig) -> SavedGate:
    """Add the rules that came while the gate was closed and carry it now: they were closed by us, and had nothing before."""
    if not saved.place.kind.in_cluster or (current.place, current.plugin) != (saved.place, saved.plugin):
        return saved
    known = {part.rule for part in saved.parts}
    new = (part for part in current.parts if part.rule not in known and part_is_closed(current, part, config))
    return replace(saved, parts=(*saved.parts, *(Part(part.rule, None) for part in new)))


def is_ours(current: GateObject, config: GateConfig) -> bool:
    """Say whether what stands there answers with this gate's message: our own work, perhaps with somebody's hand on it."""
    key = "rejected_msg" if config.plugin == CONSUMER_RESTRICTION else "message"
    return any((effective(current, part) or {}).get(key) == config.message for part in current.parts)


def _same(current: GateObject, before: str | None, now: str | None) -> bool:
    if before is None or now is None:
        return before is now
    old, new = json.loads(before), json.loads(now)
    if not current.place.kind.in_cluster:
        return meaning(current.plugin, old) == meaning(current.plugin, new)
    beside = [{k: v for k, v in item.items() if k != "config"} | {"enable": item.get("enable", True)} for item in (old, new)]
    same_config = meaning(current.plugin, old.get("config") or {}) == meaning(current.plugin, new.get("config") or {})
    return same_config and beside[0] == beside[1]


def effective(current: GateObject, part: Part) -> dict[str, Any] | None:
    """Unwrap the plugin's object; None when it is absent, or switched off by `enable: false` of a Kubernetes item."""
    if part.config is None:
        return None
    found: dict[str, Any] = json.loads(part.config)
    if not current.place.kind.in_cluster:
        return found
    return dict(found.get("config") or {}) if found.get("enable", True) else None


def meaning(plugin: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a plugin's object into the form in which two that act alike are equal.

    Servers up to 3.13 show defaults that nobody sent, later ones only what was sent; lists of addresses have no order; an
    empty `_meta` says nothing.
    """
    defaults = _CONSUMER_DEFAULTS if plugin == CONSUMER_RESTRICTION else _IP_DEFAULTS
    full = {**defaults, **config}
    for name in ("whitelist", "blacklist"):
        if isinstance(full.get(name), list):
            full[name] = sorted(set(map(str, full[name])))
    meta = {key: value for key, value in dict(full.pop("_meta", None) or {}).items() if value is not False}
    if meta:
        full["_meta"] = meta
    if full.get("disable") is False:
        del full["disable"]
    return full


def disabled(config: Mapping[str, Any]) -> bool:
    """Say whether a plugin is switched off: `disable` (2.12 to 2.15) or `_meta.disable` (seen to work on 2.15.3 and later)."""
    return config.get("disable") is True or dict(config.get("_meta") or {}).get("disable") is True
