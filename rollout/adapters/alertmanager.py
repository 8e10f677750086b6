"""Alertmanager as a signal source: the alerts that fire now, pulled, and matched to the pods asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

from rollout.adapters.alerts import Alert, MatcherError, describe_question, firing_for, parse_alerts
from rollout.adapters.http import Backend, BackendSettings, describe, is_json, parse_json, refuse_status, shorten
from rollout.core.errors import Rejected, Unavailable
from rollout.core.signals import Answer, Question, Reading, Unreachable
from rollout.core.wording import plural, span
from rollout.ports import Check, Clock

SKEW_TOLD = timedelta(seconds=30)
_LIVE = {"active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "true"}


class AlertmanagerSettings(BackendSettings):
    """An Alertmanager (API v2, 0.16 and later)."""

    type: Literal["alertmanager"] = "alertmanager"


class AlertmanagerSource:
    """Answers `alerts`; see alerts for its parameters. All questions with the same receiver share one request."""

    def __init__(self, name: str, settings: AlertmanagerSettings, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._backend = Backend(name, settings, clock, url=settings.url)

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
        by_receiver: dict[str, tuple[Alert, ...] | Unreachable] = {}
        answers = {}
        for question in questions:
            receiver = question.parameter("receiver")
            if receiver not in by_receiver:
                by_receiver[receiver] = self._fetch(receiver)
            answers[question] = Answer(question, self._reading(question, by_receiver[receiver]), describe_question(question), at)
        return answers

    def _reading(self, question: Question, alerts: tuple[Alert, ...] | Unreachable) -> Reading:
        if question.ask != "alerts":
            return Unreachable(f"Alertmanager cannot be asked for {question.ask!r}; it can for alerts")
        if isinstance(alerts, Unreachable):
            return alerts
        try:
            return firing_for(question, alerts)
        except MatcherError as problem:
            return Unreachable(f"the question of signal {question.signal} cannot be asked: {problem}")

    def _fetch(self, receiver: str) -> tuple[Alert, ...] | Unreachable:
        try:
            params = {**_LIVE, **({"receiver": receiver} if receiver else {})}
            reply = self._backend.send("GET", "/api/v2/alerts", params=params)
            if is_json(reply):
                refuse_status(self._name, reply)
            document = parse_json(self._name, reply)
            refuse_status(self._name, reply, about=shorten(str(document)))
            alerts = parse_alerts(document)
        except (Unavailable, Rejected) as failure:
            return Unreachable(str(failure))
        if alerts is None:
            return Unreachable(f"{self._name}: {describe(reply)}: a list of alerts was expected")
        return alerts

    def check(self) -> Sequence[Check]:
        """Tell for doctor: does it list alerts, how its clock stands to ours."""
        found = self._fetch("")
        if isinstance(found, Unreachable):
            remedy = f"see that {self._backend.shown_url} is the Alertmanager (0.16 or later); a path prefix belongs into the URL"
            return [Check(self._name, "refused", found.why, remedy)]
        checks = [Check(self._name, "ok", f"Alertmanager answers; {plural(len(found), 'alert')} firing now")]
        try:
            now, reply = self._clock.now(), self._backend.send("GET", "/-/ready")
        except (Unavailable, Rejected):
            return checks
        if reply.said_at is not None and abs(reply.said_at - now) > SKEW_TOLD:
            words = f"its clock is {span(abs(reply.said_at - now))} {'ahead of' if reply.said_at > now else 'behind'} ours"
            checks.append(Check(f"{self._name} clock", "warning", words, "synchronise the clocks (NTP)"))
        return checks
