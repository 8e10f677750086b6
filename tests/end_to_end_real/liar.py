"""A backend that can be made to lie: it passes requests on to the real one, or answers something else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx

from tests.peers.process import free_port

HTML = (200, "text/html", b"<html><body>Please log in</body></html>")
BROKEN = (500, "text/plain", b"internal error")


class Liar:
    """Serves on `url` between `with` and its end. `lie`: what is answered instead."""

    def __init__(self, url: str) -> None:
        self._real = url
        self.lie: tuple[int, str, bytes] | None = None

    def __enter__(self) -> Self:
        self._client = httpx.Client(base_url=self._real, timeout=10, trust_env=False)
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._answering())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="liar")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if self.lie is not None:
            return self.lie
        try:
            answer = self._client.request(method, path, headers=headers, content=body)
        except httpx.HTTPError as error:
            return 502, "text/plain", str(error).encode()
        return answer.status_code, answer.headers.get("Content-Type", ""), answer.content

    def _answering(self) -> type[BaseHTTPRequestHandler]:
        liar = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {"Content-Type": self.headers.get("Content-Type") or "application/octet-stream"}
                status, kind, content = liar.answer(self.command, self.path, headers, body)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # whoever asked has lost patience

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *words: object) -> None:
                del words

        return Answering
