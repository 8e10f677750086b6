"""Watches over HTTP: what was changed since a version, then what is changed, with bookmarks, until the agreed end.

A watch from a version that the log no longer reaches is answered as the real server does: 200 and one ERROR event with a 410
Status. A hanging API server is silent on watches too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rollout.ports import Clock
from rollout.sandbox.faults import Failing, Faults
from rollout.sandbox.kube_objects import ApiError, Json, Kind
from rollout.sandbox.kube_selectors import Matches
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.storage import Change, ChangeType

DEFAULT_SECONDS = 1_800.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """What is watched. `namespace` None means all; `version` empty or `0` begins with what there is; `seconds` are real."""

    kind: Kind
    namespace: str | None
    matches: Matches
    version: str
    bookmarks: bool
    seconds: float
    path: str
    shown: Callable[[Json], Json]


@dataclass(frozen=True, slots=True)
class Watches:
    """Serves watches on one world."""

    live: LiveWorld
    clock: Clock
    faults: Faults
    backend: str
    bookmark_seconds: float

    def stream(self, query: WatchQuery) -> Iterator[bytes]:
        """Yield the lines of one watch; an empty piece while there is nothing to say."""
        end = self.clock.monotonic() + query.seconds
        marked = self.clock.monotonic()
        try:
            version, first = self._begin(query)
        except ApiError as error:
            yield _line("ERROR", error.body())
            return
        yield b"".join(first)
        told = 0
        while self.clock.monotonic() < end:
            self.live.wait_for_change(version, min(_POLL_SECONDS, max(end - self.clock.monotonic(), 0.0)))
            fault = self.faults.of(self.backend)
            if fault is not None and fault.hits("GET", query.path) and fault.failing is not Failing.SLOW:
                if fault.failing is not Failing.HANG:
                    return
                yield b""
                continue
            try:
                version, lines = self._since(query, version)
            except ApiError as error:
                yield _line("ERROR", error.body())
                return
            now = self.clock.monotonic()
            if query.bookmarks and version != told and (now - marked >= self.bookmark_seconds or now >= end):
                lines.append(_line("BOOKMARK", _bookmark(query.kind, version)))
                marked, told = now, version
            yield b"".join(lines)

    def _begin(self, query: WatchQuery) -> tuple[int, list[bytes]]:
        with self.live.using() as world:
            if query.version not in {"", "0"}:
                return self._since(query, _number(query.version))
            present = world.objects(query.kind.plural, query.namespace)
            lines = [_line("ADDED", query.shown(obj)) for obj in present if query.matches(obj)]
            return world.storage.version, lines

    def _since(self, query: WatchQuery, version: int) -> tuple[int, list[bytes]]:
        with self.live.using() as world:
            if version > world.storage.version:
                words = f"Too large resource version: {version}, current: {world.storage.version}"
                raise ApiError(504, "Timeout", words, {"causes": [{"reason": "ResourceVersionTooLarge", "message": words}]})
            changes = world.storage.since(query.kind.plural, version)
            now_at = world.storage.version
        lines = []
        for change in changes:
            if query.namespace is None or change.namespace == query.namespace:
                word = _word(change, query.matches)
                if word:
                    lines.append(_line(word, query.shown(change.new)))
        return now_at, lines


def _word(change: Change, matches: Matches) -> str:
    """Say what a change means to somebody who sees only the objects that match; empty: nothing."""
    before = change.old is not None and matches(change.old)
    after = change.type is not ChangeType.DELETED and matches(change.new)
    if before and after:
        return "MODIFIED"
    if after:
        return "ADDED"
    return "DELETED" if before else ""


def _number(version: str) -> int:
    try:
        return int(version)
    except ValueError:
        raise ApiError(400, "BadRequest", f"invalid resource version {version!r}") from None


def _bookmark(kind: Kind, version: int) -> Json:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}


def _line(type_: str, obj: Json) -> bytes:
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"
