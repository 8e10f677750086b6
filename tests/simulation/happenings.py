"""What people and the weather do in a story, each by its name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rollout.core.commands import Verb
from rollout.core.errors import RolloutError
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import ApiError
from tests.simulation.invariants import is_ready, replicas
from tests.simulation.scenario import CANARY, HOTFIX, NAMESPACE, OLD, STABLE, Happening

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

M = timedelta(minutes=1)


def happen(simulation: Simulation, happening: Happening) -> None:
    """Let it happen; what the API refuses does not."""
    try:
        _deployments(simulation, happening)
        _pods(simulation, happening)
        _people(simulation, happening)
        _weather(simulation, happening)
    except (ApiError, RolloutError) as error:
        simulation.tell(f"... but {error}")


def _deployments(simulation: Simulation, happening: Happening) -> None:
    world = simulation.world
    canary, stable = world.get("deployments", NAMESPACE, CANARY), world.get("deployments", NAMESPACE, STABLE)
    now = replicas(canary)
    match happening.what:
        case "canary to 0":
            world.scale(NAMESPACE, CANARY, 0)
        case "canary raised":
            world.scale(NAMESPACE, CANARY, now + 1)
        case "canary lowered" if now > 1:
            world.scale(NAMESPACE, CANARY, now - 1)
        case "canary image":
            world.set_image(NAMESPACE, CANARY, STABLE, "shop:3.0")
        case "hotfix":
            world.set_image(NAMESPACE, STABLE, STABLE, HOTFIX)
        case "stable paused":
            world.patch("deployments", NAMESPACE, STABLE, {"spec": {"paused": True}})
        case "stable scaled down":
            world.scale(
                NAMESPACE, STABLE, max(1, round(replicas(stable) * (0.3 + happening.argument / 2))), "horizontal-pod-autoscaler"
            )
        case "stable scaled up":
            world.scale(NAMESPACE, STABLE, replicas(stable) + 3, "horizontal-pod-autoscaler")
        case _:
            pass


def _pods(simulation: Simulation, happening: Happening) -> None:
    world = simulation.world
    mine = [p["metadata"]["name"] for p in simulation.facts.pods("canary") if is_ready(p)]
    match happening.what:
        case "canary evicted" if mine:
            world.evict(NAMESPACE, mine[0])
        case "canary deleted" if mine:
            world.delete_pod(NAMESPACE, mine[0])
        case "stable unready":
            world.behaviours[OLD] = Behaviour(unready_after=timedelta(), ready_after=None, error_rate=0.0005)
            wait = timedelta(hours=1 + 6 * happening.argument)
            simulation.later(wait, "the stable is well again", lambda: _mend(simulation))
        case _:
            pass


def _mend(simulation: Simulation) -> None:
    simulation.world.behaviours[OLD] = simulation.scenario.old
    for pod in simulation.facts.pods("release"):
        if not is_ready(pod):
            simulation.world.delete_pod(NAMESPACE, pod["metadata"]["name"], force=True)


def _people(simulation: Simulation, happening: Happening) -> None:
    if happening.what == "resume":
        stable = simulation.world.get("deployments", NAMESPACE, STABLE)
        if stable["spec"].get("paused"):
            simulation.world.patch("deployments", NAMESPACE, STABLE, {"spec": {"paused": False}})
    if happening.what in {"pause", "resume", "abort", "approve"}:
        simulation.store.command(simulation.rollout, Verb(happening.what), "ann", "as I say", simulation.clock.now())


def _weather(simulation: Simulation, happening: Happening) -> None:  # noqa: C901, PLR0912 - one case for each kind of weather
    if simulation.facts.at_rest and happening.what.endswith("away"):
        return  # the weather has cleared for the last questions
    now = simulation.world.now
    part = happening.argument
    match happening.what:
        case "cluster away":
            simulation.outages.add("cluster", now, now + 90 * M * part)
            simulation.later(90 * M * part, "the cluster is back", lambda: _list_again(simulation))
        case "store away":
            simulation.outages.add("store", now, now + 300 * M * part)
        case "source away":
            for source in simulation.sources.values():
                source.empty = round(part * 100) % 2 == 1
            simulation.outages.add("prometheus" if part < 0.7 else "skywalking", now, now + 180 * M * part)
        case "every source away":
            for backend in simulation.sources:
                simulation.outages.add(backend, now, now + 150 * M * part)
        case "quiet":
            for source in simulation.sources.values():
                source.quiet = (now, now + timedelta(hours=8 * part))
        case "daemon stalled":
            simulation.stall(timedelta(minutes=5 + 240 * part**3))
        case "daemon slept":
            simulation.stall(timedelta(hours=part), another=False)
        case "daemon killed":
            for daemon in [d for d in simulation.daemons if d.awake]:
                simulation.kill(daemon)
        case "clock forward":
            simulation.clock.skew += timedelta(hours=1)
        case "clock back":
            simulation.clock.skew -= timedelta(hours=1)
        case "watch behind":
            _fall_behind(simulation, 20 * M * part)
        case _:
            pass


def _list_again(simulation: Simulation) -> None:
    """The watches connect again, list, and tell what has changed meanwhile."""
    for daemon in simulation.daemons:
        daemon.engine.changed(NAMESPACE, STABLE)


def _fall_behind(simulation: Simulation, span: timedelta) -> None:
    for daemon in simulation.daemons:
        daemon.cluster.behind = True
        simulation.later(span, f"the watches of {daemon.name} are current again", daemon.cluster.catch_up)
