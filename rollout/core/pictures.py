"""No picture that is older than the state: what the watches show may be older than what a commit was made from.

A daemon that slept, or whose watch hangs, may take over from one that has gone on: its state comes from the database at once,
its watches bring the Deployments a moment later. Compared with such a picture our own write looks like somebody else's hand. So
the state keeps which generation of each Deployment it was made from, and a view that shows an older one counts as none. Where it
stays so for longer than any watch can be behind, the cluster itself went back (etcd was restored), and it is seen as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rollout.core.cohorts import Deployment, TargetView
from rollout.core.observation import Observation
from rollout.core.replacing import replace
from rollout.core.signals import Unreachable
from rollout.core.state import Picture
from rollout.core.wording import span

View = TargetView | Unreachable

STAYS = timedelta(minutes=10)
"""An old picture that stays so long is no late one: a watch that is silent for longer than agreed is taken for dead before."""


def believed(seen: Observation, known: tuple[Picture, ...], now: datetime, *, unwatched: bool = False) -> Observation:
    """Take every view that is older than the state for none at all. `unwatched`: there was nobody who saw it stay."""
    doubted = tuple(p for p in known if unwatched or p.older_since is None or now - p.older_since < STAYS)
    if not doubted or _as_known(known, seen):
        return seen
    view, others = _believed(seen.view, doubted), tuple(_believed(other, doubted) for other in seen.others)
    return seen if view is seen.view and others == seen.others else replace(seen, view=view, others=others)


def newest(known: tuple[Picture, ...], seen: Observation) -> tuple[Picture, ...]:
    """Note what is seen now; what is not seen stays as it was known."""
    if _as_known(known, seen):
        return known
    fresh = {picture.deployment: picture for view in (seen.view, *seen.others) for picture, _ in _pictures(view)}
    if not fresh.keys() - {picture.deployment for picture in known} and all(fresh.get(p.deployment, p) == p for p in known):
        return known
    return tuple(sorted({**{p.deployment: p for p in known}, **fresh}.values(), key=lambda p: p.deployment))


def aged(known: tuple[Picture, ...], shown: Observation, now: datetime, *, unwatched: bool) -> tuple[Picture, ...]:
    """Note since when an older picture is `shown`, believed or not; anew where there was nobody who saw it stay."""
    if _as_known(known, shown) and all(p.older_since is None for p in known):
        return known
    views = {found.deployment: found for view in (shown.view, *shown.others) for found, _ in _pictures(view)}
    return tuple(
        replace(p, older_since=(None if unwatched else p.older_since) or now if _is_older(views.get(p.deployment), p) else None)
        for p in known
    )


def _is_older(shown: Picture | None, known: Picture) -> bool:
    return shown is not None and shown.uid == known.uid and shown.generation < known.generation


def _as_known(known: tuple[Picture, ...], seen: Observation) -> bool:
    """Say whether every Deployment stands as it is known, as in most looks: then there is nothing to compare or to note."""
    there = {(picture.uid, picture.generation) for picture in known}
    views = (seen.view, *seen.others)
    shown = (one for view in views if isinstance(view, TargetView) for one in (view.stable, view.canary) if one is not None)
    return all((one.uid, one.generation) in there for one in shown)


def _believed(view: View, known: tuple[Picture, ...]) -> View:
    for picture, deployment in _pictures(view):
        for before in known:
            if before.deployment == picture.deployment and _is_older(picture, before):
                what = f"generation {picture.generation}, {before.generation} is known; it counts if it stays so for {span(STAYS)}"
                return Unreachable(f"the watches still show {deployment.name} as it was before ({what})")
    return view


def _pictures(view: View) -> Iterator[tuple[Picture, Deployment]]:
    if not isinstance(view, TargetView):
        return
    for one in (view.stable, view.canary):
        if one is not None:
            yield Picture(f"{view.target.cluster}/{one.namespace}/{one.name}", one.uid, one.generation), one
