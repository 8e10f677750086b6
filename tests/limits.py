"""The limits of the house: files under 400 lines, functions under 45. `python -m tests.limits` lists what is over and exits 1."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 45
ROOT = Path(__file__).resolve().parent.parent


def over(path: Path) -> list[str]:
    """List what is too long in one file."""
    text = path.read_text(encoding="utf-8")
    found = []
    lines = text.count("\n")
    if lines >= FILE_LINES:
        found.append(f"{path.relative_to(ROOT)}: {lines} lines")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size >= FUNCTION_LINES:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {size} lines")
    return found


def main() -> int:
    """Check every Python file that git tracks; a migration writes its tables out in full, however long they are."""
    listed = subprocess.run(["git", "ls-files", "*.py", ":!migrations"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = listed.stdout.split()
    found = [line for name in names if (ROOT / name).exists() for line in over(ROOT / name)]
    for line in found:
        print(line)  # noqa: T201 - that is what it is for
    print(f"{len(names)} files, {len(found)} over the limits")  # noqa: T201 - as above
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
