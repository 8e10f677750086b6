"""The installed command doing an offline upgrade, in hurried time, on a pretend cluster and gateway that live in the test itself.

So the world can be watched from inside: every write is seen at the moment it is performed, and a daemon can be killed right there,
before it hears the answer. A client outside asks the gateway all the time and writes down who served it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from rollout.sandbox import http
from rollout.sandbox.apisix import ADMIN_KEY, SandboxApisix
from rollout.sandbox.apisix_cluster import ClusterPods
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.storage import Change, ChangeType
from tests.end_to_end.processes import CLOCK, Place, Process, until
from tests.simulation.offline_tale import ARTIFACT, BACKUP, MIGRATE, NEW, OLD, RESTORE, manifests

Json = dict[str, Any]
SPEED = 5.0
SESSIONS = "job-sessions:1"
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
MESSAGE = "closed for maintenance"
ROUTE = "routes/orders"
BEFORE: Json = {"blacklist": ["203.0.113.9"], "message": "go away"}
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Served:
    """A request from outside that a pod answered: between which times (the hurried ones), and what image answered."""

    asked: datetime
    answered: datetime
    image: str


class Site(Place):
    """A `Place` whose world is in this process. `traps`: words of a happening; the first one that holds them kills the daemon."""

    def __init__(self, folder: Path, database: str = "", speed: float = SPEED) -> None:
        super().__init__(folder)
        self.speed = speed
        self.database = database or f"sqlite:///{folder / 'rollout.db'}"
        self.happened: list[str] = []
        self.served: list[Served] = []
        self.deaths: list[str] = []
        self._traps: list[str] = []
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._stopping = threading.Event()
        self._origin = CLOCK.now()
        hasty = str(Path(__file__).with_name("hasty"))
        self.environment = {"PYTHONPATH": hasty, "HASTY_ORIGIN": self._origin.isoformat(), "HASTY_SPEED": str(speed)}
        self._daemon: Process | None = None

    # -- the world -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        with ExitStack() as stack:
            start = self._origin - timedelta(minutes=1)
            options = SandboxOptions(start, speed=self.speed, requests_per_minute=60, warm_up=timedelta(minutes=1))
            self.sandbox = stack.enter_context(Sandbox(CLOCK, options, manifests()))
            with self.sandbox.using() as world:
                world.observers.append(self._changed)
            self._behave()
            pods = ClusterPods(self.sandbox.live)
            self.apisix = SandboxApisix(self.sandbox.clock.now, nodes=2, backend=pods.answer, discover=pods.discover)
            self._listen_in()
            stack.enter_context(self.apisix)
            self._furnish_gateway()
            self._configure()
            for work in (self._ask_from_outside, self._watch_history):
                thread = threading.Thread(target=work, name=work.__name__)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._stopping.set)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End the daemons, then the world."""
        super().close()
        self._stack.close()

    @property
    def now(self) -> datetime:
        """The time that the daemons see."""
        return self._origin + (CLOCK.now() - self._origin) * self.speed

    def _behave(self) -> None:
        for image in (OLD, NEW):
            self.behave(image, ready_after=SECOND, stop_after=2 * SECOND)
        for image in (BACKUP, RESTORE, MIGRATE):
            self.behave(image, completes_after=5 * SECOND, log=(ARTIFACT,))
        self.behave(SESSIONS, completes_after=5 * SECOND, log=("nobody", "0"))

    def behave(self, image: str, **behaviour: Any) -> None:  # noqa: ANN401 - Behaviour's own fields
        with self.sandbox.using() as world:
            world.behaviours[image] = Behaviour(pull_after=timedelta(), **behaviour)

    def _furnish_gateway(self) -> None:
        upstream = {"type": "roundrobin", "discovery_type": "kubernetes", "service_name": "shop/orders:80"}
        route = {"name": "orders", "uri": "/orders/*", "upstream": upstream, "plugins": {"ip-restriction": BEFORE}}
        assert self.admin("PUT", ROUTE, route).status_code == 201

    def _configure(self) -> None:
        kubeconfig = self.sandbox.kubeconfig(self.folder / "kubeconfig")
        self.urls = dict(self.sandbox.urls)
        gateway = {"name": "apisix", "type": "apisix", "adminUrl": self.apisix.admin_url, "apiKey": ADMIN_KEY,
                   "nodes": list(self.apisix.gateway_urls), "timeout": "5s"}  # fmt: skip
        document = {
            "database": {"url": self.database},
            "http": {"port": self._port},
            "clusters": [{"name": "default", "kubeconfig": str(kubeconfig), "context": "sandbox"}],
            "gateways": [gateway],
            "channels": [{"name": "operations", "type": "slack", "url": f"{self.urls['webhooks']}/hooks/operations"}],
            "timing": {"lookEvery": "5s", "longestGap": "1m", "saveEvery": "5s", "lease": "2s", "outboxEvery": "1s"},
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(document))
        upgraded = self.run("db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr

    # -- who listens in --------------------------------------------------------------------------------------------------

    def _listen_in(self) -> None:
        admin = self.apisix._admin_server
        answer_admin = admin.respond

        def heard_admin(request: http.Request) -> http.Response:
            if request.method == "GET" or request.one("api_key") == "test":
                return answer_admin(request)
            if "rollout-rehearsal" in request.path:
                self._happens("the gateway is asked for a write that cannot be")
                return answer_admin(request)
            if self._happens(f"the gate, {self.state_of_gate()}, is about to be written"):
                return http.Response(503)  # whoever asked is dead, and the write got lost with it
            answer = answer_admin(request)
            self._happens(f"the gate is written ({answer.status}): {self.state_of_gate()}")
            return answer

        admin.respond = heard_admin
        chat = self.sandbox.servers["webhooks"]
        answer_chat = chat.respond

        def heard_chat(request: http.Request) -> http.Response:
            if request.method == "POST":
                self._happens(f"the chat hears {request.json()['text'].splitlines()[0]}")
            return answer_chat(request)

        chat.respond = heard_chat
        for server in self.apisix._gateway_servers:
            server.respond = self._heard_gateway(server.respond)

    def _heard_gateway(self, answer: http.Respond) -> http.Respond:
        def heard(request: http.Request) -> http.Response:
            given = answer(request)
            agent = request.headers.get("user-agent", "")
            if agent == "rollout-probe":
                self._happens(f"probe from {request.client}: {given.status}")
            elif agent != "somebody":
                self._happens(f"test from {request.client}: {given.status}")
            return given

        return heard

    def _changed(self, change: Change) -> None:
        if change.resource == "jobs" and change.type is ChangeType.ADDED:
            self._happens(f"Job {change.name} is created")
        if change.resource == "pods" and change.type is ChangeType.ADDED and "job-name" in change.new["metadata"]["labels"]:
            self._happens(f"a pod of {change.new['metadata']['labels']['job-name']} is created")
        if change.resource == "deployments" and change.old is not None and change.manager == "rollout":
            before, after = (_shape(obj) for obj in (change.old, change.new))
            self._happens(f"orders {before} -> {after}")

    def _happens(self, words: str) -> bool:
        """Write it down; say whether the daemon was killed at it."""
        with self._lock:
            self.happened.append(words)
            trap = next((trap for trap in self._traps if trap in words), None)
            daemon = self._daemon
            if trap is None or daemon is None or not daemon.alive:
                return False
            self._traps.remove(trap)
            self.deaths.append(words)
            daemon.kill()
            return True

    def _watch_history(self) -> None:
        """Tell history's rows and the steps, soon after they are committed."""
        last, step = 0, ""
        while not self._stopping.wait(0.01):
            with suppress(sqlite3.Error, psycopg.Error):  # the database is not there yet, or away
                for number, kind in self.rows("select id, kind from event where id > ? order by id", str(last)):
                    last = number
                    self._happens(f"event {kind}")
                found = self.rows("select step from rollout order by created_at desc limit 1")
                if found and found[0][0] != step:
                    step = found[0][0]
                    self._happens(f"step {step}")

    def _ask_from_outside(self) -> None:
        url = f"{self.apisix.gateway_urls[0]}/orders/1"
        transport = httpx.HTTPTransport(local_address=OUTSIDE)
        with httpx.Client(transport=transport, timeout=60, headers={"User-Agent": "somebody"}, trust_env=False) as client:
            while not self._stopping.wait(0.05):
                asked = self.now
                answer = client.get(url)
                if answer.status_code == 200:
                    self.served.append(Served(asked, self.now, answer.json()["image"]))

    # -- what people do --------------------------------------------------------------------------------------------------

    def admin(self, method: str, path: str, value: object = None) -> httpx.Response:
        """Use the Admin API as somebody else."""
        url = f"{self.apisix.admin_url}/apisix/admin/{path}?api_key=test"
        content = None if value is None else json.dumps(value)
        return httpx.request(method, url, content=content, headers={"X-API-KEY": ADMIN_KEY}, timeout=60, trust_env=False)

    def gate(self, place: str = ROUTE) -> Json | None:
        """What stands on the gate now; nothing where it is gone."""
        found: Json | None = self.admin("GET", place).json().get("value", {}).get("plugins", {}).get("ip-restriction")
        return found

    def state_of_gate(self) -> str:
        gate = self.gate()
        return "closed" if gate is not None and gate.get("whitelist") else "as before" if gate == BEFORE else f"{gate}"

    @property
    def inside(self) -> str:
        """Where tests ask, through the gateway."""
        return f"{self.apisix.gateway_urls[0]}/orders/healthz"

    def shape(self) -> str:
        """Replicas and image of the target."""
        with self.sandbox.using() as world:
            return _shape(world.get("deployments", "shop", "orders"))

    def maintenance(self, *, soon: timedelta = timedelta(), **spec: Any) -> str:  # noqa: ANN401 - the plan's own values
        """Submit a plan that begins now, or at the first full minute after `soon`; return the rollout's id."""
        start = self.now + soon + (timedelta(minutes=1) if soon else timedelta())
        body: Json = {
            "target": {"namespace": "shop", "stable": "orders"}, "image": NEW, "schemaChange": True,
            "window": {"startAt": f"{start:%Y-%m-%d %H:%M}", "timezone": "UTC", "duration": "5h", "startGrace": "2h"},
            "announce": {"offsets": ["72h", "24h", "30s"]},
            "gate": {"route": {"name": "orders"}, "allow": [INSIDE], "message": MESSAGE, "probes": {
                "outside": [{"url": "/orders/1", "sourceAddress": OUTSIDE}],
                "inside": [{"url": "/orders/1", "sourceAddress": INSIDE}]}},
            "quiesce": {"hooks": [{"name": "quiet", "command": ["/bin/sh", "-c", "echo quiet"]}], "sessions": _job(SESSIONS)},
            "backup": _job(BACKUP), "migrate": _job(MIGRATE), "restore": _job(RESTORE, expected="5m"),
            "tests": [{"name": "answers", "http": {"url": self.inside, "contains": '"image"'}, "pause": "1s"}],
            "margin": "10m", "watch": "10s", **spec,
        }  # fmt: skip
        document = {"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}, "spec": body}
        file = self.folder / "offline.yaml"
        file.write_text(yaml.safe_dump(document))
        done = self.run("submit", str(file), "-o", "json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["id"])

    # -- daemons that die ------------------------------------------------------------------------------------------------

    def serve(self) -> Process:
        """Start a daemon, without waiting for it: it may be killed before it is ready."""
        with self._lock:
            self._daemon = self._start("serve.log", "serve", "--config", str(self.config))
            return self._daemon

    def kill(self) -> None:
        """Kill the daemon now."""
        with self._lock:
            assert self._daemon is not None
            self._daemon.kill()

    def kill_at(self, traps: Iterable[str]) -> None:
        """Kill the daemon at the first happening of each."""
        with self._lock:
            self._traps = list(traps)

    def live_on(self, rollout: str, *, until_: str = "", seconds: float = 420) -> None:
        """Start the daemon again whenever it was killed, until the rollout has ended, or until something has happened."""

        def over() -> bool:
            if self._daemon is None or not self._daemon.alive:
                self.serve()
            if until_:
                return any(until_ in words for words in self.happened)
            return self.row(rollout)[0] not in {"active", ""}

        try:
            until(over, until_ or f"{rollout} has ended", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(rollout)}") from None

    def log(self, words: str) -> str:
        """The lines of the daemons' log that hold these words."""
        return "\n".join(line for line in (self.folder / "serve.log").read_text().splitlines() if words in line)

    def story(self, rollout: str) -> str:
        """What happened, for a failed test."""
        events = self.rows("select at, step, kind, why from event where rollout = ? order by id", rollout)
        log = (self.folder / "serve.log").read_text()[-6000:]
        return "\n".join([*self.happened[-80:], *(" ".join(map(str, event)) for event in events), log])

    def rows(self, query: str, *values: str) -> list[Any]:
        """Ask the database, whichever it is, as people who review history do."""
        if self.database.startswith("sqlite"):
            return super().rows(query, *values)
        where = self.database.replace("+psycopg", "")
        with psycopg.connect(where, connect_timeout=5) as connection:
            return connection.execute(query.replace("?", "%s").encode(), values).fetchall()

    # -- what was promised -----------------------------------------------------------------------------------------------

    def time_of(self, rollout: str, kind: str) -> datetime:
        """When history says that something was, the last time."""
        ((found,),) = self.rows("select max(at) from event where rollout = ? and kind = ?", rollout, kind)
        at = datetime.fromisoformat(str(found))
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

    def served_while_closed(self, rollout: str) -> list[Served]:
        """List the requests from outside that were served wholly after the gate was closed and before it was opened."""
        closed, opening = self.time_of(rollout, "gate-closed"), self.time_of(rollout, "opening")
        return [one for one in self.served if one.asked > closed and one.answered < opening]

    def jobs(self) -> list[str]:
        """Name the Jobs that were created, in order, without the rollout's name."""
        return [words.split()[1].split("-", 2)[2] for words in self.happened if words.startswith("Job ")]

    def announcements(self, rollout: str) -> list[str]:
        """List the announcements that the chat was owed, in order, without the target's name."""
        found = self.rows("select title from notice where rollout = ? and kind = 'announcement' order by key", rollout)
        return [title.partition(": ")[2] for (title,) in found]

    def arrived(self, rollout: str) -> list[str]:
        """List the keys of the announcements' titles that the chat got, each as often as it got it."""
        return [title.partition(": ")[2] for title in self.until_told(rollout)]


def _shape(deployment: Json) -> str:
    return f"{deployment['spec']['replicas']} x {deployment['spec']['template']['spec']['containers'][0]['image']}"


def _job(image: str, **more: Any) -> Json:  # noqa: ANN401 - the plan's own values
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": image}]}
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    return {"manifest": manifest, "deadline": "10m", **more}
