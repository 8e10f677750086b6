"""The folder of plan files: what appears or changes there is submitted, as if somebody had typed `rollout submit`.

A file is believed when two looks in a row found the same content: one that is just being written, or copied, may well be read
as a shorter plan. A ConfigMap mount works (its files are links into `..data`, which changes at once).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from rollout.core.errors import Problem, Refused
from rollout.core.observation import Line
from rollout.core.plan import Check, Plan
from rollout.core.wording import plural
from rollout.engine import events
from rollout.engine.usecases import Desk
from rollout.ports import Unavailable

log = structlog.get_logger()

ACTOR = "plans folder"
SUFFIXES = frozenset({".yaml", ".yml"})
MOST_FILES = 2000
"""Files looked at; a folder with more is not one of plans."""
LARGEST = 4 * 1024 * 1024
"""Bytes read of one file; the reader refuses far smaller ones, with its own words."""


class Read(Protocol):
    """What a plan file holds."""

    @property
    def plan(self) -> Plan:
        """The plan."""
        ...

    @property
    def source(self) -> str:
        """The text it was read from."""
        ...


@dataclass(slots=True)
class _File:
    """What is known of one file. `settled`: this content needs no second look; `told`: the last words about it."""

    content: str
    settled: bool = False
    told: str = ""


def plan_files(folder: Path) -> dict[str, Path]:
    """List the files of a folder that are taken for plans, by name. Raises OSError."""
    paths = sorted(folder.iterdir())[:MOST_FILES]
    return {path.name: path for path in paths if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()}


def examine(folder: Path, check: Check, parse: Callable[[bytes, str, Check], Read]) -> Iterator[Line]:
    """Say for `doctor` whether the folder can be read, and what is wrong with the plans in it; nothing is submitted."""
    name = "plans folder"
    try:
        files = {name: path.read_bytes() for name, path in plan_files(folder).items()}
    except OSError as error:
        words = f"{folder} cannot be read: {error.strerror or type(error).__name__}"
        yield Line(name, "refused", words, "see that it exists, and that the daemon's user may read it")
        return
    bad = 0
    for file, content in files.items():
        try:
            parse(content, file, check)
        except Refused as error:
            bad += 1
            words = "; ".join(str(problem) for problem in error.problems) or str(error)
            yield Line(name, "warning", words, "it is not submitted until it is mended; `rollout validate` shows the same")
    if not bad:
        yield Line(name, "ok", f"{folder} has {plural(len(files), 'plan file')}" + (", all valid" if files else ""))


class PlanFolder:
    """`look` is called periodically, never twice at the same time. `parse(bytes, name, check)` raises Refused."""

    def __init__(self, folder: Path, desk: Desk, parse: Callable[[bytes, str, Check], Read]) -> None:
        self._folder = folder
        self._desk = desk
        self._parse = parse
        self._files: dict[str, _File] = {}
        self.trouble = ""
        """Why the folder cannot be read now, empty while it can."""

    def look(self) -> None:
        """Submit what is new. A folder that is gone is told once, and looked for again."""
        try:
            found = plan_files(self._folder)
        except OSError as error:
            self._folder_trouble(f"{self._folder} cannot be read: {error.strerror or type(error).__name__}")
            return
        self._folder_trouble("")
        self._files = {name: file for name, file in self._files.items() if name in found}
        for name, path in found.items():
            try:
                self._file(name, path)
            except Exception as error:
                log.error(events.BUG, where=f"plan file {name}", exc_info=error)
                if name in self._files:
                    self._files[name].settled = True

    def _folder_trouble(self, why: str) -> None:
        if why and why != self.trouble:
            log.error(events.PLAN_FOLDER, why=why, next="it is looked for again; running rollouts go on")
        elif not why and self.trouble:
            log.info(events.PLAN_FOLDER, why=f"{self._folder} is there again")
        self.trouble = why

    def _file(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST)
        except OSError as error:
            self._tell(self._files.setdefault(name, _File("")), name, f"cannot be read: {error.strerror or type(error).__name__}")
            return
        digest = hashlib.sha256(content).hexdigest()
        known = self._files.get(name)
        if known is None or known.content != digest:
            self._files[name] = _File(digest)
        elif not known.settled:
            self._submit(known, name, content)

    def _submit(self, file: _File, name: str, content: bytes) -> None:
        """Refused for what the file says: it must change first. Refused for what runs now, or no database: tried again."""
        try:
            read = self._parse(content, name, self._desk.check)
        except Refused as error:
            file.settled = True
            self._tell(file, name, str(error), error.problems)
            return
        except Unavailable as error:
            self._tell(file, name, str(error), following="it is tried again")
            return
        try:
            done = self._desk.submit(read.plan, read.source, ACTOR)
        except Refused as error:
            self._tell(file, name, str(error), error.problems, following="it is tried again")
            return
        except Unavailable as error:
            self._tell(file, name, str(error), following="it is tried again")
            return
        file.settled = True
        if done.created:
            log.info(events.PLAN_SUBMITTED, file=name, plan=read.plan.name, rollout=done.rollout.id)
        else:
            log.debug(events.PLAN_SUBMITTED, file=name, plan=read.plan.name, rollout=done.rollout.id, why="had a rollout already")

    def _tell(self, file: _File, name: str, why: str, problems: tuple[Problem, ...] = (), following: str = "") -> None:
        if why == file.told:
            return
        file.told = why
        log.warning(
            events.PLAN_REFUSED,
            file=name,
            why=why,
            problems=[str(problem) for problem in problems],
            next=following or "mend the file; it is read again when it changes",
        )
