"""Alarm rules for a real OAP, as alarm-settings.yml of 9.6 and newer holds them.

OAP looks at its rules every 10 s and fires once a minute, after second 15: the first alarm comes about a minute after the trouble.
"""

from __future__ import annotations

from typing import Any


def failing(webhook: str, *, below: int = 9900) -> dict[str, Any]:
    """Post to `webhook`, and keep, an alarm of each instance and each service whose sla (10000 is all well) was lower in one of
    the last 5 minutes.
    """  # fmt: skip
    hook = {"is-default": True, "urls": [webhook]}
    rules = {
        "failing_instances_rule": _rule("service_instance_sla", "Requests fail at {name}", below),
        "failing_services_rule": _rule("service_sla", "Requests fail in all of {name}", below),
    }
    return {"rules": rules, "hooks": {"webhook": {"default": hook}}}


def _rule(metric: str, message: str, below: int) -> dict[str, Any]:
    return {"expression": f"sum({metric} < {below}) >= 1", "period": 5, "silence-period": 1, "message": message}
