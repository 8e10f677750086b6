"""The relay that plays a bad network does each kind of trouble, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from tests.peers.process import free_port
from tests.peers.wire import Wire

BODY = b"x" * 200_000


@pytest.fixture
def wire() -> Iterator[Wire]:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *words: object) -> None:
            del words

    class QuietServer(ThreadingHTTPServer):
        def handle_error(self, *words: object) -> None:
            del words  # cut connections are the point

    with QuietServer(("127.0.0.1", free_port()), Answering) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with Wire(server.server_port) as relay:
            yield relay
        server.shutdown()
        thread.join()


def ask(wire: Wire) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{wire.port}/", timeout=1, trust_env=False)


def test_an_untroubled_wire_delivers_whole_answers(wire: Wire) -> None:
    assert [len(ask(wire).content) for _ in range(5)] == [len(BODY)] * 5


def test_an_answer_can_be_cut_in_the_middle(wire: Wire) -> None:
    wire.cut_after(100_000)
    with pytest.raises(httpx.NetworkError):
        ask(wire)

    wire.mend()
    assert ask(wire).content == BODY


def test_a_stalled_wire_times_out(wire: Wire) -> None:
    wire.stall()
    with pytest.raises(httpx.ReadTimeout):
        ask(wire)

    wire.mend()
    assert ask(wire).content == BODY


def test_a_refusing_wire_refuses_and_comes_back_on_its_port(wire: Wire) -> None:
    port = wire.port
    wire.refuse()
    with pytest.raises(httpx.ConnectError):
        ask(wire)

    wire.mend()
    assert (ask(wire).content, wire.port) == (BODY, port)


def test_a_cut_ends_an_idle_connection_and_spares_the_next(wire: Wire) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{wire.port}", trust_env=False, timeout=1) as client:
        assert client.get("/").content == BODY

        wire.cut()

        assert wire.connections == 0
        assert client.get("/").content == BODY
