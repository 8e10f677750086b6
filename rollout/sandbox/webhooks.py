"""A chat's incoming webhook that answers as Slack does, shows what it got, and can refuse in Slack's ways.

POST to any path is a message; GET /received shows them as JSON, GET / as a page.
"""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from rollout.sandbox.http import Request, Response, json_response, text_response

NAME = "webhooks"
"""What Faults knows this backend by; hanging, 500 and HTML come from there."""


class Mood(StrEnum):
    """How the receiver answers messages."""

    OK = "ok"
    RATE_LIMITED = "429"
    NO_SERVICE = "404 no_service"
    INVALID_TOKEN = "403 invalid_token"  # noqa: S105 - Slack's word for an error
    ERROR = "500 rollup_error"
    NOT_OK = "200 but not ok"


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it arrived. `accepted`: it was answered `ok`. `payload` is the JSON, or the text that was none."""

    at: datetime
    path: str
    payload: Any
    accepted: bool

    @property
    def text(self) -> str:
        """The message's plain text."""
        return str(self.payload.get("text", "")) if isinstance(self.payload, dict) else str(self.payload)


class WebhookReceiver:
    """Keeps what it got, in order. Set `mood` (and `moods_left`, how many answers it lasts; None: until changed)."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.mood = Mood.OK
        self.moods_left: int | None = None
        self.retry_after = timedelta(seconds=1)
        self._now = now
        self._received: list[Received] = []
        self._arrived = threading.Condition()

    @property
    def received(self) -> tuple[Received, ...]:
        """Everything that arrived, refused messages too."""
        with self._arrived:
            return tuple(self._received)

    @property
    def accepted(self) -> tuple[Received, ...]:
        """The messages that were answered `ok`."""
        return tuple(message for message in self.received if message.accepted)

    def wait_for(self, number: int, seconds: float) -> tuple[Received, ...]:
        """Wait until so many messages were accepted, at most some real seconds; return those there are."""
        with self._arrived:
            self._arrived.wait_for(lambda: sum(m.accepted for m in self._received) >= number, seconds)
        return self.accepted

    def be(self, mood: Mood, times: int | None = None) -> None:
        """Answer like this from now on, or that many times."""
        with self._arrived:
            self.mood, self.moods_left = mood, times

    def clear(self) -> None:
        """Forget what arrived."""
        with self._arrived:
            self._received.clear()

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        if request.method == "POST":
            return self._take(request)
        if request.path == "/received":
            return json_response([_shown(message) for message in self.received])
        if request.path == "/":
            return text_response(_page(self.received), content_type="text/html; charset=utf-8")
        return text_response("not found\n", 404)

    def _take(self, request: Request) -> Response:
        try:
            payload = request.json()
        except ValueError:
            payload = None
        valid = isinstance(payload, dict) and any(payload.get(key) for key in ("text", "blocks", "attachments"))
        with self._arrived:
            mood = self.mood
            if self.moods_left is not None:
                self.moods_left -= 1
                if self.moods_left <= 0:
                    self.mood, self.moods_left = Mood.OK, None
            kept = payload if payload is not None else request.body.decode(errors="replace")
            self._received.append(Received(self._now(), request.path, kept, valid and mood is Mood.OK))
            self._arrived.notify_all()
        if mood is Mood.OK and not valid:
            return text_response("no_text" if isinstance(payload, dict) else "invalid_payload", 400)
        return self._answer(mood)

    def _answer(self, mood: Mood) -> Response:
        match mood:
            case Mood.OK:
                return text_response("ok", content_type="text/html")
            case Mood.RATE_LIMITED:
                seconds = str(max(int(self.retry_after.total_seconds()), 1))
                return Response(429, b"rate_limited", "text/html", {"Retry-After": seconds})
            case Mood.NO_SERVICE:
                return text_response("no_service", 404, "text/html")
            case Mood.INVALID_TOKEN:
                return text_response("invalid_token", 403, "text/html")
            case Mood.ERROR:
                return text_response("rollup_error", 500, "text/html")
            case Mood.NOT_OK:
                return text_response("thanks, but", content_type="text/html")


def _shown(message: Received) -> dict[str, Any]:
    return {"at": message.at.isoformat(), "path": message.path, "accepted": message.accepted, "payload": message.payload}


def _page(messages: tuple[Received, ...]) -> str:
    rows = "".join(
        f"<tr><td>{message.at:%Y-%m-%d %H:%M:%SZ}</td><td>{html.escape(message.text)}</td>"
        f"<td><pre>{html.escape(json.dumps(message.payload, indent=1)[:4000])}</pre></td></tr>"
        for message in reversed(messages)
    )
    style = "body{font:14px sans-serif}td{vertical-align:top;padding:.3em 1em;border-top:1px solid #ccc}"
    head = f"<!DOCTYPE html><html><head><title>Received</title><style>{style}</style></head>"
    return f"{head}<body><h1>{len(messages)} messages</h1><table>{rows}</table></body></html>"
