"""The command line in process: what somebody types, and what comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rollout.cli.app import app

PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {name: NAME}
spec:
  target: {namespace: default, stable: STABLE}
  image: nginx:1.28.0
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Terminal:
    """Somebody at a terminal, in a folder with a database."""

    folder: Path

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'rollout.db'}"

    def type(self, *arguments: str, **environment: str) -> Answer:
        """Run one command to its end."""
        given = {"ROLLOUT_DATABASE": self.database, "ROLLOUT_ACTOR": "alice", "ROLLOUT_CONFIG": "", "COLUMNS": "120", **environment}
        result = CliRunner().invoke(app, list(arguments), env=dict(given), catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def file(self, name: str, text: str) -> str:
        """Write a file; return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def plan(self, name: str = "web", stable: str = "web", extra: str = "") -> str:
        """Write a plan file; `extra` are more lines of its spec."""
        return self.file(f"{name}.yaml", PLAN.replace("NAME", name).replace("STABLE", stable) + extra)
