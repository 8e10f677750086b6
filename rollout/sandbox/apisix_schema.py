"""What the pretend Admin API accepts and what it stores of it: schemas, defaults by version, encrypted secrets.

Only the rules that a client of the gate can meet. The error texts are the ones the real servers answer with.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from rollout.sandbox.apisix_flavours import Flavour

Json = dict[str, Any]

FIELDS = {
    "routes": "id uri uris name desc priority methods host hosts remote_addr remote_addrs vars filter_func plugins script "
    "script_id plugin_config_id upstream upstream_id service_id labels status timeout enable_websocket create_time update_time",
    "services": "id name desc plugins upstream upstream_id labels hosts script enable_websocket create_time update_time",
    "upstreams": "id name desc type nodes service_name discovery_type discovery_args hash_on key checks retries timeout scheme "
    "pass_host upstream_host labels keepalive_pool tls create_time update_time",
    "plugin_configs": "id name desc plugins labels create_time update_time",
    "global_rules": "id plugins create_time update_time",
    "consumers": "id username desc plugins labels group_id create_time update_time",
    "consumer_groups": "id name desc plugins labels create_time update_time",
    "stream_routes": "id name desc server_addr server_port sni remote_addr upstream upstream_id service_id plugins labels "
    "create_time update_time",
}
"""The resources and their fields; anything else in an object is declined."""
SINGULAR = {"routes": "route", "services": "service", "upstreams": "upstream", "plugin_configs": "plugin config",
            "global_rules": "global rule", "consumers": "consumer", "consumer_groups": "consumer group",
            "stream_routes": "stream route"}  # fmt: skip
DEFAULTS: dict[str, Json] = {
    "routes": {"priority": 0, "status": 1},
    "upstreams": {"scheme": "http", "hash_on": "vars", "pass_host": "pass"},
}
PLUGINS = (
    "real-ip", "fault-injection", "mocking", "cors", "ip-restriction", "key-auth", "consumer-restriction", "proxy-rewrite",
    "limit-count", "redirect", "response-rewrite", "prometheus", "openid-connect", "traffic-split",
)  # fmt: skip
SECRETS = {"openid-connect": ("client_secret",), "key-auth": ("key",)}
_SEALED = "sealed:"


class SchemaError(Exception):
    """What the Admin API answers 400 with."""


def check(flavour: Flavour, resource: str, value: Json) -> None:
    """Decline what the schema of a resource does not allow. Raises SchemaError."""
    fields = frozenset(FIELDS[resource].split())
    for key in value:
        if key not in fields:
            raise SchemaError(f"invalid configuration: additional properties forbidden, found {key}")
    plugins = value.get("plugins")
    if plugins is not None and not isinstance(plugins, dict):
        kind = {str: "string", list: "table", bool: "boolean"}.get(type(plugins), "number")
        raise SchemaError(f'invalid configuration: property "plugins" validation failed: wrong type: expected object, got {kind}')
    if resource == "routes" and not ({"uri", "uris"} & value.keys()):
        raise SchemaError("invalid configuration: value should match only one schema, but matches none")
    for name, conf in (plugins or {}).items():
        _check_plugin(flavour, name, conf)


def _check_plugin(flavour: Flavour, name: str, conf: object) -> None:
    if name not in PLUGINS:
        raise SchemaError(f"unknown plugin [{name}]")
    if not isinstance(conf, dict):
        shown = '"userdata: NULL"' if conf is None else str(conf)
        raise SchemaError(f"invalid plugin conf {shown} for plugin [{name}]")
    problem = _CHECKS[name](flavour, conf) if name in _CHECKS else ""
    if problem:
        raise SchemaError(f"failed to check the configuration of plugin {name} err: {problem}")


def _ip_restriction(flavour: Flavour, conf: Json) -> str:
    for key in ("whitelist", "blacklist"):
        problem = _address_list(key, conf[key]) if key in conf else ""
        if problem:
            return problem
    message = conf.get("message", "x")
    if not message:
        return 'property "message" validation failed: string too short, expected at least 1, got 0'
    if len(message) > 1024:  # noqa: PLR2004 - the schema's figure
        return f'property "message" validation failed: string too long, expected at most 1024, got {len(message)}'
    code = conf.get("response_code", 403)
    if flavour.honours_response_code and code not in (403, 404):
        limit = "at most 404" if code > 404 else "at least 403"  # noqa: PLR2004 - the schema's figure
        return f'property "response_code" validation failed: expected {code} to be {limit}'
    both = "whitelist" in conf, "blacklist" in conf
    if all(both):
        return "value should match only one schema, but matches both schemas 1 and 2"
    return "" if any(both) else "value should match only one schema, but matches none"


def _address_list(key: str, value: object) -> str:
    prefix = f'property "{key}" validation failed: '
    if not isinstance(value, list):
        kind = {str: "string", dict: "table", bool: "boolean"}.get(type(value), "number")
        return f"{prefix}wrong type: expected array, got {kind}"
    if not value:
        return f"{prefix}expect array to have at least 1 items"
    for number, item in enumerate(value, start=1):
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            return f"{prefix}failed to validate item {number}: object matches none of the required"
    return ""


def _consumer_restriction(_flavour: Flavour, conf: Json) -> str:
    if not {"whitelist", "blacklist", "allowed_by_methods"} & conf.keys():
        return "object matches none of the required: [blacklist] or [whitelist] or [allowed_by_methods]"
    if conf.get("rejected_code", 403) < 200:  # noqa: PLR2004 - the schema's figure
        return f'property "rejected_code" validation failed: expected {conf["rejected_code"]} to be at least 200'
    for key in ("whitelist", "blacklist"):
        if key in conf and not conf[key]:
            return f'property "{key}" validation failed: expect array to have at least 1 items'
    return ""


def _limit_count(_flavour: Flavour, conf: Json) -> str:
    good = isinstance(conf.get("count"), int) and isinstance(conf.get("time_window"), int)
    return "" if good else "value should match only one schema, but matches none"


def _openid_connect(_flavour: Flavour, conf: Json) -> str:
    missing = next((key for key in ("client_id", "client_secret", "discovery") if key not in conf), "")
    return f'property "{missing}" is required' if missing else ""


_CHECKS: dict[str, Callable[[Flavour, Json], str]] = {
    "ip-restriction": _ip_restriction,
    "consumer-restriction": _consumer_restriction,
    "limit-count": _limit_count,
    "openid-connect": _openid_connect,
}


def with_defaults(flavour: Flavour, resource: str, value: Json) -> Json:
    """Show the defaults that servers up to 3.13 store."""
    if not flavour.fills_defaults:
        return value
    full = {**DEFAULTS.get(resource, {}), **value}
    filled = {name: {**_plugin_defaults(flavour, name), **conf} for name, conf in (full.get("plugins") or {}).items()}
    return {**full, "plugins": filled} if "plugins" in full else full


def _plugin_defaults(flavour: Flavour, name: str) -> Json:
    if name == "ip-restriction":
        code = {"response_code": 403} if flavour.honours_response_code else {}
        return {"message": "Your IP address is not allowed", **code}
    return {"type": "consumer_name", "rejected_code": 403} if name == "consumer-restriction" else {}


def seal(flavour: Flavour, value: Json) -> Json:
    """Encrypt the secrets of plugins, whether they were encrypted already or not: that is the fault of PATCH up to 3.17."""
    return _each_secret(value, _sealed) if flavour.encrypts else value


def unseal(flavour: Flavour, value: Json) -> Json:
    """Decrypt once, as reading and the gateway do."""
    return _each_secret(value, _unsealed) if flavour.encrypts else value


def _each_secret(value: Json, change: Callable[[str], str]) -> Json:
    plugins = dict(value.get("plugins") or {})
    for name in SECRETS.keys() & plugins.keys():
        fields = {key: change(text) for key, text in plugins[name].items() if key in SECRETS[name]}
        plugins[name] = {**plugins[name], **fields}
    return {**value, "plugins": plugins} if "plugins" in value else value


def _sealed(text: str) -> str:
    return _SEALED + base64.b64encode(text.encode()).decode()


def _unsealed(text: str) -> str:
    return base64.b64decode(text.removeprefix(_SEALED)).decode() if text.startswith(_SEALED) else text


def ip_restriction_schema(flavour: Flavour) -> Json:
    """Describe ip-restriction as the schema endpoint does, as far as a client asks: which properties there are."""
    addresses = {"type": "array", "minItems": 1, "items": {"type": "string"}}
    message = {"type": "string", "minLength": 1, "maxLength": 1024, "default": "Your IP address is not allowed"}
    properties: Json = {"whitelist": addresses, "blacklist": addresses, "message": message, "_meta": {"type": "object"}}
    if flavour.honours_response_code:
        properties["response_code"] = {"type": "integer", "minimum": 403, "maximum": 404, "default": 403}
    choice = [{"required": ["whitelist"]}, {"required": ["blacklist"]}]
    return {"type": "object", "properties": properties, "oneOf": choice}


def valid_id(text: str) -> bool:
    """Say whether an id is one."""
    return re.fullmatch(r"[a-zA-Z0-9\-_.]{1,64}", text) is not None


def merge(flavour: Flavour, origin: Json, patch: Json) -> Json:
    """Merge as the server does: objects deeply, all else replaces, null deletes, but only below something that is there.

    Something empty counts as an array and is replaced by what comes, nulls included: which is why a null that hits nothing ends
    up as the plugin's configuration. From 3.16 an empty object in the patch counts as an array too.
    """
    merged = dict(origin)
    for key, new in patch.items():
        old = merged.get(key)
        deep = isinstance(new, dict) and isinstance(old, dict) and bool(old) and (bool(new) or not flavour.empty_replaces)
        if deep and isinstance(new, dict) and isinstance(old, dict):
            merged[key] = merge(flavour, old, new)
        elif new is None:
            merged.pop(key, None)
        else:
            merged[key] = new
    return merged
