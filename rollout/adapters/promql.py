"""PromQL as text: templates expanded for pods and a window, nothing injected, questions merged and cut to a bearable length.

Pure functions. A template names pods with `{{pods}}`, inside a regular expression matcher (`pod=~"{{pods}}"`), and may use
`{{namespace}}` and, for `increase()` and gauges, `{{window}}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal

from rollout.core.signals import PodKey

By = Literal["name", "ip", "address"]
"""What the pod's label holds: the pod's name, its IP, or `IP:port` as in Prometheus' own `instance`."""

LONGEST_QUERY = 8_000
"""Characters of one query; it travels as a form body, so this bounds the server's work rather than a URL."""
_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_KNOWN = ("pods", "namespace", "window")
_META = re.compile(r"[\\^$.|?*+()\[\]{}]")


class TemplateError(ValueError):
    """A template that cannot be expanded; the text says what is wrong and what is allowed."""


def check_template(template: str) -> None:
    """Raise TemplateError unless the template asks for pods and uses known placeholders only."""
    names = _PLACEHOLDER.findall(template)
    if unknown := sorted(set(names) - set(_KNOWN)):
        known = "known are {{pods}}, {{namespace}}, {{window}}"
        raise TemplateError(f"the template uses {{{{{unknown[0]}}}}}, which is not known; {known}")
    if "pods" not in names:
        raise TemplateError('the template names no pods; write a matcher such as pod=~"{{pods}}"')


def uses_window(template: str) -> bool:
    """Say whether the template looks back over the window by itself (`increase(x[{{window}}])`)."""
    return "window" in _PLACEHOLDER.findall(template)


def fill(template: str, *, namespace: str, window: timedelta) -> str:
    """Expand everything but the pods: what remains is the same text for all questions that can share one query."""
    check_template(template)
    if "namespace" in _PLACEHOLDER.findall(template) and not _SAFE.fullmatch(namespace):
        raise TemplateError("the namespace holds characters that no namespace has")
    values = {"namespace": namespace, "window": f"{math.ceil(window.total_seconds())}s", "pods": "{{pods}}"}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def identity(pod: PodKey, by: By) -> str | None:
    """What the pod is called in the label; None when it has none yet (no IP) or holds characters that no name or IP has."""
    value = pod.name if by == "name" else pod.ip
    return value if _SAFE.fullmatch(value) else None


def alternation(values: Iterable[str], by: By) -> str:
    """Build a fully anchored RE2 alternation that is the same text within any of PromQL's three kinds of quotes.

    The only metacharacter that names and IPs hold is the dot; `[.]` needs no backslash, so no second layer of escaping.
    """
    names = [value.replace(".", "[.]") for value in values]
    if by == "address":
        # IPv6 stands in brackets before a port.
        return "(?:" + "|".join(f"[[]?{name}[]]?" if ":" in name else name for name in names) + ")(?::[0-9]+)?"
    return "|".join(names)


def pod_of(value: str, by: By) -> str:
    """Undo what `address` allows: `10.1.2.3:8080` and `[fd00::1]:8080` name the IP."""
    if by != "address":
        return value
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.rpartition(":")[0] if value.count(":") == 1 else value


def with_pods(filled: str, values: Iterable[str], by: By) -> str:
    """Put the pods into a text from `fill`."""
    return filled.replace("{{pods}}", alternation(values, by))


def chunks(filled: str, values: Sequence[str], by: By, longest: int = LONGEST_QUERY) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Cut the pods into queries that are not longer than `longest`: pairs of the query and the pods in it."""
    uses = max(1, filled.count("{{pods}}"))
    room = max(1, (longest - len(filled)) // uses)
    batch: list[str] = []
    used = 0
    for value in values:
        cost = len(alternation([value], by)) + 1
        if batch and used + cost > room:
            yield with_pods(filled, batch, by), tuple(batch)
            batch, used = [], 0
        batch.append(value)
        used += cost
    if batch:
        yield with_pods(filled, batch, by), tuple(batch)


def quoted(text: str) -> str:
    """Write a PromQL string literal in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def matcher(label: str, wanted: str) -> str:
    """Match a label exactly; `a|b` in `wanted` means either (a route's name and its id)."""
    options = [option.strip() for option in wanted.split("|") if option.strip()]
    if len(options) == 1:
        return f"{label}={quoted(options[0])}"
    return f"{label}=~{quoted('|'.join(_META.sub(lambda m: chr(92) + m[0], option) for option in options))}"
