"""A pretend Elasticsearch (or OpenSearch) with the log lines of the simulated traffic, as fluentd would have shipped them.

Served: the greeting, `_field_caps`, `_count` and `_msearch` with the queries that log counting needs (bool, term, terms, match,
match_phrase, range, filter and filters aggregations). Anything else is a `parsing_exception`, as the real one answers. Pods are
shipped when they carry the label `reportlog=es`, or all of them (`only_labelled=False`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from rollout.sandbox.http import Request, Response, json_response
from rollout.sandbox.kube_objects import Json, labels_of, name_of, namespace_of, uid_of
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.traffic_counts import TrafficCounts
from rollout.sandbox.world import World

NAME = "elasticsearch"
"""What Faults knows this backend by."""
MINUTE = timedelta(minutes=1)
SHIPPED = timedelta(seconds=20)
"""From a line to its being searchable: the collector's flush and the index' refresh."""
KEPT = timedelta(days=3)
MOST_REMEMBERED = 50_000
ERROR, INFO = "ERROR request failed: upstream answered 500", "INFO request answered"
_CAPS = {
    "kubernetes.pod_name": "text", "kubernetes.pod_name.keyword": "keyword", "kubernetes.namespace_name": "text",
    "kubernetes.namespace_name.keyword": "keyword", "kubernetes.container_name": "text",
    "kubernetes.container_name.keyword": "keyword", "log": "text", "@timestamp": "date",
}  # fmt: skip


Span = tuple[datetime, datetime]


class SearchError(Exception):
    """A request that the real server refuses; `kind` and text go into `error.type` and `error.reason`."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind

    def body(self) -> Json:
        """The answer's body."""
        told = {"type": self.kind, "reason": str(self)}
        return {"error": {"root_cause": [told], **told}, "status": self.status}


@dataclass(frozen=True, slots=True)
class Lines:
    """Equal lines of one pod within one minute: `count` of them, spread evenly."""

    fields: dict[str, str]
    text: str
    minute: datetime
    until: datetime
    count: int

    def within(self, start: datetime, end: datetime) -> int:
        """How many of them fall into `[start, end)`."""
        if start <= self.minute and self.until <= end:
            return self.count
        length = (self.until - self.minute) / self.count
        first, last = (math.ceil((max(at, self.minute) - self.minute) / length - 0.5) for at in (start, min(end, self.until)))
        return min(max(last, 0), self.count) - min(max(first, 0), self.count) if end > start else 0


class Elasticsearch:
    """Answers for one cluster. `indices` names the days that exist: those since the sandbox began, at most three."""

    def __init__(self, live: LiveWorld, *, version: str = "7.17.9", only_labelled: bool = False, prefix: str = "logstash-") -> None:
        self.version = version
        self.failed_shards = 0
        self._live = live
        self._only_labelled = only_labelled
        self._prefix = prefix
        self._began = live.now() - KEPT
        self._finished: dict[tuple[str, datetime], TrafficCounts] = {}

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        try:
            with self._live.using() as world:
                return json_response(self._answer(world, request))
        except SearchError as error:
            return json_response(error.body(), error.status)

    def _answer(self, world: World, request: Request) -> Json:
        head, _, tail = request.path.strip("/").rpartition("/")
        match tail:
            case "":
                return {
                    "name": "sandbox",
                    "cluster_name": "sandbox",
                    "version": {"number": self.version},
                    "tagline": "You Know, for Search",
                }
            case "_field_caps":
                names = self._existing(world, head, lenient=request.one("ignore_unavailable") == "true")
                wanted = request.one("fields").split(",")
                caps = {name: {_CAPS[name]: {"type": _CAPS[name]}} for name in wanted if names and name in _CAPS}
                return {"indices": names, "fields": caps}
            case "_count":
                body = request.json() or {}
                found = self._search(
                    world, {"index": head, "ignore_unavailable": request.one("ignore_unavailable") == "true"}, body
                )
                return {"count": found["hits"]["total"]["value"], "_shards": found["_shards"]}
            case "_msearch":
                return self._msearch(world, request)
            case _:
                raise SearchError(400, "illegal_argument_exception", f"the sandbox does not serve [{request.path}]")

    def _msearch(self, world: World, request: Request) -> Json:
        if "json" not in request.headers.get("content-type", ""):
            raise SearchError(406, "content_type_exception", "Content-Type header is not supported")
        try:
            lines = [json.loads(line) for line in request.body.decode().split("\n") if line.strip()]
        except ValueError:
            raise SearchError(400, "parse_exception", "the request body is not newline-delimited JSON") from None
        if not request.body.endswith(b"\n") or len(lines) % 2:
            raise SearchError(400, "illegal_argument_exception", "The msearch request must be terminated by a newline [\\n]")
        responses = []
        for header, body in zip(lines[::2], lines[1::2], strict=True):
            try:
                responses.append({**self._search(world, header, body), "status": 200})
            except SearchError as error:
                responses.append(error.body())
        return {"took": 1, "responses": responses}

    def _existing(self, world: World, wanted: str, *, lenient: bool) -> list[str]:
        days = []
        day = max(self._began, world.now - KEPT)
        while day.date() <= world.now.date():
            days.append(f"{self._prefix}{day:%Y.%m.%d}")
            day += timedelta(days=1)
        found: list[str] = []
        for name in wanted.split(","):
            matching = [day for day in days if fnmatchcase(day, name)]
            if not matching and "*" not in name and not lenient:
                raise SearchError(404, "index_not_found_exception", f"no such index [{name}]")
            found += matching
        return list(dict.fromkeys(found))

    def _search(self, world: World, header: Json, body: Json) -> Json:
        names = self._existing(world, str(header.get("index", "*")), lenient=bool(header.get("ignore_unavailable")))
        days = {name.removeprefix(self._prefix) for name in names}
        query = body.get("query") or {"match_all": {}}
        _, reach = _compile(query)
        documents = [lines for lines in self._documents(world, reach) if f"{lines.minute:%Y.%m.%d}" in days]
        failed = min(self.failed_shards, len(names))
        shards = {"total": len(names), "successful": len(names) - failed, "skipped": 0, "failed": failed}
        total = _count(documents, [query])
        answer: Json = {
            "took": 1,
            "timed_out": False,
            "_shards": shards,
            "hits": {"total": {"value": total, "relation": "eq"}, "hits": []},
        }
        if aggregations := body.get("aggs") or body.get("aggregations"):
            answer["aggregations"] = {name: _aggregate(documents, [query], spec) for name, spec in aggregations.items()}
        return answer

    def _counts(self, world: World, uid: str, minute: datetime, until: datetime) -> TrafficCounts:
        """Count a minute of a pod; one that is over never changes."""
        if until < minute + MINUTE:
            return world.traffic.counts(uid, minute, until)
        if len(self._finished) > MOST_REMEMBERED:
            self._finished.clear()
        key = (uid, minute)
        if key not in self._finished:
            self._finished[key] = world.traffic.counts(uid, minute, until)
        return self._finished[key]

    def _documents(self, world: World, reach: Span) -> Iterator[Lines]:
        for pod in world.objects("pods"):
            began = world.traffic.started_at(uid_of(pod))
            if began is None or (self._only_labelled and labels_of(pod).get("reportlog") != "es"):
                continue
            fields = {
                "kubernetes.pod_name": name_of(pod),
                "kubernetes.namespace_name": namespace_of(pod),
                "kubernetes.container_name": pod["spec"]["containers"][0]["name"],
            }
            minute = max(began, world.now - timedelta(hours=2), reach[0]).replace(second=0, microsecond=0)
            last = min(world.now - SHIPPED, reach[1])
            while minute < last:
                until = min(minute + MINUTE, world.now - SHIPPED)
                counts = self._counts(world, uid_of(pod), minute, until)
                for text, count in ((ERROR, counts.error_logs), (INFO, counts.requests)):
                    if count:
                        yield Lines(fields, text, minute, until, count)
                minute += MINUTE


_ALWAYS: Span = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _count(documents: list[Lines], queries: list[Json]) -> int:
    """Count the lines that satisfy every query."""
    tests: list[Callable[[Lines], bool]] = []
    start, end = _ALWAYS
    for query in queries:
        test, (first, last) = _compile(query)
        tests.append(test)
        start, end = max(start, first), min(end, last)
    return sum(lines.within(start, end) for lines in documents if all(test(lines) for test in tests))


def _aggregate(documents: list[Lines], queries: list[Json], spec: Json) -> Json:
    inner = spec.get("aggs") or {}
    match spec:
        case {"filters": {"filters": dict() as filters}}:
            buckets = {}
            for name, query in filters.items():
                # A bucket names a pod: the rest need not look at the others' lines.
                test, _ = _compile(query)
                mine = [lines for lines in documents if test(lines)]
                buckets[name] = _bucket(mine, [*queries, query], inner)
            return {"buckets": buckets}
        case {"filter": query}:
            return _bucket(documents, [*queries, query], inner)
        case _:
            kind = next(iter(spec), "")
            raise SearchError(400, "parsing_exception", f"Unknown aggregation type [{kind}]")


def _bucket(documents: list[Lines], queries: list[Json], inner: Json) -> Json:
    nested = {name: _aggregate(documents, queries, spec) for name, spec in inner.items()}
    return {"doc_count": _count(documents, queries), **nested}


def _compile(query: Json) -> tuple[Callable[[Lines], bool], Span]:
    """Turn a query into a test of lines and a span of time. Only a conjunction may hold a range."""
    if len(query) != 1:
        raise SearchError(400, "parsing_exception", "[query] malformed, one kind of query is expected")
    [(kind, spec)] = query.items()
    match kind, spec:
        case "match_all", _:
            return (lambda _: True), _ALWAYS
        case "bool", dict():
            return _bool(spec)
        case "term" | "terms", dict():
            [(name, wanted)] = spec.items()
            values = wanted if isinstance(wanted, list) else [wanted.get("value") if isinstance(wanted, dict) else wanted]
            return (lambda lines: _exact(lines, name) in values), _ALWAYS
        case "match_phrase" | "match", dict():
            [(name, wanted)] = spec.items()
            words = _words(str(wanted.get("query") if isinstance(wanted, dict) else wanted))
            return (lambda lines: _has(_words(_text(lines, name)), words)), _ALWAYS
        case "range", {"@timestamp": dict() as limits}:
            first = _time(limits["gte"]) if "gte" in limits else _ALWAYS[0]
            last = _time(limits["lt"]) if "lt" in limits else _ALWAYS[1]
            return (lambda _: True), (first, last)
        case _:
            raise SearchError(400, "parsing_exception", f"unknown query [{kind}]")


def _bool(spec: Json) -> tuple[Callable[[Lines], bool], Span]:
    tests: list[Callable[[Lines], bool]] = []
    start, end = _ALWAYS
    for clause in ("filter", "must"):
        part = spec.get(clause) or []
        for query in part if isinstance(part, list) else [part]:
            test, (first, last) = _compile(query)
            tests.append(test)
            start, end = max(start, first), min(end, last)
    if options := [_compile(query)[0] for query in spec.get("should") or []]:
        tests.append(lambda lines: any(option(lines) for option in options))
    if forbidden := [_compile(query)[0] for query in spec.get("must_not") or []]:
        tests.append(lambda lines: not any(test(lines) for test in forbidden))
    return (lambda lines: all(test(lines) for test in tests)), (start, end)


def _exact(lines: Lines, name: str) -> str:
    """The value under an exact field; an analysed field holds words, which no whole name equals."""
    value = _text(lines, name.removesuffix(".keyword"))
    return value if name.endswith(".keyword") else " ".join(_words(value)) if len(_words(value)) == 1 else ""


def _text(lines: Lines, name: str) -> str:
    return lines.text if name == "log" else lines.fields.get(name, "")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _has(words: list[str], phrase: list[str]) -> bool:
    return bool(phrase) and any(words[n : n + len(phrase)] == phrase for n in range(len(words) - len(phrase) + 1))


def _time(text: Any) -> datetime:  # noqa: ANN401 - JSON
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        raise SearchError(400, "parse_exception", f"failed to parse date field [{text}]") from None
