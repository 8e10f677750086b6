"""How versions behave: what a container of an image does once a pod runs it, for better or worse.

Behaviours hang on image strings, and are remembered with the time from which they hold, so that a version that turns bad at
noon was good in the morning also for whoever asks later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One version's conduct. The default is a healthy one.

    Start: `pull_after` and `ready_after` (None: never ready; counted from the container's start), `pull_error` and
    `config_error` (a text: the container never starts, and why).
    Life: `crash_after` each start (`crash_times` limits how often; None is a crash loop), `oom_after` likewise with
    OOMKilled, `unready_after` the readiness probe fails (`unready_for` so long; None for ever), `stop_after` from SIGTERM to
    the end (the grace period cuts it short).
    Jobs: the pod ends `completes_after` its start with `exit_code`; its log holds `log` (for any pod).
    Traffic: `error_rate` and `slow_rate` are parts of the requests (0..1), `latency_ms` the median answer time, `slow_ms` that
    of the slow part; `log_error_rate` error lines and `trace_error_rate` error traces per request beyond the one of each
    failed request. These six hold from `onset` after the container's start; before it they are a healthy version's.
    """

    pull_after: timedelta = timedelta(seconds=2)
    ready_after: timedelta | None = timedelta(seconds=5)
    stop_after: timedelta = timedelta(seconds=2)
    pull_error: str = ""
    config_error: str = ""
    crash_after: timedelta | None = None
    oom_after: timedelta | None = None
    crash_times: int | None = None
    unready_after: timedelta | None = None
    unready_for: timedelta | None = None
    completes_after: timedelta = timedelta(seconds=5)
    exit_code: int = 0
    log: tuple[str, ...] = ()
    error_rate: float = 0.001
    latency_ms: float = 40.0
    slow_rate: float = 0.0
    slow_ms: float = 3_000.0
    log_error_rate: float = 0.0
    trace_error_rate: float = 0.0
    onset: timedelta = timedelta()


HEALTHY = Behaviour()


class Behaviours:
    """Behaviour by image string: `world.behaviours["nginx:1.27"] = Behaviour(error_rate=0.2)`, from now on.

    Setting it also changes the pods that run already. An image nobody spoke of behaves like `default`.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.default = HEALTHY
        self.listeners: list[Callable[[str], None]] = []
        self._now = now
        self._since: dict[str, tuple[list[datetime], list[Behaviour]]] = {}

    def __getitem__(self, image: str) -> Behaviour:
        """The behaviour that holds now."""
        known = self._since.get(image)
        return known[1][-1] if known else self.default

    def __setitem__(self, image: str, behaviour: Behaviour) -> None:
        """From now on, an image behaves like this."""
        times, behaviours = self._since.setdefault(image, ([], []))
        if times and times[-1] == self._now():
            behaviours[-1] = behaviour
        else:
            times.append(self._now())
            behaviours.append(behaviour)
        for listener in self.listeners:
            listener(image)

    def __contains__(self, image: str) -> bool:
        """Say whether anybody spoke of the image."""
        return image in self._since

    def governing(self, images: Iterable[str]) -> str:
        """Choose whose image's behaviour is the pod's: the first that somebody spoke of, else the first."""
        listed = list(images)
        return next((image for image in listed if image in self._since), listed[0])

    def at(self, images: Iterable[str], when: datetime) -> Behaviour:
        """The behaviour of a pod that runs these images, as it held at a time."""
        known = self._since.get(self.governing(images))
        if known is None:
            return self.default
        index = bisect_right(known[0], when) - 1
        return known[1][index] if index >= 0 else self.default
