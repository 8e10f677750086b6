"""The quick copy is `dataclasses.replace` for every class, whatever its shape."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from rollout.core.errors import Refused
from rollout.core.evidence_state import SignalState
from rollout.core.judge_counts import CountParameters
from rollout.core.replacing import replace
from rollout.core.state import Hold, HoldKind, Preflight, Soaking, State

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@dataclasses.dataclass
class WithoutSlots:
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Empty:
    pass


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (State(Preflight(), NOW, NOW), {"notices": 3, "step": Soaking(1, NOW)}),
        (SignalState("errors", since=NOW), {"why": "quiet"}),
        (Hold(HoldKind.BLIND, "nothing answers", NOW), {}),
        (CountParameters(96), {"r0": 2.0}),
        (WithoutSlots("a"), {"name": "b"}),
        (Empty(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_copy_is_the_one_that_dataclasses_makes(value: object, changes: dict[str, object]) -> None:
    before = repr(value)
    copy = replace(value, **changes)  # type: ignore[type-var]  # any dataclass
    assert copy == dataclasses.replace(value, **changes)  # type: ignore[type-var]  # any dataclass
    assert copy is not value
    assert repr(value) == before


def test_what_a_class_checks_is_checked_in_the_copy() -> None:
    with pytest.raises(Refused, match="alpha"):
        replace(CountParameters(96), alpha=2.0)


def test_a_field_that_the_class_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        replace(Hold(HoldKind.BLIND, "nothing answers", NOW), nonsense=1)  # type: ignore[call-arg]  # that is the point
