"""Simulated days: the real engine without threads, on the pretend cluster, with signals counted from its one traffic.

A day takes a second or two. What a backend would count is taken from the world itself, so the tests are about the judge and the
procedure; a few days are asked over HTTP through the real adapters instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zlib import crc32

from rollout.core.decision import Execution, Timing
from rollout.core.evidence_state import SignalState
from rollout.core.history import Event, Evidence, Outcome
from rollout.core.observation import Task, TaskResult
from rollout.core.plan import CanaryPlan, plan_of
from rollout.core.policy import Policy
from rollout.core.presets import PRESETS
from rollout.core.signals import Answer, Counts, Gauges, NoData, PodCount, PodKey, Question, Reading, Unreachable, Window
from rollout.core.state import Soaking, State
from rollout.engine.engine import Engine, Setup
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk
from rollout.engine.workers import Inline
from rollout.ports import Check, SignalSource
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json
from rollout.sandbox.traffic_counts import TrafficCounts
from rollout.sandbox.world import World
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.simulation.pretend import START, WorldClock, WorldCluster

M, H = timedelta(minutes=1), timedelta(hours=1)
OLD, NEW = "nginx:1.27.3", "nginx:1.27.4"
ASKED_AT = timedelta(seconds=20)
"""Seconds into each minute at which the backends are asked."""
LOOKS = Timing(look_every=10 * M, save_every=H, longest_gap=timedelta(minutes=15))
SignalText = str | Mapping[str, object]
FAILED_CALLS = "skywalking-success-rate"


def manifests(app: str, replicas: int = 10) -> list[Json]:
    """A stable Deployment, its canary at rest, and the Service that selects both."""
    return [deployment(app, app, replicas, "release"), deployment(app, f"{app}-canary", 0, "canary"), service(app)]


def deployment(app: str, name: str, replicas: int, role: str) -> Json:
    labels = {"app": app, "role": role}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": app, "image": OLD}]}}
    spec = {"replicas": replicas, "strategy": rolling, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def service(app: str) -> Json:
    spec = {"selector": {"app": app}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "namespace": "default"}, "spec": spec}


def plan(app: str, signals: Sequence[SignalText], **spec: object) -> CanaryPlan:
    """The documented procedure with these signals."""
    target = {"namespace": "default", "stable": app, "canary": f"{app}-canary", "service": app, "container": app}
    whole = {"target": target, "image": NEW, "signals": list(signals), **spec}
    made = plan_of({"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": app}, "spec": whole})
    assert isinstance(made, CanaryPlan)
    return made


@dataclass
class TrafficSource:
    """A backend that counts the world's traffic. `away`: spans in which it does not answer; `clump`: so many events at once.

    `unknown`: pods that it knows nothing of; `kinds`: what an error of an image is called.
    """

    name: str
    world: World
    away: list[tuple[datetime, datetime]] = field(default_factory=list)
    clump: int = 1
    unknown: Callable[[PodKey], bool] | None = None
    kinds: Callable[[PodKey, datetime], tuple[str, ...]] | None = None
    asked: int = 0
    given: list[Answer] = field(default_factory=list)
    windows: dict[str, list[Window]] = field(default_factory=dict)

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        self.asked += 1
        now = self.world.now
        gone = any(start <= now < end for start, end in self.away)
        readings: dict[Question, Reading] = {
            q: Unreachable(f"{self.name}: connection refused") if gone else self._reading(q) for q in questions
        }
        answers = {q: Answer(q, reading, f"{q.ask} of {len(q.pods)} pods", now) for q, reading in readings.items()}
        self.given = [*self.given[-50:], *answers.values()]
        return answers

    def _reading(self, question: Question) -> Reading:
        window = question.window
        self.windows.setdefault(question.signal, []).append(window)
        known = [pod for pod in question.pods if self.unknown is None or not self.unknown(pod)]
        if not known:
            return NoData("no series for any of these pods")
        seen = {pod: self.world.traffic.counts(pod.uid, window.start, window.end) for pod in known}
        if question.ask in {"latency", "response-time"}:
            slow = {pod.name: _noisy(pod, window) * c.quantile_ms(0.95) for pod, c in seen.items() if c.requests}
            return Gauges(slow) if slow else NoData("no calls in the window")
        return Counts({pod.name: self._count(question, pod, c) for pod, c in seen.items()})

    def _count(self, question: Question, pod: PodKey, c: TrafficCounts) -> PodCount:
        events = {"error-traces": c.error_traces, "error-logs": c.error_logs}.get(question.ask, c.errors) * self.clump
        requests = None if question.ask == "error-logs" else float(c.requests)
        return PodCount(float(events), requests, self.kinds(pod, question.window.start) if events and self.kinds else ())

    def check(self) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        return


def _noisy(pod: PodKey, window: Window) -> float:
    """Pods differ by up to 5 %, each in its own direction, and a little from minute to minute."""
    own, now = crc32(pod.uid.encode()) % 1000, crc32(f"{pod.uid}{window.start}".encode()) % 1000
    return 1 + (own - 500) / 10_000 + (now - 500) / 25_000


class Day:
    """One or more rollouts from their submission on. `requests` is what each Service gets in a minute."""

    def __init__(
        self,
        *signals: SignalText,
        requests: float = 6_600.0,
        base: float = 0.01,
        apps: Iterable[str] = ("nginx",),
        seed: int = 1,
        world: World | None = None,
        sources: Mapping[str, SignalSource] | None = None,
        **spec: object,
    ) -> None:
        self.world = world or World(START - 10 * M, seed, requests_per_minute=requests, record_events=False)
        self.base = base
        self.world.behaviours[OLD] = self.world.behaviours[NEW] = Behaviour(error_rate=base)
        backends = {preset.backend for preset in PRESETS.values()}
        self.played = {name: TrafficSource(name, self.world) for name in backends}
        self.ids: dict[str, str] = {}
        self.clock = WorldClock(self.world)
        self.store = MemoryStore(self.clock)
        self.codec = StoredCodec(self.store)
        self.engine = Engine(
            Setup("day", Policy(), LOOKS, ("ops",), timedelta(days=300)),
            self.store, {"default": WorldCluster(self.world)}, {"preflight": self._preflight}, self.codec, self.clock, Inline(),
        )  # fmt: skip
        self.upkeep = Upkeep(self.engine, sources if sources is not None else self.played)
        self.tick: Callable[[datetime], None] = self.world.advance
        self.repeat_answers = False
        self._plans: list[tuple[datetime, Callable[[], object]]] = []
        self._apps, self._signals, self._spec = tuple(apps), signals or (FAILED_CALLS,), spec
        self.began = self.world.now
        self._submit()

    def _preflight(self, execution: Execution, state: State, task: Task) -> TaskResult:
        del execution, state
        return TaskResult(task.key, self.clock.now(), "done", ok=True, why="all well")

    def _submit(self) -> None:
        for app in self._apps:
            if self.world.find("deployments", "default", app) is None:
                self.world.load(manifests(app))
        self.world.advance(START)
        self.began = self.world.now
        desk = Desk(self.store, self.codec, self.clock, Policy())
        for app in self._apps:
            self.ids[app] = desk.submit(plan(app, self._signals, **self._spec), "file", "somebody").rollout.id
        self.upkeep.keep_lease()
        self.upkeep.claim()

    @property
    def source(self) -> TrafficSource:
        """The backend of the first signal."""
        first = self._signals[0]
        preset = first if isinstance(first, str) else str(first["preset"])
        return self.played[PRESETS[preset].backend]

    def after(self, span: timedelta, do: Callable[[], object]) -> Day:
        """Do something so long after the submission."""
        self._plans.append((self.began + span, do))
        self._plans.sort(key=lambda item: item[0])
        return self

    def turns(self, rate: float, span: timedelta = timedelta(), image: str = NEW) -> Day:
        """From then on, this part of the image's requests fails."""
        return self.after(span, lambda: self.world.behaviours.__setitem__(image, Behaviour(error_rate=rate)))

    def away(self, start: timedelta, length: timedelta, *backends: str) -> Day:
        """Let backends (all, when none is named) not answer."""
        for name in backends or tuple(self.played):
            self.played[name].away.append((self.began + start, self.began + start + length))
        return self

    def run(self, length: timedelta) -> Day:
        """Let time pass, up to so long after the submission, or until every rollout is at rest."""
        end = self.began + length
        next_ask = self.world.now.replace(second=0, microsecond=0) + ASKED_AT
        while self.world.now < end and self.engine.actives():
            self._look()
            at = min(t for t in (self.engine.wakes.next_at(), self.world.next_due(), next_ask, end, *self._next_plan()) if t)
            self.tick(max(at, self.world.now))
            while self._plans and self._plans[0][0] <= self.world.now:
                self._plans.pop(0)[1]()
            if self.world.now >= next_ask:
                self.upkeep.ask()
                if self.repeat_answers:
                    self.engine.board.put_answers(self.id, self.source.given)
                next_ask += M
        self._look()
        assert self.engine.bugs == 0
        return self

    def _next_plan(self) -> tuple[datetime, ...]:
        return (self._plans[0][0],) if self._plans else ()

    def _look(self) -> None:
        while due := self.engine.wakes.due(self.clock.now(), 1000):
            for rollout in due:
                self.engine.tick(rollout)

    def runs_new(self, pod: PodKey) -> bool:
        """Say whether a pod runs the new version."""
        document = self.world.find("pods", pod.namespace, pod.name)
        return document is not None and document["spec"]["containers"][0]["image"] == NEW

    # -- what people would see -----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.ids[self._apps[0]]

    def outcome(self, app: str = "") -> Outcome:
        row = self.store.rollout(self.ids[app or self._apps[0]])
        assert row is not None
        return row.outcome

    @property
    def why(self) -> str:
        row = self.store.rollout(self.id)
        assert row is not None
        return row.why

    def state(self, app: str = "") -> State:
        rollout = self.ids[app or self._apps[0]]
        active = self.engine.active(rollout)
        if active is not None:
            return active.state
        row = self.store.rollout(rollout)
        assert row is not None
        return self.codec.state(row.state, row.id)

    def signal(self, name: str = "") -> SignalState:
        return next(s for s in self.state().signals if not name or s.name == name)

    def credited(self) -> timedelta:
        step = self.state().step
        assert isinstance(step, Soaking)
        return step.credited

    def events(self, kind: str = "", app: str = "") -> list[Event]:
        rows = self.store.history(self.ids[app or self._apps[0]], limit=100_000)
        return [row.event for row in rows if not kind or row.event.kind == kind]

    def first(self, kind: str, app: str = "") -> Event | None:
        return next(iter(self.events(kind, app)), None)

    def holds(self, hold: str) -> list[Event]:
        return [e for e in self.events("held") if ("hold", hold) in e.facts]

    def evidence(self) -> list[Evidence]:
        return [item for event in self.events() for item in event.evidence]

    def titles(self) -> list[str]:
        return [str(notice["title"]) for notice in self.store.notices(self.id)]

    def since(self, event: Event | None) -> timedelta:
        assert event is not None
        return event.at - self.began

    @property
    def stepped_back(self) -> Event | None:
        return self.first("stepping-back")
