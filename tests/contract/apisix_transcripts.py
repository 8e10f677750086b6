"""Reads recorded conversations with real servers: what was asked, from which address, and what came back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_METHOD = re.compile(r"> (GET|HEAD|POST|PUT|PATCH|DELETE) (\S+)")
_HEADER = re.compile(r"([A-Za-z][A-Za-z-]*): (.*)")
_CLIENT = re.compile(r"client(?: source address:)? (127\.[0-9.]+)")
_VOLATILE = ("create_time", "update_time", "createdIndex", "modifiedIndex")


@dataclass(slots=True)
class Exchange:
    """One request and its answer."""

    notes: str
    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    client: str = "127.0.0.1"
    status: int = 0
    answer: str = ""
    content_type: str = ""
    server: str = ""
    api_version: str = ""

    def __str__(self) -> str:
        return f"{self.notes.strip() or self.method} {self.method} {self.target} {self.body[:100]}"


def folder() -> Path | None:
    """Find the recordings, beside the checkout or where ROLLOUT_SHARED says; None when there are none here."""
    shared = Path(os.environ.get("ROLLOUT_SHARED", Path(__file__).parents[3] / "shared"))
    found = shared / "facts" / "apisix-transcripts"
    return found if found.is_dir() else None


def read(path: Path) -> list[Exchange]:
    """Read one recording in order."""
    found: list[Exchange] = []
    notes: list[str] = []
    answering = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _METHOD.match(line):
            client = _CLIENT.search("\n".join(notes))
            found.append(Exchange("\n".join(notes), match[1], match[2], client=client[1] if client else "127.0.0.1"))
            notes, answering = [], False
        elif line.startswith("#"):
            if not line.startswith("# took"):
                notes.append(line.removeprefix("# "))
            answering = False
        elif line.startswith("< HTTP/1.1 "):
            found[-1].status, answering = int(line.split()[2]), True
        elif line.startswith(">") and found:
            _add_request_line(found[-1], line[2:])
        elif answering:
            _add_answer_line(found[-1], line[2:] if line.startswith("<") else line)
    return found


def _add_request_line(exchange: Exchange, text: str) -> None:
    header = _HEADER.fullmatch(text)
    if header and not exchange.body:
        exchange.headers[header[1]] = header[2]
    else:
        exchange.body += text


def _add_answer_line(exchange: Exchange, text: str) -> None:
    header = _HEADER.fullmatch(text)
    if header and not exchange.answer:
        match header[1]:
            case "Content-Type":
                exchange.content_type = header[2]
            case "Server":
                exchange.server = header[2]
            case "X-API-VERSION":
                exchange.api_version = header[2]
    else:
        exchange.answer += text


def comparable(text: str) -> Any:  # noqa: ANN401 - any JSON, or the text
    """Bring an answer into the form in which two servers agree: times, revisions and key prefixes are their own."""
    try:
        return _plain(json.loads(text))
    except ValueError:
        return "html" if text.lstrip().startswith("<") else text


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: (isinstance(item, int) if key in _VOLATILE else _plain(item)) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\b\d{20}\b", "generated-id", re.sub(r"^/apisix\d*/", "/apisix/", value))
    return value


def series(path: Path, name: str) -> list[dict[str, str]]:
    """Read the label sets of one metric from a recorded Prometheus text."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}{{"))
    return [dict(re.findall(r'(\w+)="([^"]*)"', line)) for line in lines]


def items(body: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """Walk the items of a list answer of either shape."""
    found = body.get("list", body.get("node", {}).get("nodes", ()))
    return iter(found if isinstance(found, list) else ())
