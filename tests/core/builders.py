"""Plans for tests: the shortest that there is, with what a test wants to differ."""

from __future__ import annotations

from typing import Any

from rollout.core.plan import CanaryPlan, plan_of


def canary_plan(name: str = "nginx", image: str = "nginx:2.0", **spec: Any) -> CanaryPlan:  # noqa: ANN401 - whatever YAML can hold
    """Make a canary plan; keyword arguments are keys of `spec` in camelCase."""
    target = spec.pop("target", {"namespace": "default", "stable": "nginx", "service": "nginx-svc"})
    document = {
        "apiVersion": "rollout/v1",
        "kind": "Canary",
        "metadata": {"name": name},
        "spec": {"target": target, "image": image, **spec},
    }
    plan = plan_of(document)
    assert isinstance(plan, CanaryPlan)
    return plan
