"""A scripted Kubernetes API on loopback, for what no healthy API server would answer, and for watches fed by hand."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def kind(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def watch(self) -> bool:
        return self.query.get("watch") == "true"


class Feed:
    """A watch as the server sees it: lines are put in by the test; `end` ends it properly, `cut` breaks it off."""

    def __init__(self, *events: tuple[str, Json], end: bool = False) -> None:
        self.pieces: queue.Queue[bytes | str] = queue.Queue()
        for event, document in events:
            self.put(event, document)
        if end:
            self.end()

    def put(self, event: str, document: Json) -> None:
        self.pieces.put(json.dumps({"type": event, "object": document}).encode() + b"\n")

    def raw(self, piece: bytes) -> None:
        self.pieces.put(piece)

    def end(self) -> None:
        self.pieces.put("end")

    def cut(self) -> None:
        self.pieces.put("cut")


@dataclass(frozen=True)
class Tell:
    """One answer. `hang`: nothing until the stub stops. `cut_at`: so many bytes of the body, then the connection is dropped."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut_at: int | None = None


Script = Callable[[Asked], "Tell | Feed"]


class ApiStub:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.stopping = threading.Event()
        self._sockets: set[socket.socket] = set()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                stub._sockets.add(self.connection)

            def finish(self) -> None:
                stub._sockets.discard(self.connection)
                super().finish()

            def do_GET(self) -> None:
                stub.answer(self)

            def do_POST(self) -> None:
                stub.answer(self)

            def do_PATCH(self) -> None:
                stub.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in handler.headers.items()}
        asked = Asked(handler.command, parts.path, query, headers, json.loads(raw) if raw else None)
        self.asked.append(asked)
        answer = self.script(asked)
        with contextlib.suppress(OSError):
            if isinstance(answer, Feed):
                self._stream(handler, answer)
            else:
                self._tell(handler, answer)

    def _tell(self, handler: BaseHTTPRequestHandler, tell: Tell) -> None:
        if tell.hang:
            self.stopping.wait(30)
            handler.close_connection = True
            return
        body = tell.body if isinstance(tell.body, bytes) else json.dumps(tell.body).encode()
        handler.send_response_only(tell.status)
        for name, value in {"Content-Type": "application/json", **tell.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if tell.cut_at is None else body[: tell.cut_at])
        handler.close_connection = tell.cut_at is not None

    def _stream(self, handler: BaseHTTPRequestHandler, feed: Feed) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while not self.stopping.is_set():
            try:
                piece = feed.pieces.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(piece, bytes):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            elif piece == "cut":
                break
            else:
                handler.wfile.write(b"0\r\n\r\n")
                return
        handler.close_connection = True

    def close(self) -> None:
        self.stopping.set()
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def api(script: Script) -> Iterator[ApiStub]:
    stub = ApiStub(script)
    try:
        yield stub
    finally:
        stub.close()


def kubeconfig(folder: Path, port: int, *, token: str = "the-token") -> Path:  # noqa: S107 - a pretend token
    """Write a kubeconfig for a server on loopback. JSON is YAML."""
    path = folder / f"kubeconfig-{port}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "stub", "user": "us"}}],
        "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "us", "user": {"token": token}}],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def status(code: int, message: str, reason: str = "") -> Tell:
    """A Status object, as the API server words its refusals."""
    return Tell(code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition of another thread; fail when it does not come."""
    deadline = time.monotonic() + seconds  # noqa: TID251 - the test waits for real threads
    pause = threading.Event()
    while not what():
        assert time.monotonic() < deadline, "waited in vain"  # noqa: TID251 - as above
        pause.wait(0.005)
