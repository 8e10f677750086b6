"""A circuit breaker: a backend that does not answer is left alone for a while, so that it costs its callers nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rollout.core.errors import Rejected, Unavailable
from rollout.core.wording import plural, span
from rollout.ports import Clock


class Breaker:
    """Counts failures in a row; at `limit` it opens for `rest`, then lets exactly one call through as a probe.

    A probe that fails opens it again for twice as long, up to `longest`; one that succeeds closes it. Only `Unavailable` (and a
    bug in the caller) counts as a failure: whoever says no is alive. Safe to share between threads. Time is monotonic.
    """

    def __init__(
        self,
        backend: str,
        clock: Clock,
        *,
        limit: int = 3,
        rest: timedelta = timedelta(seconds=15),
        longest: timedelta = timedelta(minutes=2),
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._limit = limit
        self._first_rest = rest
        self._longest = longest
        self._rest = rest
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False
        self._last = ""

    @property
    def is_open(self) -> bool:
        """Say whether calls are refused at the moment."""
        with self._lock:
            return self._open_until is not None and (self._probing or self._clock.monotonic() < self._open_until)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run one call under the breaker. Raises Unavailable without running it while the breaker is open."""
        self._admit()
        try:
            yield
        except Unavailable as failure:
            self._failed(str(failure), failure.retry_after)
            raise
        except Rejected:
            self._succeeded()
            raise
        except BaseException as failure:
            self._failed(type(failure).__name__, None)
            raise
        self._succeeded()

    def _admit(self) -> None:
        with self._lock:
            if self._open_until is None:
                return
            left = self._open_until - self._clock.monotonic()
            if left <= 0 and not self._probing:
                self._probing = True
                return
            wait = timedelta(seconds=max(left, 1.0))
            failures, last = self._failures, self._last.removeprefix(f"{self._backend}: ")
        seen = f"{plural(failures, 'failure')} in a row, the last one: {last}"
        raise Unavailable(self._backend, f"left alone after {seen}; asked again in {span(wait)}", retry_after=wait)

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            self._open_until = None
            self._probing = False
            self._rest = self._first_rest

    def _failed(self, why: str, retry_after: timedelta | None) -> None:
        with self._lock:
            self._failures += 1
            self._last = why
            asked_for = min(retry_after or timedelta(0), self._longest)
            if self._probing:
                self._rest = min(self._rest * 2, self._longest)
            if self._failures >= self._limit or self._probing or asked_for:
                tired = self._failures >= self._limit or self._probing
                rest = max(self._rest, asked_for) if tired else asked_for
                self._open_until = self._clock.monotonic() + rest.total_seconds()
            self._probing = False
