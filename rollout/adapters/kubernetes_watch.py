"""One kind in one namespace, followed: a list, then a watch from there, resumed for as long as the process lives.

A watch may die in many ways without a word (half-open connections, a hung server), and a quiet one looks the same. So each
watch is asked to end after a short while and is resumed where it ended; the server's bookmarks, ends and new beginnings are the
proof of life, and `heard` says how old the last of them is.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from rollout.adapters.kubernetes_api import ClusterSettings, Connection, Document, Reply, Request, Stream, failure
from rollout.core.errors import RolloutError, Unavailable
from rollout.ports import Clock

GONE = 410
PAGE = 1000
"""Objects per page of a list: about 10 MB of pods."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds between attempts: doubled each time, and spread over the upper half so that daemons do not march in step."""
SILENCE = timedelta(seconds=10)
"""How much longer than the agreed end a watch may be silent before it is taken for dead."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """When a watch last proved to be current (monotonic seconds; None: never yet), and what went wrong since."""

    at: float | None = None
    why: str = "the first list has not come back yet"


class _Expired(Exception):  # noqa: N818 - a turn of events, not an error
    """The version to resume from is too old: list again."""


class _Nonsense(Unavailable):
    """What came is no watch: that it was opened proves nothing."""


@dataclass(slots=True)
class Watch:
    """Follows one kind. `replaced` gets each whole list, `changed` each event; both run in the watch's own thread."""

    connection: Connection
    settings: ClusterSettings
    clock: Clock
    request: Request
    replaced: Callable[[list[Document]], None]
    changed: Callable[[str, Document], None]
    heard: Heard = field(default_factory=Heard)
    relists: int = 0
    _version: str = ""
    _failures: int = 0
    _stream: Stream | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread = threading.Thread(target=self._follow, name=f"watch {self.request.resource}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask to end; a blocked read ends too."""
        self._stopped.set()
        if stream := self._stream:
            stream.stop()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread:
            self._thread.join(seconds)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._turn()
            except _Expired:
                self._version = ""
                self._failures += 1
                if self._failures > 1:  # expired again at once: a list each time would only add to the server's trouble
                    self._pause()
            except RolloutError as error:
                self._failed(str(error), error.retry_after if isinstance(error, Unavailable) else None)
            except Exception as error:  # a bug, ours or a subscriber's, must not end the watch for ever
                log.exception("a watch met an error that nobody expected; it lists again")
                self._version = ""
                self._failed(f"{type(error).__name__} in the watch of {self.request.resource}", None)

    def _turn(self) -> None:
        """List if there is no version to resume from, then watch until the watch ends."""
        if not self._version:
            self._list()
        query = (
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version),
            ("timeoutSeconds", str(int(self.settings.watch_for.total_seconds()))),
        )
        request = replace(self.request, verb="watch", query=(*self.request.query, *query))
        opened = self.connection.stream(request, silence=self.settings.watch_for + SILENCE)
        if isinstance(opened, Reply):
            if opened.status == GONE:
                raise _Expired
            raise failure(self.settings.name, request, opened)
        self._stream = opened
        try:
            self._listen(opened)
        finally:
            self._stream = None
            opened.close()

    def _list(self) -> None:
        documents, version = listing(self.connection, self.request, self.settings.read_timeout)
        self.replaced(documents)
        self.relists += 1
        self._version = version
        self._alive()

    def _listen(self, stream: Stream) -> None:
        began, before = self.clock.monotonic(), self.heard
        self._alive()
        try:
            while not self._stopped.is_set() and (lines := stream.lines()) is not None:
                for line in lines:
                    self._take(*_event(line, self.connection.backend))
                self._alive()
        except _Nonsense:
            self.heard = before
            raise
        self._alive()
        self._failures = 0
        if self.clock.monotonic() - began < FIRST_WAIT:
            self._stopped.wait(FIRST_WAIT)  # somebody in between ends watches at once: do not spin

    def _take(self, event: str, document: Document) -> None:
        if event == "ERROR":
            if document.get("code") == GONE:
                raise _Expired
            self._version = ""
            raise Unavailable(self.connection.backend, f"the watch of {self.request.resource} ended: {document.get('message')}")
        if event != "BOOKMARK":
            self.changed(event, document)
        self._version = str((document.get("metadata") or {}).get("resourceVersion") or self._version)
        self._failures = 0

    def _alive(self) -> None:
        self.heard = Heard(self.clock.monotonic(), "")

    def _failed(self, why: str, retry_after: timedelta | None) -> None:
        if self._stopped.is_set():
            return
        self.heard = Heard(self.heard.at, why.removeprefix(f"{self.connection.backend}: "))
        self._failures += 1
        self._pause(retry_after)

    def _pause(self, retry_after: timedelta | None = None) -> None:
        wait = min(FIRST_WAIT * 2.0 ** min(self._failures - 1, 8), LONGEST_WAIT) * secrets.SystemRandom().uniform(0.5, 1.0)
        self._stopped.wait(max(wait, retry_after.total_seconds() if retry_after else 0.0))


def _event(line: bytes, backend: str) -> tuple[str, Document]:
    """Read one line of a watch: `{"type": ..., "object": {...}}`. Raises Unavailable for anything else."""
    try:
        event = json.loads(line)
        return str(event["type"]), dict(event["object"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        begin = line[:60].decode("utf-8", "replace")
        raise _Nonsense(backend, f"a watch sent a line that is no event ({begin!r}); is a proxy in between?") from error


def listing(connection: Connection, request: Request, timeout: timedelta) -> tuple[list[Document], str]:
    """List everything, page by page: the objects, and the version to watch from. Raises Unavailable, Rejected."""
    documents: list[Document] = []
    more = ""
    while True:
        query = (*request.query, ("limit", str(PAGE)), *((("continue", more),) if more else ()))
        answer = connection.want(replace(request, verb="list", query=query), timeout=timeout)
        documents += answer.get("items") or ()
        meta = answer.get("metadata") or {}
        more = str(meta.get("continue") or "")
        if not more:
            return documents, str(meta.get("resourceVersion", ""))
