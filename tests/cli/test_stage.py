"""The demo's stage: what was opened is given back, also where the rest cannot be."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rollout.cli.stage import Scene, Stage
from rollout.core.errors import RolloutError


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("sandbox")}


def test_a_stage_whose_database_cannot_be_opened_leaves_no_sandbox_behind(tmp_path: Path) -> None:
    stage = Stage(Scene(tmp_path, "sqlite:////nowhere/at/all/rollout.db"))
    before = ours()
    with pytest.raises(RolloutError):
        stage.__enter__()
    assert ours() == before
