"""The demo's offline stories: a shop's service gets a new database schema behind a closed gate, once well and once not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from rollout.cli.demo_gate import ALLOWED, OUTSIDE, GateWatch, second_address
from rollout.cli.demo_story import Finding, Opening, notices_arrived
from rollout.cli.stage import Stage
from rollout.core.errors import Problem, Refused
from rollout.core.history import Event, NoticeKind, Outcome
from rollout.ports import RolloutRow
from rollout.sandbox import shop
from rollout.sandbox.shop import Shop

LEAD = timedelta(hours=2, minutes=5)
"""From the submission to the start of the window."""
PLAN = """\
apiVersion: rollout/v1
kind: Offline
metadata:
  name: {name}
spec:
  description: "{about}"
  target: {{namespace: shop, stable: orders, container: app}}
  image: {image}
  schemaChange: true
  window: {{startAt: {start}, timezone: UTC, duration: 1h, startGrace: 10m}}
  announce: {{offsets: [2h, 1h, 10m]}}          # in real life rather 72h, 24h, 1h, 10m
  impact:
    dependants: [{{name: settlement, contact: settlement@example.com, note: batch at 04:00}}]
  gate:
    gateway: apisix
    route: {{name: {route}}}
    allow: [{allowed}]
    message: Orders are being upgraded
    probes:
      outside: [{{url: /orders/healthz, sourceAddress: {outside}}}]
      inside: [{{url: /orders/healthz, sourceAddress: {allowed}}}]
  quiesce:
    hooks: [{{name: drain the queue, job: {{manifest: {drain}, deadline: 5m}}, timeout: 5m}}]
  backup: {{template: postgresql-backup, parameters: {{DATABASE: orders, SECRET: orders-db, VOLUME: backups}}, expected: 6m}}
  migrate: {{template: postgresql-migrate, parameters: {{DATABASE: orders, SECRET: orders-db, IMAGE: "{schema}"}}, expected: 4m}}
  restore: {{template: postgresql-restore, parameters: {{DATABASE: orders, SECRET: orders-db, VOLUME: backups}}, expected: 8m}}
  tests:
    - {{name: health, http: {{url: "{gateway}/orders/healthz", contains: UP}}, timeout: 30s}}
    - {{name: smoke, job: {{manifest: {smoke}, deadline: 5m}}, timeout: 5m, retries: 0}}
    - {{name: export, severity: minor, http: {{url: "{gateway}/orders/export"}}, timeout: 30s, retries: 0}}
  onFailure: ask
  margin: 10m
  watch: 15m
"""


@dataclass(frozen=True, slots=True)
class OfflineScenario:
    """Orders 3.x with a new schema. `faulty`: paths that the new version fails, and with which status."""

    name: str
    about: str
    image: str
    faulty: Mapping[str, int]
    ends_as: Outcome
    database_does: tuple[str, ...]
    lasts: timedelta = field(default=timedelta(hours=4))

    def open(self, stage: Stage) -> Opening:
        """Put the shop into the sandbox and the window two hours ahead. Raises Refused where there are no two addresses."""
        if not second_address():
            problem = Problem(f"{OUTSIDE} cannot be used", remedy="on macOS: sudo ifconfig lo0 alias 127.0.0.2")
            raise Refused("this story needs two clients, so two loopback addresses", (problem,))
        place = Shop(stage.sandbox)
        place.faulty[self.image] = self.faulty
        gateway = stage.sandbox.urls["gateway"]
        start = stage.sandbox.clock.now() + LEAD
        text = plan_text(f"demo-{self.name}", self.about, self.image, start, gateway)
        gate = GateWatch(f"{gateway}/orders/healthz")
        title = f"{self.name}: {self.about} ({shop.OLD.rpartition('/')[2]} -> {self.image.rpartition('/')[2]})"
        return Opening(title, text, partial(verify, stage, self, place, gate), gate)


def plan_text(name: str, about: str, image: str, start: datetime, gateway: str) -> str:
    """Write the plan of a maintenance of the shop that begins then (UTC)."""
    return PLAN.format(
        name=name,
        about=about,
        image=image,
        start=f"{start:%Y-%m-%d %H:%M}",
        route=shop.ROUTE,
        allowed=ALLOWED,
        outside=OUTSIDE,
        schema=shop.MIGRATION,
        gateway=gateway,
        drain=_job("drain"),
        smoke=_job("smoke"),
    )


def _job(kind: str) -> str:
    """Write a Job manifest on one line, as YAML takes it."""
    pod = {"restartPolicy": "Never", "containers": [{"name": kind, "image": f"{shop.IMAGES}-tools:1.4"}]}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}})


OFFLINES = (
    OfflineScenario(
        "offline",
        "a major version behind a closed gate: backup, new schema, tests, open again",
        f"{shop.IMAGES}:3.0.0",
        {"/orders/export": 501},
        Outcome.SUCCEEDED,
        ("drain", "backup", "migrate", "smoke"),
    ),
    OfflineScenario(
        "offline-fails",
        "a critical test fails and nobody answers: at the last moment it goes back, database included",
        f"{shop.IMAGES}:3.1.0",
        {"/orders/checkout": 500},
        Outcome.FAILED,
        ("drain", "backup", "migrate", "restore", "smoke"),
    ),
)


def verify(stage: Stage, scenario: OfflineScenario, place: Shop, gate: GateWatch, row: RolloutRow) -> Iterator[Finding]:
    """Look at the database's row, the pretend cluster, its database, the gate and the webhook."""
    yield Finding(row.outcome is scenario.ends_as, f"the database says {row.outcome.value}, expected {scenario.ends_as.value}")
    good = scenario.ends_as is Outcome.SUCCEEDED
    image, schema = (scenario.image, shop.NEW_SCHEMA) if good else (shop.OLD, shop.OLD_SCHEMA)
    with stage.sandbox.using() as world:
        pods = [p for p in world.objects("pods", shop.NAMESPACE) if p["metadata"].get("labels", {}).get("app") == shop.NAME]
    images = [str(pod["spec"]["containers"][0]["image"]) for pod in pods]
    runs = f"{images.count(image)} of {len(images)} pods run {image}, expected {shop.REPLICAS}"
    yield Finding(images == [image] * shop.REPLICAS, runs)
    done = tuple(place.database.done)
    expected = f"expected {schema} after {', '.join(scenario.database_does)}"
    yield Finding(
        (place.database.schema, done) == (schema, scenario.database_does),
        f"the orders database has schema {place.database.schema} after {', '.join(done) or 'nothing'}, {expected}",
    )
    yield Finding(
        place.gate is None, f"the gate is {'as it was found: nothing stands there' if place.gate is None else place.gate}"
    )
    events = [item.event for item in stage.parts.store.history(row.id, limit=100_000)]
    yield _kept_out(gate, image)
    yield _announced_once(stage, row, events)
    yield notices_arrived(stage, row)


def _kept_out(gate: GateWatch, image: str) -> Finding:
    """Look whether the outside was let in before and after, and never between; and the allow-list then, by what is served now."""
    version = image.rpartition(":")[2]
    closed = [spell for spell in gate.spells if not spell.outside.served]
    turns = [served for served, _ in groupby(spell.outside.served for spell in gate.spells)]
    knocks = sum(spell.knocks for spell in closed)
    tested = sum(spell.knocks for spell in closed if spell.allowed.words.endswith(version))
    last = gate.spells[-1].outside.words if gate.spells else "never asked"
    words = f"{knocks} knocks from outside at the closed gate, none let in; {tested} of the allow-list were served by {version}"
    return Finding(turns == [True, False, True] and tested > 0 and last.endswith(version), words + f"; now outside is {last}")


def _announced_once(stage: Stage, row: RolloutRow, events: list[Event]) -> Finding:
    offsets = [dict(event.facts).get("offset", "") for event in events if event.kind == "announced"]
    notices = [n for n in stage.parts.store.notices(row.id) if n["kind"] == NoticeKind.ANNOUNCEMENT.value]
    words = f"announced {', '.join(offsets) or 'never'} before the start, once each; {len(notices)} announcements in all"
    return Finding(offsets == ["2h", "1h", "10m"] and len({n["title"] for n in notices}) == len(notices), words)
