"""Coincidences that dice would need a million seeds for: each story may have one, and it snaps once, at the worst moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from rollout.core.cohorts import ANNOTATION_STOPPED
from rollout.core.commands import Verb
from rollout.core.effects import PatchDeployment
from rollout.ports import Transition
from tests.simulation.dice import Crash
from tests.simulation.invariants import forward, is_ready, replicas
from tests.simulation.scenario import CANARY, NAMESPACE, NEW, OLD, STABLE

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

WORDS = {
    "stopped unseen": "somebody stops the canary before anybody saw that it was started",
    "shrinks while growing": "the stable shrinks, and the daemon dies, between the commit of an addition and its performance",
    "dies stepping back": "the daemon dies between stepping back and its commit",
    "addition unseen": "a replica is added, its watch has not brought it yet, and the baseline is not ready for a moment",
    "hold unseen": "a canary pod is evicted while the stable rolls, and the hold on it is over before the watch has brought it",
    "aborted unseen": "somebody aborts the start, and the watch of pods has not brought the canary's pod yet",
    "old picture": "who has slept since the soak began takes over, and its watches have not brought yet what was done meanwhile",
}
MEANWHILE = ("replica-added", "promoting", "promoted")
"""What the daemon has done that dies then, each in a third of the stories."""
SOON = timedelta(minutes=3)


class Trap:
    """One coincidence. `name` is one of scenario.TRAPS; empty: none."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self._name = name

    def sent(self, patch: PatchDeployment) -> None:
        """A write of a daemon is on its way."""
        adds = patch.name == CANARY and forward(patch) and (patch.replicas or 0) > 1
        if self._name == "addition unseen" and adds:
            self._snap()
            self._baseline_blinks()
        if self._name == "hold unseen" and patch.name == STABLE:
            self._hold_unseen(patch)
        if self._name == "aborted unseen" and patch.name == CANARY and forward(patch) and patch.image is not None:
            self._snap()
            self._lag("pods", timedelta(minutes=2))
            self._simulation.later(timedelta(seconds=20), "somebody aborts", self._abort)

    def written(self, patch: PatchDeployment) -> None:
        """A write of a daemon has arrived, and the daemon has not been answered."""
        if patch.name != CANARY:
            return
        if self._name == "stopped unseen" and forward(patch) and patch.image is not None:
            self._snap()
            for daemon in self._simulation.daemons:
                daemon.cluster.behind = True
                self._simulation.later(timedelta(seconds=20), "the watches are current again", daemon.cluster.catch_up)
            self._simulation.world.scale(NAMESPACE, CANARY, 0)
        if self._name == "dies stepping back" and any(key == ANNOTATION_STOPPED and value for key, value in patch.annotations):
            self._snap()
            raise Crash

    def committed(self, transition: Transition) -> None:
        """A commit stands in the database, and the daemon has not been answered."""
        if self._name == "shrinks while growing" and any(event.kind == "growing" for event in transition.events):
            self._snap()
            world = self._simulation.world
            world.scale(NAMESPACE, STABLE, replicas(world.get("deployments", NAMESPACE, STABLE)) // 2, "horizontal-pod-autoscaler")
            raise Crash
        if self._name == "old picture":
            self._old_picture({event.kind for event in transition.events})

    def _old_picture(self, kinds: set[str]) -> None:
        simulation = self._simulation
        if "soaking" in kinds:
            simulation.later(timedelta(hours=1), "a daemon is stopped", lambda: simulation.stall(timedelta(days=30)))
        if Random(f"meanwhile of {simulation.scenario.seed}").choice(MEANWHILE) in kinds:
            self._snap()
            simulation.later(timedelta(seconds=30), "whoever is awake dies for good", self._die)
            simulation.later(timedelta(minutes=26), "whoever was stopped goes on", self._wake)

    def _die(self) -> None:
        """Leave the rollout to the sleeper, where there is one."""
        simulation = self._simulation
        awake = [daemon for daemon in simulation.daemons if daemon.awake]
        for daemon in awake if len(awake) < len(simulation.daemons) else ():
            simulation.lose(daemon)

    def _wake(self) -> None:
        """Let sleepers go on: their leases are asked for at once, and their watches bring what was missed a little later."""
        simulation = self._simulation
        for daemon in simulation.daemons:
            if not daemon.awake:
                daemon.awake, daemon.next_upkeep = True, simulation.world.now
                simulation.later(timedelta(seconds=8), f"the watches of {daemon.name} are current", daemon.cluster.catch_up)

    def _baseline_blinks(self) -> None:
        """As after an outage of the API server: every node is held to be away until its kubelet's next word."""
        simulation = self._simulation
        self._lag("deployments", timedelta(seconds=5))
        world, usual = simulation.world, simulation.scenario.old
        world.behaviours[OLD] = replace(usual, unready_after=timedelta(), ready_after=None)
        simulation.later(timedelta(seconds=10), "the baseline is as before", lambda: world.behaviours.__setitem__(OLD, usual))

    def _hold_unseen(self, patch: PatchDeployment) -> None:
        """Evict a canary pod in the middle of the promotion; the write that holds it because of that is seen late."""
        if patch.image == NEW:
            self._simulation.later(SOON, "a canary pod is evicted", self._evict)
        elif patch.paused:
            self._snap()
            self._lag("deployments", timedelta(minutes=1))

    def _evict(self) -> None:
        pods = [pod for pod in self._simulation.facts.pods("canary") if is_ready(pod)]
        if pods:
            self._simulation.world.evict(NAMESPACE, pods[0]["metadata"]["name"])

    def _abort(self) -> None:
        simulation = self._simulation
        simulation.store.command(simulation.rollout, Verb.ABORT, "ann", "not now", simulation.clock.now())
        for daemon in simulation.daemons:
            daemon.next_upkeep = simulation.world.now

    def _lag(self, kind: str, span: timedelta) -> None:
        """Let one kind's watch bring nothing for a while; the others are current."""
        for daemon in self._simulation.daemons:
            daemon.cluster.late.add(kind)
            self._simulation.later(span, f"the watch of {kind} is current again", daemon.cluster.catch_up)

    def _snap(self) -> None:
        self._simulation.tell(WORDS[self._name])
        self._name = ""
