"""States as real simulated rollouts stored them, one of each step: `python -m tests.contract.golden_rows` writes the rows.

Rows that are there already are never rewritten: what was stored once must be readable for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from rollout.ports import Store, Transition
from tests.simulation.offline_story import Story
from tests.simulation.offline_tale import Tale
from tests.simulation.scenario import scenario
from tests.simulation.simulation import Simulation

FOLDER = Path(__file__).parent / "golden" / "simulated"
OFFLINE = Path(__file__).parent / "golden" / "offline"

Rows = dict[str, dict[str, str]]


def overlook(store: Store, found: Rows) -> None:
    """Keep the longest text of each step that is committed."""
    commit = store.commit

    def kept(daemon: str, transitions: Sequence[Transition]) -> frozenset[str]:
        for one in transitions:
            if len(one.state) > len(found.get(one.step, {}).get("state", "")):
                found[one.step] = {"step": one.step, "outcome": one.outcome.value, "at": one.at.isoformat(), "state": one.state}
        return frozenset(commit(daemon, transitions))

    store.commit = kept  # type: ignore[method-assign]  # looked over its shoulder


def rows(seeds: range) -> Rows:
    """Play canaries from seeds."""
    found: Rows = {}
    for seed in seeds:
        played = Simulation(scenario(seed))
        overlook(played.store, found)
        played.run()
    return found


def offline_rows() -> Rows:
    """Play a maintenance that goes well, and one that is decided about and goes back."""
    found: Rows = {}
    for passes in (True, False):
        played = Story(Tale(Random(1), new_passes=passes))
        overlook(played.inner, found)
        played.run()
    return found


def main() -> None:
    for folder, found in ((FOLDER, rows(range(20))), (OFFLINE, offline_rows())):
        folder.mkdir(parents=True, exist_ok=True)
        for step, row in found.items():
            path = folder / f"{step}.json"
            if not path.exists():
                path.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
