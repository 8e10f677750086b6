"""One rollout as a picture that fits the terminal: what whoever is called needs first is never what is cut off.

First where it stands, what comes next and what people may do; then window, gate and tests of a maintenance; the newest of its
history; the signals; who will notice; and more of the history, as far as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment

from rollout.cli.chain import lines
from rollout.cli.curves import signals
from rollout.cli.pictures import framed, head, latest, rows
from rollout.cli.portrait import Portrait

BORDER = 4
"""Columns that the frame takes."""
FRAME = 3
"""Lines that the frame takes, and the last one of the terminal, where the cursor stands."""
FEW = 4
"""Lines of history that are worth more than the signals."""

Drawn = list[list[Segment]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that were rendered already."""

    drawn: Sequence[list[Segment]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.drawn:
            yield from line
            yield Segment.line()


@dataclass(frozen=True, slots=True)
class Fitted:
    """The picture of a rollout, as high as the terminal allows; `taken` lines are needed by something else."""

    portrait: Portrait
    taken: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = _Page(console, options.update(width=max(options.max_width - BORDER, 1)), max(console.height - FRAME - self.taken, 1))
        yield framed(self.portrait, Lines(page.filled(self.portrait)))


@dataclass(slots=True)
class _Page:
    console: Console
    options: ConsoleOptions
    room: int

    def filled(self, portrait: Portrait) -> Drawn:
        """Choose lines by their worth, and put them into their order."""
        first = self._cut(self._draw(Group(*head(portrait))))
        shown = portrait.maintenance
        width = max((len(label) for label, _ in shown.around()), default=0) if shown is not None else 0
        standing = self._paragraph(self._draw(rows(shown.standing(), width))) if shown is not None else []
        few = self._history(portrait, min(FEW, self.room - 1))
        curves = self._paragraph(self._draw(signals(portrait.curves))) if portrait.curves else []
        around = self._cut(self._draw(rows(shown.around(), width))) if shown is not None else []
        self.room += len(few)
        story = self._history(portrait, self.room - 1)
        chain = self._cut(self._draw(Group(*lines(portrait.chain, portrait.row)))) if portrait.chain else []
        return [*first, *standing, *around, *curves, *story, *chain]

    def _draw(self, what: RenderableType) -> Drawn:
        return self.console.render_lines(what, self.options)

    def _cut(self, drawn: Drawn) -> Drawn:
        kept = drawn[: max(self.room, 0)]
        self.room -= len(kept)
        return kept

    def _paragraph(self, drawn: Drawn) -> Drawn:
        return self._cut([[], *drawn]) if self.room > 1 else []

    def _history(self, portrait: Portrait, most: int) -> Drawn:
        """Take the newest rows of history that fit as a whole."""
        found: Drawn = []
        for count in range(1, len(portrait.events) + 1):
            drawn = self._draw(latest(portrait.events[-count:]))
            if len(drawn) > most:
                break
            found = drawn
        return self._paragraph(found) if found else []


def height_of(console: Console, parts: Iterable[RenderableType]) -> int:
    """Tell how many lines some parts take."""
    return sum(len(console.render_lines(part)) for part in parts)
