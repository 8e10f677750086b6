"""Outlives the test process for a moment, so that no server does.

A test run can end in ways that run no teardown: SIGKILL, a crash, a closed terminal. This program reads its standard input, one line per
server or folder, and when the input ends (whoever held the other end is gone) it kills and removes what is still listed.

Lines: `+pid N` and `-pid N` (N leads a process group), `+folder PATH` and `-folder PATH`. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys


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
        with contextlib.suppress(OSError):
            os.killpg(int(pid), signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
