"""An answer within limits: of time, for its headers too, and of size, whatever it is packed in.

Two KiB of gzip that is packed twice are a gigabyte before a client looks at it. Only gzip is asked for, so only gzip is
understood; and a body that breaks off before its end is an error, also where the length of what was sent is right.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

from rollout.core.wording import span
from rollout.ports import Clock

ENCODING = "gzip"
"""What goes into Accept-Encoding."""
_GZIP = 31
"""zlib's number for "a gzip header, the largest window"."""
_PIECE = 1 << 20


class TimeLeft:
    """What is left of one request's time whenever its socket is read, in whole seconds.

    A client's read timeout begins anew with every piece, so that a peer which sends its headers letter by letter would hold us
    for hours. The socket takes its timeout from here each time instead, and runs into TimeoutError when all of it is used.
    """

    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline

    def __index__(self) -> int:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return math.ceil(left)


class BodyError(ValueError):
    """A body that is too long, or not packed as it says. The text is for people."""


class SlowBodyError(BodyError):
    """A body that was not complete in time."""


def in_time(pieces: Iterable[bytes], clock: Clock, deadline: float, allowed: timedelta) -> Iterator[bytes]:
    """Pass the pieces on until `deadline` (monotonic). Raises SlowBodyError, which names the time that was `allowed`.

    The read timeout starts anew with every piece, so a peer that drips would hold us for ever without a deadline.
    """
    for piece in pieces:
        yield piece
        if clock.monotonic() > deadline:
            raise SlowBodyError(f"its answer was not complete within {span(allowed)}")


def unpacked(pieces: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """Put the pieces together; `encoding` is the Content-Encoding. Raises BodyError, also for more than `limit` bytes."""
    whole = bytearray()
    for part in _parts(pieces, encoding):
        whole += part
        if len(whole) > limit:
            raise BodyError(f"its answer is longer than {limit // 2**20} MiB")
    return bytes(whole)


def beginning(pieces: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """As `unpacked`, but of a longer body the first `limit` bytes: nothing after them is read, unpacked or judged."""
    found = bytearray()
    for part in _parts(pieces, encoding):
        found += part
        if len(found) >= limit:
            break
    return bytes(found[:limit])


def _parts(pieces: Iterable[bytes], encoding: str) -> Iterable[bytes]:
    match encoding.strip().lower():
        case "" | "identity":
            return pieces
        case "gzip" | "x-gzip":
            return _gunzip(pieces)
        case other:
            raise BodyError(f"its answer is packed as {other[:40]!r}, which nobody asked for")


def _gunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack at most a MiB at a time; several members one after the other are one body, as gzip means it."""
    member, begun = zlib.decompressobj(_GZIP), False
    try:
        for piece in pieces:
            rest, begun = piece, begun or bool(piece)
            while rest:
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(rest, _PIECE)
                rest = member.unused_data if member.eof else member.unconsumed_tail
    except zlib.error:
        raise BodyError("its answer is no gzip, although it says so") from None
    if begun and not member.eof:
        raise BodyError("its answer is gzip that breaks off")
