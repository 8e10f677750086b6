"""An offline upgrade by the installed command: killed at every step and at every write, its database away, hands on its gate."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.end_to_end.maintenance import BEFORE, ROUTE, Site
from tests.end_to_end.processes import until
from tests.peers.postgresql import PostgreSql
from tests.simulation.offline_tale import ARTIFACT, BACKUP, NEW, OLD

OFFSETS = {
    "sqlite": "select json_extract(facts, '$.offset') from event where rollout = ? and kind = 'announced' order by id",
    "postgresql": "select facts->>'offset' from event where rollout = ? and kind = 'announced' order by id",
}

pytestmark = pytest.mark.timeout(600)
"""A minute or so each; the machine may be busy, and every wait has a limit of its own."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql_peer"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on SQLite, and one on a real PostgreSQL; in a greater hurry: an heir looks at an opened gate for minutes."""
    database = request.getfixturevalue("postgresql_database") if request.param != "sqlite" else ""
    with Site(tmp_path, database, speed=8.0) as opened:
        yield opened


def check_what_was_promised(site: Site, rollout: str) -> None:
    """Hold the whole against what the procedure promises, however often the daemon died."""
    assert site.served_while_closed(rollout) == [], site.story(rollout)
    check_history(site, rollout)


def check_history(site: Site, rollout: str) -> None:
    assert site.gate() == BEFORE
    pods = Counter(words for words in site.happened if words.startswith("a pod of"))
    assert set(pods.values()) == {1}, pods
    announced = site.announcements(rollout)
    assert len(set(announced)) == len(announced), announced
    assert list(dict.fromkeys(t for t in site.arrived(rollout) if t in announced)) == announced
    kinds = Counter(kind for (kind,) in site.rows("select kind from event where rollout = ?", rollout))
    once = ("assessed", "begun", "gate-saved", "gate-closed", "stopped", "backed-up", "migrated", "upgraded", "gate-opened")
    assert [kind for kind in once if kinds[kind] != 1] == [], kinds


def test_a_daemon_killed_at_every_step_and_every_write_still_upgrades(site: Site) -> None:
    traps = [
        "a write that cannot be", "hears shop/orders: out of service in", "as before, is about to be written", ": closed",
        "probe from 127.0.0.2: 403", "orders 2 x orders:1.0 -> 0", "sessions-1 is created", "backup-1 is created",
        "migrate-1 is created", "-> 2 x orders:2.0", "test from", "closed, is about to be written", ": as before",
        "step watchingopen",
    ]  # fmt: skip
    site.kill_at(traps)
    rollout = site.maintenance(soon=timedelta(seconds=300))
    site.live_on(rollout)
    assert site.row(rollout)[0] == "succeeded", site.story(rollout)
    assert len(site.deaths) == len(traps), site.deaths
    assert site.shape() == f"2 x {NEW}"
    assert [name for name in site.jobs() if not name.startswith("sessions")] == ["backup-1", "migrate-1"]
    check_what_was_promised(site, rollout)
    offsets = [offset for (offset,) in site.rows(OFFSETS[site.database.partition(":")[0].partition("+")[0]], rollout)]
    # Each once; where it took long to come up, the missed ones with the next, and the last one with the beginning itself.
    assert offsets in (["24h", "30s"], ["30s"], ["24h"])
    assert [title.partition(",")[0] for title in site.announcements(rollout)][-2:] == ["out of service now", "open again"]


def test_a_daemon_killed_at_every_step_of_the_way_back_still_goes_back(either: Site) -> None:
    site = either
    test = {"name": "is the old one", "http": {"url": site.inside, "contains": OLD}, "pause": "1s", "retries": 0}
    rollout = site.maintenance(tests=[test])
    site.live_on(rollout, until_="step deciding")
    site.kill()
    traps = ["orders 2 x orders:2.0 -> 0", "restore-1 is created", "-> 2 x orders:1.0", "test from",
             "closed, is about to be written", ": as before"]  # fmt: skip
    site.kill_at(traps)
    assert site.run("rollback", rollout, "--reason", "the test is right").returncode == 0
    site.live_on(rollout)
    assert site.row(rollout)[0] == "failed", site.story(rollout)
    assert len(site.deaths) == len(traps), site.deaths
    assert site.shape() == f"2 x {OLD}"
    assert [name for name in site.jobs() if not name.startswith("sessions")] == ["backup-1", "migrate-1", "restore-1"]
    check_what_was_promised(site, rollout)
    assert all(one.image == OLD for one in site.served)


def test_a_route_that_is_made_anew_is_closed_and_opened_and_what_was_quiesced_undone_whoever_dies_in_between(site: Site) -> None:
    site.behave(BACKUP, completes_after=timedelta(seconds=60), log=(ARTIFACT,))
    hooks = {name: [{"name": name, "command": ["/bin/sh", "-c", f"echo {name}"]}] for name in ("hooks", "undo")}
    rollout = site.maintenance(quiesce=hooks)
    site.live_on(rollout, until_="step backingup")
    traps = ["event gate-guard", "event undoing"]
    site.kill_at(traps)
    route = site.admin("GET", ROUTE).json()["value"]
    anew = {key: route[key] for key in ("name", "uri", "upstream")} | {"plugins": {"ip-restriction": BEFORE}}
    assert site.admin("DELETE", ROUTE).status_code == 200
    assert site.admin("PUT", "routes/anew", anew).status_code == 201
    site.live_on(rollout)
    assert site.row(rollout)[0] == "succeeded", site.story(rollout)
    assert site.deaths == traps
    assert site.served_while_closed(rollout) == [], site.story(rollout)
    assert site.gate("routes/anew") == BEFORE
    kinds = [kind for (kind,) in site.rows("select kind from event where rollout = ? order by id", rollout)]
    assert kinds.count("undo-hook") == 1
    whys = [why for (why,) in site.rows("select why from event where rollout = ? and kind = 'gate-guard' order by id", rollout)]
    assert "routes/anew (orders) has taken its place: what stands on it is saved, then it is closed" in whys[0]
    # That it is closed now stands there as well, unless the daemon died between closing it and saying so.
    assert all("took the place of the gate that is gone, and is closed now" in why for why in whys[1:]), whys
    assert site.shape() == f"2 x {NEW}"


def away_sqlite(site: Site, peer: PostgreSql | None) -> Callable[[], object]:
    """As somebody's tool that keeps the file's lock: nothing can be written."""
    holder = sqlite3.connect(site.database.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder.close


def away_postgresql(site: Site, peer: PostgreSql | None) -> Callable[[], object]:
    assert peer is not None
    peer.stop()
    return peer.start


def check_a_gate_without_a_database(site: Site, away: Callable[[Site, PostgreSql | None], Callable[[], object]],
                                    peer: PostgreSql | None) -> None:  # fmt: skip
    site.behave(BACKUP, completes_after=timedelta(seconds=60), log=(ARTIFACT,))
    rollout = site.maintenance()
    site.live_on(rollout, until_="step backingup")
    lost = site.now
    come_back = away(site, peer)
    try:
        assert site.admin("PATCH", ROUTE, {"plugins": {"ip-restriction": None, "prometheus": {}}}).status_code == 200
        opened = site.now
        until(lambda: site.state_of_gate() == "closed", "the gate is closed again", 90)
        closed = site.now
        until(lambda: '"job-backup-1"' in site.log('"state": "done"'), "the daemon knows that the backup is done", 90)
        assert "migrate-1" not in site.jobs(), "nothing goes forward that is not written down first"
        assert site.state_of_gate() == "closed"
    finally:
        come_back()
    site.live_on(rollout)
    assert site.row(rollout)[0] == "succeeded", site.story(rollout)
    assert lost < site.time_of(rollout, "gate-guard") > opened
    told = [title for (title,) in site.rows("select title from notice where rollout = ?", rollout) if "was not closed" in title]
    assert len(told) == 1
    passed = site.served_while_closed(rollout)
    assert [one for one in passed if one.answered < opened or one.asked > closed] == [], site.story(rollout)
    asked = site.log('"job-backup-1"').count("\n")
    assert asked < 60, f"a Job that takes a minute was looked at {asked} times"
    check_history(site, rollout)


def test_a_closed_gate_is_guarded_while_sqlite_cannot_be_written_and_history_is_completed(site: Site) -> None:
    check_a_gate_without_a_database(site, away_sqlite, None)


def test_a_closed_gate_is_guarded_while_postgresql_is_away_and_history_is_completed(
    tmp_path: Path, postgresql_peer: PostgreSql, postgresql_database: str
) -> None:
    with Site(tmp_path, postgresql_database) as site:
        check_a_gate_without_a_database(site, away_postgresql, postgresql_peer)
