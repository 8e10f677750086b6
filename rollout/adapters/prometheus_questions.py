"""What a question means to Prometheus, and what the samples mean as a reading. Pure.

Parameters of `promql`: `events` and perhaps `requests` (counters), or `gauge`; `label` names the pod (`pod`), `by` says what it
holds: `name`, `ip` or `address` (`IP:port`). A template that uses `{{window}}` looks back by itself and is asked at the end of
the window only. `5xx` and `latency` are templates for APISIX (promql_presets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast, get_args

from rollout.adapters.prometheus_answer import Sample
from rollout.adapters.prometheus_counts import Growth, by_labels, gauge, growth, summed
from rollout.adapters.promql import By, TemplateError, fill, identity, uses_window, with_pods
from rollout.adapters.promql_presets import apisix_parameters
from rollout.core.signals import Counts, Gauges, NoData, PodCount, Question, Reading, Unreachable
from rollout.core.wording import listed

_RESOLUTION = "5s"
"""Of looking back for a series: finer than any scrape, and asked only about pods whose series have just appeared."""


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """One instant query, but for the pods: everything that questions must have in common to share it."""

    text: str
    label: str
    by: By
    at: datetime

    def earlier(self, lookback: timedelta) -> Need:
        """The last value that each series had within `lookback` before `at` (a subquery, Prometheus 2.26 and later)."""
        past = f"last_over_time(({self.text})[{round(lookback.total_seconds())}s:{_RESOLUTION}])"
        return replace(self, text=past)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that can be asked. `pods` maps what the label holds to the pod's name; `left_out` are pods without such."""

    question: Question
    label: str
    by: By
    events: str
    requests: str
    gauge: str
    pods: Mapping[str, str]
    left_out: tuple[str, ...]
    windowed: frozenset[str]

    def texts(self) -> tuple[str, ...]:
        """The filled templates, each once."""
        return tuple(dict.fromkeys(text for text in (self.events, self.requests, self.gauge) if text))

    def counters(self) -> tuple[str, ...]:
        """Those that are read at both ends."""
        return tuple(text for text in self.texts() if text != self.gauge and text not in self.windowed)

    def need(self, text: str, at: datetime) -> Need:
        """The query for a text at an instant."""
        return Need(text, self.label, self.by, at)

    def starts(self) -> tuple[Need, ...]:
        """What must be known of the start of the window."""
        return tuple(self.need(text, self.question.window.start) for text in self.counters())

    def ends(self) -> tuple[Need, ...]:
        """What must be known of its end; counters first, in the order of `starts`."""
        others = [text for text in self.texts() if text not in self.counters()]
        return tuple(self.need(text, self.question.window.end) for text in (*self.counters(), *others))


@dataclass(slots=True)
class Readings:
    """What one poll brought: samples by query and pod, and why others failed.

    A pod with `[]` was asked for and has no series. `earlier` holds, by the query at the start of a window, what was found
    before it for pods whose series appeared within it.
    """

    samples: dict[Need, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: dict[Need, dict[str, str]] = field(default_factory=dict)
    earlier: dict[Need, dict[str, list[Sample]]] = field(default_factory=dict)

    def of(self, need: Need, value: str) -> list[Sample] | None:
        """The samples of one pod; None when the query failed or was not asked."""
        return self.samples.get(need, {}).get(value)

    def fail(self, need: Need, values: Sequence[str], why: str) -> None:
        """Note that a query failed for these pods."""
        self.failures.setdefault(need, {}).update(dict.fromkeys(values, why))


def compile_question(question: Question) -> Asked | NoData | Unreachable:
    """Check and expand a question; NoData when no pod can be asked for, Unreachable when the question itself is wrong."""
    try:
        chosen = _chosen(question)
        templates = {key: chosen[key] for key in ("events", "requests", "gauge") if chosen.get(key)}
        namespace = question.pods[0].namespace if question.pods else ""
        texts = {key: fill(text, namespace=namespace, window=question.window.length) for key, text in templates.items()}
    except TemplateError as problem:
        return Unreachable(f"the question of signal {question.signal} cannot be asked: {problem}")
    label, by = chosen.get("label", "pod"), cast("By", chosen.get("by", "name"))
    pods, left_out = _identities(question, by)
    if not pods:
        why = f"{listed(left_out)} cannot be named to Prometheus yet (no IP, or shared by two pods)" if left_out else "no pods"
        return NoData(f"nothing to ask for signal {question.signal}: {why}")
    windowed = frozenset(texts[key] for key, template in templates.items() if uses_window(template))
    asked = (texts.get("events", ""), texts.get("requests", ""), texts.get("gauge", ""))
    return Asked(question, label, by, *asked, pods=pods, left_out=left_out, windowed=windowed)


def _chosen(question: Question) -> Mapping[str, str]:
    parameters = dict(question.parameters)
    chosen = parameters if question.ask == "promql" else apisix_parameters(question.ask, parameters)
    if chosen is None:
        raise TemplateError(f"Prometheus cannot be asked for {question.ask!r}; it can for promql, 5xx, latency")
    if chosen.get("by", "name") not in get_args(By):
        raise TemplateError(f"`by` is {chosen['by']!r}; it is name, ip or address")
    if bool(chosen.get("gauge")) == bool(chosen.get("events")):
        raise TemplateError("exactly one of `events` and `gauge` is needed")
    return chosen


def _identities(question: Question, by: By) -> tuple[dict[str, str], tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    left_out = []
    for pod in question.pods:
        value = identity(pod, by)
        if value is None:
            left_out.append(pod.name)
        else:
            found.setdefault(value, []).append(pod.name)
    # Pods on the host network share an IP: what is counted there belongs to neither alone.
    left_out += [name for names in found.values() if len(names) > 1 for name in names]
    return {value: names[0] for value, names in found.items() if len(names) == 1}, tuple(left_out)


def reading_of(asked: Asked, readings: Readings, backend: str) -> Reading:
    """Say what the samples mean for one question."""
    for need in (*asked.starts(), *asked.ends()):
        failures = readings.failures.get(need, {})
        for value in asked.pods:
            if value in failures:
                return Unreachable(failures[value])
    if asked.gauge:
        return _gauges(asked, readings, backend)
    by_pod: dict[str, PodCount] = {}
    reasons: list[str] = []
    for value, name in asked.pods.items():
        events = _growth(asked, readings, asked.events, value)
        requests = _growth(asked, readings, asked.requests, value) if asked.requests else None
        count, notes = _count(events, requests)
        reasons += [f"{name}: {note}" for note in notes]
        if count is not None:
            by_pod[name] = count
    if by_pod:
        return Counts(by_pod)
    return NoData(f"{backend}: {_nothing(asked, asked.requests or asked.events, reasons)}")


def _count(events: Growth, requests: Growth | None) -> tuple[PodCount | None, Sequence[str]]:
    """Say what one pod counted, or why that is not known."""
    notes = events.notes if events.value is None else []
    if requests is None:
        return (None if events.value is None else PodCount(events.value)), notes
    if requests.value is None:
        return None, [*notes, *requests.notes]
    if events.reset and not requests.reset:  # a restart takes both back
        return None, ["its errors fell and its requests did not, which is no restart: series were dropped"]
    if events.value is None and events.notes:
        return None, [*notes, *requests.notes]
    # Requests are counted and no error series exists: no error has happened yet.
    return PodCount(events.value or 0.0, requests.value), notes


def _gauges(asked: Asked, readings: Readings, backend: str) -> Reading:
    by_pod: dict[str, float] = {}
    reasons: list[str] = []
    need = asked.need(asked.gauge, asked.question.window.end)
    for value, name in asked.pods.items():
        samples = readings.of(need, value) or []
        if len(samples) > 1:
            more = ", ".join(f"{{{', '.join(f'{k}={v}' for k, v in sample.labels)}}}" for sample in samples[:2])
            why = f"{len(samples)} series for {name} where one is expected ({more}); aggregate with `by ({asked.label})`"
            return Unreachable(f"{backend}: {why}")
        number, why = gauge([sample.value for sample in samples])
        if number is None:
            reasons.append(f"{name}: {why}")
        else:
            by_pod[name] = number
    return Gauges(by_pod) if by_pod else NoData(f"{backend}: {_nothing(asked, asked.gauge, reasons)}")


def _nothing(asked: Asked, text: str, reasons: Sequence[str]) -> str:
    telling = [reason for reason in reasons if not reason.endswith(": no series")]
    if telling:
        return f"no usable value: {listed(telling, 3)}"
    names = listed(asked.pods.values(), 3)
    return f"no series for {names} in {text.replace('{{pods}}', '...')} (wrong metric, label or selector, or not scraped?)"


def _growth(asked: Asked, readings: Readings, text: str, value: str) -> Growth:
    end = by_labels(readings.of(asked.need(text, asked.question.window.end), value) or [])
    if text in asked.windowed:
        return summed(end)
    start_need = asked.need(text, asked.question.window.start)
    start = by_labels(readings.of(start_need, value) or [])
    earlier = readings.earlier.get(start_need, {}).get(value)
    return growth(start, end, None if earlier is None else by_labels(earlier))


def shown(asked: Asked, readings: Readings) -> str:
    """Write the question as sent, with its own pods only, when it was evaluated, and what was odd."""
    window = asked.question.window
    lines = []
    for role, text in (("events", asked.events), ("requests", asked.requests), ("gauge", asked.gauge)):
        if text:
            start = f"{window.start:%Y-%m-%d %H:%M:%SZ} and " if text in asked.counters() else ""
            day = "" if start and window.start.date() == window.end.date() else f"{window.end:%Y-%m-%d} "
            end = f"{day}{window.end:%H:%M:%SZ}"
            query = with_pods(text, list(asked.pods), asked.by)
            lines.append(f"{role} @ {start}{end}: {query}")
    for value, name in asked.pods.items():
        for text in dict.fromkeys(t for t in (asked.events, asked.requests) if t):
            lines += [f"# {name}: {note}" for note in _growth(asked, readings, text, value).notes]
    lines += [f"# {name}: not asked for (no IP, or shared by two pods)" for name in asked.left_out]
    return "\n".join(lines)
