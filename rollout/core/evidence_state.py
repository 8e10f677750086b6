"""What is remembered of one signal, as stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollout.core.judge_counts import CountState
from rollout.core.judge_frozen import FrozenBaseline
from rollout.core.judge_rank import RankState


class Verdict(StrEnum):
    """What a signal says now. Stored: never rename. Only `healthy` is good news."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAILING = "failing"
    NO_DATA = "no data"
    UNREACHABLE = "unreachable"
    IDLE = "idle"
    """Measured: there were not enough requests to say anything. No blindness, and no credit."""
    WARMING = "warming up"
    SHARED = "shared incident"
    """The baseline suffers as well: nothing to blame on the candidate, and nothing to credit to it."""

    @property
    def blind(self) -> bool:
        """Say whether nothing is known."""
        return self in {Verdict.NO_DATA, Verdict.UNREACHABLE}


@dataclass(frozen=True, slots=True)
class SignalState:
    """One signal's memory. `used_until`: the end of the last window that was used; no window is used twice.

    `seen_at`: when a reading last brought knowledge (window end). `bad`: the last n outcomes of a limit rule, oldest first.
    `last` are the figures of the last used window for status lines and evidence; `query` was its question as sent. `certified`:
    enough positive evidence for promotion, `certificate` says so or what is missing.
    """

    name: str
    used_until: datetime | None = None
    verdict: Verdict = Verdict.WARMING
    why: str = "no window has been read yet"
    since: datetime | None = None
    seen_at: datetime | None = None
    blind_since: datetime | None = None
    bad: tuple[bool, ...] = ()
    count: CountState | None = None
    since_summary: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Candidate events and requests, baseline events and requests since the last hourly summary."""
    idle_windows: int = 0
    """Windows in a row in which the baseline was busy and the candidate got nothing."""
    last: tuple[tuple[str, float], ...] = ()
    query: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    e_value: float = 0.0
    certified: bool = False
    certificate: str = ""
    rank: RankState | None = None
    frozen: FrozenBaseline | None = None
    """The soak's baseline counts by hour of day, as far as promotion and bake have not used them."""
    rolling: CountState | None = None
    """The test of promotion and bake, which begins anew: the soak's evidence has used the frozen counts."""
    kinds: tuple[str, ...] = ()
    """Kinds of error that the soak has shown on either cohort; another one in promotion stops it."""
    traffic_at: datetime | None = None
    """The end of the last window by which the candidate had got the requests that earn credit."""
    waiting_requests: float = 0.0
    """Candidate requests since then."""
