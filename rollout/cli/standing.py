"""What is true of a wish that was just recorded: whether a daemon is there to do it, and what to type where none is."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.core.wording import plural
from rollout.ports import RolloutRow, Store
from rollout.ports_standing import Standing

NOBODY = "no daemon runs on this database"


def submitted(store: Store, row: RolloutRow) -> Iterator[str]:
    """Word what was submitted; it has started only when a daemon takes it up."""
    again = f", a retry of {row.follows}" if row.relation == "retry" else ""
    yield f"{row.id} submitted: {row.target} to {row.image}{again}"
    if store.standing().daemons:
        yield f"  a daemon takes it up within seconds: rollout watch {row.id}"
    else:
        yield f"  it waits: {NOBODY} (start one with `rollout serve`)"
        yield f"  `rollout show {row.id}` says when one has taken it up"


def recorded(store: Store, row: RolloutRow, verb: str) -> Iterator[str]:
    """Word what becomes of a command."""
    if store.standing().daemons:
        yield f"{row.id}: {verb} recorded; its daemon acts on it within a second (`rollout show {row.id}`)"
        return
    yield f"{row.id}: {verb} recorded, but {NOBODY}: nobody acts on it until one does (`rollout serve`)"
    if verb == "abort" and row.kind == "Canary":
        yield f"  step back now, from here, with your own kubeconfig: rollout abort --break-glass {row.id}"


def remarks(standing: Standing, *rows: RolloutRow) -> Iterator[str]:
    """Say what people must know who look at these rollouts: nobody looks after the active ones, notices did not arrive."""
    if not standing.daemons and any(not row.outcome.at_rest for row in rows):
        yield f"{NOBODY}: nobody looks after what is active, and what this shows is as old as it says (`rollout serve`)"
    for row in rows:
        if dead := standing.dead.get(row.id, 0):
            yield f"{plural(dead, 'notice')} of {row.id} never arrived: rollout history --notices {row.id}"
