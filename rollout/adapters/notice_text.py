"""Notices in words: one layout for every chat, cut to each one's limits. Pure functions.

The layout is for the person on call: what happened, what was seen, the evidence, what happens next, and which rollout it is.
When a limit bites, evidence goes first; the title, the next action and the rollout's id always stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollout.core.history import NoticeKind
from rollout.core.wording import step_words
from rollout.ports import Message

NEXT = "Next:"
"""What stands before the next action."""
_ELLIPSIS = "..."
_MENTION = re.compile(r"@(?=(?:all|here|channel|everyone)\b)", re.IGNORECASE)
_ALARMING = frozenset({NoticeKind.STEPPING_BACK, NoticeKind.NEEDS_PERSON})
_WARNING = frozenset({NoticeKind.HELD, NoticeKind.STEPPED_BACK})
_GOOD = frozenset({NoticeKind.SUCCEEDED, NoticeKind.PROMOTED})

Size = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Parts:
    """A message in the order in which it is read. `footer` names rollout, target, image and step."""

    title: str
    why: str
    evidence: tuple[str, ...]
    next_action: str
    footer: str


def characters(text: str) -> int:
    """Measure as Slack, Discord and DingTalk do, near enough."""
    return len(text)


def octets(text: str) -> int:
    """Measure as WeCom does: bytes of UTF-8; a Chinese character is three."""
    return len(text.encode("utf-8"))


def one_line(text: str) -> str:
    """Make text fit for one line: no control characters, no runs of blanks, no characters that reorder others."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def silenced(text: str) -> str:
    """Keep foreign text from calling the whole channel: a zero-width space after the @ of a group mention."""
    return _MENTION.sub("@\u200b", text)


def parts_of(message: Message) -> Parts:
    """Take a message apart, every part on one line and without mentions."""
    notice = message.notice
    place = f"{message.cluster}: {message.target}" if message.cluster else message.target
    facts = [f"rollout {message.rollout}", place, message.image, f"step {step_words(message.step)}" if message.step else ""]
    why = one_line(notice.why)
    title = one_line(notice.title)
    return Parts(
        title=silenced(title),
        why="" if why == title else silenced(why),
        evidence=tuple(silenced(one_line(line)) for line in notice.evidence if line.strip()),
        next_action=silenced(one_line(notice.next_action)),
        footer=silenced(one_line(" | ".join(fact for fact in facts if fact))),
    )


def colour(kind: NoticeKind) -> str:
    """The colour of a notice as `#rrggbb`: red: look now; amber: it holds; green: a good end."""
    if kind in _ALARMING:
        return "#c0392b"
    if kind in _WARNING:
        return "#d68910"
    return "#1e8449" if kind in _GOOD else "#2e86c1"


def cut(text: str, limit: int, size: Size = characters) -> str:
    """Cut text to a limit in the channel's own measure, never within a character."""
    if size(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if size(text[:middle]) + len(_ELLIPSIS) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS


def plain(parts: Parts, limit: int, size: Size = characters) -> str:
    """Lay out as text without markup."""
    return laid_out(parts, limit, size, title=str, bullet="- ", label=str)


def laid_out(
    parts: Parts,
    limit: int,
    size: Size,
    *,
    title: Callable[[str], str],
    bullet: str,
    label: Callable[[str], str],
    gap: str = "\n",
) -> str:
    """Lay out with a channel's markup for the title and for the word before the next action; evidence gives way first."""
    head = [title(cut(parts.title, min(200, limit // 4), size))]
    tail = [f"{label(NEXT)} {cut(parts.next_action, limit // 4, size)}"] if parts.next_action else []
    tail.append(cut(parts.footer, limit // 4, size))
    room = limit - size(gap.join([*head, *tail])) - size(gap)
    why = [cut(parts.why, max(room, 0), size)] if parts.why and room > len(_ELLIPSIS) else []
    room -= size(gap.join(why)) + size(gap)
    return gap.join([*head, *why, *fitting([bullet + line for line in parts.evidence], room, size, gap), *tail])


def fitting(lines: Sequence[str], room: int, size: Size = characters, gap: str = "\n") -> list[str]:
    """Take the lines that fit; when some do not, the last one says how many are left out."""
    if size(gap.join(lines)) + size(gap) <= room:
        return list(lines)
    taken: list[str] = []
    for index, line in enumerate(lines):
        more = f"(and {len(lines) - index} more lines)"
        following = f"(and {len(lines) - index - 1} more lines)"
        if size(gap.join([*taken, line, following])) + size(gap) > room:
            return [*taken, more] if size(gap.join([*taken, more])) + size(gap) <= room else taken
        taken.append(line)
    return taken
