"""Prometheus as a signal source: questions of all rollouts become few queries, and answers become counts and gauges per pod.

Questions with the same template and the same instant share one query over the union of their pods; a counter is read at both
ends of the window. What was read at the end of a window is kept for the start of the next one, so that contiguous windows lose
and repeat nothing even when a sample arrives late, and half of the queries are never sent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from rollout.adapters.http import Backend, BackendSettings, describe, parse_json
from rollout.adapters.prometheus_answer import Sample, parse_vector
from rollout.adapters.prometheus_counts import appeared, by_labels
from rollout.adapters.prometheus_questions import Asked, Need, Readings, compile_question, reading_of, shown
from rollout.adapters.promql import chunks, pod_of
from rollout.adapters.remedies import remedy_for
from rollout.core.errors import Rejected, Unavailable
from rollout.core.quantities import Duration
from rollout.core.signals import Answer, Question, Reading
from rollout.core.wording import span
from rollout.ports import Check, Clock

SKEW_TOLD = timedelta(seconds=30)
KEPT = timedelta(hours=3)
"""How long the end of a window waits for the next window that starts there."""


class PrometheusSettings(BackendSettings):
    """A Prometheus, or what speaks its API (Thanos, VictoriaMetrics, Mimir).

    `lookback`: how far back a series without a value at the start of a window is looked for.
    """

    type: Literal["prometheus"] = "prometheus"
    lookback: Duration = timedelta(minutes=30)


@dataclass(slots=True)
class _Kept:
    """Ends of windows, by what was asked; guarded, because polls of one backend may overlap."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    by_need: dict[Need, dict[str, list[Sample]]] = field(default_factory=dict)

    def take(self, need: Need, values: Sequence[str]) -> dict[str, list[Sample]]:
        with self.lock:
            kept = self.by_need.get(need, {})
            return {value: kept[value] for value in values if value in kept}

    def keep(self, readings: Readings, ends: set[Need], used: set[Need], now: datetime) -> None:
        with self.lock:
            for need in [n for n in self.by_need if n in used or n.at < now - KEPT]:
                del self.by_need[need]
            for need in ends:
                self.by_need.setdefault(need, {}).update(readings.samples.get(need, {}))


class PrometheusSource:
    """Answers `promql`, `5xx` and `latency`; see prometheus_questions for their parameters."""

    def __init__(self, name: str, settings: PrometheusSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._backend = Backend(name, settings, clock, url=settings.url)
        self._kept = _Kept()

    @property
    def name(self) -> str:
        """The backend's name in the daemon's configuration."""
        return self._name

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        """Answer every question; one that cannot be asked is answered in words."""
        at = self._clock.now()
        compiled = {question: compile_question(question) for question in questions}
        asked = [item for item in compiled.values() if isinstance(item, Asked)]
        readings = Readings()
        ends = {need for item in asked for need in item.ends()}
        starts = {need for item in asked for need in item.starts()}
        self._fetch(readings, asked, starts - ends, kept=True)
        self._fetch(readings, asked, ends)
        self._fetch_earlier(readings, asked)
        self._kept.keep(readings, ends, starts - ends, at)
        answers = {}
        for question, item in compiled.items():
            reading: Reading = reading_of(item, readings, self._name) if isinstance(item, Asked) else item
            query = shown(item, readings) if isinstance(item, Asked) else "(not asked)"
            answers[question] = Answer(question, reading, query, at)
        return answers

    def _fetch(self, readings: Readings, asked: Sequence[Asked], needs: set[Need], *, kept: bool = False) -> None:
        wanted: dict[Need, dict[str, None]] = {need: {} for need in sorted(needs)}
        for item in asked:
            for need in (*item.starts(), *item.ends()):
                if need in wanted:
                    wanted[need].update(dict.fromkeys(item.pods))
        for need, values in wanted.items():
            have = self._kept.take(need, tuple(values)) if kept else {}
            readings.samples.setdefault(need, {}).update(have)
            self._ask(readings, need, [value for value in values if value not in have])

    def _fetch_earlier(self, readings: Readings, asked: Sequence[Asked]) -> None:
        """Look back for series that have an end but no start: they were born in the window, or not scraped at its start."""
        wanted: dict[Need, dict[str, None]] = {}
        for item in asked:
            for start, end in zip(item.starts(), item.ends(), strict=False):
                for value in item.pods:
                    first, last = readings.of(start, value), readings.of(end, value)
                    if first is not None and last is not None and appeared(by_labels(first), by_labels(last)):
                        wanted.setdefault(start, {})[value] = None
        for start, values in wanted.items():
            past = start.earlier(self._settings.lookback)
            self._ask(readings, past, list(values))
            readings.earlier[start] = readings.samples.get(past, {})

    def _ask(self, readings: Readings, need: Need, values: Sequence[str]) -> None:
        for query, batch in chunks(need.text, values, need.by):
            try:
                found = self._query(query, need)
            except (Unavailable, Rejected) as failure:
                readings.fail(need, batch, str(failure))
                continue
            answered: dict[str, list[Sample]] = {value: [] for value in batch}
            for value, samples in found.items():
                pod = pod_of(value, need.by)
                if pod in answered:
                    answered[pod].extend(samples)
            readings.samples.setdefault(need, {}).update(answered)

    def _query(self, query: str, need: Need) -> dict[str, list[Sample]]:
        form = {"query": query, "time": f"{need.at.timestamp():.3f}", "timeout": f"{self._settings.timeout.total_seconds():g}s"}
        reply = self._backend.send("POST", "/api/v1/query", form=form)
        return parse_vector(self._name, reply, need.label)

    def check(self) -> Sequence[Check]:
        """Tell for doctor: does it answer queries, which version, how its clock stands to ours."""
        try:
            now = self._clock.now()
            reply = self._backend.send("POST", "/api/v1/query", form={"query": "time()"})
            document = parse_json(self._name, reply)
        except (Unavailable, Rejected) as failure:
            remedy = f"see that {self._backend.shown_url} is the Prometheus and that it can be reached from the daemon"
            return [Check(self._name, "refused", str(failure), remedy_for(failure, remedy))]
        match document:
            case {"status": "success", "data": {"result": [float() | int() as seconds, *_]}}:
                checks = [Check(self._name, "ok", f"{self._version()} answers queries")]
                return [*checks, _skew(self._name, timedelta(seconds=seconds - now.timestamp()))]
            case _:
                remedy = "the URL must lead to Prometheus' API; a path prefix belongs into it"
                return [Check(self._name, "refused", f"{self._name}: {describe(reply)}", remedy)]

    def _version(self) -> str:
        try:
            document = parse_json(self._name, self._backend.send("GET", "/api/v1/status/buildinfo"))
        except (Unavailable, Rejected):
            return "Prometheus (version not told)"
        match document:
            case {"data": {"version": str() as version}}:
                return f"Prometheus {version}"
            case _:
                return "Prometheus (version not told)"


def _skew(name: str, skew: timedelta) -> Check:
    if abs(skew) <= SKEW_TOLD:
        return Check(f"{name} clock", "ok", f"its clock is within {span(SKEW_TOLD)} of ours")
    side = "ahead of" if skew > timedelta(0) else "behind"
    return Check(f"{name} clock", "warning", f"its clock is {span(abs(skew))} {side} ours", "synchronise the clocks (NTP)")
