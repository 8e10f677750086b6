"""A small threaded HTTP server for the pretend gateway: it tells clients apart by their address, and stops at once.

One thread a connection, keep-alive, bodies by Content-Length. A handler gets one request and gives one answer; a handler that
waits for ever holds only its own connection.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

HTML = "text/html; charset=utf-8"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 412: "Precondition Failed",
            429: "Too Many Requests", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `headers` has lower-case names; `client` is the peer's address; `path` is decoded, without the query."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    client: str = "127.0.0.1"
    target: str = "/"
    """Path and query as sent."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: str = ""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None, content_type: str = JSON) -> Response:
    """Answer with a JSON document."""
    return Response(status, json.dumps(value, ensure_ascii=False), content_type, headers or {})


def nginx_page(status: int) -> Response:
    """Answer as nginx itself does, past all of the gateway's code."""
    words = f"{status} {_PHRASES[status]}"
    page = f"<html><head><title>{words}</title></head><body><center><h1>{words}</h1></center></body></html>"
    return Response(status, page, HTML, {"Server": "openresty"})


class HttpServer:
    """Serves one handler on a free loopback port until `stop`."""

    def __init__(self, handler: Handler, server_name: str, address: str = "127.0.0.1", port: int = 0) -> None:
        self._server = _Server((address, port), _connection(handler, server_name))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self._server.server_address[0]!s}:{self.port}"

    def stop(self) -> None:
        """Stop listening and close every connection."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, where: tuple[str, int], connection: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(where, connection)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, peer = super().get_request()
        with self._guard:
            self._open.add(connection)
        return connection, peer

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._guard:
            self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news; its handler has done what it was asked."""

    def hang_up(self) -> None:
        with self._guard:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _connection(handler: Handler, server_name: str) -> type[BaseHTTPRequestHandler]:
    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            request = Request(
                self.command,
                unquote(parts.path),
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length).decode("utf-8", "replace"),
                str(self.client_address[0]),
                self.path,
            )
            self._send(handler(request))

        def _send(self, response: Response) -> None:
            body = response.body.encode()
            headers = {"Server": server_name, "Date": formatdate(usegmt=True), "Content-Type": response.content_type}
            headers |= {"Content-Length": str(len(body)), **response.headers}
            self.send_response_only(response.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Write nothing: the sandbox's output belongs to the demo."""

    return Connection
