"""Coders of the values that hold no others: words, figures, times, enums."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import NoneType
from typing import Any, NamedTuple

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHAPES = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number",
           NoneType: "null"}  # fmt: skip


class Coder(NamedTuple):
    """`encode(value)` makes a tree of JSON values; `decode(tree, path)` makes the value, or raises ShapeError."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any, str], Any]


class ShapeError(ValueError):
    """Something in the tree that this version does not know."""

    def __init__(self, path: str, seen: str) -> None:
        super().__init__(f"{path}: {seen}")
        self.path = path
        self.seen = seen


def shape_of(tree: object) -> str:
    """Say in words what kind of JSON this is."""
    return _SHAPES.get(type(tree), type(tree).__name__)


def plain_coder(hint: Any) -> Coder | None:  # noqa: ANN401 - any type hint
    """Find the coder of a plain type; None when the type holds others."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_coder(hint)
    return None


def _enum_coder(cls: type[Enum]) -> Coder:
    def decode(tree: Any, path: str) -> Enum:  # noqa: ANN401 - any JSON
        try:
            return cls(tree)
        except ValueError:
            raise ShapeError(path, f"{tree!r:.60} is no {cls.__name__}") from None

    return Coder(lambda value: value.value, decode)


def as_it_is(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Encode what is JSON already; known by identity, so that callers can skip the call."""
    return value


def _same(kind: type) -> Coder:
    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
        if type(tree) is not kind:
            raise ShapeError(path, f"{shape_of(tree)} where {_SHAPES[kind]} belongs")
        return tree

    return Coder(as_it_is, decode)


def _encode_float(value: float) -> float | str:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _decode_float(tree: Any, path: str) -> float:  # noqa: ANN401 - any JSON
    if type(tree) is float or type(tree) is int:
        try:
            return float(tree)
        except OverflowError:
            raise ShapeError(path, "a number beyond every measure") from None
    if isinstance(tree, str) and tree in _WORDS:
        return _WORDS[tree]
    raise ShapeError(path, f"{shape_of(tree)} where a number belongs")


def _encode_datetime(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"a naive datetime reached the codec: {value!r}")
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat()


def _decode_datetime(tree: Any, path: str) -> datetime:  # noqa: ANN401 - any JSON
    try:
        moment = datetime.fromisoformat(tree)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ShapeError(path, f"{tree!r:.60} is no time with a zone")


def _encode_timedelta(value: timedelta) -> int | float:
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _decode_timedelta(tree: Any, path: str) -> timedelta:  # noqa: ANN401 - any JSON
    if type(tree) is float or type(tree) is int:
        try:
            return timedelta(seconds=tree)
        except (OverflowError, ValueError):
            pass
    raise ShapeError(path, f"{tree!r:.60} is no number of seconds")


_PLAIN: dict[Any, Coder] = {
    str: _same(str),
    int: _same(int),
    bool: _same(bool),
    NoneType: _same(NoneType),
    None: _same(NoneType),
    float: Coder(_encode_float, _decode_float),
    datetime: Coder(_encode_datetime, _decode_datetime),
    timedelta: Coder(_encode_timedelta, _decode_timedelta),
}
