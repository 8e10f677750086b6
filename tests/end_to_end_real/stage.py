"""What a whole rollout needs: a namespace with the example in it, a database, somebody to be told, and the daemon's process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import yaml

import rollout
from rollout.adapters.clock import SystemClock
from rollout.adapters.planfile import load_planfile
from rollout.core.commands import Verb
from rollout.core.history import Event
from rollout.core.state import State
from rollout.ports import RolloutRow
from rollout.settings_file import load_settings
from rollout.store import schema
from rollout.wiring import MODELS, open_parts
from tests.end_to_end_real.inbox import Inbox
from tests.end_to_end_real.recorder import Recorder
from tests.end_to_end_real.traffic import Traffic
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql
from tests.peers.process import Folder, Server, free_port, wait_until

Json = dict[str, Any]
CONFIG = Path(__file__).resolve().parents[2] / "config" / "kubernetes"
OLD, NEW = "nginx:1.27.3", "nginx:1.28.0"
STABLE, CANARY = "nginx", "nginx-canary"
LEASE_SECONDS = 3
PATIENCE = 180.0
"""Seconds until a rollout that does not come to where it should is a failure: only a failed test waits so long."""
FLOORS = {"minimumSoak": "0s", "minimumInterval": "0s"}
TIMING = {"lookEvery": "1s", "longestGap": "10s", "saveEvery": "2s", "lease": f"{LEASE_SECONDS}s", "askEvery": "1s",
          "outboxEvery": "1s"}  # fmt: skip


def gateway(url: str) -> Json:
    """The configuration's entry for Prometheus."""
    return {"name": "prometheus", "type": "prometheus", "url": url, "timeout": "3s"}


def tracing(url: str) -> Json:
    """The configuration's entry for SkyWalking."""
    return {"name": "skywalking", "type": "skywalking", "url": url, "settle": "5s"}


class Daemon(Server):
    """`rollout serve`, as a process of its own."""

    def __init__(self, name: str, config: Path) -> None:
        self._port = free_port()
        command: list[str | Path] = [sys.executable, "-m", "rollout", "serve", "--config", config, "--port", str(self._port)]
        environment = {"PYTHONPATH": str(Path(rollout.__file__).parents[1])}  # the very code under test, installed or not
        super().__init__(name, command, config.parent, environment=environment)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False

    def begin(self) -> None:
        """Start and wait until it can go forward."""
        self.start()
        self.wait_for(self.is_ready, 90)


class Stage:
    """One namespace in the real cluster, between `with` and its end."""

    def __init__(self, cluster: KubernetesControlPlane, database: PostgreSql, *, replicas: int = 10,
                 backends: Sequence[Json] = (), gateways: Sequence[Json] = (), api_url: str | None = None) -> None:  # fmt: skip
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = f"e2e-{uuid4().hex[:8]}"
        self.replicas = replicas
        self._database = database
        self._backends = [*backends]
        self._gateways = [*gateways]
        self._api_url = api_url
        self._stack = ExitStack()
        self._daemons = 0
        self.traffic: Traffic | None = None

    @property
    def errors_at_the_gateway(self) -> Json:
        """A plan's signal: 5xx answers of this stage's pods, in the shortest windows there are."""
        return {"preset": "apisix-5xx", "window": "10s", "delay": "2s", "parameters": {"route": self.namespace}}

    def errors_in_traces(self, preset: str = "skywalking-traces") -> Json:
        """A plan's signal: what the agents in this stage's pods report, by the minute."""
        return {"preset": preset, "window": "60s", "delay": "6s", "parameters": {"service": self.namespace}}

    def __enter__(self) -> Self:
        with self._stack as stack:
            folder = Folder("rollout")
            stack.callback(folder.remove)
            self.folder = folder.path
            self._furnish(stack)
            self._database_name = f"e2e_{uuid4().hex}"
            self.database = self._database.create_database(self._database_name)
            stack.callback(self._database.drop_database, self._database_name)
            self.inbox = stack.enter_context(Inbox())
            self.config = self._configure()
            schema.upgrade(self.database, clock=SystemClock())
            self.parts = stack.enter_context(open_parts(load_settings(self.config, MODELS), outside=False))
            wait_until(self._is_rolled_out, 60, f"{self.replicas} pods of the example")
            self.recorder = stack.enter_context(Recorder(self.api, self.namespace))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # -- What people do

    def daemon(self) -> Daemon:
        """Start a daemon; it is ended with the stage."""
        self._daemons += 1
        daemon = Daemon(f"daemon-{self._daemons}", self.config)
        self._stack.callback(daemon.kill)
        daemon.begin()
        return daemon

    def plan(self, image: str = NEW, *, signals: Sequence[Json | str] = (), **spec: Any) -> Path:  # noqa: ANN401 -- YAML
        """Write a plan whose day takes seconds."""
        body: Json = {
            "target": {"namespace": self.namespace, "stable": STABLE, "service": "nginx-svc"},
            "image": image,
            "replicas": {"max": 2, "every": "2s"},
            "soak": "6s", "maxSoak": "10m", "warmUp": "0s", "startDeadline": "5m",
            "promotion": {"pace": "1s", "watch": "3s", "progressDeadline": "5m"},
            "signals": [*signals],
            **spec,
        }  # fmt: skip
        document = {"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": self.namespace}, "spec": body}
        path = self.folder / f"plan-{uuid4().hex[:4]}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def submit(self, plan: Path) -> str:
        """Hand in a plan, as `rollout submit` does; the rollout's id."""
        read = load_planfile(plan)
        return self.parts.desk.submit(read.plan, read.source, "alice").rollout.id

    def tell(self, rollout: str, verb: Verb, reason: str = "") -> None:
        self.parts.desk.command(rollout, verb, "alice", reason)

    # -- What is seen

    def row(self, rollout: str) -> RolloutRow:
        found = self.parts.store.rollout(rollout)
        assert found is not None
        return found

    def state(self, rollout: str) -> State:
        row = self.row(rollout)
        return self.parts.codec.state(row.state, row.id)

    def owner(self, rollout: str) -> str:
        """The daemon that has it, by the database's word."""
        return self._database.execute(f"SELECT owner FROM rollout WHERE id = '{rollout}'", self._database_name)  # noqa: S608 -- ours

    def history(self, rollout: str, kind: str = "") -> list[Event]:
        rows = self.parts.store.history(rollout)
        return [row.event for row in rows if not kind or row.event.kind == kind]

    def wait_for_step(self, rollout: str, *steps: str, seconds: float = PATIENCE) -> RolloutRow:
        """Wait until it is in one of these steps; fail at once when it has ended otherwise."""

        def reached() -> bool:
            row = self.row(rollout)
            return row.step in steps or row.outcome.at_rest

        self._wait(rollout, reached, seconds, " or ".join(steps))
        row = self.row(rollout)
        assert row.step in steps, f"{row.outcome.value} instead of {steps}: {row.why}"
        return row

    def wait_for_end(self, rollout: str, seconds: float = PATIENCE) -> RolloutRow:
        self._wait(rollout, lambda: self.row(rollout).outcome.at_rest, seconds, "the end")
        return self.row(rollout)

    def wait_for_event(self, rollout: str, kind: str, seconds: float = PATIENCE) -> Event:
        self._wait(rollout, lambda: self.history(rollout, kind), seconds, f"the event {kind}")
        return self.history(rollout, kind)[0]

    def _wait(self, rollout: str, condition: Any, seconds: float, what: str) -> None:  # noqa: ANN401 -- a callable
        try:
            wait_until(condition, seconds, what, every=0.1)
        except AssertionError as error:
            row = self.row(rollout)
            raise AssertionError(f"{error}; it is {row.step} ({row.outcome.value}): {row.why}\n{self.story(rollout)}") from None

    def story(self, rollout: str) -> str:
        """History and the ends of the daemons' logs, for a failed test."""
        lines = [f"{event.at:%H:%M:%S.%f} {event.kind}: {event.why}" for event in self.history(rollout)]
        logs = [f"{path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("daemon-*.log"))]
        return "\n".join([*lines, *logs])

    def deployment(self, name: str) -> Json:
        return self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")

    def change(self, name: str, body: Json, by: str = "kubectl-edit") -> Json:
        """Write as somebody else does."""
        return self.api.patch(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}", body, "strategic", fieldManager=by)

    def pods(self, role: str = "") -> list[Json]:
        selector = f"app=nginx,role={role}" if role else "app=nginx"
        found = self.api.items(f"/api/v1/namespaces/{self.namespace}/pods", selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def images(self, role: str = "release") -> list[str]:
        return [pod["spec"]["containers"][0]["image"] for pod in self.pods(role)]

    def wait_until_told(self, rollout: str, seconds: float = PATIENCE) -> None:
        """Wait until every notice was delivered, and see that the webhook got each."""

        def delivered() -> bool:
            return all(notice["state"] == "delivered" for notice in self.parts.store.notices(rollout))

        self._wait(rollout, delivered, seconds, "every notice delivered")
        assert len(self.inbox.messages) >= len(self.parts.store.notices(rollout)) > 0

    # -- How it is made

    def _furnish(self, stack: ExitStack) -> None:
        kubeconfig = self.cluster.kubeconfig_for("rollout", "rollout", CONFIG / "rbac.yaml", into=self.namespace, url=self._api_url)
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_bytes(kubeconfig.read_bytes())
        stack.callback(self.api.delete, f"/api/v1/namespaces/{self.namespace}")
        objects = [yaml.safe_load((CONFIG / "example" / f"{name}.yaml").read_text()) for name in (STABLE, CANARY, "nginx-svc")]
        objects[0]["spec"]["replicas"] = self.replicas
        self.api.apply(*objects, namespace=self.namespace)

    def _configure(self) -> Path:
        body = {
            "database": self.database,
            "clusters": [{"name": "default", "kubeconfig": str(self.kubeconfig), "watchFor": "5s", "staleAfter": "8s",
                          "readTimeout": "5s"}],
            "backends": self._backends,
            "gateways": self._gateways,
            "channels": [{"name": "operations", "type": "slack", "url": self.inbox.url}],
            "policy": FLOORS,
            "timing": TIMING,
            "log": {"format": "json"},
        }  # fmt: skip
        path = self.folder / "rollout.yaml"
        path.write_text(yaml.safe_dump(body))
        return path

    def _is_rolled_out(self) -> bool:
        return bool(self.deployment(STABLE).get("status", {}).get("availableReplicas") == self.replicas)
