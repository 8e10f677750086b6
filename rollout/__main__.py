"""Entry point of the `rollout` command; imports are lazy so that `--help` is quick."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line. A terminal that does not know a character shows a `?` for it."""
    from rollout.cli.app import app  # noqa: PLC0415 - lazy, so that the import of a library is paid only where it is used

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
