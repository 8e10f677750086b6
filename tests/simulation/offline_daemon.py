"""One process of a maintenance story: an engine with everything that it talks to, and what it knows when it sleeps and wakes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rollout.core.decision import Timing
from rollout.core.policy import Policy
from rollout.engine.engine import Engine, Setup
from rollout.engine.offline_checks import CheckTasks
from rollout.engine.offline_gate import GateTasks
from rollout.engine.offline_work import WorkTasks
from rollout.engine.outbox import Outbox
from rollout.engine.upkeep import Upkeep
from rollout.engine.workers import Inline
from rollout.sandbox.kube_objects import Json
from rollout.store.reading import StoredCodec
from tests.simulation.offline_players import NoCommands, WorldGateway, WorldJobs, WorldRequests
from tests.simulation.players import PlayedCluster, PlayedStore
from tests.simulation.pretend import START

if TYPE_CHECKING:
    from tests.simulation.offline_story import Story

LEASE = timedelta(minutes=1)
UPKEEP_EVERY = timedelta(seconds=20)


class Daemon:
    """It looks after the rollout while it is awake and its lease lasts."""

    def __init__(self, story: Story, name: str) -> None:
        self.name = name
        self._world = story.world
        self._clock = story.clock
        self.cluster = PlayedCluster(story.stage, name, story)
        store: Any = PlayedStore(story.stage, story.inner)
        gateway: Any = WorldGateway(story.apisix, story.stage)
        jobs = {"default": WorldJobs(story.world, story.stage)}
        requests = WorldRequests(story.apisix, story.stage, story.passes)
        work = WorkTasks(jobs, _no_template, requests, NoCommands(), story.clock, clusters={"default": self.cluster})
        checks = CheckTasks({"default": self.cluster}, jobs, {"apisix": gateway}, {}, work, store, story.clock)
        gates = GateTasks({"apisix": gateway}, story.clock, store.rollout)
        performers = {**checks.performers(), **gates.performers(), **work.performers()}
        setup = Setup(name, Policy(), Timing(), ("ops",), LEASE)
        clusters = {"default": self.cluster}
        self.engine = Engine(setup, store, clusters, performers, StoredCodec(story.inner), story.clock, Inline())
        self.upkeep = Upkeep(self.engine, {})
        self.outbox = Outbox(store, {"ops": story.channel}, story.clock, Inline())
        self.asleep_until = START
        self._upkeep_at = story.world.now

    @property
    def awake(self) -> bool:
        return self._world.now >= self.asleep_until

    def sleep(self, span: timedelta) -> None:
        """Stop, with its memory and its picture of the cluster as they are."""
        self.asleep_until, self.cluster.behind = self._world.now + span, True

    def work(self) -> None:
        """Do everything that is due; whoever has slept looks first with what it remembers."""
        if self._world.now >= self._upkeep_at and not self.cluster.behind:
            self._upkeep_at = self._world.now + UPKEEP_EVERY
            self.upkeep.keep_lease()
            self.upkeep.claim()
            self.upkeep.fetch_commands()
            self.outbox.deliver()
        for rollout in self.engine.wakes.due(self._clock.now(), 10):
            self.engine.tick(rollout)
        if self.cluster.behind:
            self.cluster.catch_up()

    def watches(self, rollout: str) -> bool:
        """Say whether it sees to the rollout now."""
        return self.awake and self.engine.lease.certain() and self.engine.active(rollout) is not None


def _no_template(name: str) -> Json:
    raise AssertionError(name)
