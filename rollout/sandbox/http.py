"""A small threaded HTTP/1.1 server on loopback, on which every pretend backend stands, and which can fail in every way.

Faults are performed here, below the backends, so that each of them can hang, break off or answer nonsense alike.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

from rollout.sandbox.faults import Failing, Fault, Faults

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in to continue</h1></body></html>"
_IDLE_SECONDS = 0.05
_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `headers` has lower-case keys; `query` keeps repeated parameters in order; `client` is the peer's address."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    client: str = "127.0.0.1"

    def one(self, parameter: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(parameter)
        return values[0] if values else default

    def json(self) -> Any:  # noqa: ANN401 - JSON as received
        """Parse the body. Raises ValueError."""
        return json.loads(self.body or b"null")

    def form(self) -> dict[str, list[str]]:
        """Parse a form body together with the query; the body wins."""
        return {**self.query, **parse_qs(self.body.decode(errors="replace"), keep_blank_values=True)}


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: a body, or a stream of pieces (an empty piece says that there is nothing yet, and costs nothing)."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401 - JSON
    """Answer with JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode(), headers=headers or {})


def text_response(text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Answer with text."""
    return Response(status, text.encode(), content_type)


Respond = Callable[[Request], Response]


class HttpServer:
    """Serves one backend. `name` is what `Faults` knows it by; `now` gives the time of its Date header.

    Use as a context manager, or call `start` and `close`; `close` ends every open connection and every thread.
    """

    def __init__(self, name: str, respond: Respond, faults: Faults, now: Callable[[], datetime], *, port: int = 0) -> None:
        self.name = name
        self.respond = respond
        self.faults = faults
        self.now = now
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler, self)
        self._thread = threading.Thread(target=self._serve, name=f"sandbox-{name}", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering, hang up on everybody, end the threads."""
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_JOIN_SECONDS)
        self._server.hang_up()
        self._server.server_close()

    def hang_up(self) -> None:
        """Break every open connection, as a restart does; go on listening."""
        self._server.hang_up(wait=False)

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=_IDLE_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], owner: HttpServer) -> None:
        self.owner = owner
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's signature
        thread = threading.Thread(
            target=self._talk, args=(request, client_address), name=f"sandbox-{self.owner.name}-connection", daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def _talk(self, request: socket.socket, client_address: Any) -> None:  # noqa: ANN401 - as process_request
        try:
            self.finish_request(request, client_address)
        except (OSError, ValueError):
            pass  # the client hung up, or we did
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def hang_up(self, *, wait: bool = True) -> None:
        with self._lock:
            talking = dict(self._open)
        for connection in talking:
            with contextlib.suppress(OSError):  # already gone
                connection.shutdown(socket.SHUT_RDWR)
        if wait:
            for thread in talking.values():
                thread.join(_JOIN_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        """Stay silent."""

    def _answer(self) -> None:
        owner = cast("_Server", self.server).owner
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            self.close_connection = True  # the client died in the middle of its request: nobody waits for an answer
            return
        headers = {key.lower(): value for key, value in self.headers.items()}
        query = parse_qs(split.query, keep_blank_values=True)
        request = Request(self.command, split.path, query, headers, body, str(self.client_address[0]))
        fault = owner.faults.of(owner.name)
        if fault is not None and fault.hits(request.method, request.path):
            self._fail(owner, request, fault)
        else:
            self._send(owner, owner.respond(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - names that the base class looks for

    def _fail(self, owner: HttpServer, request: Request, fault: Fault) -> None:
        match fault.failing:
            case Failing.HANG:
                while not owner.closing.wait(_IDLE_SECONDS) and not self._left():
                    pass
                self.close_connection = True
            case Failing.CUT:
                whole = self._head(owner, Response(body=b"x" * 4096)) + b'{"kind":"List","data":{"result":[{"met'
                self.wfile.write(whole)
                self.close_connection = True
            case Failing.HTML:
                self._send(owner, Response(body=HTML, content_type="text/html; charset=utf-8"))
            case Failing.SLOW:
                owner.closing.wait(fault.delay.total_seconds())
                self._send(owner, owner.respond(request))
            case Failing.ERROR_500:
                self._send(owner, text_response("Internal Server Error\n", 500))
            case Failing.UNAVAILABLE_503:
                self._send(owner, text_response("Service Unavailable\n", 503))
            case Failing.REFUSED_401:
                self._send(owner, text_response("Unauthorized\n", 401))
            case Failing.THROTTLED_429:
                seconds = str(max(int(fault.delay / timedelta(seconds=1)), 1))
                self._send(owner, Response(429, b"rate_limited", "text/plain", {"Retry-After": seconds}))

    def _head(self, owner: HttpServer, response: Response) -> bytes:
        phrase = HTTPStatus(response.status).phrase
        lines = [f"HTTP/1.1 {response.status} {phrase}", f"Content-Type: {response.content_type}"]
        lines.append(f"Date: {format_datetime(owner.now() + owner.faults.skew(owner.name), usegmt=True)}")
        if response.stream is not None:
            lines.append("Transfer-Encoding: chunked")
        elif response.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(response.body)}")
        lines += [f"{key}: {value}" for key, value in response.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")

    def _send(self, owner: HttpServer, response: Response) -> None:
        head = self._head(owner, response)
        if response.stream is None:
            self.wfile.write(head if self.command == "HEAD" else head + response.body)
            return
        self.wfile.write(head)
        for piece in response.stream:
            if owner.closing.is_set() or (not piece and self._left()):
                self.close_connection = True
                return
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _left(self) -> bool:
        """Say whether the client has hung up."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
