"""The installed command as real processes: a sandbox, a daemon that can be killed, and the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from rollout.adapters.clock import SystemClock

COMMAND = Path(sys.executable).with_name("rollout")
CLOCK = SystemClock()
PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {{name: {name}}}
spec:
  target: {{namespace: default, stable: nginx, service: nginx-svc}}
  image: {image}
  replicas: {{every: {every}, max: {most}}}
  soak: {soak}
  maxSoak: 10m
  startDeadline: 60s
  warmUp: 0s
  promotion: {{pace: 1s, watch: 3s, progressDeadline: 60s}}
"""


def until(condition: Callable[[], bool], what: str, seconds: float = 100.0) -> None:
    """Wait for a condition; fail in words when it does not come."""
    end = CLOCK.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert CLOCK.monotonic() < end, f"not within {seconds:g} s: {what}"
        pause.wait(0.05)


def environment() -> dict[str, str]:
    """What the processes see: nothing of ours that could lead them to another configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ROLLOUT_") and key != "KUBECONFIG"}
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "160", "ROLLOUT_ACTOR": "tester"}


class Process:
    """One process of the installed command, its output in a file."""

    def __init__(self, log: Path, *arguments: str, more: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._file = log.open("ab")
        self._process = subprocess.Popen(
            [str(COMMAND), *arguments],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**environment(), **(more or {})},
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: int) -> None:
        """Send a signal; do not wait for what comes of it."""
        self._process.send_signal(number)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """As `kill -9`."""
        self._process.kill()
        self._process.wait(10)
        self._file.close()

    def terminate(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to stop; return its exit code and how many seconds it took."""
        began = CLOCK.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(30)
        self._file.close()
        return code, CLOCK.monotonic() - began

    def end(self) -> None:
        if self.alive:
            self.kill()
        self._file.close()


class Place:
    """A sandbox with its folder, the daemons on it, and everything that people do; a context manager that ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "rollout.yaml"
        self.urls: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self._processes: list[Process] = []
        self._port = free_port()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        sandbox = self._start("sandbox.log", "sandbox", "--folder", str(self.folder))
        until(lambda: "Backends:" in sandbox.output() or not sandbox.alive, "the sandbox serves")
        words = sandbox.output()
        assert "(GET http" in words, words
        control = words.partition("(GET ")[2].partition("/ shows")[0]
        self.urls = {"control": control}
        self.urls = self.get("control", "/")["backends"]
        self.behave("*", readyAfter="1s", pullAfter="0s", stopAfter="0s")
        document = yaml.safe_load(self.config.read_text())
        document["http"] = {"port": self._port}
        document["timing"] |= {"lookEvery": "1s", "longestGap": "3s", "saveEvery": "1s", "lease": "2s"}
        self.config.write_text(yaml.safe_dump(document))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process that was started here."""
        for process in reversed(self._processes):
            process.end()

    def _start(self, log: str, *arguments: str) -> Process:
        process = Process(self.folder / log, *arguments, more=self.environment)
        self._processes.append(process)
        return process

    def serve(self) -> Process:
        """Start a daemon and wait until it is ready."""
        daemon = self._start("serve.log", "serve", "--config", str(self.config))
        until(lambda: self._ready() or not daemon.alive, "the daemon is ready")
        assert daemon.alive, daemon.output()
        return daemon

    def _ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def run(self, *arguments: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line to its end."""
        given = ["--config", str(self.config)] if config else []
        return subprocess.run(
            [str(COMMAND), *arguments, *given],
            capture_output=True,
            text=True,
            timeout=60,
            env={**environment(), **self.environment},
            check=False,
        )

    def submit(self, image: str = "nginx:1.28.0", *, hasty: bool = False) -> str:
        """Submit a plan by the command line; return the rollout's id. `hasty`: one replica and no soak to speak of."""
        file = self.folder / "good.yaml"
        pace = {"every": "1s", "most": 1, "soak": "1s"} if hasty else {"every": "3s", "most": 3, "soak": "8s"}
        file.write_text(PLAN.format(name="good", image=image, **pace))
        done = self.run("submit", str(file), "-o", "json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["id"])

    # -- looking ---------------------------------------------------------------------------------------------------------

    def row(self, rollout: str) -> tuple[str, str]:
        """Read outcome and step as the database has them."""
        found = self.rows("select outcome, step from rollout where id = ?", rollout)
        return (found[0][0], found[0][1]) if found else ("", "")

    def rows(self, query: str, *values: str) -> list[Any]:
        """Ask the database, as people who review history do."""
        with closing(sqlite3.connect(f"file:{self.folder / 'rollout.db'}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()

    def until_step(self, rollout: str, *steps: str) -> None:
        until(lambda: self.row(rollout)[1] in steps, f"{rollout} is {' or '.join(steps)}, it is {self.row(rollout)}")

    def until_ended(self, rollout: str, outcome: str) -> None:
        until(lambda: self.row(rollout)[0] not in {"active", ""}, f"{rollout} has ended")
        assert self.row(rollout)[0] == outcome, self.rows("select why from event where rollout = ? order by id", rollout)

    def until_told(self, rollout: str) -> list[str]:
        """Wait until nothing is owed any more; return the titles that the webhook got about it, in order."""
        until(
            lambda: not self.rows("select 1 from notice where rollout = ? and state = 'owed'", rollout),
            f"every notice of {rollout} has arrived",
        )
        texts = [message["payload"] for message in self.get("webhooks", "/received") if message["accepted"]]
        return [str(payload["text"]).splitlines()[0] for payload in texts if rollout in json.dumps(payload)]

    def deployment(self, name: str) -> tuple[int, int, str]:
        """Read replicas, ready replicas and image from the API server."""
        found = self.get("kubernetes", f"/apis/apps/v1/namespaces/default/deployments/{name}")
        image = found["spec"]["template"]["spec"]["containers"][0]["image"]
        return found["spec"]["replicas"], found["status"].get("readyReplicas", 0), image

    # -- reaching in -----------------------------------------------------------------------------------------------------

    def get(self, backend: str, path: str) -> Any:  # noqa: ANN401 - JSON
        return _ask(self.urls[backend] + path, None)

    def behave(self, image: str, **behaviour: str) -> None:
        _ask(f"{self.urls['control']}/behaviours", {"image": image, **behaviour})

    def fault(self, backend: str, failing: str) -> None:
        _ask(f"{self.urls['control']}/faults", {"backend": backend, "failing": failing})


def _ask(url: str, body: Mapping[str, str] | None) -> Any:  # noqa: ANN401 - JSON
    headers = {"Authorization": "Bearer sandbox"}
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, url, json=body, headers=headers, timeout=10, trust_env=False)
    assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.text}"
    return answer.json()


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
