"""Asking for many rollouts costs a backend little more than asking for one, and one that hangs costs the others nothing."""

from __future__ import annotations

import pytest

from tests.bench.evidence_bench import SIGNALS, measure, one_hangs


@pytest.mark.parametrize("kind", SIGNALS)
def test_requests_grow_far_slower_than_rollouts(kind: str) -> None:
    one, many = measure(kind, 1), measure(kind, 40)
    assert one.requests >= 1
    assert many.requests <= 6 * one.requests


def test_a_backend_that_hangs_keeps_nobody_waiting() -> None:
    took = one_hangs(10, "skywalking")
    assert took["ask"] < 5
    assert took.keys() == {"ask", "prometheus", "elasticsearch"}
