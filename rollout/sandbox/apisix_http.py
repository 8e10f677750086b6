"""Requests and answers as the pretend gateway's code sees them: text bodies, decoded paths, one value a query parameter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode

from rollout.sandbox import http

HTML = "text/html; charset=utf-8"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 412: "Precondition Failed",
            429: "Too Many Requests", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `headers` has lower-case names; `client` is the peer's address; `target` is path and query as sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    client: str = "127.0.0.1"
    target: str = "/"


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: str = ""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


def responding(handler: Handler, server: str) -> http.Respond:
    """Put a handler behind a real listener; `server` is what its Server header says."""

    def respond(asked: http.Request) -> http.Response:
        query = {name: values[0] for name, values in asked.query.items()}
        target = asked.path + (f"?{urlencode(query)}" if query else "")
        body = asked.body.decode("utf-8", "replace")
        answer = handler(Request(asked.method, unquote(asked.path), query, asked.headers, body, asked.client, target))
        headers = {"Server": server, **answer.headers}
        return http.Response(answer.status, answer.body.encode(), answer.content_type, headers)

    return respond


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None, content_type: str = JSON) -> Response:
    """Answer with a JSON document."""
    return Response(status, json.dumps(value, ensure_ascii=False), content_type, headers or {})


def nginx_page(status: int, *, past_the_gateway: bool = False) -> Response:
    """Answer with a page of nginx's own; `past_the_gateway`: none of its code sees the answer, not even to name its server."""
    words = f"{status} {_PHRASES[status]}"
    page = f"<html><head><title>{words}</title></head><body><center><h1>{words}</h1></center></body></html>"
    return Response(status, page, HTML, {"Server": "openresty"} if past_the_gateway else {})
