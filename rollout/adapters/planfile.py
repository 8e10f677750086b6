"""Plan files: bytes in, a plan out, or every problem with file, line, column and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rollout.adapters.yamlfile import read_bytes, read_yaml
from rollout.core.plan import Check, Plan, check_document, nothing


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan, the text that it was read from, and the name of the file as messages show it."""

    plan: Plan
    source: str
    name: str


def parse_planfile(content: bytes, name: str, check: Check = nothing) -> PlanFile:
    """Read a plan. `name` is for messages; `check` says what else is wrong. Raises Refused with all problems of both."""
    file = read_yaml(content, name)
    plan, located = check_document(file.value, check)
    if plan is None or file.problems:
        raise file.refused(tuple(map(file.locate, located)))
    return PlanFile(plan, file.text, name)


def load_planfile(path: Path, check: Check = nothing) -> PlanFile:
    """Read a plan from a file, as `parse_planfile`. Raises Refused, also when the file cannot be read."""
    return parse_planfile(read_bytes(path), str(path), check)
