"""No picture that is older than the state: what the watches show may be older than what a commit was made from.

A daemon that slept, or whose watch hangs, may take over from one that has gone on: its state comes from the database at once,
its watches bring the Deployments a moment later. Compared with such a picture our own write looks like somebody else's hand. So
the state keeps which generation of each Deployment it was made from, and a view that shows an older one counts as none.
"""

from __future__ import annotations

from collections.abc import Iterator

from rollout.core.cohorts import Deployment, TargetView
from rollout.core.observation import Observation
from rollout.core.replacing import replace
from rollout.core.signals import Unreachable
from rollout.core.state import Picture

View = TargetView | Unreachable


def believed(seen: Observation, known: tuple[Picture, ...]) -> Observation:
    """Take every view that is older than the state for none at all."""
    if _as_known(known, seen):
        return seen
    view, others = _believed(seen.view, known), tuple(_believed(other, known) for other in seen.others)
    return seen if view is seen.view and others == seen.others else replace(seen, view=view, others=others)


def newest(known: tuple[Picture, ...], seen: Observation) -> tuple[Picture, ...]:
    """Note what is seen now; what is not seen stays as it was known."""
    if _as_known(known, seen):
        return known
    fresh = {picture.deployment: picture for view in (seen.view, *seen.others) for picture, _ in _pictures(view)}
    if not fresh.keys() - {picture.deployment for picture in known} and all(fresh.get(p.deployment, p) == p for p in known):
        return known
    return tuple(sorted({**{p.deployment: p for p in known}, **fresh}.values(), key=lambda p: p.deployment))


def _as_known(known: tuple[Picture, ...], seen: Observation) -> bool:
    """Say whether every Deployment stands as it is known, as in most looks: then there is nothing to compare or to note."""
    there = {(picture.uid, picture.generation) for picture in known}
    views = (seen.view, *seen.others)
    shown = (one for view in views if isinstance(view, TargetView) for one in (view.stable, view.canary) if one is not None)
    return all((one.uid, one.generation) in there for one in shown)


def _believed(view: View, known: tuple[Picture, ...]) -> View:
    for picture, deployment in _pictures(view):
        for before in known:
            made_anew = before.uid != picture.uid
            if before.deployment == picture.deployment and not made_anew and picture.generation < before.generation:
                what = f"generation {picture.generation}, {before.generation} is known"
                return Unreachable(f"the watches still show {deployment.name} as it was before ({what})")
    return view


def _pictures(view: View) -> Iterator[tuple[Picture, Deployment]]:
    if not isinstance(view, TargetView):
        return
    for one in (view.stable, view.canary):
        if one is not None:
            yield Picture(f"{view.target.cluster}/{one.namespace}/{one.name}", one.uid, one.generation), one
