"""Which Java and which Go: the first that fits, on PATH or where Debian and Go's own installer put them.

Standard library only: the build uses it before any virtual environment exists. `python -m tests.peers.programs` says what is
missing, as the names of Debian packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# OAP needs 11; the search servers are started with `-Djava.security.manager=allow`, which 12 to 23 understand.
_JAVA = range(17, 24)
# Since 1.21 go fetches the toolchain that a go.mod asks for.
_GO_MINOR = 21


def _candidates(name: str, *elsewhere: str) -> list[Path]:
    found = [Path(place) for place in (shutil.which(name),) if place]
    return found + [path for pattern in elsewhere for path in sorted(Path("/").glob(pattern), reverse=True)]


def _version(command: Sequence[str | Path], pattern: str) -> int | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, done.stdout + done.stderr)
    return int(found[1]) if found else None


@cache
def java() -> Path | None:
    """Find a Java that runs OAP and the search servers."""
    home = os.environ.get("JAVA_HOME")
    own = [Path(home) / "bin" / "java"] if home else []
    for path in (*own, *_candidates("java", "usr/lib/jvm/*/bin/java")):
        if _version([path, "-version"], r'version "(\d+)') in _JAVA:
            return path
    return None


@cache
def go() -> Path | None:
    """Find a Go that builds the control plane, or fetches the Go that does."""
    for path in _candidates("go", "usr/local/go/bin/go", "usr/lib/go-*/bin/go"):
        if (_version([path, "env", "GOVERSION"], r"go1\.(\d+)") or 0) >= _GO_MINOR:
            return path
    return None


def main() -> int:
    missing = {"golang-go": go(), "openjdk-17-jre-headless": java()}
    print(*(package for package, path in missing.items() if path is None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
