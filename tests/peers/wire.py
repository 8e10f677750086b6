"""A stretch of network that a test can cut: a TCP relay in front of a real server, with trouble on request.

The server stays healthy, and TLS passes through (every certificate here names 127.0.0.1, whatever the port).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, Self

from tests.peers.process import free_port

_CHUNK: Final = 65536
# With a linger time of zero, close() sends a reset instead of a proper end.
_RESET: Final = struct.pack("ii", 1, 0)


class _Connection:
    """One client's connection and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self._lock = threading.Lock()
        self._broken = False
        self._directions = 2

    def reset(self) -> None:
        """Break both ends with a reset, whatever is under way."""
        with self._lock:
            if self._broken or not self._directions:
                return
            self._broken = True
            for end in (self.client, self.server):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RD)
                end.close()

    def end(self, sink: socket.socket) -> bool:
        """Pass on that one side has no more to say; True once neither has."""
        with self._lock:
            if self._broken:
                return True
            self._directions -= 1
            if self._directions:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return False
            self.client.close()
            self.server.close()
            return True


class Wire:
    """Relays 127.0.0.1:<port> to a server's port, from `with` to its end.

    `cut` breaks every connection now; `cut_after` breaks each one once the server has answered so many bytes on it; `stall`
    delivers nothing more in either direction, with connections still accepted; `refuse` takes the listener away; `mend` ends
    all three.
    """

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self.port = free_port()
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._limit: int | None = None
        self._listener: socket.socket | None = None
        self._connections: set[_Connection] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._flowing.set()
        self._listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self._flowing.set()
        self.refuse()
        for thread in self._threads:
            thread.join()

    @property
    def connections(self) -> int:
        """How many are open through it now."""
        with self._lock:
            return len(self._connections)

    def cut(self) -> None:
        """Reset every connection; new ones are relayed."""
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            connection.reset()

    def cut_after(self, answered: int) -> None:
        """Reset each connection as soon as the server has answered `answered` bytes on it, TLS included, counted from now."""
        self._limit = answered

    def stall(self) -> None:
        """Deliver nothing more, and reset nothing."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def mend(self) -> None:
        """Relay as if nothing had been."""
        self._limit = None
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        self._run(self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            connection = _Connection(client, server)
            with self._lock:
                open_still = self._listener is listener
                if open_still:
                    self._connections.add(connection)
            if not open_still:
                connection.reset()
                return
            self._run(self._relay, connection, client, server)
            self._run(self._relay, connection, server, client)

    def _relay(self, connection: _Connection, source: socket.socket, sink: socket.socket) -> None:
        answered = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                self._flowing.wait()
                limit = self._limit if source is connection.server else None
                if limit is None:
                    sink.sendall(chunk)
                    continue
                sink.sendall(chunk[: max(0, limit - answered)])
                answered += len(chunk)
                if answered >= limit:
                    connection.reset()
        if connection.end(sink):
            with self._lock:
                self._connections.discard(connection)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name="wire")
        self._threads = [known for known in self._threads if known.is_alive()]
        self._threads.append(thread)
        thread.start()
