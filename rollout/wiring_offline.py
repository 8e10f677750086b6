"""From settings to what offline upgrades need: gateways, Jobs, topologies, and who performs their tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rollout.adapters.apisix import ApisixGateway
from rollout.adapters.apisix_admin import ApisixSettings
from rollout.adapters.credentials import CredentialSettings, HttpCredentials
from rollout.adapters.job_templates import JobTemplates, default_folder
from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.kubernetes_custom import KubernetesObjects
from rollout.adapters.kubernetes_jobs import KubernetesJobs
from rollout.adapters.skywalking import SkyWalkingSettings
from rollout.adapters.skywalking_topology import SkyWalkingTopology
from rollout.adapters.work import HttpRequests, LocalCommands
from rollout.engine.offline_checks import CheckTasks
from rollout.engine.offline_gate import GateTasks
from rollout.engine.offline_work import WorkTasks
from rollout.engine.recipients import Takes
from rollout.engine.tasks import Performer
from rollout.ports import Clock, Cluster, Gateway, Store
from rollout.ports_offline import Jobs, Topology
from rollout.settings import Settings
from rollout.settings_entries import Entry

Opening = Callable[[str], AbstractContextManager[object]]


@dataclass(slots=True)
class OfflineParts:
    """What only offline upgrades use, by the names of the configuration."""

    gateways: dict[str, Gateway] = field(default_factory=dict)
    jobs: dict[str, Jobs] = field(default_factory=dict)
    topologies: dict[str, Topology] = field(default_factory=dict)
    credentials: HttpCredentials = field(default_factory=lambda: HttpCredentials({}))


def open_offline(settings: Settings, clock: Clock, stack: ExitStack, opening: Opening = nullcontext) -> OfflineParts:
    """Open gateways and Jobs; nothing is connected before it is used. Raises Refused.

    `opening` is entered around each thing by its name (`gateway apisix`), for whoever wants to go on with the next one.
    """
    parts = OfflineParts(credentials=HttpCredentials({one.name: one.build(CredentialSettings) for one in settings.credentials}))
    clusters: dict[str, ClusterSettings] = {one.name: one.build(ClusterSettings) for one in settings.clusters}
    for name, one in clusters.items():
        with opening(f"cluster {name}"):
            jobs = KubernetesJobs(one, clock)
            stack.callback(jobs.close)
            parts.jobs[name] = jobs
    for entry in settings.gateways:
        with opening(f"gateway {entry.name}"):
            parts.gateways[entry.name] = _gateway(entry, clusters, parts.credentials, clock, stack)
    for backend in settings.backends:
        if backend.type == "skywalking":
            with opening(f"backend {backend.name}"):
                topology = SkyWalkingTopology(backend.name, backend.build(SkyWalkingSettings), clock)
                stack.callback(topology.close)
                parts.topologies[backend.name] = topology
    return parts


def _gateway(
    entry: Entry, clusters: Mapping[str, ClusterSettings], credentials: HttpCredentials, clock: Clock, stack: ExitStack
) -> Gateway:
    wanted: ApisixSettings = entry.build(ApisixSettings)
    cluster = clusters.get(wanted.cluster)
    objects = KubernetesObjects(cluster, clock) if cluster is not None else None
    if objects is not None:
        stack.callback(objects.close)
    gateway = ApisixGateway(entry.name, wanted, clock, objects=objects, credentials=credentials)
    stack.callback(gateway.close)
    return gateway


def offline_performers(
    parts: OfflineParts,
    clusters: dict[str, Cluster],
    store: Store,
    clock: Clock,
    templates: Path | None,
    channels: frozenset[str],
    who: Takes,
) -> dict[str, Performer]:
    """List who performs the offline procedure's tasks."""
    template = JobTemplates(templates or default_folder())
    work = WorkTasks(parts.jobs, template, HttpRequests(clock), LocalCommands(clock), clock, parts.credentials, clusters=clusters)
    checks = CheckTasks(clusters, parts.jobs, parts.gateways, parts.topologies, work, store, clock, channels=channels, who=who)
    return {**checks.performers(), **GateTasks(parts.gateways, clock, store.rollout).performers(), **work.performers()}
