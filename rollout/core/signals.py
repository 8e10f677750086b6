"""Signals as data: what is asked, about which pods and window, and what an answer can be.

A reading is counts or gauges per pod, a list of firing alarms, `NoData` (the backend answered, and has nothing) or
`Unreachable` (the backend did not answer, or not in a way that can be believed). The last two are never good news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open span of time `[start, end)`, UTC, both on the grid of its length (core/windows.py)."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long the window is."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, order=True)
class PodKey:
    """How the backends know a pod: Kubernetes by name, SkyWalking and APISIX by IP, logs by name."""

    namespace: str
    name: str
    uid: str
    ip: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a set of pods in one window.

    `signal` is the name of the signal in the plan, `backend` the name of a backend in the daemon's configuration, `ask` the
    source's own word for what to ask (`promql`, `error-traces`, `success-rate`, `response-time`, `error-logs`, `5xx`,
    `latency`, `alerts`, ...), `parameters` its settings as sorted pairs (hashable): for `promql` the keys `events`,
    `requests` or `gauge` hold templates with `{{pods}}`, and `label` says which label of the answer names the pod (its
    values are pod names or pod IPs; the source maps them back to pod names).
    """

    signal: str
    backend: str
    ask: str
    parameters: tuple[tuple[str, str], ...]
    pods: tuple[PodKey, ...]
    window: Window

    def parameter(self, key: str, default: str = "") -> str:
        """Look up one parameter."""
        return dict(self.parameters).get(key, default)


@dataclass(frozen=True, slots=True)
class PodCount:
    """Bad events, and requests where they are measured (None: this signal does not count requests), in the window.

    `kinds`: what kinds of event there were, where the source can tell (an exception's class, an endpoint, a normalised line).
    """

    events: float
    requests: float | None = None
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts by pod name. A pod that is not in the mapping is one the backend knows nothing of; 0 is a measured 0."""

    by_pod: Mapping[str, PodCount]


@dataclass(frozen=True, slots=True)
class Gauges:
    """A finite number by pod name, in the signal's own unit (milliseconds for times, 0..1 for ratios)."""

    by_pod: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm that fires: where it points (`pods` by name; empty: the whole service), since when, in which words."""

    name: str
    since: datetime
    message: str
    pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alarms:
    """The alarms that fire now and match the question; an empty tuple is the good answer."""

    firing: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class NoData:
    """The backend answered and has nothing: which series, selector or index, in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The backend did not answer, or answered something that cannot be believed (an error, HTML, a partial result)."""

    why: str


Reading = Counts | Gauges | Alarms | NoData | Unreachable


@dataclass(frozen=True, slots=True)
class Answer:
    """A reading with what was really sent, for evidence. `query` holds no secret; `at` is when it was asked (UTC)."""

    question: Question
    reading: Reading
    query: str
    at: datetime
