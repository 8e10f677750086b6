"""Runs the script of a shipped Job template as a process, with the arguments and environment that its container would get."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rollout.core.job_template import Artifact, artifact_in, containers, process_of, rendered

FOLDER = Path(__file__).parents[2] / "config" / "kubernetes"
NAMES = ("postgresql-backup", "postgresql-restore", "postgresql-sessions", "postgresql-migrate",
         "mysql-backup", "mysql-restore", "mysql-sessions", "mysql-migrate")  # fmt: skip


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def artifact(self) -> Artifact:
        found = artifact_in(self.out)
        assert found is not None, f"{self.out}\n{self.err}"
        return found


@dataclass
class Runner:
    """One database's Jobs: `secret` is what the Secret would hold, `folder` what the volume is."""

    folder: Path
    secret: Mapping[str, str]
    parameters: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, **parameters: str) -> Ran:
        given = {"SECRET": "database", "VOLUME": "backups", **self.parameters, **parameters}
        (container,) = containers(rendered(template(name), given))
        words, environment = process_of(container)
        environment |= {**self.secret, "PATH": os.environ["PATH"], "ARTIFACTS": str(self.folder), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return Ran(done.returncode, done.stdout, done.stderr)


def template(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found
