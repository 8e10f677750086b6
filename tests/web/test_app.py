"""The daemon's HTTP port: alive, able to work, and figures that show what people must know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from rollout.core.history import Notice, NoticeKind, Outcome
from rollout.engine.daemon import Daemon, Periods
from rollout.engine.outbox import Outbox
from rollout.engine.upkeep import Upkeep
from rollout.ports import Transition
from rollout.web.app import make_app
from tests.end_to_end.test_clusters_and_modes import Place

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the application without a socket."""

    app: FastAPI

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://daemon") as client:
                return await client.get(path)

        return asyncio.run(ask())


@contextmanager
def serving(place: Place) -> Iterator[tuple[Daemon, Client]]:
    """A daemon that looks, on the place's engine."""
    outbox = Outbox(place.store, {}, place.clock, place.engine.workers)
    daemon = Daemon(place.engine, Upkeep(place.engine, {}), outbox, Periods())
    daemon.start()
    try:
        yield daemon, Client(make_app(daemon))
    finally:
        daemon.stop(2.0)


@pytest.fixture
def place() -> Place:
    return Place("east")


def figure(client: Client, name: str) -> float:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(line.split()[-1])


def test_a_daemon_that_looks_is_healthy_and_ready(place: Place) -> None:
    with serving(place) as (_, client):
        assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "ready\n")


def test_a_daemon_that_does_not_look_any_more_is_not_healthy(place: Place) -> None:
    with serving(place) as (daemon, client):
        daemon.stop(2.0)
        assert client.get("/healthz").status_code == 503


def test_without_its_lease_it_is_alive_and_not_ready_and_says_why(place: Place) -> None:
    with serving(place) as (_, client):
        place.engine.lease.lost()
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
    assert (answer.status_code, "the lease is not certain" in answer.text) == (503, True)


def test_rollouts_are_counted_by_step(place: Place) -> None:
    place.submit("east")
    place.run(timedelta(minutes=2))
    with serving(place) as (_, client):
        assert figure(client, 'rollout_active_rollouts{step="soaking"}') == 1


def test_a_notice_that_was_given_up_before_a_restart_still_shows(place: Place) -> None:
    rollout = place.submit("east")
    (row,) = place.store.claim("d1", limit=9, lease=HOUR)
    now = place.clock.now()
    lost = Notice("0001-started", NoticeKind.STARTED, "started", "it started", now)
    written = Transition(
        rollout, row.version, row.state, Outcome.ACTIVE, "starting", "w", now, now, notices=(lost,), channels=("x",)
    )
    place.store.commit("d1", [written])
    (owed,) = place.store.owed(now + HOUR, limit=9)
    place.store.dead(owed.id, now, "404: no such hook")
    with serving(place) as (daemon, client):
        daemon.outbox.deliver()
        assert figure(client, "rollout_dead_notices_total") == 1
