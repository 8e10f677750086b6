"""A scripted HTTP server on loopback, for answers that no healthy peer would give."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True)
class Say:
    """One answer. `cut_at`: send only so many bytes of the body, then close. `hang`: send nothing until the server stops.

    `drip`: send the body byte by byte, and call this before each.
    """

    status: int = 200
    body: object = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    hang: bool = False
    drip: Callable[[], None] | None = None

    @property
    def raw(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


Script = Callable[[Seen], Say]


class Stub:
    """Answers by a script; keeps what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub.answer(self)

            def do_POST(self) -> None:
                stub.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        seen = Seen(handler.command, parts.path, query, {k.lower(): v for k, v in handler.headers.items()}, body)
        self.seen.append(seen)
        say = self.script(seen)
        handler.close_connection = True
        if say.hang:
            self.stopping.wait(30)
            return
        with contextlib.suppress(OSError):
            handler.send_response(say.status)
            for name, value in {"Content-Type": say.content_type, **say.headers}.items():
                handler.send_header(name, value)
            if say.status != 204:
                handler.send_header("Content-Length", str(len(say.raw)))
            # No keep-alive: an idle connection would hold this server's thread until the client closes.
            handler.send_header("Connection", "close")
            handler.end_headers()
            if say.drip is None:
                handler.wfile.write(say.raw if say.cut_at is None else say.raw[: say.cut_at])
                return
            for byte in say.raw:
                say.drip()
                handler.wfile.write(bytes([byte]))

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def stub(script: Script | Say) -> Iterator[Stub]:
    server = Stub((lambda _: script) if isinstance(script, Say) else script)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def endless(beginning: bytes, piece: bytes = b"x", every: float = 0.02) -> Iterator[str]:
    """Answer the first connection with a beginning, then this piece again and again until the client hangs up; give the URL."""
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(beginning)
                while not stopping.wait(every):
                    connection.sendall(piece)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            thread.join()


class HandClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: datetime = datetime(2026, 11, 22, 13, 10, tzinfo=UTC)) -> None:
        self._now = now
        self._passed = 0.0

    def now(self) -> datetime:
        return self._now + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return 1000.0 + self._passed

    def advance(self, by: timedelta) -> None:
        self._passed += by.total_seconds()


def closed_port() -> int:
    """Find a loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
