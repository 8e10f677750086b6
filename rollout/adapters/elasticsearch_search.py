"""One `_msearch` for the log lines of many pods, and what comes back. Pure.

Each search is one index selection and window, with a `filters` aggregation: a bucket per pod, in it the lines of the window and
among them the errors. Bucket counts are exact whatever the number of hits, and work on keyword and on text fields alike. The
search reaches back further than the window, so that a pod from which no line ever arrived is told from one without errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rollout.adapters.http import shorten
from rollout.core.signals import PodKey, Window

MOST_PODS = 200
"""Pods of one search: 600 buckets, far under the server's limits."""
_TEXT = frozenset({"text", "match_only_text", "annotated_text", "search_as_you_type"})
_DAYS = re.compile(r"%[YymdjHUW]")


@dataclass(frozen=True, slots=True)
class Fields:
    """Where things stand in a document: the exact fields, `.keyword` included where there is one."""

    pod: str
    namespace: str
    container: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are errors: a Lucene `query`, or `levels` of a field, or `phrases` in the message. `container` narrows all."""

    message: str
    phrases: tuple[str, ...] = ()
    query: str = ""
    level_field: str = ""
    levels: tuple[str, ...] = ()
    container: str = ""

    @property
    def searched(self) -> str:
        """The field that is searched; empty for a query that names its own."""
        if self.query:
            return ""
        return self.level_field if self.levels else self.message


@dataclass(frozen=True, slots=True)
class Search:
    """What searches must have in common to share one entry of the `_msearch`."""

    indices: str
    window: Window
    presence: timedelta
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one pod: lines within the longer reach, and errors in the window."""

    lines: int
    errors: int


@dataclass(slots=True)
class Outcome:
    """The answer to one search: by (namespace, pod), or why not."""

    found: dict[tuple[str, str], Found] = field(default_factory=dict)
    failure: str = ""
    no_index: bool = False


def indices_of(pattern: str, window: Window, presence: timedelta) -> str:
    """Name the indices: `%Y.%m.%d` is filled for each UTC day that is touched; a pattern without one is taken as it stands."""
    if not _DAYS.search(pattern):
        return pattern
    day = (window.end - max(presence, window.length)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    names: list[str] = []
    while day < window.end:
        names.append(day.strftime(pattern))
        day += timedelta(hours=1) if "%H" in pattern else timedelta(days=1)
    return ",".join(dict.fromkeys(names))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def errors_filter(wanted: Wanted) -> Mapping[str, object]:
    """Build the query that says what an error line is."""
    if wanted.query:
        return {"query_string": {"query": wanted.query, "default_field": wanted.message, "allow_leading_wildcard": False}}
    if wanted.levels:
        # Not `terms`: on an analysed field that would never find the upper-case word.
        options: list[Mapping[str, object]] = [{"match": {wanted.level_field: level}} for level in wanted.levels]
    else:
        options = [{"match_phrase": {wanted.message: phrase}} for phrase in wanted.phrases]
    return options[0] if len(options) == 1 else {"bool": {"should": options, "minimum_should_match": 1}}


def body(search: Search, fields: Fields, pods: Sequence[PodKey]) -> str:
    """Write the two lines of one search."""
    window = search.window
    reach = {"gte": _moment(window.end - max(search.presence, window.length)), "lt": _moment(window.end)}
    inside = {"range": {fields.timestamp: {"gte": _moment(window.start), "lt": _moment(window.end)}}}
    filters: list[object] = [{"range": {fields.timestamp: reach}}]
    if search.wanted.container:
        filters.append({"term": {fields.container: search.wanted.container}})
    buckets = {
        f"p{number}": {
            "bool": {"filter": [{"term": {fields.pod: pod.name}}, {"term": {fields.namespace: pod.namespace}}]},
        }
        for number, pod in enumerate(pods)
    }
    errors = {"filter": {"bool": {"filter": [inside, errors_filter(search.wanted)]}}}
    request = {
        "size": 0,
        "track_total_hits": False,  # bucket counts are exact without it
        "query": {"bool": {"filter": filters}},
        "aggs": {"pods": {"filters": {"filters": buckets}, "aggs": {"errors": errors}}},
    }
    # A missing day is no error here: `_shards.total` of the answer tells.
    header = {"index": search.indices, "ignore_unavailable": True, "allow_no_indices": True}
    return f"{json.dumps(header)}\n{json.dumps(request)}\n"


def outcome_of(answer: object, pods: Sequence[PodKey]) -> Outcome:
    """Read one entry of `responses`."""
    match answer:
        case {"error": error}:
            return Outcome(failure=f"the search was refused: {reason(error)}")
        case {"_shards": {"total": int() as total, "failed": int() as failed}}:
            pass
        case _:
            return Outcome(failure=f"the answer is no search result ({shorten(str(answer), 80)})")
    if failed:
        return Outcome(failure=f"{failed} of {total} shards failed, so the counts are too low")
    if isinstance(answer, dict) and answer.get("timed_out"):
        return Outcome(failure="the search timed out on the server, so the counts are too low")
    if total == 0:
        return Outcome(no_index=True)
    match answer:
        case {"aggregations": {"pods": {"buckets": dict() as buckets}}}:
            return _counted(buckets, pods)
        case _:
            return Outcome(failure="the answer has no counts in it")


def _counted(buckets: Mapping[str, object], pods: Sequence[PodKey]) -> Outcome:
    outcome = Outcome()
    for number, pod in enumerate(pods):
        match buckets.get(f"p{number}"):
            case {"doc_count": int() as lines, "errors": {"doc_count": int() as errors}}:
                outcome.found[pod.namespace, pod.name] = Found(lines, errors)
            case _:
                return Outcome(failure=f"the answer has no count for {pod.name}")
    return outcome


def reason(error: object) -> str:
    """Word an error: `{"type": ..., "reason": ..., "root_cause": [...]}`, or a bare text."""
    match error:
        case {"root_cause": [{"type": str() as kind, "reason": str() as words}, *_]}:
            return shorten(f"{kind}: {words}")
        case {"type": str() as kind, "reason": str() as words}:
            return shorten(f"{kind}: {words}")
        case _:
            return shorten(str(error))


def kinds_of(capabilities: object, name: str) -> frozenset[str]:
    """Read the types of a field from `_field_caps`; empty when no index has it."""
    match capabilities:
        case {"fields": dict() as fields}:
            kinds = fields.get(name)
            return frozenset(kinds) - {"unmapped"} if isinstance(kinds, dict) else frozenset()
        case _:
            return frozenset()


def exact_field(capabilities: object, name: str) -> str | None:
    """Choose between `x.keyword` and `x`; None when no index has either."""
    for candidate in (f"{name}.keyword", name):
        if kinds_of(capabilities, candidate) & {"keyword", "constant_keyword", "wildcard", "ip"}:
            return candidate
    return name if kinds_of(capabilities, name) else None


def unsearchable(capabilities: object, wanted: Wanted) -> str:
    """Say why errors cannot be found in the field where they are looked for; empty when they can.

    A search in a field that is not there, or for a phrase in one that is not analysed, finds nothing and looks like health.
    """
    name = wanted.searched
    kinds = kinds_of(capabilities, name)
    if not name:
        return ""
    if not kinds:
        return f"no document has the field {name}; set parameters.field (`message` for CRI logs) or parameters.level"
    if not wanted.levels and not kinds & _TEXT:
        return f"the field {name} is {', '.join(sorted(kinds))}, in which phrases cannot be searched; use parameters.level"
    return ""
