"""Elasticsearch or OpenSearch as a signal source: error lines per pod, as fluentd or Fluent Bit wrote them.

Parameters of `error-logs`: `pattern` (phrases in the message separated by `|`; ERROR), or `level` (values of the level field
separated by `,`), or `query` (Lucene, as Kibana takes it); `container`, `field` (the message), `index`. Requests are not counted.
A phrase is whole words regardless of case, as an index analyses by default: "no error" in an INFO line counts, so prefer the
level where it is a field of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal

import httpx
from pydantic import Field

from rollout.adapters.elasticsearch_search import (
    MOST_PODS,
    Fields,
    Outcome,
    Search,
    Wanted,
    body,
    exact_field,
    indices_of,
    outcome_of,
    reason,
    unsearchable,
)
from rollout.adapters.http import Backend, BackendSettings, parse_json, refuse_status, shorten
from rollout.adapters.remedies import remedy_for
from rollout.core.errors import Rejected, Unavailable
from rollout.core.quantities import Duration
from rollout.core.signals import Answer, Counts, NoData, PodCount, PodKey, Question, Reading, Unreachable, Window
from rollout.core.wording import listed, span
from rollout.ports import Check, Clock

_FIELD_TEXT = re.compile(r"[A-Za-z0-9_@./-]{1,200}")
_INDEX_TEXT = re.compile(r"[a-z0-9.*%][A-Za-z0-9._*+%,-]{0,400}")
_FIELD = Annotated[str, Field(pattern=f"^{_FIELD_TEXT.pattern}$")]
_INDEX = Annotated[str, Field(pattern=f"^{_INDEX_TEXT.pattern}$")]
SEARCHES_AT_ONCE = 20


class ElasticsearchSettings(BackendSettings):
    """One cluster of logs. `index`: `%Y.%m.%d` is the UTC day. `presence`: how far back a line proves that a pod's logs arrive."""

    type: Literal["elasticsearch"] = "elasticsearch"
    index: _INDEX = "logstash-%Y.%m.%d"
    pod_field: _FIELD = "kubernetes.pod_name"
    namespace_field: _FIELD = "kubernetes.namespace_name"
    container_field: _FIELD = "kubernetes.container_name"
    message_field: _FIELD = "log"
    level_field: _FIELD = "level"
    timestamp_field: _FIELD = "@timestamp"
    presence: Duration = timedelta(hours=1)


@dataclass(slots=True)
class _Mapped:
    """The exact fields by what was asked for; asked once an hour, because each day's index may be mapped anew."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    by_index: dict[tuple[str, Wanted], tuple[Fields, float]] = field(default_factory=dict)


class ElasticsearchSource:
    """Answers `error-logs`. All questions share one `_msearch`."""

    def __init__(self, name: str, settings: ElasticsearchSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._backend = Backend(name, settings, clock, url=settings.url)
        self._mapped = _Mapped()

    @property
    def name(self) -> str:
        """The backend's name in the daemon's configuration."""
        return self._name

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        """Answer every question."""
        at = self._clock.now()
        planned = {question: self._search_for(question) for question in questions}
        pods: dict[Search, dict[PodKey, None]] = {}
        for question, search in planned.items():
            if isinstance(search, Search):
                pods.setdefault(search, {}).update(dict.fromkeys(question.pods))
        outcomes = self._ask({search: tuple(wanted) for search, wanted in pods.items()})
        answers = {}
        for question, search in planned.items():
            known = isinstance(search, Search)
            reading = self._reading(question, search, outcomes[search]) if isinstance(search, Search) else search
            answers[question] = Answer(question, reading, self._shown(question, search) if known else "(not asked)", at)
        return answers

    def _search_for(self, question: Question) -> Search | Unreachable:
        if question.ask != "error-logs":
            return Unreachable(f"Elasticsearch cannot be asked for {question.ask!r}; it can for error-logs")
        index = question.parameter("index") or self._settings.index
        message = question.parameter("field") or self._settings.message_field
        if not _INDEX_TEXT.fullmatch(index) or not _FIELD_TEXT.fullmatch(message):
            return Unreachable(f"signal {question.signal}: parameters.index or parameters.field holds characters that no name has")
        level, query, container = (question.parameter(key) for key in ("level", "query", "container"))
        phrases = tuple(p.strip() for p in (question.parameter("pattern") or "ERROR").split("|") if p.strip())
        levels = tuple(value.strip() for value in level.split(",") if value.strip())
        if not phrases and not levels and not query:
            return Unreachable(f"signal {question.signal}: parameters.pattern holds no phrase; write for example ERROR|FATAL")
        wanted = Wanted(message, phrases, query, self._settings.level_field, levels, container)
        where = indices_of(index, question.window, self._settings.presence)
        return Search(where, question.window, self._settings.presence, wanted)

    def _ask(self, searches: Mapping[Search, tuple[PodKey, ...]]) -> dict[Search, Outcome]:
        entries: list[tuple[Search, tuple[PodKey, ...], Fields]] = []
        outcomes: dict[Search, Outcome] = {search: Outcome() for search in searches}
        for search, pods in searches.items():
            fields = self._fields(search.indices, search.wanted)
            if isinstance(fields, Outcome):
                outcomes[search] = fields
            else:
                entries += [(search, pods[n : n + MOST_PODS], fields) for n in range(0, len(pods), MOST_PODS)]
        for start in range(0, len(entries), SEARCHES_AT_ONCE):
            batch = entries[start : start + SEARCHES_AT_ONCE]
            for (search, _, _), outcome in zip(batch, self._msearch(batch), strict=True):
                merged = outcomes[search]
                merged.found.update(outcome.found)
                merged.failure = merged.failure or outcome.failure
                merged.no_index = merged.no_index or outcome.no_index
        return outcomes

    def _msearch(self, batch: Sequence[tuple[Search, tuple[PodKey, ...], Fields]]) -> list[Outcome]:
        content = "".join(body(search, fields, pods) for search, pods, fields in batch).encode()
        try:
            document = self._json("POST", "/_msearch", content=content)
            responses = document.get("responses") if isinstance(document, dict) else None
            if not isinstance(responses, list) or len(responses) != len(batch):
                raise Unavailable(self._name, f"{len(batch)} results were expected, {shorten(str(document), 80)} came")  # noqa: TRY301 - worded as every other failure here
        except (Unavailable, Rejected) as failure:
            return [Outcome(failure=str(failure)) for _ in batch]
        return [outcome_of(answer, pods) for answer, (_, pods, _) in zip(responses, batch, strict=True)]

    def _fields(self, indices: str, wanted: Wanted) -> Fields | Outcome:
        settings = self._settings
        key, now = (indices, wanted), self._clock.monotonic()
        with self._mapped.lock:
            known = self._mapped.by_index.get(key)
            if known is not None and now < known[1]:
                return known[0]
        names = (settings.pod_field, settings.namespace_field, settings.container_field)
        asked = ",".join([*(f"{name},{name}.keyword" for name in names), *((wanted.searched,) if wanted.searched else ())])
        try:
            path = f"/{indices}/_field_caps"
            params = {"fields": asked, "ignore_unavailable": "true", "allow_no_indices": "true"}
            document = self._json("GET", path, params=params)
        except (Unavailable, Rejected) as failure:
            return Outcome(failure=str(failure))
        exact = [exact_field(document, name) for name in names]
        if exact[0] is None or exact[1] is None:
            return Outcome(no_index=True)
        if why := unsearchable(document, wanted):
            return Outcome(failure=f"{why} (in {indices})")
        fields = Fields(exact[0], exact[1], exact[2] or names[2], settings.timestamp_field)
        with self._mapped.lock:
            self._mapped.by_index = {k: v for k, v in self._mapped.by_index.items() if now < v[1]}
            self._mapped.by_index[key] = (fields, now + timedelta(hours=1).total_seconds())
        return fields

    def _json(self, method: str, path: str, *, params: Mapping[str, str] | None = None, content: bytes | None = None) -> object:
        reply = self._backend.send(method, path, params=params, content=content, content_type="application/x-ndjson")
        document = parse_json(self._name, reply)
        if not httpx.codes.is_success(reply.status):
            error = document.get("error") if isinstance(document, dict) else document
            refuse_status(self._name, reply, about=f"HTTP {reply.status}: {reason(error)}")
        return document

    def _reading(self, question: Question, search: Search, outcome: Outcome) -> Reading:
        if outcome.failure:
            why = outcome.failure
            return Unreachable(why if why.startswith(f"{self._name}: ") else f"{self._name}: {why}")
        if outcome.no_index:
            where = f"no index {search.indices}, or no document in it with {self._settings.pod_field}"
            return NoData(f"{self._name}: {where}; absence of logs is not absence of errors")
        counts = {}
        for pod in question.pods:
            found = outcome.found.get((pod.namespace, pod.name))
            if found is not None and found.lines:
                counts[pod.name] = PodCount(float(found.errors))
        if counts:
            return Counts(counts)
        names = listed((pod.name for pod in question.pods), 3)
        remedy = "are these pods' logs shipped (a label such as reportlog=es), and is the field right?"
        return NoData(f"{self._name}: no line of {names} within {span(self._settings.presence)} in {search.indices}; {remedy}")

    def _shown(self, question: Question, search: Search | Unreachable) -> str:
        if not isinstance(search, Search):
            return ""
        wanted = search.wanted
        errors = wanted.query or (
            f"{wanted.level_field} in {', '.join(wanted.levels)}"
            if wanted.levels
            else f"{wanted.message}: {' or '.join(repr(phrase) for phrase in wanted.phrases)}"
        )
        window = search.window
        pods = listed((pod.name for pod in question.pods), 20)
        span_shown = f"{window.start:%Y-%m-%d %H:%M:%SZ} to {window.end:%H:%M:%SZ}"
        return f"GET /{search.indices}/_count: {errors}; {self._settings.pod_field}: {pods}; {span_shown}"

    def check(self) -> Sequence[Check]:
        """Tell for doctor: which product and version, and whether the index and its fields are there."""
        try:
            document = self._json("GET", "/")
        except (Unavailable, Rejected) as failure:
            remedy = f"see that {self._backend.shown_url} is the cluster's HTTP port"
            return [Check(self._name, "refused", str(failure), remedy_for(failure, remedy))]
        match document:
            case {"version": {"number": str() as number, "distribution": str() as product}}:
                words = f"{product} {number}"
            case {"version": {"number": str() as number}}:
                words = f"Elasticsearch {number}"
            case _:
                remedy = "the URL must lead to Elasticsearch or OpenSearch itself, not to Kibana"
                return [Check(self._name, "refused", f"{self._name}: {shorten(str(document), 80)} is not its greeting", remedy)]
        return [Check(self._name, "ok", words), self._index_check()]

    def _index_check(self) -> Check:
        now = self._clock.now()
        today = indices_of(self._settings.index, Window(now - timedelta(minutes=1), now), timedelta(0))
        fields = self._fields(today, Wanted(self._settings.message_field))
        name = f"{self._name} index"
        if isinstance(fields, Fields):
            return Check(name, "ok", f"{today} has {fields.pod}")
        remedy = "set index, pod_field and namespace_field to what the log collector writes"
        return Check(name, "warning", fields.failure or f"no index {today} with the field {self._settings.pod_field}", remedy)
