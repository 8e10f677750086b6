"""Posting GraphQL documents to an OAP, and reading what comes back: data, errors per alias, or another product's page.

8.x answers 200 to everything and names only a message; 9.0 and later answer 400 to a document that is not valid and 500 to a
crash, with the same body. So the body is read first, whatever the status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from rollout.adapters.http import Backend, Reply, describe, parse_json, refuse_status, shorten
from rollout.adapters.skywalking_asks import Results
from rollout.adapters.skywalking_graphql import KEYWORDS, SCHEMA, SERVER, TRACE_V2, Call, Document, documents
from rollout.adapters.skywalking_server import Server
from rollout.adapters.skywalking_time import server_time
from rollout.adapters.skywalking_versions import Dialect, dialect_of_schema, dialect_of_version
from rollout.core.errors import Rejected, Unavailable

__all__ = ["Server", "Transport"]


@dataclass(frozen=True, slots=True)
class _Parsed:
    data: Mapping[str, object]
    errors: tuple[tuple[str, str], ...]
    """Pairs of a message and the alias that it is about, empty when not told."""


class Transport:
    """One OAP's GraphQL endpoint."""

    def __init__(self, name: str, backend: Backend) -> None:
        self._name = name
        self._backend = backend

    def ask(self, text: str) -> Mapping[str, object]:
        """Post a document without variables. Raises Unavailable or Rejected, also for errors within a 200."""
        parsed = self._post(json.dumps({"query": text}).encode())
        if parsed.errors:
            raise Rejected(self._name, f"SkyWalking answered an error: {parsed.errors[0][0]}")
        return parsed.data

    def run(self, calls: Iterable[Call], complexity: int, results: Results) -> bool:
        """Post calls and collect answers and failures by key; True when a document was not valid for the server's schema."""
        invalid = False
        for document in documents(calls, complexity):
            try:
                parsed = self._post(document.body)
            except (Unavailable, Rejected) as failure:
                invalid = invalid or isinstance(failure, Rejected)
                results.failures.update(dict.fromkeys(document.aliases.values(), str(failure)))
                continue
            self._collect(document, parsed, results)
        return invalid

    def _collect(self, document: Document, parsed: _Parsed, results: Results) -> None:
        told = {alias: message for message, alias in parsed.errors if alias}
        general = next((message for message, alias in parsed.errors if not alias), "")
        for alias, key in document.aliases.items():
            value = parsed.data.get(alias)
            if alias in told or value is None:
                why = told.get(alias) or general or "no answer to this part of the question"
                results.failures[key] = f"{self._name}: SkyWalking answered an error: {why}"
            else:
                results.answers[key] = value

    def _post(self, body: bytes) -> _Parsed:
        reply = self._backend.send("POST", "/graphql", content=body)
        document = parse_json(self._name, reply)
        if not isinstance(document, dict) or not ({"data", "errors"} & document.keys()):
            refuse_status(self._name, reply)
            raise Unavailable(self._name, f"{describe(reply)}; that is no GraphQL answer (is the URL the OAP's REST port?)")
        data, errors = document.get("data"), tuple(_errors(document.get("errors")))
        if not isinstance(data, dict):
            self._refuse(reply, errors)
            data = {}
        return _Parsed(data, errors)

    def _refuse(self, reply: Reply, errors: tuple[tuple[str, str], ...]) -> None:
        message = errors[0][0] if errors else "no data and no error"
        if reply.status >= 500:  # noqa: PLR2004 - HTTP's line between a crash and a refusal
            raise Unavailable(self._name, f"HTTP {reply.status}: SkyWalking failed: {message}")
        if errors and not errors[0][1]:
            raise Rejected(self._name, f"HTTP {reply.status}: SkyWalking refused the question: {message}", code=reply.status)

    def meet(self, now: datetime) -> Server:
        """Ask for version, clock and what it can do. Raises Unavailable or Rejected."""
        data = self.ask(SERVER)
        info = data.get("getTimeInfo")
        time = server_time(info.get("timezone"), info.get("currentTimestamp"), now) if isinstance(info, dict) else None
        if time is None:
            raise Unavailable(self._name, f"its clock could not be read ({shorten(str(info), 80)})")
        version = data.get("version")
        dialect = dialect_of_version(version) if isinstance(version, str) else None
        if dialect is None:
            dialect = self._by_schema(str(version or ""))
        if dialect.trace_v2:
            # Trace v2 works on BanyanDB only, and there nothing else does.
            dialect = replace(dialect, trace_v2=self._can("hasQueryTracesV2Support", TRACE_V2))
        return Server(dialect, time, keywords=self._can("supportQueryLogsByKeywords", KEYWORDS))

    def _can(self, name: str, text: str) -> bool:
        try:
            return self.ask(text).get(name) is True
        except Rejected:
            return False

    def _by_schema(self, version: str) -> Dialect:
        data = self.ask(SCHEMA)
        return dialect_of_schema(version, _fields(data, "query"), _fields(data, "logs"), _fields(data, "alarms"))


def _fields(data: Mapping[str, object], alias: str) -> frozenset[str]:
    match data.get(alias):
        case {"fields": list() as fields}:
            return frozenset(str(field["name"]) for field in fields if isinstance(field, dict) and "name" in field)
        case _:
            return frozenset()


def _errors(errors: object) -> Iterable[tuple[str, str]]:
    for error in errors if isinstance(errors, list) else []:
        match error:
            case {"message": message, "path": [str() as alias, *_]}:
                yield shorten(str(message)), alias
            case {"message": message}:
                yield shorten(str(message)), ""
            case _:
                yield shorten(str(error)), ""
