"""Which windows of which signals are due, and about which pods: pure, so that a restart asks the very same questions again.

Windows are disjoint, lie on the grid of their own length, and each is used once: a signal's `used_until` is the end of the
last one used. A window is asked `delay` after its end, so that the backend has it whole. A pod belongs to a window only when it
was ready, past its warm-up, for all of it; young baseline pods are treated alike. Counts and alarms are asked about young
candidate pods as well: the hard guards act from the first window in which a pod was ready, the statistics leave it out
(core/evidence.py).

Where candidate and baseline are compared by counts, the half hour before the rollout is asked about the baseline alone: how its
errors clump is then known when the candidate's first window comes, and a fault that is there from the start is found sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollout.core.cohorts import Cohorts, Pod
from rollout.core.signals import PodKey, Question, Window
from rollout.core.signals_compiled import JudgeKind, Signal, SignalKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_WINDOWS_AT_ONCE = 10
"""How many windows of one signal are asked together when it has fallen behind."""
OLDEST = timedelta(hours=2)
"""Windows that ended longer ago are given up: many backends no longer answer exactly."""
HISTORY = timedelta(minutes=30)
"""How much of the baseline's time before the rollout is read."""


@dataclass(frozen=True, slots=True)
class Due:
    """The windows to ask now, and from where a signal goes on when older ones are given up."""

    windows: tuple[Window, ...]
    skipped_to: datetime | None = None


def floor(at: datetime, length: timedelta) -> datetime:
    """Go back to the grid of `length`, counted from 1970 UTC."""
    return at - (at - EPOCH) % length


def ceiling(at: datetime, length: timedelta) -> datetime:
    """Go forward to the grid of `length`."""
    down = floor(at, length)
    return down if down == at else down + length


def due(signal: Signal, used_until: datetime | None, ready_from: datetime | None, now: datetime) -> Due:
    """Tell which windows of a signal can be asked now. `ready_from`: since when a candidate pod is past its warm-up."""
    if ready_from is None:
        return Due(())
    first = ceiling(ready_from, signal.window)
    start = first if used_until is None else max(used_until, first)
    oldest = floor(now - OLDEST, signal.window)
    skipped = start < oldest
    start = max(start, oldest)
    windows: list[Window] = []
    while start + signal.window + signal.delay <= now and len(windows) < MOST_WINDOWS_AT_ONCE:
        windows.append(Window(start, start + signal.window))
        start += signal.window
    return Due(tuple(windows), oldest if skipped else None)


def warm_from(pods: Iterable[Pod], warm_up: timedelta) -> datetime | None:
    """Tell since when at least one of these pods is past its warm-up, None if none is ready."""
    since = [pod.ready_since + warm_up for pod in pods if pod.ready and pod.ready_since is not None]
    return min(since, default=None)


def members(pods: Iterable[Pod], window: Window, warm_up: timedelta) -> tuple[Pod, ...]:
    """Choose the pods that were warm for the whole window."""
    return tuple(p for p in pods if p.ready and p.ready_since is not None and p.ready_since + warm_up <= window.start)


def young(pod: Pod, window: Window, warm_up: timedelta) -> bool:
    """Say whether a pod was still warming up in a window."""
    return pod.ready_since is not None and window.start < pod.ready_since + warm_up


def _history_from(candidate: datetime | None, baseline: datetime | None, started_at: datetime) -> datetime | None:
    """Begin with the first of both cohorts, but at most HISTORY before the rollout began; None while nobody is warm."""
    known = [at for at in (candidate, baseline) if at is not None]
    return max(min(known), started_at - HISTORY) if known else None


def questions(
    signals: Iterable[Signal],
    used: dict[str, datetime | None],
    cohorts: Cohorts,
    namespace: str,
    warm_up: timedelta,
    now: datetime,
    started_at: datetime | None = None,
) -> tuple[Question, ...]:
    """Word every question that is due, about both cohorts. `started_at`: the rollout's beginning, None to leave history alone."""
    found: list[Question] = []
    for signal in signals:
        patience = warm_up if signal.kind is SignalKind.GAUGE else timedelta()
        ready_from = warm_from(cohorts.candidate, patience)
        compared = started_at is not None and signal.kind is SignalKind.COUNTS and signal.judge is JudgeKind.RATIO
        if compared and started_at is not None:
            ready_from = _history_from(ready_from, warm_from(cohorts.baseline, warm_up), started_at)
        windows = due(signal, used.get(signal.name), ready_from, now).windows
        if signal.kind is SignalKind.ALARMS:
            windows = windows[-1:]
        for window in windows:
            candidate = members(cohorts.candidate, window, patience)
            if not candidate and not compared:
                continue
            pods = sorted((*candidate, *members(cohorts.baseline, window, warm_up)), key=lambda pod: (pod.name, pod.uid, pod.ip))
            keys = tuple(PodKey(namespace, pod.name, pod.uid, pod.ip) for pod in pods)
            found.append(Question(signal.name, signal.backend, signal.ask, signal.parameters, keys, window))
    return tuple(found)
