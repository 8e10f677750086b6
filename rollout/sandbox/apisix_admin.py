"""The pretend Admin API: every answer a client of the gate can get, in the words and shapes of five real versions."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any

from rollout.sandbox import apisix_schema as schema
from rollout.sandbox.apisix_etcd import Entry, Etcd, EtcdError
from rollout.sandbox.apisix_flavours import Flavour
from rollout.sandbox.apisix_http import Request, Response, json_response, nginx_page
from rollout.sandbox.apisix_schema import Json, SchemaError

PREFIX = "/apisix/admin"
ADMIN_KEY = "sandbox-admin-key"
VIEWER_KEY = "sandbox-viewer-key"
_PAGE_SIZES = range(10, 501)
_LAST_WORDS = "the property is forbidden:  "


class AdminApi:
    """One Admin API over one etcd. `now` gives Unix seconds, `allow` the network that may connect at all."""

    def __init__(
        self, flavour: Flavour, etcd: Etcd, now: Callable[[], float], *, v2_shapes: bool = False, allow: str = "127.0.0.0/24"
    ) -> None:
        self.flavour = flavour
        self.etcd = etcd
        self.admin_key = ADMIN_KEY
        self.viewer_key = VIEWER_KEY
        self.requests: list[Request] = []
        """Every request that came, in order, for tests that ask what was never sent."""
        self._now = now
        self._allow = ipaddress.ip_network(allow)
        self._v3 = flavour.v3 and not v2_shapes
        self._key_prefix = "/apisix"

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        self.requests.append(request)
        if ipaddress.ip_address(request.client) not in self._allow:
            return nginx_page(403, past_the_gateway=True)
        if not request.path.startswith(f"{PREFIX}/") or request.method == "HEAD":
            return nginx_page(404)
        refused = self._authorize(request)
        if refused is not None:
            return refused
        try:
            response = self._dispatch(request)
        except SchemaError as error:
            response = self._versioned(json_response(400, {"error_msg": str(error)}))
        except EtcdError as error:
            response = json_response(503, {"error_msg": str(error)})
        if "if-match" in request.headers and self.flavour.v3:
            return nginx_page(412, past_the_gateway=True)  # nginx's own filter looks at the answer: what was asked has been done
        return response

    def _authorize(self, request: Request) -> Response | None:
        cookie = re.search(r"x_api_key=([^;]+)", request.headers.get("cookie", ""))
        key = request.headers.get("x-api-key") or request.query.get("api_key") or (cookie[1] if cookie else "")
        if key == self.admin_key or (key == self.viewer_key and request.method == "GET"):
            return None
        why = "missing apikey" if not key else "wrong apikey"
        if key == self.viewer_key:
            why = "invalid method for role viewer"
        words = {"error_msg": "failed to check token"}
        return json_response(401, {"description": why, **words} if self.flavour.explains_401 else words)

    def _dispatch(self, request: Request) -> Response:
        resource, *rest = request.path.removeprefix(f"{PREFIX}/").strip("/").split("/")
        body = self._parse(request)
        if isinstance(body, Response):
            return body
        if resource in ("schema", "plugins"):
            return self._describe(resource, rest, request, body)
        if resource not in schema.FIELDS:
            words = f"Unsupported resource type: {resource}" if self.flavour.one_global_rule else "not found"
            return json_response(404, {"error_msg": words})
        ident, sub_path = (rest[0] if rest else ""), rest[1:]
        match request.method:
            case "GET":
                response = self._get(resource, ident) if ident else self._list(resource, request)
            case "PUT" | "POST":
                response = self._put(resource, ident, body, request)
            case "PATCH":
                response = self._patch(resource, ident, sub_path, body, request)
            case "DELETE":
                response = self._delete(resource, ident)
            case _:
                response = nginx_page(404)
        return self._versioned(response)

    def _versioned(self, response: Response) -> Response:
        if not self.flavour.v3:
            return response
        version = {"X-API-VERSION": "v3" if self._v3 else "v2"}
        return Response(response.status, response.body, response.content_type, {**response.headers, **version})

    @staticmethod
    def _parse(request: Request) -> object:
        if request.method not in ("PUT", "POST", "PATCH") or not request.body.strip():
            return _NOTHING
        try:
            return json.loads(request.body)
        except ValueError as error:
            position = len(request.body) + 1 if "Expecting value" in str(error) else getattr(error, "pos", 0) + 1
            words = f"invalid request body: Expected value but found T_END at character {position}"
            return json_response(400, {"req_body": request.body, "error_msg": words})

    def _get(self, resource: str, ident: str) -> Response:
        entry = self.etcd.read(resource, ident)
        if entry is None:
            return json_response(404, {"message": "Key not found"})
        item = self._item(resource, ident, entry)
        if self._v3:
            return json_response(200, item)
        return json_response(200, {"count": 1, "node": {k: item[k] for k in ("key", "value")}, "action": "get"})

    def _item(self, resource: str, ident: str, entry: Entry) -> Json:
        value = schema.unseal(self.flavour, entry.value)
        key = f"{self._key_prefix}/{resource}/{ident}"
        return {"key": key, "value": value, "createdIndex": entry.created, "modifiedIndex": entry.modified}

    def _list(self, resource: str, request: Request) -> Response:
        items = [self._item(resource, ident, entry) for ident, entry in self.etcd.listed(resource)]
        if not self._v3:
            node = {"key": f"{self._key_prefix}/{resource}", "dir": True, "nodes": items}
            return json_response(200, {"count": len(items), "node": node, "action": "get"})
        found = [item for item in items if _passes(item["value"], request.query)]
        paged: object = found
        if "page" in request.query and "page_size" in request.query:
            page, size = int(request.query["page"]), int(request.query["page_size"])
            if size not in _PAGE_SIZES:
                return Response(400, "page_size must be between 10 and 500")
            by_age = sorted(found, key=lambda item: item["createdIndex"])
            paged = by_age[(page - 1) * size : page * size] or ([] if not found else {})
        return json_response(200, {"total": len(found), "list": paged})

    def _put(self, resource: str, ident: str, body: object, request: Request) -> Response:
        kind = schema.SINGULAR[resource]
        conf = _mapping(body)
        if resource == "consumers":
            ident = ident or str(conf.get("username", ""))
        if not ident and request.method == "PUT":
            raise SchemaError(f"missing {kind} id")
        if ident and "id" in conf and str(conf["id"]) != ident:
            raise SchemaError(f"wrong {kind} id")
        for stamp in ("create_time", "update_time"):
            if self.flavour.forbids_stamps and stamp in conf:
                raise SchemaError(f"{_LAST_WORDS}{stamp}")
        ident = ident or self.etcd.next_id()
        conf = {**conf, ("username" if resource == "consumers" else "id"): ident}
        self._validate(resource, ident, conf)
        old = self.etcd.read(resource, ident)
        born = old.value.get("create_time") if old else None
        value = {**conf, "create_time": born or int(self._now()), "update_time": int(self._now())}
        entry = self._store(resource, ident, value, request)
        return self._written(resource, ident, entry, 200 if old else 201, "create" if request.method == "POST" else "set")

    def _validate(self, resource: str, ident: str, conf: Json) -> None:
        schema.check(self.flavour, resource, conf)
        for field, kind in (("upstream_id", "upstreams"), ("service_id", "services"), ("plugin_config_id", "plugin_configs")):
            if conf.get(field) is not None:
                self._must_exist(schema.SINGULAR[kind], kind, str(conf[field]))
        if resource == "global_rules" and self.flavour.one_global_rule:
            for other, entry in self.etcd.listed("global_rules"):
                for name in conf.get("plugins") or {}:
                    if other != ident and name in (entry.value.get("plugins") or {}):
                        raise SchemaError(f"plugin '{name}' already exists in global rule with id '{other}'")

    def _must_exist(self, words: str, kind: str, ident: str) -> None:
        try:
            missing = self.etcd.read(kind, ident) is None
        except EtcdError as error:
            # An etcd that is away, dressed as a fault of the request.
            raise SchemaError(f"failed to fetch {words} info by {words} id [{ident}]: {error}") from None
        if missing:
            raise SchemaError(f"failed to fetch {words} info by {words} id [{ident}], response code: 404")

    def _patch(self, resource: str, ident: str, sub_path: list[str], body: object, request: Request) -> Response:
        if not ident:
            raise SchemaError(f"missing {schema.SINGULAR[resource]} id")
        if body is _NOTHING:
            raise SchemaError("missing new configuration")
        if not sub_path and not isinstance(body, (dict, list)):
            raise SchemaError("invalid configuration")
        seen = self.etcd.read(resource, ident)
        if seen is None:
            return json_response(404, {"message": "Key not found"})
        damaging = self.flavour.patch_damages_secrets
        value = seen.value if damaging else schema.unseal(self.flavour, seen.value)
        value = _set_at(value, sub_path, body) if sub_path else schema.merge(self.flavour, value, _mapping(body))
        schema.check(self.flavour, resource, value)
        self._validate_links(resource, ident, seen.value, value)
        value = {**value, "update_time": int(self._now())}
        entry = self._store(resource, ident, value, request, seen=seen.modified)
        return self._written(resource, ident, entry, 201 if self.flavour.patch_created else 200, "compareAndSwap")

    def _validate_links(self, resource: str, ident: str, old: Json, new: Json) -> None:
        if any(old.get(field) != new.get(field) for field in ("upstream_id", "service_id", "plugin_config_id", "plugins")):
            self._validate(resource, ident, new)

    def _store(self, resource: str, ident: str, value: Json, request: Request, seen: int | None = None) -> Entry:
        lease = float(request.query.get("ttl", 0))
        expires = self._now() + lease if lease else 0.0
        stored = schema.seal(self.flavour, schema.with_defaults(self.flavour, resource, value))
        return self.etcd.write(resource, ident, stored, seen=seen, expires=expires)

    def _written(self, resource: str, ident: str, entry: Entry, status: int, action: str) -> Response:
        item = {"key": f"{self._key_prefix}/{resource}/{ident}", "value": schema.unseal(self.flavour, entry.value)}
        return json_response(status, item if self._v3 else {"node": item, "action": action})

    def _delete(self, resource: str, ident: str) -> Response:
        user = self._user_of(resource, ident)
        if user and self.flavour.guards_services:
            direct = " directly" if resource == "services" else ""
            words = f"can not delete this {schema.SINGULAR[resource]}{direct}, {user} is still using it now"
            return json_response(400, {"error_msg": words})
        if not self.etcd.delete(resource, ident):
            return json_response(404, {"message": "Key not found"})
        gone: Json = {"deleted": "1", "key": f"{self._key_prefix}/{resource}/{ident}"}
        return json_response(200, gone if self._v3 else {**gone, "node": {}, "action": "delete"})

    def _user_of(self, resource: str, ident: str) -> str:
        field = {"services": "service_id", "upstreams": "upstream_id", "plugin_configs": "plugin_config_id"}.get(resource, "")
        for kind in ("routes", "services") if field else ():
            for other, entry in self.etcd.listed(kind):
                if str(entry.value.get(field)) == ident:
                    return f"{schema.SINGULAR[kind]} [{other}]"
        return ""

    def _describe(self, resource: str, rest: list[str], request: Request, body: object) -> Response:
        if rest[-1:] == ["ip-restriction"]:
            return self._versioned(json_response(200, schema.ip_restriction_schema(self.flavour)))
        if (resource, rest) == ("plugins", ["list"]):
            return json_response(200, list(schema.PLUGINS))
        if rest[:1] == ["validate"] and request.method == "POST" and rest[-1] in schema.FIELDS:
            unknown = [key for key in _mapping(body) if key not in schema.FIELDS[rest[-1]].split()]
            # It never looks into plugins: a bad address passes here.
            return (
                json_response(400, {"error_msg": f"additional properties forbidden, found {unknown[0]}"})
                if unknown
                else Response(200)
            )
        return json_response(404, {"error_msg": "not found"})


_NOTHING = object()


def _mapping(body: object) -> Json:
    if body is _NOTHING:
        raise SchemaError("missing configurations")
    if isinstance(body, list):
        raise SchemaError("invalid configuration: additional properties forbidden, found 1")
    if not isinstance(body, dict):
        raise SchemaError("invalid configuration")
    return body


def _set_at(value: Json, path: list[str], new: object) -> Json:
    """Set one element, creating what is missing above it."""
    head, *rest = path
    if not rest:
        return {**value, head: new}
    below = value.get(head)
    return {**value, head: _set_at(below if isinstance(below, dict) else {}, rest, new)}


def _passes(value: Json, query: Any) -> bool:  # noqa: ANN401 - a mapping of texts
    """Apply the list filters: `name` and `uri` are regular expressions, `label` looks at keys only, `filter` is exact."""
    if "name" in query and not _found(query["name"], [str(value.get("name") or "nil")]):
        return False
    if "uri" in query and not _found(query["uri"], [*value.get("uris", ()), str(value.get("uri") or "nil")]):
        return False
    if "label" in query and query["label"] not in (value.get("labels") or {}):
        return False
    exact = dict(pair.partition("=")[::2] for pair in query.get("filter", "").split("&") if pair)
    return all(str(value.get(field)) == wanted for field, wanted in exact.items())


def _found(pattern: str, texts: list[str]) -> bool:
    try:
        return any(re.search(pattern, text) for text in texts)
    except re.error:
        return False
