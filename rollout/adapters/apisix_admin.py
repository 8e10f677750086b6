"""The Admin API of APISIX 2.12 to 3.18: requests, both shapes of answers, and what its refusals mean.

Sources: apisix/admin/*.lua for shapes and codes, measurements on 2.15.3, 3.2.2, 3.9.1, 3.13.0 and 3.18.0 for the rest. Never
sent: `If-Match` (answered 412, and the write is made all the same), an empty `plugins`, `ttl`. Objects can hold other plugins'
secrets, so no part of a value enters a message; the server's own words are cut and the key is masked.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, assert_never

from pydantic import Field, SecretStr

from rollout.adapters.http import Backend, BackendUrl, ConnectionSettings, Reply, describe, is_json, parse_json, shorten
from rollout.core.errors import Conflict, Rejected, Unavailable
from rollout.core.gate import (
    ApisixVersion,
    GateObject,
    GateWrite,
    MergePatchNull,
    Place,
    PutWhole,
    SubPathPatch,
    object_from_value,
)
from rollout.core.gate_view import GatewayView, owner_of
from rollout.core.quantities import Duration, Whole
from rollout.ports import Clock

PREFIX = "/apisix/admin"
KEY_NOT_FOUND = "Key not found"
RACE_LOST = "value changed before overwritten"
_DRESSED_OUTAGE = re.compile(r"^failed to fetch .+ info by .+ id \[[^\]]*\]: |etcd")
"""A 400 that is an etcd outage: looking up a reference failed, not the request. A missing reference says `, response code: 404`."""
_VIEW = ("routes", "services", "upstreams", "plugin_configs", "global_rules", "consumers")
_VIEW_OPTIONAL = ("consumer_groups", "stream_routes")
"""Resources that older servers do not know, or that are switched off with the stream proxy."""

Value = Mapping[str, Any]


class ApisixSettings(ConnectionSettings):
    """One APISIX gateway.

    `admin_url`: the Admin API (3.x usually port 9180, 2.x the gateway's own port); None where gates are only written through
    Kubernetes objects. `nodes`: base URLs of the gateway's nodes, each asked by a probe whose address is only a path.
    `credentials`: headers by name, for probes of gates that know consumers. `settle`: two reads so far apart must agree before
    an uncertain write is believed; `patience`: how long that is tried. `tries`: when others write at the same time.
    """

    type: Literal["apisix"] = "apisix"
    admin_url: BackendUrl | None = None
    api_key: SecretStr | None = None
    cluster: str = "default"
    nodes: tuple[BackendUrl, ...] = ()
    credentials: Mapping[str, Mapping[str, SecretStr]] = Field(default_factory=dict)
    settle: Duration = timedelta(seconds=2)
    patience: Duration = timedelta(seconds=20)
    tries: Annotated[Whole, Field(ge=1, le=20)] = 6


class AdminClient:
    """Speaks to one Admin API. Thread-safe. Raises Unavailable, Rejected and, for a lost race, Conflict."""

    def __init__(self, name: str, settings: ApisixSettings, clock: Clock) -> None:
        key = {"X-API-KEY": settings.api_key} if settings.api_key else {}
        connection = settings.model_copy(update={"headers": {**settings.headers, **key}})
        url = (settings.admin_url or "").removesuffix(PREFIX)
        self._name = name
        self._key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._backend = Backend(name, connection, clock, url=url)
        self.version: ApisixVersion | None = None
        """As the last answer said; None while unknown, or where the server hides it."""

    @property
    def shown_url(self) -> str:
        """Where it is, without secrets."""
        return self._backend.shown_url

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def get(self, place: Place, plugin: str) -> GateObject | None:
        """Read one object; None when the server has none of that id."""
        reply = self._send("GET", f"/{place}")
        if self._absent(reply):
            return None
        item = _item(self._document(reply, f"GET {place}"))
        value = self._value(item)
        revision = str(item.get("modifiedIndex") or value.get("update_time") or "")
        return object_from_value(place, plugin, value, owner=owner_of(value), revision=revision, version=self.version)

    def listed(self, resource: str, filters: Mapping[str, str] | None = None) -> tuple[Value, ...]:
        """List the values of a resource. Filters only narrow (2.x ignores them): the caller compares again."""
        reply = self._send("GET", f"/{resource}", params=filters)
        document = self._document(reply, f"GET {resource}")
        node = document.get("node")
        items = document.get("list") if "list" in document else (node.get("nodes") if isinstance(node, Mapping) else None)
        if items is None:
            raise Unavailable(self._name, f"GET {resource}: the answer is not a list of the Admin API")
        # A page past the end, and an empty list of old servers, is `{}`.
        return tuple(self._value(item) for item in items) if isinstance(items, list) else ()

    def view(self) -> GatewayView:
        """Read everything that decides who reaches what."""
        found = {resource: self.listed(resource) for resource in _VIEW}
        for resource in _VIEW_OPTIONAL:
            try:
                found[resource] = self.listed(resource)
            except Rejected:
                found[resource] = ()
        return GatewayView(**found)

    def write(self, write: GateWrite) -> None:
        """Perform one write. Conflict: somebody else wrote at the same moment, nothing was done."""
        method, path, body = _request(write)
        reply = self._send(method, path, body)
        self._document(reply, f"write of {write.place}", writing=True)

    def may_write(self) -> None:
        """Ask for the right to write, without writing: a PATCH of an id that cannot be there. Raises Rejected without it."""
        ident = f"rollout-rehearsal-{uuid.uuid4().hex[:16]}"
        reply = self._send("PATCH", f"/routes/{ident}", json.dumps({"desc": "rehearsal of a gate"}))
        if not self._absent(reply):
            self._document(reply, "rehearsal of a write")
            raise Rejected(self._name, "a PATCH of an id that does not exist was accepted; is this an Admin API?")

    def knows_response_code(self) -> bool:
        """Ask whether ip-restriction has `response_code`: by the schema, which also a server that hides its version tells."""
        reply = self._send("GET", "/schema/plugins/ip-restriction")
        properties = self._document(reply, "schema of ip-restriction").get("properties")
        return isinstance(properties, Mapping) and "response_code" in properties

    def _send(self, method: str, path: str, body: str | None = None, params: Mapping[str, str] | None = None) -> Reply:
        content = body.encode() if body is not None else None
        reply = self._backend.send(method, PREFIX + path, content=content, params=params)
        self.version = ApisixVersion.parse(reply.headers.get("server", "")) or self.version
        return reply

    @staticmethod
    def _absent(reply: Reply) -> bool:
        return reply.status == 404 and is_json(reply) and json.loads(reply.body).get("message") == KEY_NOT_FOUND  # noqa: PLR2004

    def _document(self, reply: Reply, about: str, *, writing: bool = False) -> dict[str, Any]:
        if 200 <= reply.status < 300:  # noqa: PLR2004 - PATCH answers 201 up to 3.1, PUT when it is new
            document = parse_json(self._name, reply)
            if isinstance(document, dict):
                return document
            raise Unavailable(self._name, f"{about}: not an answer of the Admin API", maybe_done=writing)
        raise self._failure(reply, about, writing=writing)

    def _failure(self, reply: Reply, about: str, *, writing: bool) -> Rejected | Unavailable:
        words = self._words(reply)
        match reply.status:
            case 401:
                return Rejected(self._name, f"{about}: HTTP 401, the API key is refused, or may only read ({words})", code=401)
            case 403:
                return Rejected(self._name, f"{about}: HTTP 403, this address is not in the server's allow_admin", code=403)
            case 404:
                hint = "" if words == KEY_NOT_FOUND else "; is this the Admin API of a gateway with etcd?"
                return Rejected(self._name, f"{about}: HTTP 404 ({words}){hint}", code=404)
            case 400 if _DRESSED_OUTAGE.search(words):
                return Unavailable(self._name, f"{about}: etcd does not answer ({words})")
            case 503 if words == RACE_LOST:
                return Conflict(self._name, f"{about}: somebody else wrote at the same moment", code=503)
            case status if status >= 500:  # noqa: PLR2004 - the server's fault
                return Unavailable(self._name, f"{about}: HTTP {status} ({words})", maybe_done=writing)
            case 412:
                return Rejected(self._name, f"{about}: HTTP 412 although no condition was sent; look before believing it", code=412)
            case status:
                return Rejected(self._name, f"{about}: HTTP {status} ({words})", code=status)

    def _words(self, reply: Reply) -> str:
        """Take the server's words from its own fields only: a body can echo what was sent, secrets included."""
        if not is_json(reply):
            words = describe(reply)
        else:
            document = json.loads(reply.body)
            fields = document if isinstance(document, dict) else {}
            found = [str(fields[key]) for key in ("error_msg", "message", "description") if fields.get(key)]
            words = ", ".join(found) or f"HTTP {reply.status}"
        return shorten(words.replace(self._key, "***") if self._key else words)

    def _value(self, item: object) -> Value:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping):
            raise Unavailable(self._name, "an answer without a value: not the Admin API, or a proxy before it")
        return value


def _item(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Unwrap the 2.x shape, which 3.x gives too when `admin_api_version` says so."""
    node = document.get("node")
    return node if isinstance(node, Mapping) else document


def _request(write: GateWrite) -> tuple[str, str, str]:
    match write:
        case SubPathPatch(place, plugin, config):
            return "PATCH", f"/{place}/plugins/{plugin}", config
        case MergePatchNull(place, plugin):
            return "PATCH", f"/{place}", json.dumps({"plugins": {plugin: None}})
        case PutWhole(place, value):
            return "PUT", f"/{place}", value
        case _:
            assert_never(write)
