"""Plan files: bytes in, a plan out, or every problem with file, line, column and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rollout.adapters.yamlfile import YamlFile, read_bytes, read_yaml
from rollout.core.errors import Problem
from rollout.core.plan import Plan, check_document
from rollout.core.plan_errors import Located, path_of


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan, the text that it was read from, and the name of the file as messages show it."""

    plan: Plan
    source: str
    name: str
    file: YamlFile | None = field(default=None, repr=False, compare=False)

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Give problems that were found after reading (the policy's, a window in the past) their file, line and column."""
        if self.file is None:
            return tuple(replace(problem, file=problem.file or self.name) for problem in problems)
        return tuple(p if p.line else self.file.locate(Located(path_of(p.key), p)) for p in problems)


def parse_planfile(content: bytes, name: str) -> PlanFile:
    """Read a plan. `name` is for messages. Raises Refused with all problems."""
    file = read_yaml(content, name)
    plan, located = check_document(file.value)
    if plan is None or file.problems:
        raise file.refused(tuple(map(file.locate, located)))
    return PlanFile(plan, file.text, name, file)


def load_planfile(path: Path) -> PlanFile:
    """Read a plan from a file. Raises Refused, also when the file cannot be read."""
    return parse_planfile(read_bytes(path), str(path))
