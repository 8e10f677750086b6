"""What can still be said of a plan of which some values cannot be read: contradictions and limits, in the same run.

What cannot be read is taken out of a copy of the document, and a stand-in put where a value is required. The rest is validated
again without looking for contradictions. Whatever is then found counts only where no value that it rests on was taken out, so
nobody is told of a fault that the mended plan would not have.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from rollout.core.errors import Problem
from rollout.core.plan_base import API_VERSION, LENIENT, Contradiction, Part
from rollout.core.plan_errors import Located, Path, keys_at, located_at, nearest, path_of

STAND_INS: Mapping[str, Any] = {
    "apiVersion": API_VERSION,
    "metadata": {"name": "x"},
    "name": "x",
    "spec": {},
    "target": {"namespace": "x", "stable": "x"},
    "namespace": "x",
    "stable": "x",
    "image": "x:1",
    "window": {"startAt": "2100-01-01 00:00", "timezone": "UTC", "duration": "31d"},
    "startAt": "2100-01-01 00:00",
    "timezone": "UTC",
    "duration": "31d",
    "gate": {},
    "url": "http://x",
}
"""What stands for a required value, by its key. Nothing that is said of a stand-in is ever shown."""
MOST_GUESSED = 200
"""Unknown keys whose meaning is guessed: a file with more of them is not a plan with a slip of the pen."""
ROUNDS = 8
"""Taking out one value may bring another to light: an entry without its name, a map without its one key."""


@dataclass(slots=True)
class Draft:
    """The readable rest of a document as a plan. `holes`: the paths of what was taken out, as the document has them."""

    model: type[BaseModel]
    document: Any
    holes: set[Path] = field(default_factory=set)
    kept: dict[Path, list[int]] = field(default_factory=dict)
    """Of each list that lost entries, which ones are left: their numbers in the document."""

    def build(self) -> Part | None:
        """Take out what cannot be read until the rest can be; None where nothing is left to judge."""
        for _ in range(ROUNDS):
            try:
                plan = self.model.model_validate(self.document, by_alias=True, by_name=False, context=LENIENT)
            except ValidationError as error:
                if not self._mend(error):
                    return None
            else:
                return plan if isinstance(plan, Part) else None
        return None

    def contradictions(self, plan: Part) -> Iterator[Located]:
        """Every pair of keys that do not fit together, of those that can be read."""
        for path, found in _walk(plan, ()):
            located = located_at(path, found.key, found.message, found.remedy)
            also = [(*path, *path_of(key)) for key in found.also]
            if self._known([*also, *([located.path] if found.key or not also else [])]):
                yield self._as_written(located)

    def readable(self, problems: Iterable[Problem]) -> Iterator[Located]:
        """Those problems that rest on nothing that was taken out."""
        for problem in problems:
            path = path_of(problem.key)
            if self._known([path, *map(path_of, problem.also)]):
                yield self._as_written(Located(path, problem))

    def _mend(self, error: ValidationError) -> bool:
        """Take out everything that this error complains of; False where nothing could be."""
        paths = [
            (details["type"], tuple(part for part in details["loc"] if part != "[key]"))
            for details in error.errors(include_url=False)
            if details["type"] != "default_factory_not_called"
        ]
        # From behind, so that the numbers of a list's entries stay true while others are taken out of it.
        taken = [self._take_out(kind, path) for kind, path in sorted(set(paths), key=lambda one: _order(one[1]), reverse=True)]
        return any(taken)

    def _take_out(self, kind: str, path: Path) -> bool:
        holder: Any = self.document
        depth = 0
        while depth < len(path) - 1 and _has(holder, path[depth]):
            holder, depth = holder[path[depth]], depth + 1
        if depth < len(path) - 1 or not path:
            return False
        key = path[-1]
        self.holes.add(self._path_as_written(path))
        if kind == "extra_forbidden" and isinstance(holder, dict) and len(self.holes) <= MOST_GUESSED:
            meant = nearest(str(key), keys_at(self.model, path[:-1]))
            if meant and meant not in holder:
                self.holes.add(self._path_as_written((*path[:-1], meant)))
        if isinstance(holder, list) and isinstance(key, int) and _has(holder, key):
            self._numbers(path[:-1], len(holder)).pop(key)
            holder.pop(key)
            return True
        if isinstance(holder, dict) and key in holder:
            del holder[key]
            return True
        if isinstance(holder, dict) and key in STAND_INS:
            holder[key] = copy.deepcopy(STAND_INS[str(key)])
            return True
        return False

    def _numbers(self, path: Path, length: int) -> list[int]:
        if path not in self.kept:
            self.kept[path] = list(range(length))
        return self.kept[path]

    def _path_as_written(self, path: Path) -> Path:
        """Turn a path of the draft into one of the document: entries of a list may have moved up."""
        return tuple(
            self.kept[path[:n]][part]
            if isinstance(part, int) and path[:n] in self.kept and part < len(self.kept[path[:n]])
            else part
            for n, part in enumerate(path)
        )

    def _as_written(self, located: Located) -> Located:
        path = self._path_as_written(located.path)
        if path == located.path:
            return located
        return located_at(path, "", located.problem.message, located.problem.remedy)

    def _known(self, concerned: Iterable[Path]) -> bool:
        return not any(_touch(self._path_as_written(path), hole) for path in concerned for hole in self.holes)


def draft_of(model: type[BaseModel], document: Mapping[str, Any]) -> tuple[Draft, Part | None]:
    """Make what can be made of a document that has errors."""
    draft = Draft(model, copy.deepcopy(dict(document)))
    return draft, draft.build()


def _walk(part: Part, path: Path) -> Iterator[tuple[Path, Contradiction]]:
    """Go through every part, and what each says of itself."""
    for name, info in type(part).model_fields.items():
        key = info.alias or name
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from _walk(value, (*path, key))
        elif isinstance(value, tuple):
            for number, entry in enumerate(value):
                if isinstance(entry, Part):
                    yield from _walk(entry, (*path, key, number))
    for found in part.contradictions():
        yield path, found


def _touch(one: Path, other: Path) -> bool:
    """Say whether one path leads through the other; `*` is every entry of a list."""
    return all(a == b or (a == "*" and isinstance(b, int)) for a, b in zip(one, other, strict=False))


def _has(holder: object, key: str | int) -> bool:
    if isinstance(holder, dict):
        return key in holder
    return isinstance(holder, list) and isinstance(key, int) and 0 <= key < len(holder)


def _order(path: Path) -> tuple[str, ...]:
    return tuple(f"{part:09}" if isinstance(part, int) else part for part in path)
