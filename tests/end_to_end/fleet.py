"""Many targets in a sandbox, and several `rollout serve` processes on one PostgreSQL that share the work.

Each daemon reaches the API server by a port of its own. What went through it is written down on the server's side, outside of
everything that a daemon believes: a `Request` is one patch that the API server answered with 200.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg
import yaml

from rollout.cli.stage import settings_for
from rollout.sandbox.http import Request, Respond, Response
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.store import schema
from tests.end_to_end.arena import CLOCK, GOOD, QUICK, manifests, until
from tests.end_to_end.processes import Process, free_port

BAD = "nginx:6.6.6"
PER_NAMESPACE = 25
STRATEGIC = "strategic-merge-patch"
"""Going forward is a strategic merge patch with the version that was seen; stepping back is a JSON patch with tests."""
PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {{name: {name}}}
spec:
  target: {{namespace: {namespace}, stable: {name}, service: {name}, container: app}}
  image: {image}
  replicas: {{every: 1s, max: 2}}
  soak: {soak}
  maxSoak: 20h
  initialShare: 60%
  maxShare: 75%
  startDeadline: 5m
  warmUp: 0s
  signals: []
  promotion: {{pace: 1s, watch: 1s, progressDeadline: 5m}}
"""


@dataclass(frozen=True, slots=True)
class Patch:
    """One write to a Deployment that the API server performed. `what` is the part of the body that changes something."""

    at: float
    daemon: str
    rollout: str
    deployment: str
    forward: bool
    what: str


class Ledger:
    """Writes down what daemons asked of the API server and got."""

    def __init__(self) -> None:
        self.patches: list[Patch] = []
        self._lock = threading.Lock()

    def through(self, daemon: str, respond: Respond) -> Respond:
        """Answer as `respond` does, and take note."""

        def noted(request: Request) -> Response:
            response = respond(request)
            if request.method == "PATCH" and response.status == 200 and "/deployments/" in request.path:
                self._note(daemon, request, response)
            return response

        return noted

    def _note(self, daemon: str, request: Request, response: Response) -> None:
        body, after = json.loads(request.body), json.loads(response.body)
        forward = STRATEGIC in request.headers["content-type"]
        if forward:
            body["metadata"].pop("resourceVersion")
        rollout = after["metadata"]["annotations"].get("rollout/id", "")
        name = request.path.partition("/namespaces/")[2].replace("/deployments", "")
        patch = Patch(CLOCK.monotonic(), daemon, rollout, name, forward, json.dumps(body, sort_keys=True))
        with self._lock:
            self.patches.append(patch)

    def forward(self) -> Counter[tuple[str, str, str]]:
        """Count what went forward, by what it was for."""
        with self._lock:
            return Counter((patch.rollout, patch.deployment, patch.what) for patch in self.patches if patch.forward)

    def daemons(self) -> set[str]:
        """Name who has written anything."""
        with self._lock:
            return {patch.daemon for patch in self.patches}


@dataclass(slots=True)
class Member:
    """One daemon of the fleet."""

    name: str
    process: Process
    port: int

    @property
    def owner(self) -> str:
        """The end of the name by which the database knows it."""
        return f"-{self.process.pid}"

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


class Fleet:
    """The sandbox in this process, the database, the folder of plans; a context manager that ends every daemon."""

    def __init__(self, folder: Path, database: str, targets: int, *, lease: str = "5s") -> None:
        self.folder, self.database = folder, database
        self.plans = folder / "plans"
        self.ledger = Ledger()
        self.names = [f"app-{number:05d}" for number in range(targets)]
        self._timing = {"lookEvery": "2s", "longestGap": "60s", "saveEvery": "5s", "outboxEvery": "1s", "lease": lease}
        self._stack = ExitStack()
        self._members: list[Member] = []
        self.sandbox: Sandbox

    def namespace(self, name: str) -> str:
        return f"web-{int(name.removeprefix('app-')) // PER_NAMESPACE}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.plans.mkdir()
            schema.upgrade(self.database, clock=CLOCK)
            start = CLOCK.now() - timedelta(minutes=1)
            options = SandboxOptions(start=start, seed=7, nodes=20, warm_up=timedelta(minutes=1))
            self.sandbox = Sandbox(CLOCK, options, (m for name in self.names for m in manifests(self.namespace(name), name, 2)))
            stack.enter_context(self.sandbox)
            with self.sandbox.using() as world:
                world.behaviours.default = QUICK
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _end(self) -> None:
        for member in self._members:
            member.process.end()

    # -- daemons -----------------------------------------------------------------------------------------------------

    def daemon(self, name: str) -> Member:
        """Start one; it need not be ready yet."""
        folder = self.folder / name
        folder.mkdir()
        server = self.sandbox.serve(f"kubernetes-{name}", self.ledger.through(name, self.sandbox.kubernetes.respond))
        urls = self.sandbox.urls
        kubeconfig = self.sandbox.kubeconfig(folder / "kubeconfig")
        kubeconfig.write_text(kubeconfig.read_text().replace(urls["kubernetes"], server.url))
        port = free_port()
        document: dict[str, Any] = settings_for(urls, kubeconfig) | {
            "database": {"url": self.database},
            "backends": [],
            "http": {"port": port},
            "plans": {"folder": str(self.plans), "every": "1s"},
            "policy": {"minimumSoak": "1s", "minimumInterval": "1s", "maximumInitialShare": "100%", "maximumShare": "100%"},
            "timing": self._timing,
            "log": {"format": "json"},
        }
        config = folder / "rollout.yaml"
        config.write_text(yaml.safe_dump(document))
        member = Member(name, Process(folder / "serve.log", "serve", "--config", str(config)), port)
        self._members.append(member)
        return member

    def until_ready(self, *members: Member) -> None:
        """Wait for all of them."""
        for member in members:
            until(lambda member=member: member.ready() or not member.process.alive, f"{member.name} is ready", 100)  # type: ignore[misc]  # bound now
            assert member.process.alive, member.process.output()

    # -- what people do, and what they can see ---------------------------------------------------------------------------

    def submit(self, name: str, image: str = GOOD, soak: str = "2s") -> None:
        """Put a plan into the folder."""
        (self.plans / f"{name}.yaml").write_text(PLAN.format(name=name, namespace=self.namespace(name), image=image, soak=soak))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database, as people who review history do."""
        with psycopg.connect(self.database.replace("+psycopg", ""), autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    def owned(self, member: Member) -> int:
        """Count active rollouts that the database gives to a daemon."""
        query = "select count(*) from rollout where outcome = 'active' and owner like %s"
        return int(self.rows(query, f"%{member.owner}")[0][0])

    def replicas(self, name: str) -> int:
        """Read what a canary is told to be."""
        with self.sandbox.using() as world:
            return int(world.get("deployments", self.namespace(name), f"{name}-canary")["spec"]["replicas"])

    def outcomes(self) -> Counter[str]:
        """Count how rollouts stand."""
        return Counter(dict(self.rows("select outcome, count(*) from rollout group by outcome")))

    def told_in_order(self, rollout: str) -> list[str]:
        """Say what the chat lacks of a rollout, or got out of order; the same twice in a row is what a death may leave in doubt."""
        owed = [title for (title,) in self.rows("select title from notice where rollout = %s order by id", rollout)]
        mine = [m.text.splitlines()[0] for m in self.sandbox.webhooks.accepted if rollout in json.dumps(m.payload)]
        got = [title for title, _ in groupby(mine)]
        return [] if got == owed else [f"{rollout}: owed {owed}, got {got}"]


def freeze(member: Member) -> Callable[[], None]:
    """Stop a daemon where it stands, as SIGSTOP does; the result lets it go on."""
    member.process.send(signal.SIGSTOP)
    return lambda: member.process.send(signal.SIGCONT)
