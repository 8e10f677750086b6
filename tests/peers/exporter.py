"""A gateway's metrics without the gateway: APISIX's names and labels, and numbers that a test drives.

`apisix_http_status` is labelled code, route, matched_uri, matched_host, service, consumer, node;
`apisix_http_latency` is a histogram in milliseconds with type, route, service, consumer, node. `node` is the pod's
IP, or "" where no upstream was picked.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Final, Self

from tests.peers.process import free_port

PATH: Final = "/apisix/prometheus/metrics"
BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000)
_KINDS: Final = ("request", "upstream", "apisix")

Labels = tuple[tuple[str, str], ...]


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{name}{{{inner}}} {value}"


class _Histogram:
    """Counts in buckets: what a scrape costs does not grow with the requests there were."""

    def __init__(self) -> None:
        self.buckets = [0] * len(BUCKETS)
        self.count = 0
        self.total = 0.0

    def observe(self, value: float, times: int) -> None:
        place = bisect_left(BUCKETS, value)
        if place < len(BUCKETS):
            self.buckets[place] += times
        self.count += times
        self.total += value * times


class GatewayExporter:
    """Serves `http://127.0.0.1:<port>/apisix/prometheus/metrics` between `with` and its end.

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._latencies: dict[Labels, _Histogram] = {}
        self.broken = False
        self.scrapes = 0

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._answering())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="exporter")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def target(self) -> str:
        """Host and port, as Prometheus wants it."""
        return f"127.0.0.1:{self._server.server_port}"

    def serve(
        self, node: str, requests: int = 1, *, code: int = 200, route: str = "1", service: str = "", milliseconds: float = 20
    ) -> None:
        """Count requests that ended with `code` at the pod with the IP `node`, each of which took so long at the upstream."""
        status = (
            ("code", str(code)), ("route", route), ("matched_uri", "/*"), ("matched_host", "shop.example"),
            ("service", service), ("consumer", ""), ("node", node),
        )  # fmt: skip
        with self._lock:
            self._requests[status] += requests
            for kind in _KINDS:
                labels = (("type", kind), ("route", route), ("service", service), ("consumer", ""), ("node", node))
                taken = 1.0 if kind == "apisix" else milliseconds
                self._latencies.setdefault(labels, _Histogram()).observe(taken, requests)

    def expire(self, node: str, code: int) -> None:
        """Drop one pod's series of one code, as a gateway does that has `metrics.http_status.expire` set."""
        with self._lock:
            for series in [*self._requests]:
                if (dict(series)["node"], dict(series)["code"]) == (node, str(code)):
                    del self._requests[series]

    def forget(self, node: str | None = None) -> None:
        """Drop the series of one pod, or all of them, as a restarted gateway does."""
        with self._lock:
            for series in [*self._requests]:
                if node is None or dict(series)["node"] == node:
                    del self._requests[series]
            for series in [*self._latencies]:
                if node is None or dict(series)["node"] == node:
                    del self._latencies[series]

    def text(self) -> str:
        """The exposition in Prometheus' text format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield "# TYPE apisix_node_info gauge"
        yield _line("apisix_node_info", (("hostname", "gateway-0"), ("version", "3.13.0")), 1)
        yield "# TYPE apisix_http_status counter"
        for labels, count in self._requests.items():
            yield _line("apisix_http_status", labels, count)
        yield "# TYPE apisix_http_latency histogram"
        for labels, taken in self._latencies.items():
            for bound, within in zip(BUCKETS, accumulate(taken.buckets), strict=True):
                yield _line("apisix_http_latency_bucket", (*labels, ("le", str(bound))), within)
            yield _line("apisix_http_latency_bucket", (*labels, ("le", "+Inf")), taken.count)
            yield _line("apisix_http_latency_sum", labels, taken.total)
            yield _line("apisix_http_latency_count", labels, taken.count)

    def _answering(self) -> type[BaseHTTPRequestHandler]:
        exporter = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exporter.scrapes += 1
                body = exporter.text().encode()
                self.send_response(500 if exporter.broken or self.path != PATH else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                del words  # a scrape a second is no news

        return Answering
