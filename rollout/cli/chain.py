"""Which rollouts belong together: retried, superseded, followed by a hotfix; oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.ports import RolloutFilter, RolloutRow, Store

MOST = 5_000
"""The newest rollouts among which followers are looked for."""


@dataclass(frozen=True, slots=True)
class Link:
    """One rollout of a chain. `depth` 0 is the first of all."""

    row: RolloutRow
    depth: int


def chain_of(store: Store, row: RolloutRow) -> tuple[Link, ...]:
    """Walk to the first rollout that this one goes back to, and from there to everything that followed."""
    first, seen = row, {row.id}
    while first.follows and first.follows not in seen:
        before = store.rollout(first.follows)
        if before is None:
            break
        first = before
        seen.add(first.id)
    followers: dict[str, list[RolloutRow]] = {}
    for other in store.rollouts(RolloutFilter(limit=MOST)):
        if other.follows:
            followers.setdefault(other.follows, []).append(other)
    return tuple(_walk(first, 0, followers, set()))


def _walk(row: RolloutRow, depth: int, followers: dict[str, list[RolloutRow]], seen: set[str]) -> Iterator[Link]:
    if row.id in seen:
        return
    seen.add(row.id)
    yield Link(row, depth)
    for other in sorted(followers.get(row.id, ()), key=lambda one: (one.created_at, one.id)):
        yield from _walk(other, depth + 1, followers, seen)


def lines(chain: Sequence[Link], of: RolloutRow) -> Iterator[str]:
    """Draw a chain, nothing where there is only one."""
    if len(chain) < 2:  # noqa: PLR2004 - a chain has two links
        return
    for link in chain:
        row = link.row
        branch = f"{'   ' * (link.depth - 1)}└─ {row.relation or 'follows'}: " if link.depth else ""
        mark = "   <- this one" if row.id == of.id else ""
        yield f"{branch}{row.id}  {row.kind}  {row.outcome.value}  {row.target} to {row.image}{mark}"


def documents(chain: Sequence[Link]) -> list[dict[str, Any]]:
    """Describe a chain for `-o json`."""
    return [
        {
            "id": link.row.id,
            "kind": link.row.kind,
            "state": link.row.outcome.value,
            "image": link.row.image,
            "follows": link.row.follows,
            "relation": link.row.relation or None,
        }
        for link in chain
    ]
