"""Alarm rules for a real OAP, as alarm-settings.yml of 9.6 and newer holds them.

OAP looks at its rules every 10 s and fires once a minute, after second 15: the first alarm comes about a minute after the trouble.
"""

from __future__ import annotations

from typing import Any


def failing_instances(webhook: str, *, below: int = 9900) -> dict[str, Any]:
    """Post to `webhook` when an instance's `service_instance_sla` (10000 is all well) was lower in one of the last 5 minutes."""
    rule = {
        "expression": f"sum(service_instance_sla < {below}) >= 1",
        "period": 5,
        "silence-period": 1,
        "message": "Requests fail at {name}",
    }
    hook = {"is-default": True, "urls": [webhook]}
    return {"rules": {"failing_instances_rule": rule}, "hooks": {"webhook": {"default": hook}}}
