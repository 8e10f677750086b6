"""A signal as the engine asks it and the core judges it: every default filled in, nothing left to look up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class SignalKind(StrEnum):
    """What a reading of the signal is: counts per pod, a gauge per pod, or alarms that fire."""

    COUNTS = "counts"
    GAUGE = "gauge"
    ALARMS = "alarms"


class JudgeKind(StrEnum):
    """How the readings are judged.

    `ratio`: count test of candidate against baseline. `limit`: an absolute limit, k of n windows. `rank`: rank of a gauge per
    pod among the baseline's. `alarm`: an alarm that matches the candidate and not the baseline.
    """

    RATIO = "ratio"
    LIMIT = "limit"
    RANK = "rank"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Signal:
    """One configured source of evidence.

    `ask` and `parameters` (sorted pairs) go into `signals.Question`. `limit` is in the signal's unit: events per request for
    counts, milliseconds or 0..1 for gauges; None where the judge uses none. `k` of the last `n` windows over the limit fail.
    `delay`: how long after its end a window is asked. `min_requests`: candidate requests that a window needs to earn credit.
    `burst_candidate`, `burst_baseline`: events of one pod and window beyond these are not counted. `r0`: the ratio of error
    rates that is still harmless; `tolerance`: the same for gauges, 0.2 is 20 %. `weight`: part in the average of E-values.
    """

    name: str
    backend: str
    ask: str
    parameters: tuple[tuple[str, str], ...]
    kind: SignalKind
    judge: JudgeKind
    window: timedelta
    delay: timedelta
    required: bool = True
    dry_run: bool = False
    limit: float | None = None
    k: int = 3
    n: int = 5
    r0: float = 1.0
    alpha: float = 0.01
    tolerance: float = 0.2
    min_requests: int = 1
    burst_candidate: int = 2
    burst_baseline: int = 20
    weight: float = 1.0

    @property
    def counts(self) -> bool:
        """Say whether the signal has a word in the decision: advisory ones and dry runs are only shown."""
        return self.required and not self.dry_run

    def parameter(self, key: str, default: str = "") -> str:
        """Look up one parameter."""
        return dict(self.parameters).get(key, default)
