"""Where the files are that travel with the package: examples and templates, in a checkout or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

from rollout.core.errors import Problem, Refused

PACKAGE = Path(__file__).resolve().parent.parent


def config_folder() -> Path:
    """Find `config/`: beside the package in a checkout or an editable install, inside it when installed from a wheel."""
    for folder in (PACKAGE / "_config", PACKAGE.parent / "config"):
        if folder.is_dir():
            return folder
    raise Refused(
        "the package's example configuration is missing", (Problem("broken installation", remedy="install rollout again"),)
    )
