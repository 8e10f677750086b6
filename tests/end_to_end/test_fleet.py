"""Several `rollout serve` processes on one PostgreSQL: killed, stopped for a minute and woken, and with a database that hangs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.end_to_end.arena import CLOCK, CRASHES, GOOD, until
from tests.end_to_end.fleet import BAD, Fleet, Member, freeze
from tests.peers.postgresql import PostgreSql

pytestmark = pytest.mark.timeout(400)  # whole rollouts of several processes, on cores that are shared

COUNT = 300
A_MINUTE = 60.0
TAKEOVER = 15.0
"""Seconds; the lease is 5 s here, so that a busy machine has as long again."""


def begin(fleet: Fleet, daemons: Sequence[Member]) -> None:
    """Submit a plan for every target: every tenth version is bad, every sixth soaks for longer than anybody sleeps."""
    with fleet.sandbox.using() as world:
        world.behaviours[BAD] = CRASHES
    fleet.until_ready(*daemons)
    for number, name in enumerate(fleet.names):
        fleet.submit(name, BAD if number % 10 == 0 else GOOD, "75s" if number % 6 == 1 else "2s")


def until_over(fleet: Fleet) -> None:
    """Wait until every rollout has ended and everything was told."""
    ids = len(fleet.names)
    until(lambda: sum(n for outcome, n in fleet.outcomes().items() if outcome != "active") == ids, "all have ended", 240)
    until(lambda: not fleet.rows("select 1 from notice where state = 'owed' limit 1"), "everything is told", 60)


def check_outcomes(fleet: Fleet) -> None:
    """Good versions have succeeded. A bad one has failed, or its daemon died between stepping back and writing that down."""
    query = """select r.id, r.image, r.outcome, coalesce(string_agg(e.facts::text, ''), '')
               from rollout r left join event e on e.rollout = r.id group by 1, 2, 3"""
    rows = fleet.rows(query)
    assert len({row[0] for row in rows}) == len(fleet.names), "each plan became one rollout, though three daemons read it"
    for rollout, image, outcome, facts in rows:
        expected = "succeeded" if image == GOOD else "aborted" if "tombstone" in facts else "failed"
        story = "select step, kind, why from event where rollout = %s order by id"
        assert outcome == expected, (
            rollout,
            fleet.rows(story, rollout),
        )
    assert all(fleet.replicas(name) == 0 for name in fleet.names)


def test_300_rollouts_outlive_a_daemon_that_is_killed_and_one_that_sleeps_for_a_minute(
    postgresql_database: str, tmp_path: Path
) -> None:
    with Fleet(tmp_path, postgresql_database, COUNT) as fleet:
        killed, sleeper, last = (fleet.daemon(f"d{number}") for number in range(3))
        begin(fleet, (killed, sleeper, last))
        until(lambda: len(fleet.ledger.patches) > COUNT // 2, "they are in the midst of it", 100)
        until(lambda: fleet.owned(killed) and fleet.owned(sleeper), "all three have some", 60)

        killed.process.kill()
        wake = freeze(sleeper)
        slept_from = CLOCK.monotonic()
        until(lambda: not fleet.owned(killed) and not fleet.owned(sleeper), "the last one has taken everything over", TAKEOVER)
        until(lambda: CLOCK.monotonic() > slept_from + A_MINUTE, "a minute has passed", 2 * A_MINUTE)
        assert fleet.owned(last), "some rollouts are still under way"
        wake()
        fleet.until_ready(sleeper)

        last.process.kill()
        until(lambda: not fleet.owned(last), "the one that slept has taken everything over", TAKEOVER)
        until_over(fleet)
        check_outcomes(fleet)
        assert {effect: times for effect, times in fleet.ledger.forward().items() if times > 1} == {}
        assert fleet.ledger.daemons() == {"d0", "d1", "d2"}
        wrong = [words for (rollout,) in fleet.rows("select id from rollout") for words in fleet.told_in_order(rollout)]
        assert wrong == []
        assert "Traceback" not in "".join(member.process.output() for member in (killed, sleeper, last))


def test_two_daemons_step_back_while_their_database_is_stopped_and_tell_of_it_afterwards(
    postgresql_peer: PostgreSql, postgresql_database: str, tmp_path: Path
) -> None:
    with Fleet(tmp_path, postgresql_database, 20) as fleet:
        daemons = [fleet.daemon(f"d{number}") for number in range(2)]
        fleet.until_ready(*daemons)
        for name in fleet.names:
            fleet.submit(name, soak="10h")
        until(lambda: all(fleet.replicas(name) == 2 for name in fleet.names), "every canary has grown, nothing is to come", 100)
        until(lambda: fleet.rows("select count(*) from rollout where step = 'soaking'") == [(20,)], "the database knows", 60)
        before = len(fleet.ledger.patches)
        postgresql_peer.pause()
        try:
            with fleet.sandbox.using() as world:
                world.behaviours[GOOD] = CRASHES
            until(lambda: not any(fleet.replicas(name) for name in fleet.names), "every canary is at 0", 10)
            asleep_from = CLOCK.monotonic()
            until(lambda: CLOCK.monotonic() > asleep_from + 10, "every lease has run out", 60)
            assert not any(member.ready() for member in daemons), "readyz tells of the database"
        finally:
            postgresql_peer.resume()
        until_over(fleet)
        assert fleet.outcomes() == {"failed": 20}
        assert not any(patch.forward for patch in fleet.ledger.patches[before:])
        query = "select rollout, count(*) from event where kind = 'stepping-back' and why like '%%crash%%' group by 1"
        assert [count for _, count in fleet.rows(query)] == [1] * 20
        wrong = [words for (rollout,) in fleet.rows("select id from rollout") for words in fleet.told_in_order(rollout)]
        assert wrong == []
