"""A gate whose object was made anew under another id while it is closed: found again, so that it can be saved, closed, and opened.

Closing what took the gate's place is safe only where there can be no doubt about it: the gate's own object is gone, exactly one
other answers to what the plan names, or to the same hosts and paths, and before the window no other did. What stood on it is in the
row before the first write, as with the gate itself. Everywhere else people are told what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rollout.core.errors import Refused, Rejected, RolloutError
from rollout.core.gate import GateObject, GateTarget, PlaceKind, SavedGate, canonical
from rollout.core.gate_plan import is_ours
from rollout.core.offline_facts import memory_of, saved_gates
from rollout.core.plan_gate import Gate
from rollout.core.state import State
from rollout.core.wording import listed
from rollout.ports import Gateway

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Standing:
    """A gate of the row that is there: what stood on it, and what stands on it now."""

    saved: SavedGate
    found: GateObject


@dataclass(frozen=True, slots=True)
class Gates:
    """Every gate of a rollout: those that stand, and the refusal of the first one that is gone."""

    standing: tuple[Standing, ...]
    gone: Rejected | None


def gates_of(gateway: Gateway, gate: Gate, state: State, rule: str = "") -> Gates:
    """Read the gate and whatever took its place. Raises Refused where nothing is saved, Unavailable, Rejected (but for 404)."""
    standing: list[Standing] = []
    gone: Rejected | None = None
    every = saved_gates(state)
    if not every:
        raise Refused("what stood on the gate is not saved; nothing is written")
    for saved in every:
        try:
            standing.append(Standing(saved, gateway.read(saved.place, gate.config.plugin, rule)))
        except Rejected as no:
            if no.code != NOT_FOUND:
                raise
            gone = gone or no
    return Gates(tuple(standing), gone)


def reach_of(gateway: Gateway, gate: Gate, found: GateObject) -> str:
    """Write down by which hosts and paths a route that is named by its id could be told again; empty where others share them."""
    reach = _reach(found)
    if found.place.kind is not PlaceKind.ROUTE or not gate.target.id or not reach["uris"]:
        return ""
    try:
        same = gateway.find(_asked(reach), gate.config.plugin)
    except (Refused, Rejected):
        return ""
    return canonical(reach) if same.place == found.place else ""


def successor(gateway: Gateway, gate: Gate, state: State) -> Standing:
    """Find the one object that took the gate's place, with what is to be put back on it. Raises Refused: none, several, owned."""
    original, *_ = saved_gates(state)
    reach = json.loads(memory_of(state).gate_reach or "{}")
    if gate.target.id and not reach:
        raise Refused(f"the plan names it by its id, and no other {original.place.kind.value} can be told for it")
    found = gateway.find(_asked(reach) if gate.target.id else gate.target, gate.config.plugin)
    if gate.target.id and _reach(found) != reach:
        raise Refused(f"{found} answers for other hosts or paths as well, or for fewer")
    # Who copied the closed route copied our list with it: what is to be put back is what stood there before us.
    saved = replace(original, place=found.place) if is_ours(found, gate.config) else found.save()
    return Standing(saved, found)


def advice_gone(gate: Gate, *, through: bool) -> str:
    """Say what a person does about a gate that is gone. `through`: somebody from outside is let through all the same."""
    again = (
        "The gate's own route, made again under its old id, or under a new one with its name or the same hosts and paths, "
        "is closed within ten seconds."
    )
    if not through:
        return f"As far as is known nothing lets outsiders in. {again}"
    return f"Find the route that serves now (Admin API: GET routes), and put {_closing(gate)} on it, or delete it. {again}"


def advice_past(gateway: Gateway, gate: Gate, found: GateObject) -> str:
    """Say what a person does about a gate that is closed, and somebody came past it."""
    try:
        ways = tuple(gateway.bypasses(found))
    except RolloutError:
        ways = ()
    shown = f"The gateway shows these ways past it: {'; '.join(ways)}." if ways else "The gateway's routes show no way past it."
    return f"{shown} Put {_closing(gate)} on what leads past it, or delete that, and find out who wrote it."


def _closing(gate: Gate) -> str:
    config = gate.config
    return f"{config.plugin} with whitelist {listed(config.allow)} and message {config.message!r}"


def _reach(found: GateObject) -> dict[str, list[str]]:
    value = json.loads(found.value)
    return {many: sorted(_texts(value, one, many)) for one, many in (("host", "hosts"), ("uri", "uris"))}


def _texts(value: dict[str, object], one: str, many: str) -> Iterator[str]:
    several = value.get(many)
    yield from map(str, several if isinstance(several, Sequence) and not isinstance(several, str) else ())
    if value.get(one):
        yield str(value[one])


def _asked(reach: dict[str, list[str]]) -> GateTarget:
    return GateTarget(host=next(iter(reach["hosts"]), ""), uri=reach["uris"][0])
