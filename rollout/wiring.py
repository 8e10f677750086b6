"""The only place that knows concrete classes: from settings to a daemon that can be started."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel

from rollout.adapters.alertmanager import AlertmanagerSettings, AlertmanagerSource
from rollout.adapters.apisix_admin import ApisixSettings
from rollout.adapters.chatbots import ChatbotNotifier, ChatbotSettings
from rollout.adapters.clock import SystemClock
from rollout.adapters.credentials import CredentialSettings
from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.job_templates import JobTemplates, default_folder
from rollout.adapters.kubernetes import ClusterSettings, KubernetesCluster
from rollout.adapters.planfile import parse_planfile
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.adapters.slack import SlackNotifier, SlackSettings
from rollout.core.decision import Execution, Timing
from rollout.core.errors import Problem, Refused, RolloutError
from rollout.core.history import Outcome
from rollout.core.observation import Line
from rollout.core.offline_facts import words
from rollout.core.plan import OfflinePlan
from rollout.core.steps.offline_assess import declared
from rollout.core.wording import plural
from rollout.engine.configured import Configured
from rollout.engine.daemon import Daemon, Periods
from rollout.engine.engine import Engine, Setup
from rollout.engine.offline_impact import Impact
from rollout.engine.outbox import Outbox
from rollout.engine.planfolder import PlanFolder
from rollout.engine.preflight import Preflight
from rollout.engine.recipients import Takes, unheard
from rollout.engine.tasks import Performer
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk
from rollout.engine.workers import Threads
from rollout.ports import Clock, Cluster, Notifier, RolloutFilter, SignalSource, Store
from rollout.settings import Settings
from rollout.settings_entries import Entry, Models
from rollout.store.reading import StoredCodec
from rollout.store.sql import open_store
from rollout.wiring_offline import OfflineParts, offline_performers, open_offline

M = TypeVar("M")

SourceMaker = Callable[[Entry, Clock], SignalSource]
NotifierMaker = Callable[[Entry, Clock], Notifier]

SOURCES: Mapping[str, tuple[type[BaseModel], SourceMaker]] = {
    "prometheus": (PrometheusSettings, lambda e, c: PrometheusSource(e.name, e.build(PrometheusSettings), c)),
    "skywalking": (SkyWalkingSettings, lambda e, c: SkyWalkingSource(e.name, e.build(SkyWalkingSettings), c)),
    "elasticsearch": (ElasticsearchSettings, lambda e, c: ElasticsearchSource(e.name, e.build(ElasticsearchSettings), c)),
    "alertmanager": (AlertmanagerSettings, lambda e, c: AlertmanagerSource(e.name, e.build(AlertmanagerSettings), c)),
}
"""Kinds of backend. A new one is its file in adapters/ and a line here."""


def _slack(entry: Entry, clock: Clock) -> Notifier:
    return SlackNotifier(entry.name, entry.build(SlackSettings), clock)


def _chatbot(entry: Entry, clock: Clock) -> Notifier:
    return ChatbotNotifier(entry.name, entry.build(ChatbotSettings), clock)


NOTIFIERS: Mapping[str, tuple[type[BaseModel], NotifierMaker]] = {
    **dict.fromkeys(("slack", "mattermost", "rocketchat", "discord"), (SlackSettings, _slack)),
    **dict.fromkeys(("dingtalk", "wecom", "feishu"), (ChatbotSettings, _chatbot)),
}
"""Kinds of channel, as SOURCES."""

MODELS: Models = {
    "clusters": {"kubernetes": ClusterSettings},
    "backends": {name: model for name, (model, _) in SOURCES.items()},
    "channels": {name: model for name, (model, _) in NOTIFIERS.items()},
    "gateways": {"apisix": ApisixSettings},
    "credentials": {"http": CredentialSettings},
}


def daemon_name() -> str:
    """Name this process for the lease: host and pid, so that a second one on the same host is another."""
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(slots=True)
class Parts:
    """Everything that one process has open. Use it as a context manager: leaving it closes what was opened, in order."""

    settings: Settings
    clock: Clock
    store: Store
    codec: StoredCodec
    desk: Desk
    clusters: dict[str, Cluster] = field(default_factory=dict)
    sources: dict[str, SignalSource] = field(default_factory=dict)
    notifiers: dict[str, Notifier] = field(default_factory=dict)
    offline: OfflineParts = field(default_factory=OfflineParts)
    unopened: dict[str, RolloutError] = field(default_factory=dict)
    """For `doctor`: what could not be opened, and why."""
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def cannot_open(self) -> tuple[Problem, ...]:
        """List what could not be opened by its name; one fault that is in the way of several is said once."""
        said: dict[str, Problem] = {}
        for what, error in self.unopened.items():
            problems = error.problems if isinstance(error, Refused) else ()
            remedy = next((problem.remedy for problem in problems if problem.remedy), "")
            whole = str(error) if str(error).partition(": ")[0] in self.unopened else f"{what}: {error}"
            culprit, _, words = whole.partition(": ")
            said.setdefault(whole, Problem(words, key=culprit, remedy=remedy))
        return tuple(said.values())

    def close(self) -> None:
        """Give everything back."""
        self._open.close()


def open_parts(
    settings: Settings,
    *,
    clock: Clock | None = None,
    database: str | None = None,
    store: Store | None = None,
    outside: bool = True,
    lenient: bool = False,
) -> Parts:
    """Open the store, and with `outside` the clusters, backends and channels. Raises Refused or Unavailable with remedies.

    `store`: one that is open already. `lenient`: what is outside and cannot be opened is left out and listed in `Parts.unopened`.
    """
    clock = clock or SystemClock()
    stack = ExitStack()
    with stack:
        store = store or open_store(database or settings.database.address, clock=clock, process=daemon_name())
        stack.callback(store.close)
        codec = StoredCodec(store)
        desk = Desk(
            store,
            codec,
            clock,
            settings.policy,
            configured_in(settings),
        )
        parts = Parts(settings, clock, store, codec, desk)
        if outside:
            _open_outside(parts, stack)
        if parts.unopened and not lenient:
            found = parts.cannot_open()
            raise Refused(f"{plural(len(found), 'part')} of the configuration cannot be used", found)
        parts._open = stack.pop_all()  # noqa: SLF001 - made here, and handed over to it
    return parts


def configured_in(settings: Settings) -> Configured:
    """List the names that plans may use under this configuration."""
    return Configured(
        clusters=frozenset(entry.name for entry in settings.clusters),
        backends=frozenset(entry.name for entry in settings.backends),
        channels=frozenset(entry.name for entry in settings.channels),
        gateways=frozenset(entry.name for entry in settings.gateways),
        credentials=frozenset(entry.name for entry in settings.credentials),
        template=JobTemplates(settings.plans.jobs or default_folder()),
    )


def _open_outside(parts: Parts, stack: ExitStack) -> None:
    settings, clock = parts.settings, parts.clock
    for one in settings.clusters:
        with _opening(parts, f"cluster {one.name}"):
            cluster = KubernetesCluster(one.build(ClusterSettings), clock)
            parts.clusters[one.name] = cluster
            stack.callback(cluster.close)
    parts.offline = open_offline(settings, clock, stack, lambda what: _opening(parts, what))
    for entry in settings.backends:
        with _opening(parts, f"backend {entry.name}"):
            source = _maker(SOURCES, entry, "backend")(entry, clock)
            parts.sources[entry.name] = source
            stack.callback(source.close)
    for channel in settings.channels:
        with _opening(parts, f"channel {channel.name}"):
            notifier = _maker(NOTIFIERS, channel, "channel")(channel, clock)
            parts.notifiers[channel.name] = notifier
            stack.callback(notifier.close)


@contextmanager
def _opening(parts: Parts, what: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        parts.unopened[what] = error


def _maker(table: Mapping[str, tuple[type[BaseModel], M]], entry: Entry, what: str) -> M:
    if entry.type not in table:
        raise Refused(f"{what} {entry.name!r}: no type {entry.type!r}; there are {', '.join(sorted(table))}")
    return table[entry.type][1]


def impact_of(settings: Settings, plan: OfflinePlan) -> tuple[str, ...]:
    """Write the report of who will notice, as the daemon would: nothing is stored, nothing is changed."""
    with ExitStack() as stack:
        clock = SystemClock()
        clusters: dict[str, Cluster] = {}
        for one in settings.clusters:
            cluster = KubernetesCluster(one.build(ClusterSettings), clock)
            clusters[one.name] = cluster
            stack.callback(cluster.close)
        offline = open_offline(settings, clock, stack)
        impact = Impact(clusters, offline.jobs, offline.gateways, offline.topologies)
        return (*words(impact.lines(Execution("preview", plan, ()))), *declared(plan))


def questionable(settings: Settings) -> Iterator[Line]:
    """Warn of what a configuration may say and nobody should rely on."""
    for key in settings.http.without_effect():
        yield Line("configuration", "warning", f"{key} does nothing: the port serves health and figures only", "take it out")
    yield from unheard([channel.name for channel in settings.channels], taken_by(settings))


def taken_by(settings: Settings) -> Takes:
    """List which kinds of notice each channel takes, where it does not take all."""
    return {channel.name: frozenset(channel.events) for channel in settings.channels if channel.events}


def performers(parts: Parts) -> dict[str, Performer]:
    """List who performs which kind of task."""
    channels = frozenset(channel.name for channel in parts.settings.channels)
    who, jobs = taken_by(parts.settings), parts.settings.plans.jobs
    offline = offline_performers(parts.offline, parts.clusters, parts.store, parts.clock, jobs, channels, who)
    return {"preflight": Preflight(parts.clusters, parts.sources, parts.store, parts.clock).perform, **offline}


def build_daemon(parts: Parts, *, workers: Threads | None = None, periods: Periods | None = None, name: str = "") -> Daemon:
    """Put a daemon together; it is not started yet."""
    timing = parts.settings.timing
    setup = Setup(
        daemon=name or daemon_name(),
        policy=parts.settings.policy,
        timing=Timing(timing.look_every, timing.longest_gap, timing.save_every),
        channels=tuple(channel.name for channel in parts.settings.channels),
        takes=taken_by(parts.settings),
        lease=timing.lease,
    )
    workers = workers or Threads()
    engine = Engine(setup, parts.store, parts.clusters, performers(parts), parts.codec, parts.clock, workers)
    upkeep = Upkeep(engine, parts.sources)
    outbox = Outbox(parts.store, parts.notifiers, parts.clock, workers)
    periods = periods or Periods(lease=timing.lease / 4, ask=timing.ask_every, outbox=timing.outbox_every)
    keep = parts.settings.retention.keep
    extra: dict[str, tuple[Callable[[], None], timedelta]] = {
        "retention": (lambda: _prune(parts, keep), parts.settings.retention.every),
    }
    plans = parts.settings.plans
    if plans.folder is not None:
        extra["plans"] = (PlanFolder(plans.folder, parts.desk, parse_planfile).look, plans.every)
    return Daemon(engine, upkeep, outbox, periods, extra)


def _prune(parts: Parts, keep: timedelta) -> None:
    parts.store.prune(parts.clock.now() - keep)


def refuse_unreadable(parts: Parts) -> None:
    """Refuse to take a lease where an active rollout was written by a version that this one cannot read.

    Called before the daemon starts, so that an upgrade (or downgrade) of the daemon strands nobody: the old one goes on.
    """
    problems: list[Problem] = []
    for row in parts.store.rollouts(RolloutFilter(outcomes=(Outcome.ACTIVE,), limit=1_000_000)):
        try:
            parts.codec.execution(row)
            parts.codec.state(row.state, row.id)
        except Refused as error:
            problems.append(
                Problem(str(error), key=f"rollout {row.id}", remedy="let the version that wrote it finish it, or abort it there")
            )
    if problems:
        raise Refused("active rollouts cannot be read by this version; nothing was touched", tuple(problems))
