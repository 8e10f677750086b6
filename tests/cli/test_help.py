"""`--help` is quick, because nothing is imported before it is needed."""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.end_to_end.processes import COMMAND

HEAVY = ("sqlalchemy", "kubernetes", "httpx", "fastapi", "uvicorn", "pydantic", "alembic", "apscheduler", "yaml", "structlog")


def test_registering_the_commands_imports_no_heavy_library() -> None:
    script = f"import sys, rollout.cli.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([str(COMMAND), "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "submit" in found.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_less_than_a_third_of_a_second_of_cpu() -> None:
    assert min(seconds_of_help() for _ in range(3)) < 0.3
