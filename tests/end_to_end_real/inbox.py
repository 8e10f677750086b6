"""A webhook that keeps what people would have been told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Inbox:
    """Answers `ok` to every post, as Slack does, between `with` and its end. `messages` holds the bodies in order."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        inbox = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *words: object) -> None:
                del words

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="inbox")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hooks/operations"

    def about(self, words: str) -> list[str]:
        """The texts in which these words stand."""
        return [message["text"] for message in self.messages if words in message["text"]]
