"""Pools: what hangs in one keeps nobody of another waiting."""

from __future__ import annotations

import threading

from rollout.engine.workers import SIZES, Pool, Threads


def test_an_api_server_that_hangs_keeps_no_step_back_of_another_cluster_waiting() -> None:
    workers, released, stepped_back = Threads(), threading.Event(), threading.Event()

    def hang() -> None:
        released.wait(30)

    try:
        for _ in range(3 * SIZES[Pool.BACK]):
            workers.spawn(Pool.BACK.of("hung"), hang)
        workers.spawn(Pool.BACK.of("healthy"), stepped_back.set)
        assert stepped_back.wait(20)
        assert not workers.idle()
    finally:
        released.set()
        workers.close(10)


def test_a_pool_of_a_cluster_is_as_wide_as_its_purpose_wants() -> None:
    workers, together = Threads(), threading.Barrier(SIZES[Pool.BACK] + 1)

    def meet() -> None:
        together.wait(20)

    try:
        for _ in range(SIZES[Pool.BACK]):
            workers.spawn(Pool.BACK.of("one"), meet)
        together.wait(20)
        assert not together.broken
    finally:
        workers.close(10)
