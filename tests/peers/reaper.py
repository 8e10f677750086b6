"""Outlives the test process for a moment, so that no server does.

A test run can end in ways that run no teardown: SIGKILL, a crash, a closed terminal. This program reads its standard
input, one line per server or folder, and when the input ends (whoever held the other end is gone) it kills and
removes what is still listed.

Lines: `+pid N` and `-pid N`, `+folder PATH` and `-folder PATH`. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and all its descendants, also those that lead sessions of their own (PostgreSQL's do);

    parents first.
    """
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Fields after the name in brackets, which may hold anything: state, parent, ...
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, ()))
    return found


def signal_family(pid: int, number: int) -> None:
    """Send a signal to a process and to all its descendants."""
    for member in family(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)


def main() -> None:
    pids: dict[str, None] = {}
    folders: dict[str, None] = {}
    for line in sys.stdin:
        verb, _, subject = line.rstrip("\n").partition(" ")
        listed = pids if verb.endswith("pid") else folders
        if verb.startswith("+"):
            listed[subject] = None
        else:
            listed.pop(subject, None)
    for pid in pids:
        signal_family(int(pid), signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
