"""A real daemon with 1,000 and 10,000 active rollouts: restart until each is guarded, RSS and CPU idle and busy, mass failure.

    python -m tests.bench.fleet_bench [1000 10000]

The daemon is a `rollout serve` process on a fresh SQLite file in which every rollout soaks already; the cluster is a stub in
this process that lists, watches and takes patches over HTTP. The figures of the last run stand in daemon.md.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx
import yaml

from rollout.core.history import Outcome
from rollout.core.plan import Plan, plan_of
from rollout.ports import PlanRow, RolloutRow
from rollout.sandbox.faults import Faults
from rollout.sandbox.http import HttpServer
from rollout.sandbox.world import World
from rollout.store import schema
from rollout.store.sql import open_store
from tests.bench.stub_cluster import CLOCK, StubCluster, name, namespace, renamed
from tests.end_to_end.arena import GOOD, until
from tests.end_to_end.processes import Process, free_port
from tests.end_to_end.test_own_faults import Plain

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: stub, cluster: {{server: "{url}"}}}}]
users: [{{name: stub, user: {{token: stub}}}}]
contexts: [{{name: stub, context: {{cluster: stub, user: stub}}}}]
current-context: stub
"""
SAMPLE = float(os.environ.get("SAMPLE", "60"))
BUSY_EVERY = 15.0
"""Seconds in which each rollout sees one change of a pod while it is busy."""


def plan(number: int) -> Plan:
    """Write one target's plan."""
    target = {"namespace": namespace(number), "stable": name(number), "container": "app"}
    spec = {
        "target": target,
        "image": GOOD,
        "soak": "40h",
        "maxSoak": "70h",
        "initialShare": "60%",
        "maxShare": "75%",
        "signals": [],
    }
    return plan_of({"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": name(number)}, "spec": spec})


def soaking() -> tuple[World, str, str]:
    """Let one rollout come to its soak; return its world, its id and its state."""
    plain = Plain(1)
    rollout = plain.submit(0, soak="40h")
    plain.begin()
    plain.run(timedelta(minutes=10))
    row = plain.store.rollout(rollout)
    assert row is not None
    assert row.step == "soaking", row.why
    return plain.world, rollout, row.state


def fill(url: str, count: int, rollout: str, state: str) -> None:
    """Store so many rollouts that soak."""
    schema.upgrade(url, clock=CLOCK)
    now = CLOCK.now()
    rows = []
    for number in range(count):
        made = plan(number)
        saved = PlanRow(made.name, made.hash(), made.kind, made.canonical(), "", "bench", now)
        rows.append((saved, RolloutRow(
            renamed(rollout, number), made.name, saved.hash, "canary", "default", f"{namespace(number)}/{name(number)}", GOOD,
            Outcome.ACTIVE, "soaking", "soaks", renamed(state, number), 3, now, now, now,
        )))  # fmt: skip
    with closing(open_store(url, clock=CLOCK)) as store:
        for saved, row in rows:
            store.submit(saved, row)


def rss_and_cpu(pid: int) -> tuple[float, float]:
    """Read MB resident and seconds of CPU of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(words[11]) + int(words[12])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    """One size."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        world, rollout, state = soaking()
        self.cluster = StubCluster(world, count)
        self.file = folder / "rollout.db"
        fill(f"sqlite:///{self.file}", count, rollout, state)
        self.port = free_port()

    def looked_at(self, since: str) -> int:
        """Count rollouts whose state was stored since: after so long a gap, the first look stores it."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=60)) as connection:
            return int(connection.execute("select count(*) from rollout where updated_at > ?", (since,)).fetchone()[0])

    def sample(self, daemon: Process) -> str:
        """Say what it takes for a while."""
        _, before = rss_and_cpu(daemon.pid)
        began = CLOCK.monotonic()
        threading.Event().wait(SAMPLE)
        resident, after = rss_and_cpu(daemon.pid)
        return f"{resident:7.0f} MB, {(after - before) / (CLOCK.monotonic() - began) * 100:5.1f} % of a core"

    def serve(self) -> Process:
        """Start the daemon on the stub."""
        with HttpServer("kubernetes", self.cluster.respond, Faults(), CLOCK.now) as server:
            (self.folder / "kubeconfig").write_text(KUBECONFIG.format(url=server.url))
            config = self.folder / "rollout.yaml"
            config.write_text(yaml.safe_dump({
                "database": {"url": f"sqlite:///{self.file}"},
                "http": {"port": self.port},
                "clusters": [{"name": "default", "kubeconfig": str(self.folder / "kubeconfig")}],
                "log": {"level": "warning"},
            }))  # fmt: skip
            daemon = Process(self.folder / "serve.log", "serve", "--config", str(config))
            try:
                self.measure(daemon)
            finally:
                daemon.end()
        return daemon

    def measure(self, daemon: Process) -> None:
        """Print the figures of this size."""
        began, since = CLOCK.monotonic(), str(CLOCK.now()).partition("+")[0]
        until(self.ready, "ready", 600)
        print(f"{self.count:6d} active: ready after        {self.spent(daemon, began)}", flush=True)
        until(lambda: self.looked_at(since) == self.count, "each is guarded", 1200)
        print(f"{self.count:6d} active: each guarded after {self.spent(daemon, began)}", flush=True)
        print(f"{self.count:6d} active: idle  {self.sample(daemon)}", flush=True)
        stop = threading.Event()
        busy = threading.Thread(target=self.keep_busy, args=(stop,))
        busy.start()
        print(f"{self.count:6d} active: busy  {self.sample(daemon)}", flush=True)
        stop.set()
        busy.join()
        print(f"{self.count:6d} active: {self.fail_all()}", flush=True)

    def spent(self, daemon: Process, began: float) -> str:
        """Say how long it took, and how much of a core."""
        return f"{CLOCK.monotonic() - began:6.1f} s, {rss_and_cpu(daemon.pid)[1]:5.1f} s of CPU"

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def keep_busy(self, stop: threading.Event) -> None:
        """Change a pod of each rollout again and again, evenly spread."""
        number = 0
        while not stop.wait(BUSY_EVERY / self.count):
            (pod,) = self.cluster.pods_of_canary(number % self.count)
            pod["metadata"]["labels"]["turn"] = str(number)
            self.cluster.change("pods", pod)
            number += 1

    def fail_all(self) -> str:
        """Let every canary crash at one moment."""
        began = CLOCK.monotonic()
        for number in range(self.count):
            (pod,) = self.cluster.pods_of_canary(number)
            last = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": CLOCK.now().strftime("%Y-%m-%dT%H:%M:%SZ")}}
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
            for status in pod["status"]["containerStatuses"]:
                status |= {"ready": False, "restartCount": 2, "state": waiting, "lastState": last}
            for condition in pod["status"]["conditions"]:
                if condition["type"] in {"Ready", "ContainersReady"}:
                    condition["status"] = "False"
            self.cluster.change("pods", pod)
        told = CLOCK.monotonic()
        until(lambda: len(self.cluster.patched) == self.count, "all are at 0", 1200)
        times = sorted(at - began for at in self.cluster.patched.values())
        return (f"all crash within {told - began:.1f} s: first at 0 after {times[0]:.1f} s, half {times[len(times) // 2]:.1f} s, "
                f"all {times[-1]:.1f} s")  # fmt: skip


def main() -> None:
    """Measure each size in a process of its own."""
    for count in [int(word) for word in sys.argv[1:]] or [1_000, 10_000]:
        folder = Path(tempfile.mkdtemp(prefix="rollout-bench-"))
        try:
            Bench(folder, count).serve()
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
