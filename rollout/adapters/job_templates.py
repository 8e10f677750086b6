"""Job templates by name: files of one folder, read when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollout.adapters.yamlfile import read_bytes, read_yaml
from rollout.core.errors import Problem, Refused
from rollout.core.plan_errors import nearest

SHIPPED = Path(__file__).resolve().parents[1] / "_config" / "kubernetes"
"""Where an installed rollout has its templates; a checkout has them in config/kubernetes."""
_JOB = re.compile(rb"^kind:\s*Job\s*$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def default_folder() -> Path:
    """Find the templates that come with rollout."""
    checkout = Path(__file__).resolve().parents[2] / "config" / "kubernetes"
    return SHIPPED if SHIPPED.is_dir() else checkout


class JobTemplates:
    """The templates of one folder: `postgresql-backup` is `postgresql-backup.yaml`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Mapping[str, Any]:
        """Read one. Raises Refused that names those that there are."""
        path = self._folder / f"{name}.yaml"
        if not _NAME.fullmatch(name) or not path.is_file():
            problem = Problem(f"no such file in {self._folder}", key="template", remedy=self._instead(name))
            raise Refused(f"there is no Job template {name!r}", (problem,))
        file = read_yaml(read_bytes(path), path.name)
        if file.problems:
            raise file.refused(())
        if not isinstance(file.value, dict) or file.value.get("kind") != "Job":
            raise Refused(f"Job template {name!r} is not a Job")
        found: Mapping[str, Any] = file.value
        return found

    def _instead(self, name: str) -> str:
        """List the templates that there are; other manifests may lie beside them."""
        there = sorted(path.stem for path in self._folder.glob("*.yaml") if _JOB.search(read_bytes(path)))
        near = nearest(name, there)
        return (f"did you mean {near}? " if near else "") + f"there are: {', '.join(there) or 'none'}"
