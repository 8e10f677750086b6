"""What is wrong with a document, in words: key, what was seen, what is allowed, the nearest known key; all of it at once."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.core.errors import Problem
from rollout.core.quantities import seen

Path = tuple[str | int, ...]
_WORD = 80
_MOST = 100
_SECRET = re.compile(r"password|token|secret|apikey|adminkey|header|webhook|url$|^key$", re.IGNORECASE)
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Located:
    """A problem and the path that leads to it in the document, from which a reader finds line and column.

    `of_key`: the problem is the key itself (unknown), not its value.
    """

    path: Path
    problem: Problem
    of_key: bool = False


def dotted(path: Path) -> str:
    """Write a path as people read it: `spec.signals[2].limit`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if part.isprintable() else part.encode("unicode_escape").decode("ascii")
            text += ("." if text else "") + word[:_WORD]
    return text


def path_of(key: str) -> Path:
    """Read a path as `dotted` writes it.

    >>> path_of("spec.signals[2].limit")
    ('spec', 'signals', 2, 'limit')
    """
    return tuple(int(number) if number else word for word, number in re.findall(r"([^.\[\]]+)(?![^\[]*\])|\[(\d+)\]", key))


def nearest(word: str, known: Sequence[str]) -> str:
    """Find the known word that was probably meant; empty when none is near. Case and dashes do not count."""
    word = word[:_WORD]
    plain = {k.lower().replace("-", "").replace("_", ""): k for k in known}
    found = difflib.get_close_matches(word.lower().replace("-", "").replace("_", ""), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else ""


def unknown(word: str, known: Sequence[str]) -> str:
    """Word the remedy for a word that is not known."""
    near = nearest(word, known)
    return (f"did you mean {near}? " if near else "") + f"allowed: {', '.join(known)}"


def wrong_kind(document: object, kinds: Sequence[str], api_version: str) -> tuple[Located, ...]:
    """Say what is wrong with the head of a document, without which nothing else can be judged."""
    if not isinstance(document, Mapping):
        remedy = f"apiVersion, kind, metadata and spec, with kind {' or '.join(kinds)}"
        return (Located((), Problem(f"{seen(document)} was seen, a map is expected", remedy=remedy)),)
    kind = document.get("kind")
    if isinstance(kind, str) and kind in kinds:
        return ()
    problems = []
    if "kind" not in document:
        problems.append(located_at((), "kind", "is required", f"kind: {' or '.join(kinds)}"))
    else:
        near = unknown(kind, kinds) if isinstance(kind, str) else f"allowed: {', '.join(kinds)}"
        problems.append(located_at(("kind",), "", f"{seen(kind)} is not a kind of plan", near))
    if document.get("apiVersion") != api_version:
        path: Path = ("apiVersion",) if "apiVersion" in document else ()
        problems.append(located_at(path, "" if path else "apiVersion", f"{api_version} is expected", f"apiVersion: {api_version}"))
    return tuple(problems)


def explain(
    error: ValidationError, model: type[BaseModel], document: object, *, without: Sequence[str] = ()
) -> tuple[Located, ...]:
    """Word every problem that validation found, in the order of the document's model, but for the types `without`."""
    located: list[Located] = []
    found = [e for e in error.errors(include_url=False) if e["type"] not in without and not _follows(e, error)]
    for details in found[:_MOST]:
        located.extend(_explain(details, model, document))
    if len(found) > _MOST:
        located.append(located_at((), "", f"and {len(found) - _MOST} problems more", ""))
    return tuple(located)


def _follows(details: ErrorDetails, error: ValidationError) -> bool:
    """Say whether another error explains this one: a default made of a wrong key, a list too short for want of a wrong entry."""
    if details["type"] == "default_factory_not_called":
        return True
    loc, seen_value = details["loc"], details["input"]
    if details["type"] != "too_short" or not isinstance(seen_value, list) or not seen_value:
        return False
    return any(len(e["loc"]) > len(loc) and e["loc"][: len(loc)] == loc for e in error.errors(include_url=False))


def _explain(details: ErrorDetails, model: type[BaseModel], document: object) -> list[Located]:
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    context: Mapping[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "wrong":
            return [located_at(path, context["key"], context["text"], context["remedy"])]
        case "contradictions":
            return [located_at(path, c.key, c.message, c.remedy) for c in context["contradictions"]]
        case "missing":
            *parents, key = path
            return [located_at(tuple(parents), str(key), "is required", "")]
        case "extra_forbidden":
            remedy = unknown(str(path[-1]), keys_at(model, path[:-1]))
            return [Located(path, Problem(f"unknown key {seen(path[-1])}", key=dotted(path), remedy=remedy), of_key=True)]
        case _:
            message, remedy = _standard(details, context)
            words = [str(part) for part in path]
            value = "a value" if any(map(_SECRET.search, words)) else seen(_value_at(document, path))
            return [located_at(path, "", f"{value} was seen, {message}" if message else details["msg"], remedy)]


def _standard(details: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str]:
    expected = {
        "bool": ("true or false is expected", "without quotes; yes, no, on and off are texts in a plan"),
        "int": ("a whole number is expected", ""),
        "float": ("a number is expected", ""),
        "finite_number": ("a finite number is expected", ""),
        "string": ("a text is expected", "put it in quotes"),
        "tuple": ("a list is expected", ""),
        "list": ("a list is expected", ""),
        "dict": ("a map is expected", ""),
        "model": ("a map is expected", ""),
        "mapping": ("a map is expected", ""),
        "none": ("nothing is expected", ""),
    }
    kind = details["type"]
    for bound, word in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if bound in context:
            return f"{word} {context[bound]:g} is allowed", ""
    if kind in ("literal_error", "enum"):
        return f"{str(context['expected']).replace(chr(39), '')} is expected", ""
    if kind in ("too_long", "string_too_long"):
        return f"at most {context['max_length']} {'entries' if kind == 'too_long' else 'characters'} are allowed", ""
    if kind in ("too_short", "string_too_short"):
        return f"at least {context['min_length']} {'entries' if kind == 'too_short' else 'characters'} are expected", ""
    if kind == "string_pattern_mismatch":
        return "one line of text without control characters is expected", ""
    return expected.get(kind.split("_")[0], ("", ""))


def located_at(path: Path, key: str, message: str, remedy: str) -> Located:
    """Word a problem of a value, or with `key` (dotted) of one below it."""
    full = (*path, *(int(part) if part.isdigit() else part for part in key.split(".") if part))
    return Located(full, Problem(message, key=dotted(full), remedy=remedy))


def _value_at(document: object, path: Path) -> object:
    for part in path:
        try:
            document = document[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def keys_at(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """List the keys that the map at a path may have, as they are written in a file."""
    found: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or found is None:
            continue
        field = next((f for name, f in found.model_fields.items() if part in (name, f.alias)), None)
        found = _model_in(field.annotation) if field is not None else None
    return tuple(f.alias or name for name, f in found.model_fields.items()) if found is not None else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - an annotation can be any object
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (*_UNIONS, tuple, list, dict, Annotated):
        return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)
    return None
