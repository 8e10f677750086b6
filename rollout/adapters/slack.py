"""Slack-compatible webhooks: Slack, Mattermost, Rocket.Chat and Discord take the same idea with different words.

A message counts as delivered when the status is 2xx and the body says so in the product's own way: Slack and Mattermost answer
exactly `ok`, Rocket.Chat `{"success":true}`, Discord 204. The URL is the password: it is in no message, repr or exception.
"""

from __future__ import annotations

import json
from typing import Literal

import httpx

from rollout.adapters.http import Backend, ConnectionSettings, Reply, SecretUrl, describe, shorten
from rollout.adapters.notice_text import Parts, characters, colour, cut, fitting, laid_out, parts_of, plain
from rollout.core.errors import Rejected, Unavailable
from rollout.core.history import NoticeKind
from rollout.ports import Clock, Message

Flavour = Literal["slack", "mattermost", "rocketchat", "discord"]

_TEXT = 3_500
_SECTION = 2_900
_HEADER = 150
_DISCORD_DESCRIPTION = 4_000
_DISCORD_TITLE = 250


class SlackSettings(ConnectionSettings):
    """One incoming webhook. `type` says which product receives it."""

    type: Flavour = "slack"
    url: SecretUrl


class SlackNotifier:
    """Posts to one incoming webhook."""

    def __init__(self, name: str, settings: SlackSettings, clock: Clock) -> None:
        self._name = name
        self._flavour: Flavour = settings.type
        self._backend = Backend(name, settings, clock, url=settings.url.get_secret_value())

    @property
    def name(self) -> str:
        """The channel's name in the daemon's configuration."""
        return self._name

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def send(self, message: Message) -> None:
        """Deliver. Raises Unavailable (429 with its Retry-After, 5xx, no connection) or Rejected (4xx, a body that says no)."""
        body = json.dumps(render(message, self._flavour), ensure_ascii=False).encode()
        confirm(self._name, self._backend.send("POST", content=body))


def render(message: Message, flavour: Flavour) -> dict[str, object]:
    """Build the JSON of one message for one product."""
    parts, kind = parts_of(message), message.notice.kind
    match flavour:
        case "slack":
            return {"text": escape(plain(parts, _TEXT)), "blocks": _blocks(parts)}
        case "mattermost" | "rocketchat":
            attachment = {"color": colour(kind), "text": _markdown(parts), "fallback": escape_markdown(cut(parts.title, 200))}
            return {"text": f"**{escape_markdown(cut(parts.title, 200))}**", "attachments": [attachment]}
        case "discord":
            return _discord(parts, kind)


def escape(text: str) -> str:
    """Escape what Slack reads as control characters (links, mentions); nothing else needs it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_markdown(text: str) -> str:
    """Keep foreign text from becoming Markdown: pod names hold `_` and `*` seldom, log lines often."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>~|#" else c for c in text)


def _escaped_size(text: str) -> int:
    return len(escape(text))


def _section(text: str) -> dict[str, object]:
    # `verbatim` stops Slack from turning host names and @words into links.
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _blocks(parts: Parts) -> list[dict[str, object]]:
    def within(text: str) -> str:
        return escape(cut(text, _SECTION, _escaped_size))

    evidence = fitting([f"- {line}" for line in parts.evidence], _SECTION, _escaped_size)
    texts = [within(parts.why), escape("\n".join(evidence))]
    if parts.next_action:
        texts.append(f"*Next:* {within(parts.next_action)}")
    header: dict[str, object] = {"type": "header", "text": {"type": "plain_text", "text": cut(parts.title, _HEADER)}}
    footer = {"type": "mrkdwn", "text": within(parts.footer), "verbatim": True}
    return [header, *(_section(text) for text in texts if text), {"type": "context", "elements": [footer]}]


def _markdown(parts: Parts) -> str:
    escaped = Parts(
        title="",
        why=escape_markdown(parts.why),
        evidence=tuple(escape_markdown(line) for line in parts.evidence),
        next_action=escape_markdown(parts.next_action),
        footer=escape_markdown(parts.footer),
    )
    return laid_out(escaped, _TEXT, characters, title=str, bullet="- ", label="**{}**".format).lstrip("\n")


def _discord(parts: Parts, kind: NoticeKind) -> dict[str, object]:
    embed = {
        "title": cut(parts.title, _DISCORD_TITLE),
        "description": cut(_markdown(parts), _DISCORD_DESCRIPTION),
        "color": int(colour(kind)[1:], 16),
    }
    # The mention rule is Discord's own; the text is silenced all the same.
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def confirm(name: str, reply: Reply) -> None:
    """Return if the other side has taken the message; raise what its answer means otherwise."""
    text = reply.text.strip()
    if httpx.codes.is_success(reply.status):
        if text.lower() == "ok" or reply.status == httpx.codes.NO_CONTENT:
            return
        match _object(reply):
            case {"success": True} | {"ok": True}:
                return
            case {"success": False, "error": error}:
                raise Rejected(name, f"the message was declined: {shorten(str(error))}", code=reply.status)
        raise Rejected(name, f"{describe(reply)}; 'ok' was expected: is this really the webhook's URL?", code=reply.status)
    if reply.status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Unavailable(name, f"HTTP {reply.status}: {_reason(reply)}")
    raise Rejected(name, f"HTTP {reply.status}: {_reason(reply)}; {_remedy(reply.status)}", code=reply.status)


def _object(reply: Reply) -> object:
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


def _reason(reply: Reply) -> str:
    match _object(reply):
        case {"message": str() as message} | {"error": str() as message}:
            return shorten(message)
        case _:
            return describe(reply).removeprefix(f"HTTP {reply.status}").lstrip(": ") or "no reason given"


def _remedy(status: int) -> str:
    match status:
        case 401 | 403 | 404 | 410:
            return "the webhook was revoked, its channel is gone or archived, or the URL is wrong: set a new one"
        case 300 | 301 | 302 | 303 | 307 | 308:
            return "redirects are not followed: set the final URL"
        case _:
            return "the message will not be sent again"
