"""Stepping back without the daemon: with the operator's own kubeconfig, and with what the database knows, if it answers.

A rollout id is looked up in the database; where that is gone too, `NAMESPACE/STABLE` or `CLUSTER/NAMESPACE/STABLE` says which
target, with the canary called STABLE-canary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from rollout.adapters.clock import SystemClock
from rollout.adapters.kubernetes import ClusterSettings
from rollout.adapters.kubernetes_break_glass import SteppedBack, step_back_now
from rollout.core.errors import Problem, Refused, RolloutError
from rollout.core.offline_facts import saved_gates
from rollout.core.state import Promoting, Retiring, Retreating, Snapshot, State, Watching
from rollout.core.state_offline import OfflineMemory
from rollout.core.target import Target
from rollout.core.tombstone import by_hand
from rollout.wiring import open_parts

if TYPE_CHECKING:
    from rollout.settings import Settings


@dataclass(frozen=True, slots=True)
class _Known:
    target: Target
    rollout: str | None
    snapshot: Snapshot | None


def step_back(name: str, settings: Settings, database: str | None, actor: str, reason: str) -> SteppedBack:
    """Step a target back now; who did it stands beside the tombstone, where the next daemon finds it.

    Raises Refused when nothing tells which target is meant.
    """
    known = _from_database(name, settings, database) or _from_name(name, settings)
    entry = next((cluster for cluster in settings.clusters if cluster.name == known.target.cluster), None)
    if entry is None:
        raise Refused(f"no cluster {known.target.cluster!r} is configured", (Problem("unknown cluster", remedy="--config FILE"),))
    told = by_hand(actor, reason)
    return step_back_now(entry.build(ClusterSettings), SystemClock(), known.target, known.rollout, known.snapshot, told)


def _from_database(name: str, settings: Settings, database: str | None) -> _Known | None:
    try:
        with open_parts(settings, database=database, outside=False) as parts:
            row = parts.desk.find(name)
            state = parts.codec.state(row.state, row.id)
            if row.kind == "Offline":
                _refuse_maintenance(row.id, state)
            return _Known(parts.codec.execution(row).target, row.id, _snapshot(state))
    except _Maintenance:
        raise
    except RolloutError as error:
        typer.echo(f"the database does not help ({error}); going by the name alone", err=True)
        return None


class _Maintenance(Refused):
    """Not a canary: a half restored service is not something to do in a hurry by hand."""


def _refuse_maintenance(rollout: str, state: State) -> None:
    """Say what to do instead, and everything that whoever must finish by hand needs to know."""
    memory = state.offline or OfflineMemory()
    told = [Problem("its daemon is gone, its row is not", remedy="`rollout serve` with the same database goes on where it was")]
    for saved in saved_gates(state):
        stood = "; ".join(part.config or "nothing" for part in saved.parts)
        told.append(Problem(f"on the gate {saved.place} stood before, of {saved.plugin}: {stood}", key="gate"))
    told += [Problem(f"{one.replicas} x {one.image} before, {one.new_image} is new", key=one.target) for one in memory.before]
    if memory.backup is not None:
        made = memory.backup
        told.append(Problem(f"backup {made.id}, {made.size} bytes, sha256 {made.sha256}", key="database"))
    raise _Maintenance(f"rollout {rollout} is a maintenance: it is not stepped back past its daemon", tuple(told))


def _snapshot(state: State) -> Snapshot | None:
    match state.step:
        case Promoting(snapshot=snapshot) | Watching(snapshot=snapshot) | Retiring(snapshot=snapshot):
            return snapshot
        case Retreating(snapshot=snapshot, leave_stable=False):
            return snapshot
        case _:
            return None


def _from_name(name: str, settings: Settings) -> _Known:
    parts = name.split("/")
    if len(parts) == 2:  # noqa: PLR2004 - namespace and Deployment
        parts = [settings.clusters[0].name if len(settings.clusters) == 1 else "default", *parts]
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - cluster, namespace and Deployment
        raise Refused(
            f"{name!r} tells no target",
            (Problem("the database does not know it", remedy="give it as NAMESPACE/STABLE-DEPLOYMENT"),),
        )
    cluster, namespace, stable = parts
    return _Known(Target(cluster, namespace, stable, stable, f"{stable}-canary"), None, None)
