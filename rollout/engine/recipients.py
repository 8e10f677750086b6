"""Who gets which notice: a plan names channels, and a channel may take only some kinds (`events` of the configuration)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from rollout.core.history import Notice, NoticeKind
from rollout.core.observation import Line

Takes = Mapping[str, frozenset[NoticeKind]]
"""The kinds of notice that a channel takes; one that is not named here takes all."""
VITAL = (NoticeKind.NEEDS_PERSON, NoticeKind.STEPPING_BACK)
"""What somebody must hear."""


def takes(who: Takes, channel: str, kind: NoticeKind) -> bool:
    """Say whether a channel takes this kind of notice."""
    return kind in who.get(channel, (kind,))


def addressed(notices: Iterable[Notice], channels: tuple[str, ...], who: Takes) -> tuple[Notice, ...]:
    """Give each notice the channels that take it, out of those of its rollout; one that nobody takes is not owed.

    But what somebody must hear is told in the wrong place rather than nowhere (a plan that names only its customers' channel).

    A notice with channels of its own keeps them: its plan has named them for this very purpose (`announce.channels`).
    """
    return tuple(_addressed(notices, channels, who)) if who and channels else tuple(notices)


def _addressed(notices: Iterable[Notice], channels: tuple[str, ...], who: Takes) -> Iterator[Notice]:
    for notice in notices:
        taken = notice.channels or tuple(channel for channel in channels if takes(who, channel, notice.kind))
        if not taken and notice.kind in VITAL:
            taken = channels
        if taken:
            yield replace(notice, channels=taken)


def unheard(channels: Iterable[str], who: Takes) -> Iterator[Line]:
    """Warn of what no channel takes although somebody must hear it; silent where there is no channel at all."""
    names = tuple(channels)
    missing = [kind.value for kind in VITAL if names and not any(takes(who, name, kind) for name in names)]
    if missing:
        words = f"no channel takes {' or '.join(missing)}: every channel is told when a rollout steps back or waits for a person"
        yield Line("channels", "warning", words, f"add {' and '.join(missing)} to the `events` of one")
