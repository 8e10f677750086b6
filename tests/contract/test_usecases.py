"""What people can ask for, on every store: submitting, superseding, retrying, commanding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.core.commands import Verb
from rollout.core.errors import Refused
from rollout.core.history import Outcome
from rollout.core.machine import decide
from rollout.core.policy import Policy
from rollout.engine.configured import Configured
from rollout.engine.usecases import Desk, Superseding
from rollout.ports import RolloutRow, Store, Transition
from rollout.store import schema
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from rollout.store.sql import open_store
from tests.core.builders import canary_plan
from tests.core.scenes import question, seen, view
from tests.core.test_offline import plan as maintenance_plan

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
OTHER = {"namespace": "shop", "stable": "orders", "service": "orders"}


class StillClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(params=["memory", "sqlite"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    clock = StillClock()
    store: Store
    if request.param == "memory":
        store = MemoryStore(clock)
    else:
        schema.upgrade(f"sqlite:///{tmp_path}/desk.db", clock=clock)
        store = open_store(f"sqlite:///{tmp_path}/desk.db", clock=clock)
    yield Desk(store, StoredCodec(store), clock, Policy())
    store.close()


def end(desk: Desk, row: RolloutRow, *, step: str = "ended", outcome: Outcome = Outcome.ABORTED) -> None:
    store = desk.store
    store.renew("d", lease=timedelta(hours=1))
    store.claim("d", limit=10, lease=timedelta(hours=1))
    now = store.rollout(row.id)
    assert now is not None
    written = store.commit("d", [Transition(row.id, now.version, now.state, outcome, step, "as told", None, NOW)])
    assert written == {row.id}


def test_the_same_plan_twice_starts_nothing_new(desk: Desk) -> None:
    first = desk.submit(canary_plan(), "source", "alice")
    second = desk.submit(canary_plan(), "source, other comments", "bob")
    assert first.created
    assert not second.created
    assert second.rollout.id == first.rollout.id


def test_a_second_plan_for_a_busy_target_is_refused_and_names_the_first(desk: Desk) -> None:
    first = desk.submit(canary_plan(), "", "alice").rollout
    with pytest.raises(Refused, match=first.id):
        desk.submit(canary_plan(image="nginx:3.0"), "", "bob")


def test_another_target_is_free(desk: Desk) -> None:
    desk.submit(canary_plan(), "", "alice")
    assert desk.submit(canary_plan("orders", "orders:2", target=OTHER), "", "bob").created


def test_superseding_asks_the_old_rollout_to_step_back_once_and_waits_for_its_end(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    plan = canary_plan(image="nginx:3.0", supersede=old.id)
    for _ in range(2):
        with pytest.raises(Superseding, match="steps back first"):
            desk.submit(plan, "", "bob")
    assert [c.verb for c in desk.store.commands([old.id])[old.id]] == [Verb.SUPERSEDE]
    end(desk, old)
    new = desk.submit(plan, "", "bob").rollout
    assert (new.follows, new.relation) == (old.id, "supersede")


def test_a_superseded_rollout_that_is_named_by_the_beginning_of_its_id_is_linked_by_all_of_it(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    end(desk, old)
    assert desk.submit(canary_plan(image="nginx:3.0", supersede=old.id[:-3]), "", "bob").rollout.follows == old.id


@pytest.mark.parametrize("target", [OTHER, {"namespace": "default", "stable": "nginx", "service": "nginx-svc", "cluster": "east"}])
def test_a_rollout_of_another_target_is_not_superseded_by_a_slip_of_the_pen(desk: Desk, target: dict[str, str]) -> None:
    other = desk.submit(canary_plan("orders", "orders:2", target=target), "", "alice").rollout
    with pytest.raises(Refused, match="nothing was done to it") as refused:
        desk.submit(canary_plan(supersede=other.id), "", "bob")
    assert refused.value.problems[0].key == "spec.supersede"
    assert not desk.store.commands([other.id]).get(other.id)


def test_a_maintenance_is_not_brought_to_its_way_back_by_a_canary_plan(desk: Desk) -> None:
    maintenance = desk.submit(maintenance_plan(), "", "alice").rollout
    with pytest.raises(Refused, match="is a maintenance") as refused:
        desk.submit(canary_plan("orders", "orders:2", target=OTHER, supersede=maintenance.id), "", "bob")
    assert refused.value.problems[0].key == "spec.supersede"
    assert not desk.store.commands([maintenance.id]).get(maintenance.id)


def test_a_plan_that_supersedes_nobody_is_refused_with_its_key(desk: Desk) -> None:
    with pytest.raises(Refused, match="there is no such rollout") as refused:
        desk.submit(canary_plan(supersede="nobody-1"), "", "bob")
    assert refused.value.problems[0].key == "spec.supersede"


def test_superseding_a_promotion_wants_to_know_what_becomes_of_it(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    end(desk, old, step="promoting", outcome=Outcome.ACTIVE)
    with pytest.raises(Refused, match="promoting") as refused:
        desk.submit(canary_plan(image="nginx:3.0", supersede=old.id), "", "bob")
    assert "adopt" in str(refused.value.problems[0])
    with pytest.raises(Superseding, match="steps back first"):
        desk.submit(canary_plan(image="nginx:3.0", supersede=old.id, supersedeBy="adopt"), "", "bob")
    assert desk.store.commands([old.id])[old.id][0].argument("by") == "adopt"


def test_retry_is_a_new_rollout_linked_to_the_old(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    with pytest.raises(Refused, match="still active"):
        desk.retry(old.id, "bob")
    end(desk, old, outcome=Outcome.FAILED)
    new = desk.retry(old.id, "bob").rollout
    assert new.id != old.id
    assert (new.follows, new.relation, new.plan_hash) == (old.id, "retry", old.plan_hash)


def test_a_command_to_a_rollout_that_has_ended_is_refused(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    end(desk, old)
    with pytest.raises(Refused, match="has ended"):
        desk.command(old.id, Verb.PAUSE, "bob", "")


def test_a_command_out_of_season_is_refused_with_its_reason_and_not_recorded(desk: Desk) -> None:
    row = desk.submit(canary_plan(), "", "alice").rollout
    for verb, why in ((Verb.RESUME, "it is not paused"), (Verb.APPROVE, "it is preflight and asks nobody")):
        with pytest.raises(Refused, match=why):
            desk.command(row.id, verb, "bob", "")
    assert not desk.store.commands([row.id]).get(row.id)


def test_a_command_that_follows_one_that_waits_may_have_its_season_by_then(desk: Desk) -> None:
    row = desk.submit(canary_plan(), "", "alice").rollout
    desk.command(row.id, Verb.PAUSE, "bob", "lunch")
    desk.command(row.id, Verb.RESUME, "bob", "back")
    assert [command.verb for command in desk.store.commands([row.id])[row.id]] == [Verb.PAUSE, Verb.RESUME]


def test_the_reason_of_a_retry_stands_in_history_and_is_told_with_its_first_notice(desk: Desk) -> None:
    old = desk.submit(canary_plan(), "", "alice").rollout
    end(desk, old, outcome=Outcome.FAILED)
    new = desk.retry(old.id, "bob", "the disk was full").rollout
    because = f"bob started {old.id} again from step 1: the disk was full"
    (submitted,) = desk.store.history(new.id)
    assert (submitted.event.actor, submitted.event.why) == ("bob", because)

    begun = desk.codec.state(new.state, new.id)
    asked = question(canary_plan())
    started = decide(asked, begun, seen(view(0, 10, canary_changed={"annotations": {}})), (), NOW)
    assert [notice.kind for notice in started.notices] == ["started"]
    assert started.notices[0].evidence[0] == because


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.ROLLBACK, Verb.OPEN, Verb.EXTEND, Verb.ACKNOWLEDGE])
def test_a_canary_refuses_what_only_a_maintenance_understands(desk: Desk, verb: Verb) -> None:
    row = desk.submit(canary_plan(), "", "alice").rollout
    with pytest.raises(Refused, match="is a canary"):
        desk.command(row.id, verb, "bob", "")
    assert not desk.store.commands([row.id]).get(row.id)


def test_a_rollout_is_found_by_id_by_its_beginning_and_by_its_plan(desk: Desk) -> None:
    row = desk.submit(canary_plan(), "", "alice").rollout
    assert desk.find(row.id).id == desk.find(row.id[:9]).id == desk.find("nginx").id == row.id
    with pytest.raises(Refused, match="nobody"):
        desk.find("nobody")


def test_a_plan_below_a_floor_or_with_unknown_names_is_refused_with_every_reason(desk: Desk) -> None:
    strict = replace(desk, configured=Configured(channels=frozenset({"operations"}), backends=frozenset()))
    plan = canary_plan(soak="1h", notify=["opertions"], signals=["apisix-5xx"])
    with pytest.raises(Refused) as refused:
        strict.submit(plan, "", "alice")
    words = " ".join(str(problem) for problem in refused.value.problems)
    assert "minimumSoak" in words
    assert "opertions" in words
    assert "prometheus" in words
