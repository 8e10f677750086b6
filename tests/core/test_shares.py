"""The replica arithmetic, with the figures of the procedure."""

from __future__ import annotations

import pytest

from rollout.core.shares import Refusal, excess_now, growth_refused, start_share
from tests.core.builders import canary_plan
from tests.core.scenes import OLD, deployment, parts, pod, stable_pods, view


@pytest.mark.parametrize(("stable", "share"), [(10, 1 / 11), (12, 1 / 13), (99, 0.01)])
def test_one_canary_beside_ten_or_more_may_start(stable: int, share: float) -> None:
    assert start_share(canary_plan(), deployment("nginx", stable, OLD)) == pytest.approx(share)


@pytest.mark.parametrize("stable", [0, 1, 8, 9])
def test_nine_or_fewer_are_refused_with_the_remedy(stable: int) -> None:
    answer = start_share(canary_plan(), deployment("nginx", stable, OLD))
    assert isinstance(answer, Refusal)
    assert "10 or more replicas" in answer.remedy


def test_a_larger_share_that_the_plan_states_is_inclusive() -> None:
    assert start_share(canary_plan(initialShare="20%"), deployment("nginx", 4, OLD)) == pytest.approx(0.2)


def test_pods_that_are_not_ready_carry_no_share_at_the_start() -> None:
    assert isinstance(start_share(canary_plan(), deployment("nginx", 10, OLD, ready=5)), Refusal)


@pytest.mark.parametrize(("size", "stable", "may"), [(3, 10, True), (3, 9, True), (4, 10, False), (2, 6, True), (2, 5, False)])
def test_growth_stays_within_a_quarter(size: int, stable: int, may: bool) -> None:  # noqa: FBT001 - a column of the table
    shown = view(size - 1, stable)
    assert (growth_refused(canary_plan(), shown, parts(shown), size) is None) is may


def test_growth_counts_ready_stable_pods_and_not_wanted_ones() -> None:
    pods = (pod(), *stable_pods(3), *stable_pods(7, ready=False))
    shown = view(1, 10, pods=pods)
    why = growth_refused(canary_plan(), shown, parts(shown), 2)
    assert why is not None
    assert "3 ready of 10" in why


def test_a_stable_that_was_scaled_down_makes_an_excess() -> None:
    assert excess_now(canary_plan(), view(3, 8), 3) is not None
    assert excess_now(canary_plan(), view(3, 9), 3) is None


def test_a_stable_whose_pods_lost_readiness_makes_no_excess() -> None:
    shown = view(3, 10, pods=(pod(), *stable_pods(10, ready=False)))
    assert excess_now(canary_plan(), shown, 3) is None


def test_a_stable_that_is_large_enough_and_not_ready_is_not_to_be_scaled() -> None:
    refused = start_share(canary_plan(), deployment("nginx", 10, OLD, ready=5))
    assert isinstance(refused, Refusal)
    assert refused.remedy.startswith("see that 10 or more pods of nginx are ready, or say")


def test_the_remedy_names_every_key_that_a_larger_share_needs() -> None:
    small, large = (start_share(canary_plan(), deployment("nginx", stable, OLD)) for stable in (4, 1))
    assert isinstance(small, Refusal)
    assert isinstance(large, Refusal)
    assert "maxShare" not in small.remedy
    assert "`initialShare: 50%` and `maxShare: 50%` in the plan where the policy allows it" in large.remedy
    named = canary_plan(initialShare="50%", maxShare="50%")
    assert start_share(named, deployment("nginx", 1, OLD)) == pytest.approx(0.5)


@pytest.mark.parametrize("stable", range(1, 10))
def test_the_share_that_the_remedy_names_is_enough(stable: int) -> None:
    refused = start_share(canary_plan(), deployment("nginx", stable, OLD))
    assert isinstance(refused, Refusal)
    named = refused.remedy.partition("initialShare: ")[2].partition("`")[0]
    assert isinstance(start_share(canary_plan(initialShare=named, maxShare="60%"), deployment("nginx", stable, OLD)), float)
