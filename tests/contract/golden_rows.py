"""States as real simulated rollouts stored them, one of each step: `python -m tests.contract.golden_rows` writes the rows.

Rows that are there already are never rewritten: what was stored once must be readable for ever.
"""

from __future__ import annotations

import json
from pathlib import Path

from rollout.ports import Transition
from tests.simulation.scenario import scenario
from tests.simulation.simulation import Simulation

FOLDER = Path(__file__).parent / "golden" / "simulated"


def rows(seeds: range) -> dict[str, dict[str, str]]:
    """Play seeds; keep the longest text of each step that was committed."""
    found: dict[str, dict[str, str]] = {}
    for seed in seeds:
        played = Simulation(scenario(seed))
        commit = played.store.commit

        def kept(daemon: str, transitions: list[Transition], commit=commit) -> frozenset[str]:  # type: ignore[no-untyped-def]  # noqa: ANN001 - bound now
            for one in transitions:
                if len(one.state) > len(found.get(one.step, {}).get("state", "")):
                    found[one.step] = {"step": one.step, "outcome": one.outcome.value, "at": one.at.isoformat(), "state": one.state}
            written: frozenset[str] = commit(daemon, transitions)
            return written

        played.store.commit = kept  # type: ignore[method-assign, assignment]  # looked over its shoulder
        played.run()
    return found


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for step, row in rows(range(20)).items():
        path = FOLDER / f"{step}.json"
        if not path.exists():
            path.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
