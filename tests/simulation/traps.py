"""Coincidences that dice would need a million seeds for: each story may have one, and it snaps once, at the worst moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from rollout.core.cohorts import ANNOTATION_STOPPED
from rollout.core.effects import PatchDeployment
from rollout.ports import Transition
from tests.simulation.dice import Crash
from tests.simulation.invariants import forward, replicas
from tests.simulation.scenario import CANARY, NAMESPACE, OLD, STABLE

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

WORDS = {
    "stopped unseen": "somebody stops the canary before anybody saw that it was started",
    "shrinks while growing": "the stable shrinks, and the daemon dies, between the commit of an addition and its performance",
    "dies stepping back": "the daemon dies between stepping back and its commit",
    "addition unseen": "a replica is added, its watch has not brought it yet, and the baseline is not ready for a moment",
}


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

    def _baseline_blinks(self) -> None:
        """As after an outage of the API server: every node is held to be away until its kubelet's next word."""
        simulation = self._simulation
        for daemon in simulation.daemons:
            daemon.cluster.late.add("deployments")
            simulation.later(timedelta(seconds=5), "the watch of Deployments is current again", daemon.cluster.catch_up)
        world, usual = simulation.world, simulation.scenario.old
        world.behaviours[OLD] = replace(usual, unready_after=timedelta(), ready_after=None)
        simulation.later(timedelta(seconds=10), "the baseline is as before", lambda: world.behaviours.__setitem__(OLD, usual))

    def _snap(self) -> None:
        self._simulation.tell(WORDS[self._name])
        self._name = ""
