"""Group robots of DingTalk, WeCom and Feishu (Lark). They say no with HTTP 200: only the code in the body tells.

DingTalk and WeCom answer `{"errcode": 0, "errmsg": "ok"}`, Feishu `{"code": 0, "msg": "success"}`, older ones `StatusCode: 0`.
None of their markdown dialects has an escape; what could become a link or a mention is written with full-width characters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import deque
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import quote_plus

import httpx
from pydantic import Field, SecretStr

from rollout.adapters.http import Backend, ConnectionSettings, Reply, SecretUrl, describe, parse_json, refuse_status, shorten
from rollout.adapters.notice_text import Parts, characters, colour, cut, laid_out, octets, parts_of
from rollout.core.errors import Rejected, Unavailable
from rollout.core.history import NoticeKind
from rollout.ports import Clock, Message

Product = Literal["dingtalk", "wecom", "feishu"]

_DINGTALK_TEXT = 4_000
_WECOM_BYTES = 4_000
_FEISHU_TEXT = 4_000
_TITLE = 120
_TOO_OFTEN = {130101: timedelta(minutes=10), 90030: timedelta(minutes=10), 45009: timedelta(minutes=1), 11232: timedelta(minutes=1)}
"""Codes for `too often`, and how long the robot then stays silent (DingTalk shuts a robot up for ten minutes)."""
_PERMANENT = frozenset({310000, 300001, 400013, 400101, 93000, 40008, 40058, 44004, 9499, 19001, 19021, 19022, 19024})
"""Codes that do not change by asking again: security settings, unknown token, malformed message. Others are asked again."""


class ChatbotSettings(ConnectionSettings):
    """One group robot. `secret` signs messages (DingTalk, Feishu); `keyword` is put into each, where the robot demands one."""

    type: Product
    url: SecretUrl
    secret: SecretStr | None = None
    keyword: Annotated[str, Field(max_length=50)] = ""


class Pace:
    """At most `limit` messages in any span of `per`: a robot that is spoken to too often stops listening. Thread-safe."""

    def __init__(self, clock: Clock, limit: int, per: timedelta) -> None:
        self._clock = clock
        self._limit = limit
        self._per = per.total_seconds()
        self._sent: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self) -> timedelta | None:
        """Take a place; or say how long until there is one."""
        with self._lock:
            now = self._clock.monotonic()
            while self._sent and self._sent[0] <= now - self._per:
                self._sent.popleft()
            if len(self._sent) < self._limit:
                self._sent.append(now)
                return None
            return timedelta(seconds=self._sent[0] + self._per - now)


class ChatbotNotifier:
    """Posts to one group robot."""

    def __init__(self, name: str, settings: ChatbotSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._url = settings.url.get_secret_value()
        self._pace = Pace(clock, 90 if settings.type == "feishu" else 18, timedelta(minutes=1))
        self._backend = Backend(name, settings, clock, url=self._url)

    @property
    def name(self) -> str:
        """The channel's name in the daemon's configuration."""
        return self._name

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def send(self, message: Message) -> None:
        """Deliver. Raises Unavailable (too often, busy, 5xx, no connection, a code that is not known) or Rejected."""
        if wait := self._pace.take():
            raise Unavailable(self._name, "this robot takes about 20 messages a minute; the next one waits", retry_after=wait)
        payload = render(message, self._settings.type, self._settings.keyword)
        suffix = ""
        secret = self._settings.secret.get_secret_value() if self._settings.secret else ""
        if secret and self._settings.type == "dingtalk":
            milliseconds = round(self._clock.now().timestamp() * 1000)
            signed = f"timestamp={milliseconds}&sign={quote_plus(dingtalk_sign(milliseconds, secret))}"
            suffix = f"{'&' if '?' in self._url else '?'}{signed}"
        if secret and self._settings.type == "feishu":
            seconds = int(self._clock.now().timestamp())
            payload = {"timestamp": str(seconds), "sign": feishu_sign(seconds, secret), **payload}
        confirm(self._name, self._backend.send("POST", suffix, content=json.dumps(payload, ensure_ascii=False).encode()))


def dingtalk_sign(milliseconds: int, secret: str) -> str:
    """Sign as DingTalk wants it: HMAC-SHA256, the secret as key, over ms, line feed, secret; base64. Valid for an hour."""
    digest = hmac.new(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def feishu_sign(seconds: int, secret: str) -> str:
    """Sign as Feishu wants it: seconds, line feed, secret are the KEY, the message is empty; base64. Valid for an hour."""
    return base64.b64encode(hmac.new(f"{seconds}\n{secret}".encode(), b"", hashlib.sha256).digest()).decode()


def render(message: Message, product: Product, keyword: str = "") -> dict[str, object]:
    """Build the JSON of one message for one product."""
    parts, kind = parts_of(message), message.notice.kind
    title = cut(f"{keyword} {parts.title}" if keyword and keyword not in parts.title else parts.title, _TITLE)
    match product:
        case "dingtalk":
            text = _markdown(parts, title, _DINGTALK_TEXT, gap="\n\n")
            return {"msgtype": "markdown", "markdown": {"title": _tame(title), "text": text}}
        case "wecom":
            return {"msgtype": "markdown", "markdown": {"content": _markdown(parts, title, _WECOM_BYTES, gap="\n")}}
        case "feishu":
            return {"msg_type": "interactive", "card": _card(parts, title, kind)}


def _tame(text: str) -> str:
    """Take away the power of what these dialects read as links, mentions and tags."""
    return text.translate(str.maketrans("<[]`", "\uff1c\uff3b\uff3d'"))


def _markdown(parts: Parts, title: str, limit: int, gap: str) -> str:
    tame = Parts(
        _tame(title), _tame(parts.why), tuple(_tame(line) for line in parts.evidence), _tame(parts.next_action), _tame(parts.footer)
    )
    bold = "**{}**".format
    size = octets if limit == _WECOM_BYTES else characters
    return laid_out(tame, limit, size, title=bold, bullet="- ", label=bold, gap=gap)


def _card(parts: Parts, title: str, kind: NoticeKind) -> dict[str, object]:
    # Plain text within the card: nothing in it can mention or link.
    body = laid_out(parts, _FEISHU_TEXT, characters, title=lambda _: "", bullet="- ", label=str).lstrip("\n")
    shades = {"#c0392b": "red", "#d68910": "orange", "#1e8449": "green"}
    return {
        "config": {"wide_screen_mode": True},
        "header": {"title": {"tag": "plain_text", "content": title}, "template": shades.get(colour(kind), "blue")},
        "elements": [{"tag": "div", "text": {"tag": "plain_text", "content": body}}],
    }


def confirm(name: str, reply: Reply) -> None:
    """Return if the robot has taken the message; raise what its code means otherwise, with its own words."""
    try:
        document = parse_json(name, reply)
    except Unavailable:
        if httpx.codes.is_success(reply.status):
            raise Rejected(name, f"{describe(reply)}: this is not a robot's URL", code=reply.status) from None
        raise
    words: object = ""
    match document:
        case {"errcode": int() as code, "errmsg": words} | {"code": int() as code, "msg": words}:
            pass
        case {"StatusCode": int() as code, "StatusMessage": words}:
            pass
        case _:
            refuse_status(name, reply)
            raise Rejected(name, f"the answer holds no code ({shorten(reply.text, 80)}); is the URL the robot's?")
    if code == 0:
        refuse_status(name, reply)
        return
    said = f"the robot declined with code {code}: {shorten(str(words)) or 'no reason given'}"
    if code in _TOO_OFTEN:
        raise Unavailable(name, said, retry_after=_TOO_OFTEN[code])
    if code in _PERMANENT:
        raise Rejected(name, f"{said}; check token, signing secret, keyword and IP list of the robot", code=code)
    raise Unavailable(name, said)
