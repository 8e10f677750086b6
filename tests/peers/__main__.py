"""Starts real servers for a person to play with: `python -m tests.peers kubernetes prometheus`, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tests.peers.alertmanager import Alertmanager
from tests.peers.elasticsearch import SearchServer
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.mariadb import MariaDb
from tests.peers.oap import OapServer
from tests.peers.postgresql import PostgreSql
from tests.peers.process import Available, Peer
from tests.peers.prometheus import Prometheus

PEERS: dict[str, tuple[Available, Callable[[], Peer]]] = {
    "kubernetes": (KubernetesControlPlane.available, KubernetesControlPlane),
    "prometheus": (Prometheus.available, Prometheus),
    "alertmanager": (Alertmanager.available, Alertmanager),
    "postgresql": (PostgreSql.available, PostgreSql),
    "mariadb": (MariaDb.available, MariaDb),
    "oap": (OapServer.available, OapServer),
}
for _make in ("elasticsearch-7", "elasticsearch-6", "opensearch-2"):
    PEERS[_make] = (partial(SearchServer.available, _make), partial(SearchServer, _make))


def _start(name: str, stack: ExitStack) -> Peer:
    if name == "prometheus":
        gateway = stack.enter_context(GatewayExporter())
        gateway.serve("10.244.0.1", 100)
        gateway.serve("10.244.0.2", 100, code=500)
        return stack.enter_context(Prometheus([gateway.target]))
    return stack.enter_context(PEERS[name][1]())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description="Start real servers on loopback, until Ctrl-C.")
    parser.add_argument("names", nargs="+", choices=[*PEERS], metavar="NAME", help=", ".join(PEERS))
    names: list[str] = parser.parse_args().names
    reasons = [f"{name}: {reason}" for name in names if (reason := PEERS[name][0]()) is not None]
    if reasons:
        print(*reasons, sep="\n", file=sys.stderr)
        return 3
    asked_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_end.set())
    with ExitStack() as stack:
        for name in names:
            print(*_start(name, stack).describe(), sep="\n", flush=True)
            if asked_to_end.is_set():
                return 0
        print("Ctrl-C ends it.", flush=True)
        while not asked_to_end.wait(1):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
