"""A pretend Alertmanager: the alerts that a scenario raises, as API v2 lists them and as a webhook receiver would get them."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollout.sandbox.http import Request, Response, json_response, text_response
from rollout.sandbox.kube_objects import micro_stamp
from rollout.sandbox.live import LiveWorld

NAME = "alertmanager"
"""What Faults knows this backend by."""


@dataclass(slots=True)
class RaisedAlert:
    """One alert. `ended_at` None: it fires."""

    labels: dict[str, str]
    annotations: dict[str, str]
    started_at: datetime
    ended_at: datetime | None = None
    silenced: bool = field(default=False)

    @property
    def fingerprint(self) -> str:
        """A text that is the same for the same labels."""
        text = ",".join(f"{key}={value}" for key, value in sorted(self.labels.items()))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


class Alertmanager:
    """Answers `/api/v2/alerts` and `/-/ready`. Raise alerts with `fire`, end them with `resolve`. Thread-safe."""

    def __init__(self, live: LiveWorld) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._alerts: list[RaisedAlert] = []

    def fire(self, alertname: str, labels: Mapping[str, str] | None = None, summary: str = "") -> RaisedAlert:
        """Raise an alert now."""
        alert = RaisedAlert({"alertname": alertname, **(labels or {})}, {"summary": summary} if summary else {}, self._live.now())
        with self._lock:
            self._alerts.append(alert)
        return alert

    def resolve(self, alert: RaisedAlert) -> None:
        """End an alert now."""
        alert.ended_at = self._live.now()

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        match request.path:
            case "/-/ready" | "/-/healthy":
                return text_response("OK")
            case "/api/v2/alerts":
                return self._list(request)
            case _:
                return text_response("404 page not found\n", 404)

    def webhook(self, receiver: str = "rollout") -> dict[str, Any]:
        """The body that Alertmanager would post now: every alert with its own status."""
        with self._lock:
            alerts = [
                {
                    "status": "resolved" if alert.ended_at else "firing", "labels": alert.labels, "annotations": alert.annotations,
                    "startsAt": micro_stamp(alert.started_at), "fingerprint": alert.fingerprint, "generatorURL": "",
                    "endsAt": micro_stamp(alert.ended_at) if alert.ended_at else "0001-01-01T00:00:00Z",
                }
                for alert in self._alerts
            ]  # fmt: skip
        status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
        head = {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": status, "receiver": receiver}
        common: dict[str, Any] = {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": ""}
        return {**head, **common, "alerts": alerts}

    def _list(self, request: Request) -> Response:
        try:
            wanted = re.compile(request.one("receiver") or ".*")
        except re.error as problem:
            return json_response(f"failed to parse receiver param: {problem}", 400)
        if not wanted.fullmatch("rollout"):
            return json_response([])
        now = self._live.now()
        with self._lock:
            firing = [alert for alert in self._alerts if alert.ended_at is None]
        shown = [_shown(alert, now) for alert in firing if not alert.silenced or request.one("silenced", "true") == "true"]
        return json_response(shown)


def _shown(alert: RaisedAlert, now: datetime) -> dict[str, Any]:
    by = ["silence-1"] if alert.silenced else []
    status = {"state": "suppressed" if alert.silenced else "active", "silencedBy": by, "inhibitedBy": [], "mutedBy": []}
    ends = micro_stamp(now + timedelta(minutes=5))
    times = {"startsAt": micro_stamp(alert.started_at), "updatedAt": micro_stamp(now), "endsAt": ends}
    names = {"fingerprint": alert.fingerprint, "receivers": [{"name": "rollout"}], "generatorURL": ""}
    return {"labels": alert.labels, "annotations": alert.annotations, **times, **names, "status": status}
