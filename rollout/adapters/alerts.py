"""Alerts as data, pulled from Alertmanager or pushed by it and by SkyWalking, and which of them concern a question. Pure.

Parameters of a question: `matchers` (`severity=critical, alertname=~"High.*"`; all must hold), `label` (the label that names the
pod, besides `pod`, `pod_name`, `kubernetes_pod_name`, `pod_ip` and `instance`), `receiver` (a regular expression, asked of the
server). An alert that names one of the pods points at it; one that names the namespace's workload or Service only (`service`,
`deployment`, ... as parameters `service` and `deployment` say, or as `matchers` select) is the whole service's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rollout.adapters.http import shorten
from rollout.core.signals import Alarm, Alarms, PodKey, Question

_POD_LABELS = ("pod", "pod_name", "kubernetes_pod_name", "exported_pod")
_IP_LABELS = ("pod_ip", "ip", "node", "instance")
_SERVICE_LABELS = ("service", "deployment", "workload", "app")
_MATCHER = re.compile(r"""\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^,"]*?)\s*(?:,|$)""")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MatcherError(ValueError):
    """A matcher that cannot be read."""


class PushError(ValueError):
    """A pushed body that is not what its sender should send; answered with 400."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `fingerprint` and `since` tell it from others; a repeated push has the same."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: datetime
    fingerprint: str = ""
    firing: bool = True

    @property
    def key(self) -> tuple[str, datetime, bool]:
        """What makes a push the same push."""
        return (self.fingerprint, self.since, self.firing)


def parse_alerts(document: object) -> tuple[Alert, ...] | None:
    """Read what `GET /api/v2/alerts` answers; None when it is no list of alerts. Suppressed ones are left out."""
    if not isinstance(document, list):
        return None
    found: list[Alert] = []
    for item in document:
        alert = _alert(item)
        if alert is None:
            return None
        state = item.get("status")
        if not (isinstance(state, dict) and state.get("state") == "suppressed"):
            found.append(alert)
    return tuple(found)


def parse_alertmanager_webhook(body: bytes) -> tuple[Alert, ...]:
    """Read what Alertmanager posts to a webhook receiver: each alert with its own status. Raises PushError."""
    document = _json(body)
    alerts = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(alerts, list):
        raise PushError("a JSON object with a list `alerts` is expected, as Alertmanager's webhook sends it")
    found = []
    for item in alerts:
        alert = _alert(item)
        if alert is None:
            raise PushError("an alert has no labels")
        found.append(alert)
    return tuple(found)


def parse_skywalking_alarm(body: bytes) -> tuple[Alert, ...]:
    """Read the array that an OAP posts to its webhooks: alarms as alerts, labelled by what they say. Raises PushError.

    Labels: `alertname` the rule, `scope`, `entity` (its name), `id0`, and for an instance `instance` and `service`. A message with
    `recoveryTime` (10.4 and later, same `uuid`) ends its alarm.
    """
    document = _json(body)
    if not isinstance(document, list):
        raise PushError("a JSON array of alarms is expected, as SkyWalking's webhook sends it")
    return tuple(_skywalking(item) for item in document)


def _skywalking(item: object) -> Alert:
    if not isinstance(item, dict) or not isinstance(item.get("alarmMessage"), str) or not isinstance(item.get("id0"), str):
        raise PushError("an alarm lacks `alarmMessage` or `id0`")
    name, scope = str(item.get("name", "")), str(item.get("scope", ""))
    labels = {"alertname": str(item.get("ruleName", "")), "scope": scope, "entity": name, "id0": item["id0"]}
    if scope == "SERVICE_INSTANCE" and " of " in name:
        labels["instance"], _, labels["service"] = name.partition(" of ")
    elif scope == "ENDPOINT" and " in " in name:
        labels["service"] = name.partition(" in ")[2]
    elif scope == "SERVICE":
        labels["service"] = name
    started = item.get("startTime")
    since = datetime.fromtimestamp(started / 1000, UTC) if isinstance(started, int) and 0 <= started < 10**14 else _EPOCH
    identity = str(item.get("uuid") or f"{item.get('ruleName')}/{item['id0']}/{item.get('id1', '')}")
    recovered = isinstance(item.get("recoveryTime"), int) and item["recoveryTime"] > 0
    return Alert(labels, {"summary": item["alarmMessage"]}, since, identity, firing=not recovered)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise PushError("the body is not JSON") from None


def _alert(item: object) -> Alert | None:
    labels = item.get("labels") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(labels, dict):
        return None
    annotations = item.get("annotations")
    return Alert(
        {str(key): str(value) for key, value in labels.items()},
        {str(k): str(v) for k, v in annotations.items()} if isinstance(annotations, dict) else {},
        _time(item.get("startsAt")),
        str(item.get("fingerprint") or "|".join(f"{k}={labels[k]}" for k in sorted(labels))),
        firing=item.get("status") != "resolved",
    )


def _time(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else _EPOCH
    except ValueError:
        return _EPOCH
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    """Read `a=b, c=~"x.*"` into (label, operator, value). Raises MatcherError."""
    found: list[tuple[str, str, str]] = []
    position = 0
    while text[position:].strip():
        match = _MATCHER.match(text, position)
        if match is None:
            raise MatcherError(f'a matcher such as severity="critical" is expected at {shorten(text[position:], 40)!r}')
        name, operator, raw = match.groups()
        value = re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw.startswith('"') else raw
        if "~" in operator:
            try:
                re.compile(value)
            except re.error as problem:
                raise MatcherError(f"{name} has a regular expression that cannot be read: {problem}") from None
        found.append((name, operator, value))
        position = match.end()
    return tuple(found)


def holds(labels: Mapping[str, str], matchers: Sequence[tuple[str, str, str]]) -> bool:
    """Say whether every matcher holds; a label that is absent is empty, as in Alertmanager."""
    for name, operator, value in matchers:
        shown = labels.get(name, "")
        same = re.fullmatch(value, shown) is not None if "~" in operator else shown == value
        if same == operator.startswith("!"):
            return False
    return True


def firing_for(question: Question, alerts: Sequence[Alert]) -> Alarms:
    """Choose the alerts that fire and concern the question, each once. Raises MatcherError."""
    matchers = parse_matchers(question.parameter("matchers"))
    found: list[Alarm] = []
    for alert in alerts:
        if not alert.firing or not holds(alert.labels, matchers):
            continue
        pods = _pods(alert, question)
        if pods is None:
            continue
        words = alert.annotations.get("summary") or alert.annotations.get("description") or alert.annotations.get("message") or ""
        found.append(Alarm(alert.labels.get("alertname", "alert"), alert.since, shorten(words, 300), pods))
    return Alarms(tuple(sorted(set(found), key=lambda alarm: (alarm.since, alarm.name, alarm.pods))))


def _pods(alert: Alert, question: Question) -> tuple[str, ...] | None:
    """Name the pods that the alert points at; empty: the whole service; None: it does not concern us."""
    labels = alert.labels
    namespaces = {pod.namespace for pod in question.pods}
    if labels.get("namespace", next(iter(namespaces), "")) not in namespaces:
        return None
    own = question.parameter("label")
    named = [labels[name] for name in (*((own,) if own else ()), *_POD_LABELS) if labels.get(name)]
    addresses = [labels[name] for name in (*((own,) if own else ()), *_IP_LABELS) if labels.get(name)]
    if pods := [pod.name for pod in question.pods if pod.name in named or _at(pod, addresses)]:
        return tuple(pods)
    if named:
        return None  # it points at a pod, and at none of ours
    for name in _SERVICE_LABELS:
        wanted = question.parameter(name)
        if wanted and labels.get(name) == wanted:
            return ()
    # With matchers the plan has chosen by itself; without, only what names our pods or service concerns us.
    return () if question.parameter("matchers") and labels.get("namespace", "") in {*namespaces, ""} else None


def _at(pod: PodKey, addresses: Sequence[str]) -> bool:
    if not pod.ip:
        return False
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return any(a == pod.ip or a.startswith(f"{host}:") or a.endswith(f"@{pod.ip}") for a in addresses)


def describe_question(question: Question) -> str:
    """Write what was asked, without the server's address."""
    receiver = question.parameter("receiver")
    matchers = question.parameter("matchers")
    asked = "GET /api/v2/alerts?active=true&silenced=false&inhibited=false" + (f"&receiver={receiver}" if receiver else "")
    return f"{asked}; {matchers or 'alerts that name the pods or the service'}"
