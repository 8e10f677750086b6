"""Hooks and tests of offline plans: HTTP requests without a memory, and programs without a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import httpx

from rollout.core.errors import Refused, Unavailable
from rollout.ports import Clock
from rollout.ports_offline import Answered

LARGEST = 256 * 1024
"""Characters of a body or an output that are kept; a test looks for its text within them."""
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a command inherits. The daemon's secrets may stand in its environment, so nothing else goes on."""


class HttpRequests:
    """Sends one request at a time, follows no redirect, keeps no cookie, reads no proxy variables."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str, *, timeout: timedelta) -> Answered:
        """Send one. Raises Unavailable when no answer came in time."""
        began = self._clock.monotonic()
        where = urlsplit(url).hostname or url
        try:
            with (
                httpx.Client(timeout=timeout.total_seconds(), follow_redirects=False, trust_env=False) as client,
                client.stream(method, url, headers=dict(headers), content=body or None) as answer,
            ):
                text = self._read(answer, began + timeout.total_seconds(), where)
        except httpx.HTTPError as error:
            raise Unavailable(where, f"{method} {urlsplit(url).path or '/'}: {type(error).__name__}: {error}") from error
        return Answered(answer.status_code, text, timedelta(seconds=self._clock.monotonic() - began))

    def _read(self, answer: httpx.Response, deadline: float, where: str) -> str:
        found = bytearray()
        for piece in answer.iter_bytes():
            found += piece
            if len(found) >= LARGEST:
                break
            if self._clock.monotonic() > deadline:
                raise Unavailable(where, "the answer did not end in time")
        return bytes(found[:LARGEST]).decode(answer.encoding or "utf-8", "replace")


class LocalCommands:
    """Runs programs beside the daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def run(self, words: Sequence[str], environment: Mapping[str, str], *, timeout: timedelta) -> Answered:
        """Run one to its end. Raises Unavailable when it did not end in time (it is killed), Refused when it cannot be started."""
        began = self._clock.monotonic()
        kept = {key: os.environ[key] for key in KEPT_ENVIRONMENT if key in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - the plan's own command, without a shell; who submits plans may run it
                list(words),
                env={**kept, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout.total_seconds(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(words[0], f"did not end within {timeout.total_seconds():.0f} s, and was killed") from error
        except OSError as error:
            raise Refused(f"{words[0]} cannot be started: {error.strerror or type(error).__name__}") from error
        took = timedelta(seconds=self._clock.monotonic() - began)
        return Answered(done.returncode, done.stdout[-LARGEST:].decode("utf-8", "replace"), took)
