"""Bugs put in on purpose, each of which the simulation or a test of the core must find: `python -m tests.simulation.planted`.

Every bug is a few lines of source replaced in a copied tree. It prints which invariant or test caught which; a bug that
survives, and one whose lines are no longer there, end it with 1.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.simulation.planted_bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 1_500
TIMEOUT = 240
CAUGHT = re.compile(r"^seed (\d+): (\w+): (.*)$", re.MULTILINE)
FAILED = re.compile(r"^FAILED (.+?)( - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What became of one bug. `by` is empty where it survived."""

    bug: Bug
    by: str


def plant(tree: Path, bug: Bug) -> str:
    """Put a bug into a tree; return what is wrong with the bug itself, empty when nothing is."""
    for change in bug.changes:
        path = tree / change.path
        text = path.read_text()
        if text.count(change.old) != 1:
            return f"its lines stand {text.count(change.old)} times in {change.path}"
        path.write_text(text.replace(change.old, change.new))
    return ""


def judge(bug: Bug) -> Verdict:
    """Plant a bug in a copy and see who finds it."""
    with TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("rollout", "tests", "migrations", "config"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        wrong = plant(tree, bug)
        if wrong:
            return Verdict(bug, f"ERROR: {wrong}")
        if bug.test:
            ran = _run(tree, ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", bug.test])
            failed = FAILED.search(ran)
            return Verdict(bug, failed[1] if failed else "")
        ran = _run(tree, ["-m", "tests.simulation", "--seeds", str(SEEDS), "--workers", "1", "--like", bug.like])
        found = CAUGHT.search(ran)
        return Verdict(bug, f"{found[2]} (seed {found[1]})" if found else _crashed(ran))


def _crashed(ran: str) -> str:
    """A tree that does not even start says nothing about the invariants."""
    return f"ERROR: {ran.strip().splitlines()[-1]}" if "Traceback" in ran else ""


def _run(tree: Path, arguments: list[str]) -> str:
    try:
        ran = subprocess.run(
            [sys.executable, *arguments], cwd=tree, env={"PYTHONPATH": str(tree), "PATH": ""}, capture_output=True, text=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"Traceback: no answer within {TIMEOUT} s"
    return ran.stdout + ran.stderr


def chosen(words: list[str]) -> Iterator[Bug]:
    yield from (bug for bug in BUGS if not words or any(word in bug.name for word in words))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("words", nargs="*", help="only bugs whose name has one of these")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    survived = 0
    with ThreadPoolExecutor(asked.workers) as pool:
        for verdict in pool.map(judge, chosen(asked.words)):
            bad = not verdict.by or verdict.by.startswith("ERROR")
            survived += bad
            print(f"{'SURVIVED' if bad else 'caught  '} {verdict.bug.name}: {verdict.by or 'nobody noticed'}", flush=True)
    print(f"{survived} survived" if survived else "every planted bug was caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
