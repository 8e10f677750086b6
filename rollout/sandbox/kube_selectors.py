"""Label and field selectors as the API server understands them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rollout.sandbox.kube_objects import ApiError, Json, labels_of

Matches = Callable[[Json], bool]

_SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([\w./-]+)\s*(==|!=|=)\s*([\w.-]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([\w./-]+)\s*$")
_COMMA = re.compile(r",(?![^(]*\))")


def selecting(labels: str, fields: str) -> Matches:
    """Compile both selectors into one question. Raises ApiError 400."""
    tests = [_label_test(part) for part in _COMMA.split(labels) if part.strip()]
    tests += [_field_test(part) for part in fields.split(",") if part.strip()]
    return lambda obj: all(test(obj) for test in tests)


def _label_test(part: str) -> Matches:
    if found := _SET.match(part):
        key, word, values = found[1], found[2], {value.strip() for value in found[3].split(",")}
        if word == "in":
            return lambda obj: labels_of(obj).get(key) in values
        return lambda obj: labels_of(obj).get(key) not in values
    if found := _EQUAL.match(part):
        key, value, wanted = found[1], found[3], found[2] != "!="
        return lambda obj: (labels_of(obj).get(key) == value) == wanted
    if found := _EXISTS.match(part):
        key, wanted = found[2], not found[1]
        return lambda obj: (key in labels_of(obj)) == wanted
    raise ApiError(400, "BadRequest", f"unable to parse requirement: {part!r}")


def _field_test(part: str) -> Matches:
    found = _EQUAL.match(part) or re.match(r"^\s*([\w./-]+)\s*(==|!=|=)(.*)$", part)
    if not found:
        raise ApiError(400, "BadRequest", f"invalid selector: {part!r}; can't understand it")
    path, wanted, value = found[1].split("."), found[2] != "!=", found[3].strip()
    return lambda obj: (_field(obj, path) == value) == wanted


def _field(obj: Json, path: list[str]) -> str:
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
