"""Hooks and tests of offline plans: HTTP requests without a memory, and programs without a shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import IO

import httpx

from rollout.adapters.http import connect_failure
from rollout.adapters.http_body import ENCODING, BodyError, TimeLeft, beginning, in_time
from rollout.core.errors import Refused, Unavailable
from rollout.core.wording import span
from rollout.ports import Clock
from rollout.ports_offline import Answered

LARGEST = 256 * 1024
"""Bytes of a body, unpacked, or of an output that are kept; a test looks for its text within them."""
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a command inherits. The daemon's secrets may stand in its environment, so nothing else goes on."""
_PIECE = 64 * 1024
_LAST_WORDS = 2.0
"""Seconds for which a command that was killed is waited for, and the output of one that has ended is read on."""


class HttpRequests:
    """Sends one request at a time, follows no redirect, keeps no cookie, reads no proxy variables."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str, *, timeout: timedelta) -> Answered:
        """Send one. Raises Unavailable when no answer came in time, Refused for what cannot be sent."""
        began, limit = self._clock.monotonic(), timeout.total_seconds()
        plain = {"Accept-Encoding": ENCODING}
        where = url.split("/", 3)[2].rpartition("@")[2] if "//" in url else url
        read = TimeLeft(self._clock, began + limit)
        try:
            with (
                httpx.Client(timeout=limit, follow_redirects=False, trust_env=False, headers=plain) as client,
                client.stream(
                    method, url, headers=dict(headers), content=body.encode() or None,
                    extensions={"timeout": client.timeout.as_dict() | {"read": read}},
                ) as answer,
            ):  # fmt: skip
                found = beginning(
                    in_time(answer.iter_raw(_PIECE), self._clock, began + limit, timeout), _packed_as(answer), LARGEST
                )
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError, OverflowError) as error:
            if not isinstance(error, BodyError):
                raise Refused(f"{method} to {where} cannot be sent: {_no_echo(error)}") from None
            failure = str(error)
        except httpx.HTTPError as error:
            failure = _worded(error, timeout)
        else:
            text = _text(found, answer.encoding or "utf-8")
            return Answered(answer.status_code, text, timedelta(seconds=self._clock.monotonic() - began))
        raise Unavailable(where, f"{method} /{_path(url)}: {failure}") from None


def _text(body: bytes, charset: str) -> str:
    """Read it as the server says; some of Python's codecs are none of text (`charset=hex`), and no server means them."""
    try:
        return body.decode(charset, "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def _packed_as(answer: httpx.Response) -> str:
    """Say what the body is to be unpacked from; a plan that asks for another packing gets what was sent."""
    encoding = answer.headers.get("content-encoding", "")
    return encoding if answer.request.headers["accept-encoding"] == ENCODING else ""


def _worded(error: httpx.HTTPError, timeout: timedelta) -> str:
    """Say what went wrong without the exception's own text, which may hold what was sent."""
    match error:
        case httpx.ConnectError():
            return connect_failure(error)
        case httpx.TimeoutException():
            return f"no answer within {span(timeout)}"
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError():
            return "the connection broke before the answer was complete"
        case _:
            return f"the request failed ({type(error).__name__})"


def _path(url: str) -> str:
    """Take the path without the query, which may hold a secret."""
    return "".join(url.split("/", 3)[3:]).partition("?")[0]


def _no_echo(error: Exception) -> str:
    """Word it without what was sent: a header may hold a secret."""
    header = isinstance(error, UnicodeError | httpx.LocalProtocolError)
    return "a header has letters that HTTP does not carry" if header else str(error)


class LocalCommands:
    """Runs programs beside the daemon, each in a session of its own, so that it ends with everything it has started."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def run(self, words: Sequence[str], environment: Mapping[str, str], *, timeout: timedelta) -> Answered:
        """Run one to its end. Raises Unavailable when it did not end in time (it is killed), Refused when it cannot be started."""
        began = self._clock.monotonic()
        kept = {key: os.environ[key] for key in KEPT_ENVIRONMENT if key in os.environ}
        try:
            process = subprocess.Popen(  # noqa: S603 - the plan's own command, without a shell; who submits plans may run it
                list(words),
                env={**kept, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"{words[0]} cannot be started: {error.strerror or type(error).__name__}") from error
        except ValueError as error:
            raise Refused(f"{words[0]} cannot be started: {error}") from error
        output = _Tail(process.stdout)
        try:
            code = process.wait(timeout.total_seconds())
        except subprocess.TimeoutExpired as error:
            raise Unavailable(words[0], f"did not end within {timeout.total_seconds():.0f} s, and was killed") from error
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has left nobody behind, or somebody of another user
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that cannot be killed is not waited for
                process.wait(_LAST_WORDS)
            output.end()
        return Answered(code, output.text, timedelta(seconds=self._clock.monotonic() - began))


class _Tail:
    """Reads an output to its end and keeps the last of it, however much there is."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None  # noqa: S101 - the caller has asked for a pipe
        self._pipe = pipe
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, name="command-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            while piece := self._pipe.read1(_PIECE):  # type: ignore[attr-defined]  # a buffered reader has it
                self._kept += piece
                del self._kept[:-LARGEST]

    def end(self) -> None:
        """Wait for the last words; somebody who left the session with the pipe in hand is not waited for."""
        self._thread.join(_LAST_WORDS)

    @property
    def text(self) -> str:
        """What was kept."""
        return bytes(self._kept).decode("utf-8", "replace")
