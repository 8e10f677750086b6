"""Entry point of the `rollout` command; imports are lazy so that `--help` is quick."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from rollout.cli.app import app  # noqa: PLC0415 - lazy, so that the import of a library is paid only where it is used

    app()


if __name__ == "__main__":
    main()
