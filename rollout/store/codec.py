"""Turn the core's values into JSON text and back, strictly: what this version does not know, it refuses to guess.

A state outlives the daemon that wrote it. So the coders are built from the type hints of frozen dataclasses (once, then
cached), and reading is closed: an unknown field or kind raises `Undecodable`, because a newer version meant something by it;
a missing field takes its default, because an older version did not know it yet; a missing field without default raises.

The shapes: a dataclass is an object with its fields in their order; where several classes can stand (a union, and the top),
the key `kind` holds the class name, and a field of that name moves to `kind_`. Enums are their values, datetimes ISO 8601 in
UTC, timedeltas seconds, tuples and sets lists, mappings objects with sorted keys, floats that JSON cannot say the words NaN,
Infinity, -Infinity.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from typing import TypeVar, cast

from rollout.core.errors import Problem, Refused
from rollout.store.coders import Coder, ShapeError, coder_of, has_own_kind, object_coder
from rollout.store.columns import dumps

T = TypeVar("T")


class Undecodable(Refused):
    """A stored value that this version cannot read. `row` says which, `path` where inside it, `seen` what stood there."""

    def __init__(self, row: str, path: str, seen: str) -> None:
        remedy = "run the version that wrote it, or a newer one, until this rollout has ended"
        place = f"{row or 'a stored value'}, at {path or 'its top'}"
        super().__init__(f"{place}: {seen}; this version of rollout is too old for it, or the row was changed by hand",
                         (Problem(message=seen, key=path, remedy=remedy),))  # fmt: skip
        self.row = row
        self.path = path
        self.seen = seen


@cache
def _top_coder(cls: Hashable) -> Coder:
    return object_coder(cls, tagged=not has_own_kind(cls)) if isinstance(cls, type) else coder_of(cls)


def encode(value: object) -> str:
    """Write a dataclass as compact JSON, fields in the order of the class, tagged with its class name.

    Raises TypeError for a type that has no coder and ValueError for a naive datetime: both are bugs of the caller.
    """
    return dumps(_top_coder(cast("Hashable", type(value))).encode(value))


def decode(cls: type[T], text: str, *, row: str = "") -> T:
    """Read what `encode` wrote. `cls` is a dataclass or a union of dataclasses; `row` names the row in errors.

    Raises Undecodable, with the path inside the value; nothing else, whatever the text.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Undecodable(row, "", f"not JSON ({error.__class__.__name__})") from None
    coder = _top_coder(cast("Hashable", cls))
    try:
        decoded: T = coder.decode(tree, "")
    except ShapeError as error:
        raise Undecodable(row, error.path, error.seen) from None
    except RecursionError:
        raise Undecodable(row, "", "nested too deeply") from None
    return decoded
