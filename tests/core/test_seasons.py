"""Commands out of season are told as such, and what is told to change nothing does change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.core import state_offline
from rollout.core.commands import OFFLINE_ONLY, Command, Verb
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.seasons import without_effect
from rollout.core.state import (
    Approval,
    Certifying,
    Hold,
    HoldKind,
    Observing,
    Paused,
    Preflight,
    Promoting,
    Reason,
    Retiring,
    Retreating,
    Snapshot,
    Soaking,
    Starting,
    State,
    Watching,
)
from rollout.core.state_offline import (
    Announcing,
    Assessing,
    BackingUp,
    BackStage,
    ClosingGate,
    Deciding,
    OpeningGate,
    RollingBack,
    Stopping,
    Upgrading,
    WatchingOpen,
)
from tests.core import test_offline as maintenance
from tests.core.builders import canary_plan
from tests.core.scenes import NEW, NOW, OLD, H, M, question, seen, state, view

SNAPSHOT = Snapshot(OLD, 0, NEW, 420, NOW - H)
CANARY: dict[str, Any] = {
    "preflight": Preflight(),
    "starting": Starting(NOW - M),
    "soaking": Soaking(1, NOW - 7 * H, NOW - H, H, H, confirmed=True),
    "certifying": Certifying(1, NOW - H),
    "promoting": Promoting(1, SNAPSHOT, NOW - M),
    "watching": Watching(1, SNAPSHOT, NOW - M),
    "retiring": Retiring(SNAPSHOT, NOW - M),
    "observing": Observing(NOW - M),
    "retreating": Retreating(Reason("why", "signal", Outcome.FAILED), NOW - M),
}
STUCK = RollingBack(NOW - M, "why", "failed", Outcome.FAILED, stage=BackStage.TEST, stuck="tests fail")
OFFLINE: dict[str, Any] = {
    "assessing": Assessing(),
    "announcing": Announcing(NOW - M),
    "closing": ClosingGate(NOW - M),
    "stopping": Stopping(NOW - M),
    "backing up": BackingUp(NOW - M),
    "upgrading": Upgrading(NOW - M),
    "testing": state_offline.Testing(NOW - M),
    "deciding on tests": Deciding(NOW - M, "health fails", "tests"),
    "deciding on a backup": Deciding(NOW - M, "no backup", "backup"),
    "going back": RollingBack(NOW - M, "why", "failed", Outcome.FAILED),
    "stuck in tests": STUCK,
    "stuck in restore": replace(STUCK, stage=BackStage.RESTORE),
    "opening": OpeningGate(NOW - M, Outcome.SUCCEEDED, "why"),
    "open": WatchingOpen(NOW - M, Outcome.SUCCEEDED, "why"),
}
PLAN = maintenance.plan()


def told(step: Any, verb: Verb, **changed: Any) -> str:  # noqa: ANN401 - any step and field
    plan = PLAN if step in OFFLINE.values() else canary_plan()
    return without_effect(plan, state(step, **changed), Command(1, verb, "ann", "", NOW))


@pytest.mark.parametrize("name", [name for name in CANARY if name != "certifying"])
def test_approving_what_nobody_asked_for_changes_nothing_and_says_so(name: str) -> None:
    assert f"it is {name} and asks nobody" in told(CANARY[name], Verb.APPROVE)


def test_what_is_asked_for_can_be_approved() -> None:
    overdue, gate, unannounced = ((Hold(kind, "why", NOW),) for kind in (HoldKind.OVERDUE, HoldKind.GATE, HoldKind.UNANNOUNCED))
    assert told(CANARY["certifying"], Verb.APPROVE) == ""
    assert told(CANARY["watching"], Verb.APPROVE, holds=overdue) == ""
    assert told(OFFLINE["announcing"], Verb.APPROVE, holds=unannounced) == ""
    assert told(OFFLINE["closing"], Verb.APPROVE, holds=gate) == ""
    assert told(OFFLINE["opening"], Verb.APPROVE, holds=gate) == ""
    assert told(OFFLINE["deciding on tests"], Verb.APPROVE) == ""
    assert told(OFFLINE["stuck in tests"], Verb.APPROVE) == ""
    assert "closing gate and asks nobody" in told(OFFLINE["closing"], Verb.APPROVE)


@pytest.mark.parametrize("step", [*CANARY.values(), *OFFLINE.values()])
def test_only_what_is_paused_can_be_resumed(step: Any) -> None:  # noqa: ANN401 - any step
    assert told(step, Verb.RESUME) == "it is not paused"
    assert told(step, Verb.RESUME, paused=Paused("bob", "", NOW)) == ""


def test_what_steps_back_is_neither_aborted_again_nor_paused() -> None:
    assert told(CANARY["retreating"], Verb.ABORT) == "it is already stepping back"
    assert "nothing pauses" in told(CANARY["retreating"], Verb.PAUSE)
    assert [name for name, step in CANARY.items() if told(step, Verb.ABORT)] == ["retreating"]


def test_a_maintenance_says_what_its_step_cannot_do() -> None:
    opened = [name for name, step in OFFLINE.items() if not told(step, Verb.OPEN)]
    back = [name for name, step in OFFLINE.items() if told(step, Verb.ROLLBACK)]
    assert opened == ["deciding on tests", "stuck in tests"]
    assert back == ["going back", "opening", "open"]
    assert [name for name, step in OFFLINE.items() if told(step, Verb.ABORT)] == ["going back", "opening"], "a watch can be ended"
    assert [name for name, step in OFFLINE.items() if told(step, Verb.EXTEND)] == ["opening", "open"]
    assert "its plan asks for no acknowledgement" in told(OFFLINE["announcing"], Verb.ACKNOWLEDGE)


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb not in {*OFFLINE_ONLY, Verb.SUPERSEDE}])
@pytest.mark.parametrize("name", CANARY)
def test_what_is_told_to_change_nothing_changes_nothing(name: str, verb: Verb) -> None:
    before = state(CANARY[name], approval=Approval("eve", "", NOW) if name == "certifying" else None)
    command = Command(1, verb, "ann", "", NOW)
    shown = view(stable_changed={"images": {"nginx": NEW if name in {"watching", "retiring"} else OLD}})
    asked, unasked = (decide(question(canary_plan()), before, seen(shown), given, NOW) for given in ((command,), ()))
    if without_effect(canary_plan(), before, command):
        assert _lasting(asked.state) == _lasting(unasked.state)
    else:
        assert _lasting(asked.state) != _lasting(unasked.state)


def _lasting(after: State) -> State:
    """Leave out when it was saved, which any command brings forward."""
    return replace(after, saved_at=None, summarised_at=None)
