"""One engine, without threads and in virtual time: several clusters, a canary that people drive, one plan in place of another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollout.core.decision import Timing
from rollout.core.errors import Refused
from rollout.core.history import Outcome
from rollout.core.plan import plan_of
from rollout.engine.engine import Engine, Setup
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk, Superseding
from rollout.engine.workers import Inline
from rollout.ports import RolloutRow
from rollout.sandbox.storage import Change
from rollout.sandbox.world import World
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.end_to_end.arena import CRASHES, GOOD, LAX, OLD, QUICK, manifests, preflight
from tests.simulation.pretend import START, WorldClock, WorldCluster

BETTER = "nginx:1.28.1"
LEASE = timedelta(days=400)


class Place:
    """Clusters with the same two Deployments in each, and everything that the daemon wrote, by cluster."""

    def __init__(self, *names: str) -> None:
        self.worlds = {name: World(START, seed, record_events=False) for seed, name in enumerate(names, 1)}
        self.writes: dict[str, list[Change]] = {name: [] for name in names}
        for name, world in self.worlds.items():
            world.behaviours.default = QUICK
            world.load(manifests("default", "shop", 4))
            world.advance_by(timedelta(minutes=1))
            world.observers.append(lambda change, name=name: self._seen(name, change))  # type: ignore[misc]  # bound now
        self.clock = WorldClock(self.worlds[names[0]])
        self.store = MemoryStore(self.clock)
        codec = StoredCodec(self.store)
        timing = Timing(timedelta(seconds=60), timedelta(seconds=150), timedelta(minutes=5))
        clusters = {name: WorldCluster(world, name) for name, world in self.worlds.items()}
        setup = Setup("d1", LAX, timing, ("ops",), LEASE)
        self.engine = Engine(setup, self.store, clusters, {"preflight": preflight}, codec, self.clock, Inline())
        self.desk = Desk(self.store, codec, self.clock, LAX)
        self.upkeep = Upkeep(self.engine, {})
        self.upkeep.keep_lease()

    def _seen(self, name: str, change: Change) -> None:
        if change.resource == "deployments" and change.manager == "rollout":
            self.writes[name].append(change)

    def submit(self, cluster: str, image: str = GOOD, name: str = "shop", **spec: Any) -> str:  # noqa: ANN401 - any key of a spec
        target = {"cluster": cluster, "namespace": "default", "stable": "shop", "container": "app"}
        given = {"replicas": {"every": "1m", "max": 1}, "soak": "10m", "maxSoak": "1h", "initialShare": "60%", "maxShare": "75%",
                 "warmUp": "0s", "promotion": {"pace": "30s", "watch": "5m", "progressDeadline": "10m"}, **spec}  # fmt: skip
        document = {"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": name},
                    "spec": {"target": target, "image": image, **given}}  # fmt: skip
        return self.desk.submit(plan_of(document), "", "ada").rollout.id

    def run(self, span: timedelta) -> None:
        """Let time pass in all clusters alike."""
        end = self.clock.now() + span
        while self.clock.now() < end:
            self.upkeep.claim()
            self.upkeep.fetch_commands()
            while due := self.engine.wakes.due(self.clock.now(), 100):
                for rollout in due:
                    self.engine.tick(rollout)
            for world in self.worlds.values():
                world.advance_by(timedelta(seconds=5))

    def row(self, rollout: str) -> RolloutRow:
        row = self.store.rollout(rollout)
        assert row is not None
        return row

    def until(self, rollout: str, step: str) -> None:
        for _ in range(720):
            if self.row(rollout).step == step:
                return
            self.run(timedelta(seconds=5))
        raise AssertionError(f"{self.row(rollout).step}, not {step}: {self.row(rollout).why}")

    def canary(self, cluster: str = "east") -> int:
        return int(self.worlds[cluster].get("deployments", "default", "shop-canary")["spec"]["replicas"])

    def image(self, cluster: str = "east") -> str:
        spec = self.worlds[cluster].get("deployments", "default", "shop")["spec"]
        return str(spec["template"]["spec"]["containers"][0]["image"])

    def told(self, rollout: str) -> list[str]:
        return [row.event.kind for row in self.store.history(rollout)]


def test_the_same_names_in_two_clusters_are_two_targets_and_trouble_in_one_concerns_the_other_nothing() -> None:
    place = Place("east", "west")
    place.worlds["west"].behaviours[GOOD] = CRASHES
    east, west = place.submit("east"), place.submit("west", name="shop-west")
    with pytest.raises(Refused, match="shop"):
        place.submit("west", name="third")
    place.run(timedelta(hours=1))

    assert (place.row(east).outcome, place.image("east")) == (Outcome.SUCCEEDED, GOOD)
    assert (place.row(west).outcome, place.image("west"), place.canary("west")) == (Outcome.FAILED, OLD, 0)
    written = {name: {str(change.new["metadata"]["annotations"].get("rollout/id")) for change in changes}
               for name, changes in place.writes.items()}  # fmt: skip
    assert written == {"east": {east}, "west": {west}}


def test_a_canary_that_people_drive_is_judged_and_told_and_never_touched() -> None:
    place = Place("east")
    world = place.worlds["east"]
    world.behaviours[GOOD] = CRASHES
    rollout = place.submit("east", mode="observe")
    place.until(rollout, "observing")
    world.set_image("default", "shop-canary", "app", GOOD)
    world.scale("default", "shop-canary", 3)
    place.run(timedelta(minutes=10))
    assert place.canary() == 3
    world.scale("default", "shop-canary", 0)
    place.run(timedelta(minutes=5))

    assert place.writes == {"east": []}
    told = place.told(rollout)
    assert told.count("observed-failing") == 1
    assert told.count("observed-scale") == 2
    assert place.row(rollout).outcome is Outcome.ABORTED
    assert "does not run" in place.row(rollout).why


def test_an_observed_canary_that_is_promoted_by_hand_ends_well_and_one_that_nobody_ends_asks() -> None:
    place = Place("east")
    world = place.worlds["east"]
    rollout = place.submit("east", mode="observe")
    world.set_image("default", "shop-canary", "app", GOOD)
    world.scale("default", "shop-canary", 1)
    place.run(timedelta(minutes=70))
    assert any(hold.kind == "overdue" for hold in place.engine.actives()[0].state.holds)
    world.set_image("default", "shop", "app", GOOD)
    world.scale("default", "shop-canary", 0)
    place.run(timedelta(minutes=5))
    assert (place.row(rollout).outcome, place.writes) == (Outcome.SUCCEEDED, {"east": []})


@pytest.mark.parametrize(("by", "between"), [("rollback", OLD), ("adopt", GOOD)])
def test_a_plan_that_supersedes_a_promotion_says_what_becomes_of_it_and_begins_when_that_is_done(by: str, between: str) -> None:
    place = Place("east")
    first = place.submit("east")
    place.until(first, "promoting")
    place.until(first, "watching") if by == "adopt" else None
    with pytest.raises(Refused, match="partly new"):
        place.submit("east", BETTER, "better", supersede=first)
    with pytest.raises(Superseding, match="steps back first"):
        place.submit("east", BETTER, "better", supersede=first, supersedeBy=by)
    place.run(timedelta(minutes=5))

    assert (place.row(first).outcome, place.image(), place.canary()) == (Outcome.ABORTED, between, 0)
    second = place.submit("east", BETTER, "better", supersede=first, supersedeBy=by)
    place.run(timedelta(hours=1))
    assert (place.row(second).outcome, place.image(), place.row(second).follows) == (Outcome.SUCCEEDED, BETTER, first)
