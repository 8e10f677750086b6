"""The demo's stories by name."""

from __future__ import annotations

from collections.abc import Mapping

from rollout.cli.demo_canary import CANARIES
from rollout.cli.demo_offline import OFFLINES
from rollout.cli.demo_story import Scenario
from rollout.core.errors import Problem, Refused

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in (*CANARIES, *OFFLINES)}
DEFAULT = ("good", "bad")


def chosen(name: str) -> tuple[Scenario, ...]:
    """Pick one scenario by name, the default ones for an empty name. Raises Refused with the list."""
    names = (name,) if name else DEFAULT
    unknown = [item for item in names if item not in SCENARIOS]
    if unknown:
        known = ", ".join(f"{s.name} ({s.about})" for s in SCENARIOS.values())
        raise Refused(f"there is no scenario {unknown[0]!r}", (Problem("scenarios", remedy=f"one of: {known}"),))
    return tuple(SCENARIOS[item] for item in names)
