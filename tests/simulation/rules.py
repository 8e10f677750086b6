"""Every invariant that a simulated rollout is held to."""

from __future__ import annotations

from tests.simulation import invariants, invariants_deadlines, invariants_time, invariants_truth
from tests.simulation.invariants import Invariant

RULES: tuple[type[Invariant], ...] = (
    invariants.ShareIsKept,
    invariants.OneReplicaInSixHours,
    invariants.WhatWasAddedStays,
    invariants.CommittedBeforeForward,
    invariants.OnlyTheOwnerGoesForward,
    invariants.HandsOffWhileHeld,
    invariants.NothingAfterATombstone,
    invariants.ForeignZeroStands,
    invariants.TheReasonIsKept,
    invariants.HotfixStands,
    invariants.RestIsWhole,
    invariants_time.FaultsAreLeftAtOnce,
    invariants_time.NobodySpins,
    invariants_time.ADayIsCredited,
    invariants_time.NothingGoodIsStopped,
    invariants_time.NoticesAreTold,
    invariants_deadlines.EveryStepIsLeft,
    invariants_truth.NobodyElseIsBlamed,
    invariants_truth.WhatIsOverIsOver,
)
