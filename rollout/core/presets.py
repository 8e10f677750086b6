"""The signals that a plan can name instead of describing: a table, one line each.

Delays follow how late each backend is complete: SkyWalking's minute is stable about two minutes after it began to be written,
logs pass a collector's flush and an index refresh, a scrape is there at once. A ratio of 1.5 stands where requests are not
measured per pod, or events come in bursts; 1.0 would alarm on a share that is not quite the replica ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rollout.core.signals_compiled import JudgeKind, SignalKind
from rollout.core.target import Target

_COUNTS, _GAUGE, _ALARMS = SignalKind.COUNTS, SignalKind.GAUGE, SignalKind.ALARMS
_RATIO, _RANK, _ALARM = JudgeKind.RATIO, JudgeKind.RANK, JudgeKind.ALARM


@dataclass(frozen=True, slots=True)
class Preset:
    """One line of the table. `backend` is the backend's type, and the name under which it is looked for by default."""

    backend: str
    ask: str
    kind: SignalKind
    judge: JudgeKind
    delay: timedelta
    about: str
    r0: float = 1.0
    parameters: tuple[str, ...] = ()
    """Keys that `parameters` of the plan may hold; their meaning is the source's."""


def _s(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


_ROUTES = ("prefix", "route", "service")
_SKYWALKING = ("service", "instance")
_STATUS = (*_ROUTES, "codes")
_LOGS = ("pattern", "field", "container")
_LATENCY = (*_ROUTES, "quantile", "type")
_INDEX = (*_LOGS, "index", "level", "query")
_LINES = (*_SKYWALKING, "level", "pattern")
_RULES = (*_SKYWALKING, "rules")
_ALERTS = ("matchers", "receiver", "label", "service", "deployment", "workload", "app")

PRESETS: dict[str, Preset] = {
    "skywalking-traces": Preset("skywalking", "error-traces", _COUNTS, _RATIO, _s(120), "error traces", 1.0, _SKYWALKING),
    "skywalking-success-rate": Preset("skywalking", "success-rate", _COUNTS, _RATIO, _s(120), "failed calls", 1.0, _SKYWALKING),
    "skywalking-response-time": Preset("skywalking", "response-time", _GAUGE, _RANK, _s(120), "mean time", 1.0, _SKYWALKING),
    "skywalking-logs": Preset("skywalking", "error-logs", _COUNTS, _RATIO, _s(60), "ERROR lines", 1.5, _LINES),
    "skywalking-alarms": Preset("skywalking", "alarms", _ALARMS, _ALARM, _s(0), "alarms", 1.0, _RULES),
    "apisix-5xx": Preset("prometheus", "5xx", _COUNTS, _RATIO, _s(15), "5xx answers by node", 1.0, _STATUS),
    "apisix-latency": Preset("prometheus", "latency", _GAUGE, _RANK, _s(15), "p95 by node", 1.0, _LATENCY),
    "error-logs": Preset("elasticsearch", "error-logs", _COUNTS, _RATIO, _s(90), "ERROR lines", 1.5, _INDEX),
    "alertmanager": Preset("alertmanager", "alerts", _ALARMS, _ALARM, _s(0), "firing alerts", 1.0, _ALERTS),
}


def implied(preset: Preset, target: Target) -> dict[str, str]:
    """Fill in what a source must know of the target, where the plan does not say: what it is called there."""
    match preset.backend:
        case "skywalking":
            return {"service": target.stable}
        case "alertmanager":
            return {"deployment": target.stable, "service": target.service}
        case _:
            return {}
