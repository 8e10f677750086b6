"""Who is let in when: two clients knock at the gateway all the time, one from outside, one of the allow-list.

They are real clients of the pretend gateway, with addresses of their own; what they get is what the picture shows.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx
from rich.table import Table
from rich.text import Text

ALLOWED, OUTSIDE = "127.0.0.1", "127.0.0.2"
"""Two addresses of one machine: to a gateway they are two clients."""
FIXED, ERRORS = 403, 400


@dataclass(frozen=True, slots=True)
class Answer:
    """What one client got. `served`: the gate let it through, and the service answered."""

    served: bool
    words: str


@dataclass(slots=True)
class Spell:
    """From `since` on both clients got the same, `knocks` times."""

    since: datetime
    outside: Answer
    allowed: Answer
    until: datetime
    knocks: int = 1

    def __str__(self) -> str:
        return f"outside {OUTSIDE}: {self.outside.words} · allow-list {ALLOWED}: {self.allowed.words}"


class GateWatch:
    """Knocks, and remembers. A context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = contextlib.ExitStack()
        self._clients = [self._stack.enter_context(_client(address)) for address in (OUTSIDE, ALLOWED)]
        self.spells: list[Spell] = []
        self._told = 0

    def close(self) -> None:
        """Give back connections."""
        self._stack.close()

    def knock(self, now: datetime) -> None:
        """Ask once as each client."""
        outside, allowed = (self._ask(client) for client in self._clients)
        last = self.spells[-1] if self.spells else None
        if last is not None:
            last.until = now
        if last is not None and (last.outside, last.allowed) == (outside, allowed):
            last.knocks += 1
        else:
            self.spells.append(Spell(now, outside, allowed, now))

    def _ask(self, client: httpx.Client) -> Answer:
        try:
            answer = client.get(self._url)
        except httpx.HTTPError as error:
            return Answer(served=False, words=f"no answer ({type(error).__name__})")
        found = _document(answer.text)
        if answer.status_code == FIXED:
            return Answer(served=False, words=f"{FIXED} {found.get('message', '')}".strip())
        if answer.status_code >= ERRORS:
            return Answer(served=False, words=f"{answer.status_code}, {found.get('error') or 'nobody behind the gate'}")
        return Answer(served=True, words=f"served by {found.get('version', 'the service')}")

    def news(self) -> Sequence[Spell]:
        """List the spells that were not told yet."""
        new = self.spells[self._told :]
        self._told = len(self.spells)
        return new

    def lines(self) -> Iterator[str]:
        """Tell who was let in when, a line a spell."""
        yield f"Who was let in when (outside is {OUTSIDE}, the allow-list has {ALLOWED}):"
        width = max((len(spell.outside.words) for spell in self.spells), default=0)
        for spell in self.spells:
            marks = _mark(spell.outside), _mark(spell.allowed)
            yield (
                f"  {spell.since:%d %H:%M:%S} to {spell.until:%H:%M:%S}  outside {marks[0]} {spell.outside.words:<{width}}"
                f"  allow-list {marks[1]} {spell.allowed.words}"
            )

    def picture(self) -> Table:
        """Draw the same for the live view."""
        table = Table.grid(padding=(0, 2))
        table.add_row(Text("the gate", style="bold"), Text(f"outside {OUTSIDE}", style="bold"),
                      Text(f"allow-list {ALLOWED}", style="bold"))  # fmt: skip
        for spell in self.spells:
            when = Text(f"{spell.since:%d %H:%M} - {spell.until:%H:%M}", style="dim")
            table.add_row(when, _drawn(spell.outside), _drawn(spell.allowed))
        return table


def _mark(answer: Answer) -> str:
    return "●" if answer.served else "○"


def _drawn(answer: Answer) -> Text:
    return Text(f"{_mark(answer)} {answer.words}", style="green" if answer.served else "red")


def _client(address: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=10.0, trust_env=False)


def _document(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def second_address() -> bool:
    """Say whether this machine has a second loopback address (Linux always, macOS only when it was added)."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((OUTSIDE, 0))
        return True
    return False
