"""YAML as people may write it for us: plain values with their places, everything wrong at once, nothing executed, bounded.

Read from parser events, not by a loader, because each trap of YAML is best refused where it shows: tags (which would build
objects), anchors and aliases (which grow), duplicate keys (of which the last would win), several documents, depth and size.
A scalar becomes null, a truth value, or a decimal number only where YAML 1.2 says so; `yes`, `6:00`, `0644`, `2026-11-22`
stay the texts that they are, and a number remembers how it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from rollout.core.errors import Problem, Refused
from rollout.core.plan_errors import Located, dotted
from rollout.core.plan_errors import Path as KeyPath
from rollout.core.quantities import seen

LARGEST = 1024 * 1024
DEEPEST = 32
MOST_VALUES = 20_000
MOST_PROBLEMS = 200
_EXCERPT = 160
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})?(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,3})?")
_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


class WrittenInt(int):
    """A whole number that remembers how it was written."""

    written: str


class WrittenFloat(float):
    """A number that remembers how it was written: `1.20` may be a version."""

    written: str


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, from 1, of a value and of the key that it stands under (the same for an entry of a list)."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass(frozen=True, slots=True)
class YamlFile:
    """One document as plain values, with the place of each, and the problems that did not stop the reading."""

    name: str
    text: str
    value: object
    places: dict[KeyPath, Place]
    problems: tuple[Problem, ...] = ()
    excerpts: bool = True
    lines: tuple[str, ...] = ()

    def locate(self, located: Located) -> Problem:
        """Give a problem its file, line, column and excerpt; a key that is not there is shown at the map that lacks it."""
        path = located.path
        place = self.places.get(path)
        line, column = (0, 0) if place is None else place.key if located.of_key else place.value
        while place is None and path:
            path = path[:-1]
            place = self.places.get(path)
            line, column = place.key if place is not None else (0, 0)
        return self._with_place(located.problem, line, column)

    def at(self, line: int, column: int, message: str, remedy: str = "", key: str = "") -> Problem:
        """Word a problem at a place."""
        return self._with_place(Problem(message, key=key, remedy=remedy), line, column)

    def refused(self, problems: tuple[Problem, ...]) -> Refused:
        """Make the refusal of the file, problems in the order of its lines."""
        found = tuple(sorted({*self.problems, *problems}, key=lambda p: (p.line, p.column, p.key, p.message)))
        message = f"{self.name}: {len(found)} problem{'s' if len(found) != 1 else ''}"
        if len(found) > MOST_PROBLEMS:
            found = (*found[:MOST_PROBLEMS], Problem(f"and {len(found) - MOST_PROBLEMS} problems more", file=self.name))
        return Refused(message, found)

    def _with_place(self, problem: Problem, line: int, column: int) -> Problem:
        excerpt = ""
        if self.excerpts and line:
            whole = self.lines[line - 1] if line <= len(self.lines) else ""
            excerpt = "".join(c if c.isprintable() else " " for c in whole) if column <= _EXCERPT else ""
        return replace(problem, file=self.name, line=line, column=column, excerpt=excerpt[:_EXCERPT].rstrip())


def read_bytes(path: Path) -> bytes:
    """Read a file that may be there or not, and of any size. Raises Refused."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        _refuse(str(path), "there is no such file")
    except IsADirectoryError:
        _refuse(str(path), "is a folder, a file is expected")
    except OSError as error:
        _refuse(str(path), f"cannot be read: {error.strerror or type(error).__name__}")
    except ValueError:
        _refuse(str(path), "is not the name of a file")
    return content


def read_yaml(content: bytes, name: str, *, excerpts: bool = True) -> YamlFile:
    """Read one document. Raises Refused where no values can be had; `problems` holds what else is wrong with the form.

    `excerpts=False` keeps lines of the file out of messages (files that may hold secrets).
    """
    text = _decode(content, name)
    file = YamlFile(name, text, None, {}, excerpts=excerpts, lines=tuple(_LINE_BREAK.split(text)))
    reader = _Reader(file)
    try:
        value = reader.read()
    except yaml.MarkedYAMLError as error:
        raise file.refused((_syntax(file, error),)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, LookupError, TypeError):
        # PyYAML lets some escapes and directives that it cannot read rise as they come ("\U00110000", "%YAML 9e9").
        line, column = reader.place
        raise file.refused((file.at(line, column, "this is not YAML", "check quotes and escapes here"),)) from None
    return replace(file, value=value, places=reader.places, problems=tuple(reader.problems))


def _refuse(name: str, message: str, remedy: str = "", line: int = 0, column: int = 0) -> NoReturn:
    raise Refused(f"{name}: {message}", (Problem(message, file=name, line=line, column=column, remedy=remedy),))


def _decode(content: bytes, name: str) -> str:
    if len(content) > LARGEST:
        _refuse(name, f"is larger than {LARGEST // 1024} KiB", "a plan has some kilobytes; is this the right file?")
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            _refuse(name, f"is written in {encoding}", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        line, column = _position(before)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8{_guess(content)}"
        _refuse(name, message, "save the file as UTF-8", line, column)
    found = _CONTROL.search(text)
    if found is not None:
        line, column = _position(text[: found.start()])
        what = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        _refuse(name, f"holds {what}", "a plan is a text file; is this the right file?", line, column)
    if not text.strip():
        _refuse(name, "is empty", "apiVersion, kind, metadata and spec are expected")
    return text


def _position(before: str) -> tuple[int, int]:
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _guess(content: bytes) -> str:
    try:
        guessed = content.decode("gb18030")
    except UnicodeDecodeError:
        return ""
    return " (it looks like GBK or GB18030)" if re.search("[\u4e00-\u9fff]", guessed) else ""


def _syntax(file: YamlFile, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    problem = re.sub(r"\s+", " ", error.problem or "this is not YAML")
    context = f" {error.context}" if error.context else ""
    began = error.context_mark
    since = f" that began in line {began.line + 1}" if began is not None and mark is not None and began.line != mark.line else ""
    remedy = "indentation, a missing quote or a missing colon, here or in the line above"
    if "'\\t'" in problem or "\t" in problem:
        remedy = "indent with spaces, not with tabs"
    elif "'%'" in problem or "'@'" in problem or "'`'" in problem:
        remedy = "put the text in quotes"
    elif "mapping values are not allowed" in problem:
        remedy = "put a text that holds ': ' in quotes, or check the indentation"
    return file.at(line, column, f"broken YAML: {problem}{context}{since}", remedy)


@dataclass(slots=True)
class _Reader:
    """Walks the events of one document; depth is bounded before anything recurses."""

    file: YamlFile
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    place: tuple[int, int] = (1, 1)
    values: int = 0

    def read(self) -> object:
        """Build the values of the one document."""
        events = self._events()
        value: object = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop("a second document begins here", "one plan per file; put the others into files of their own")
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, events, (), self.place)
        return value

    def _events(self) -> Iterator[yaml.Event]:
        for event in yaml.parse(self.file.text, Loader=yaml.SafeLoader):
            if event.start_mark is not None:
                self.place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.NodeEvent):
                self.values += 1
                if self.values > MOST_VALUES:
                    self._stop(f"there are more than {MOST_VALUES} values", "is this the right file?")
                if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                    sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
                    self._stop(f"anchors and aliases are not allowed ({sign}{seen(event.anchor)[1:-1]})", "write the value out")
                tag = getattr(event, "tag", None)
                if tag not in {None, "!"}:
                    self._stop(f"the tag {seen(tag)} is not allowed", "plain texts, numbers, lists and maps only")
            yield event

    def _stop(self, message: str, remedy: str) -> NoReturn:
        raise self.file.refused((*self.problems, self.file.at(*self.place, message, remedy)))

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: KeyPath, key: tuple[int, int]) -> object:
        self.places[path] = Place(key, self.place)
        if len(path) > DEEPEST:
            self._stop(f"the nesting is deeper than {DEEPEST}", "is this the right file?")
        if isinstance(event, yaml.ScalarEvent):
            self._check_characters(event.value, path)
            return scalar(event.value) if event.style is None else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, path)
        return self._map(events, path)

    def _list(self, events: Iterator[yaml.Event], path: KeyPath) -> list[object]:
        found: list[object] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            found.append(self._value(event, events, (*path, len(found)), self.place))
        return found

    def _map(self, events: Iterator[yaml.Event], path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            at = self.place
            if not isinstance(event, yaml.ScalarEvent):
                self._stop("a list or a map cannot be a key", "put a text that begins with [ or { in quotes")
            key = event.value
            self._check_characters(key, path)
            if key in found:
                first = self.places[(*path, key)].key[0]
                where = dotted((*path, key))
                self.problems.append(self.file.at(*at, f"the key was already given in line {first}", "keep one of them", where))
                shadow = _Reader(self.file, place=self.place)
                shadow._value(next(events), events, (*path, key), at)
                continue
            found[key] = self._value(next(events), events, (*path, key), at)
        return found

    def _check_characters(self, text: str, path: KeyPath) -> None:
        bad = _CONTROL.search(text)
        if bad is not None:
            message = f"the text holds the control character U+{ord(bad[0]):04X}"
            self.problems.append(self.file.at(*self.place, message, "take it out", dotted(path)))


def scalar(text: str) -> Any:  # noqa: ANN401 - null, a truth value, a number or a text
    """Give a plain (unquoted) scalar its value by the rules of this module."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        whole = WrittenInt(text)
        whole.written = text
        return whole
    if any(c.isdigit() for c in text) and text[0] in "+-.0123456789" and _FLOAT.fullmatch(text):
        number = WrittenFloat(text)
        number.written = text
        return number if abs(number) < float("inf") else text
    return text
