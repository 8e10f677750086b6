"""The watched folder of plan files: written half, by a ConfigMap, refused, gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from rollout.adapters.planfile import parse_planfile
from rollout.core.errors import Unavailable
from rollout.core.history import Outcome
from rollout.core.plan import Check
from rollout.core.policy import Policy
from rollout.engine.planfolder import ACTOR, PlanFolder
from rollout.engine.usecases import Desk
from rollout.ports import RolloutFilter, RolloutRow, Store, Transition
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.contract.stores import StandingClock

PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {{name: {name}}}
spec:
  target: {{namespace: default, stable: {target}, service: {target}-svc, container: nginx}}
  image: nginx:{version}
"""


def text(name: str = "nginx", version: str = "1.29", target: str = "nginx") -> str:
    return PLAN.format(name=name, version=version, target=target)


MAINTENANCE = """\
apiVersion: rollout/v1
kind: Offline
metadata: {name: orders}
spec:
  target: {namespace: shop, stable: orders}
  image: orders:3.0
  window: {startAt: 2026-03-09 01:00, timezone: UTC, duration: 1h}
  gate: {route: {name: orders}, allow: [192.0.2.1]}
  acceptUnproven: true
  tests: [{name: health, http: {url: "http://orders.shop/healthz"}}]
"""


class MovedStore:
    """A store that does not answer while it is away."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.away = True

    def __getattr__(self, name: str) -> object:
        if self.away:
            raise Unavailable("database", "does not answer")
        return getattr(self.store, name)


class Place:
    """A folder, its watcher, and the store behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clock = StandingClock(datetime(2026, 3, 2, tzinfo=UTC))
        self.store = MemoryStore(clock)
        desk = Desk(self.store, StoredCodec(self.store), clock, Policy())
        self.watcher = PlanFolder(folder, desk, parse_planfile)

    def look(self, times: int = 2) -> list[str]:
        """Look, and return what was logged, in words."""
        with capture_logs() as logged:
            for _ in range(times):
                self.watcher.look()
        return [f"{entry['event']} {entry.get('why', '')}" for entry in logged if entry["log_level"] != "debug"]

    def rollouts(self) -> list[RolloutRow]:
        return sorted(self.store.rollouts(RolloutFilter()), key=lambda row: row.id)

    def end_all(self) -> None:
        """Let every rollout end."""
        self.store.renew("d", lease=timedelta(minutes=1))
        for row in self.store.claim("d", limit=100, lease=timedelta(minutes=1)):
            at = row.created_at
            self.store.commit("d", [Transition(row.id, row.version, row.state, Outcome.SUCCEEDED, "ended", "done", None, at)])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "plans"
    folder.mkdir()
    return Place(folder)


def test_a_new_file_is_submitted_once_and_says_who_did_it(place: Place) -> None:
    (place.folder / "nginx.yaml").write_text(text())
    place.look(5)
    (row,) = place.rollouts()
    stored = place.store.plan(row.plan_name, row.plan_hash)
    assert stored is not None
    assert (stored.submitted_by, stored.source) == (ACTOR, text())


def test_a_file_is_believed_only_when_two_looks_found_the_same(place: Place) -> None:
    file = place.folder / "nginx.yaml"
    whole = text().encode() + b"  replicas: {max: 2}\n"
    for end in range(40, len(whole), 17):
        file.write_bytes(whole[:end])
        assert place.look(1) == []
    assert place.rollouts() == []
    file.write_bytes(whole)
    place.look(2)
    (row,) = place.rollouts()
    stored = place.store.plan(row.plan_name, row.plan_hash)
    assert stored is not None
    assert stored.source.encode() == whole


def test_a_refusal_is_told_once_per_content(place: Place) -> None:
    file = place.folder / "nginx.yaml"
    file.write_text(text().replace("image:", "imgae:"))
    assert len(place.look(6)) == 1
    file.write_text(text().replace("image:", "imagee:"))
    assert len(place.look(6)) == 1
    file.write_text(text())
    place.look()
    assert len(place.rollouts()) == 1


def test_one_bad_file_does_not_stop_the_others(place: Place) -> None:
    (place.folder / "a.yaml").write_bytes(b"\xff\xfe\x00 not yaml: [")
    (place.folder / "b.yaml").write_text(text())
    (place.folder / "c.yaml").mkdir()
    os.mkfifo(place.folder / "d.yaml")
    (place.folder / "e.yaml").symlink_to(place.folder / "nowhere")
    (place.folder / "f.txt").write_text(text("other", target="other"))
    place.look()
    assert [row.plan_name for row in place.rollouts()] == ["nginx"]


def test_a_plan_whose_target_is_busy_waits_for_it(place: Place) -> None:
    (place.folder / "a.yaml").write_text(text())
    place.look()
    (place.folder / "b.yaml").write_text(text("nginx-next", "1.30"))
    assert len(place.look(6)) == 1, "told once that it waits"
    assert len(place.rollouts()) == 1
    place.end_all()
    place.look(1)
    assert sorted(row.plan_name for row in place.rollouts()) == ["nginx", "nginx-next"]


def test_an_ended_rollout_is_not_started_again_by_its_file_or_by_a_restart(place: Place) -> None:
    (place.folder / "a.yaml").write_text(text())
    place.look()
    place.end_all()
    place.look()
    os.utime(place.folder / "a.yaml", (1, 1))
    place.watcher = PlanFolder(place.folder, place.watcher._desk, parse_planfile)
    place.look(4)
    assert len(place.rollouts()) == 1


def test_a_config_map_mount_is_followed_when_its_links_change_at_once(place: Place) -> None:
    def publish(version: str) -> None:
        content = place.folder / f"..{version}"
        content.mkdir()
        (content / "nginx.yaml").write_text(text(f"nginx-{version[2:]}", version))
        (place.folder / "..new").symlink_to(content.name)
        (place.folder / "..new").rename(place.folder / "..data")

    publish("1.29")
    (place.folder / "nginx.yaml").symlink_to("..data/nginx.yaml")
    place.look()
    assert [row.plan_name for row in place.rollouts()] == ["nginx-29"]
    place.end_all()
    publish("1.30")
    place.look()
    assert sorted(row.plan_name for row in place.rollouts()) == ["nginx-29", "nginx-30"]


def test_a_folder_that_vanishes_is_told_once_and_looked_for_again(place: Place) -> None:
    away = place.folder.with_name("away")
    place.folder.rename(away)
    assert place.look(5) == [f"plans.folder {place.folder} cannot be read: No such file or directory"]
    assert place.watcher.trouble
    away.rename(place.folder)
    (place.folder / "nginx.yaml").write_text(text())
    assert any("is there again" in line for line in place.look())
    assert len(place.rollouts()) == 1


def test_a_maintenance_that_is_put_there_while_the_database_is_away_is_submitted_when_it_is_back(place: Place) -> None:
    store = MovedStore(place.store)
    place.watcher._desk = replace(place.watcher._desk, store=cast("Store", store))
    (place.folder / "orders.yaml").write_text(MAINTENANCE)
    told = place.look(4)
    assert [line for line in told if line.startswith("bug")] == []
    assert any("database" in line for line in told)
    store.away = False
    place.look()
    assert [row.kind for row in place.rollouts()] == ["Offline"]


def test_a_bug_in_the_reader_is_met_once_and_hides_no_other_file(place: Place) -> None:
    def parse(content: bytes, name: str, check: Check) -> object:
        if name == "a.yaml":
            raise ZeroDivisionError(name)
        return parse_planfile(content, name, check)

    (place.folder / "a.yaml").write_text(text("first", target="first"))
    (place.folder / "b.yaml").write_text(text())
    buggy: Callable[[bytes, str, Check], object] = parse
    place.watcher._parse = buggy  # type: ignore[assignment]
    logged = place.look(5)
    assert [row.plan_name for row in place.rollouts()] == ["nginx"]
    assert len([line for line in logged if line.startswith("bug")]) == 1
