"""Rows that simulated rollouts stored are still decoded, are stored again as they were, and can be decided on."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from rollout.core.decision import Execution, Timing
from rollout.core.machine import Question, decide
from rollout.core.observation import Observation
from rollout.core.policy import Policy
from rollout.core.signals import Unreachable
from rollout.core.state import Ended, State
from rollout.store.codec import decode, encode
from tests.simulation.offline_tale import Tale, plan_for
from tests.simulation.scenario import plan

ROWS = sorted((Path(__file__).parent / "golden" / "simulated").glob("*.json"))
OFFLINE = sorted((Path(__file__).parent / "golden" / "offline").glob("*.json"))
OFFLINE_STEPS = {
    *("assessing", "announcing", "closinggate", "stopping", "backingup", "migrating", "upgrading", "testing"),
    *("deciding", "rollingback", "openinggate", "watchingopen", "ended"),
}
STEPS = {"starting", "soaking", "certifying", "promoting", "watching", "retiring", "retreating", "ended"}


def test_there_is_a_row_of_every_step() -> None:
    assert {path.stem for path in ROWS} >= STEPS


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_stored_row_is_decoded_and_decided_again(path: Path) -> None:
    row = json.loads(path.read_text())
    state = decode(State, row["state"], row=path.stem)
    assert decode(State, encode(state), row=path.stem) == state
    made = plan(("apisix-5xx", "skywalking-traces"), 2, approval=False)
    question = Question(Execution("golden", made, made.signals), Policy(), Timing())
    now = datetime.fromisoformat(row["at"]) + timedelta(minutes=1)
    decision = decide(question, state, Observation(Unreachable("away")), (), now)
    assert type(decision.state.step).__name__.lower() == row["step"]
    assert (decision.wake_at is None) == isinstance(state.step, Ended)


def test_there_is_a_row_of_every_step_of_a_maintenance() -> None:
    assert {path.stem for path in OFFLINE} >= OFFLINE_STEPS


@pytest.mark.parametrize("path", OFFLINE, ids=lambda path: path.stem)
def test_a_stored_row_of_a_maintenance_is_decoded_and_decided_again(path: Path) -> None:
    row = json.loads(path.read_text())
    state = decode(State, row["state"], row=path.stem)
    assert decode(State, encode(state), row=path.stem) == state
    assert state.offline is not None
    question = Question(Execution("golden", plan_for(Tale(Random(1))), ()), Policy(), Timing())
    now = datetime.fromisoformat(row["at"]) + timedelta(seconds=10)
    decision = decide(question, state, Observation(Unreachable("away")), (), now)
    assert type(decision.state.step).__name__.lower() in OFFLINE_STEPS
    assert (decision.wake_at is None) == isinstance(state.step, Ended)
