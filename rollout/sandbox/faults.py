"""How a pretend backend can fail, by its name (`kubernetes`, `prometheus`, `webhooks`, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Failing(StrEnum):
    """The ways of failing on the wire."""

    HANG = "hang"
    """Accepts the request and never answers."""
    ERROR_500 = "http 500"
    UNAVAILABLE_503 = "http 503"
    HTML = "html"
    """Answers 200 with a web page, as a proxy's login does."""
    CUT = "cut"
    """Breaks off in the middle of the answer."""
    SLOW = "slow"
    """Answers rightly, `delay` later."""
    REFUSED_401 = "http 401"
    THROTTLED_429 = "http 429"
    """Answers 429 with `Retry-After: delay`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `path` limits it to paths that contain the text; `method` to one method; empty means all."""

    failing: Failing
    path: str = ""
    method: str = ""
    delay: timedelta = timedelta(seconds=2)
    """Real time: of SLOW, and of the Retry-After header."""

    def hits(self, method: str, path: str) -> bool:
        """Say whether a request meets the fault."""
        return self.path in path and self.method in {"", method}


class Faults:
    """The faults that hold now, by backend: `world.faults.set("prometheus", Fault(Failing.HANG))`, `clear("prometheus")`."""

    def __init__(self) -> None:
        self._by_backend: dict[str, Fault] = {}
        self._skews: dict[str, timedelta] = {}

    def set(self, backend: str, fault: Fault) -> None:
        """From now on a backend fails."""
        self._by_backend[backend] = fault

    def clear(self, backend: str = "") -> None:
        """From now on a backend (empty: every one) works again; requests that hang stay without an answer."""
        if backend:
            self._by_backend.pop(backend, None)
        else:
            self._by_backend.clear()

    def of(self, backend: str) -> Fault | None:
        """The fault of a backend; None when it works."""
        return self._by_backend.get(backend)

    def set_skew(self, backend: str, skew: timedelta) -> None:
        """Let a backend's own clock (its Date header) be wrong by so much."""
        self._skews[backend] = skew

    def skew(self, backend: str) -> timedelta:
        """How wrong a backend's clock is."""
        return self._skews.get(backend, timedelta())

    def __iter__(self) -> Iterator[tuple[str, Fault]]:
        """Pairs of backend and fault."""
        return iter(tuple(self._by_backend.items()))
