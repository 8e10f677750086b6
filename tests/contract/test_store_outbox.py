"""What every store promises about notices: owed with the decision, in order, until delivered or given up."""

from __future__ import annotations

from datetime import timedelta

from rollout.core.history import Outcome
from rollout.ports import Store
from tests.contract.stores import HOUR, START, Bench, bench, claimed, notice, transition

__all__ = ["bench"]
LATER = START + HOUR


def owing(store: Store, *keys: str, channels: tuple[str, ...] = ("ops",)) -> str:
    (row,) = claimed(store)
    store.commit("d1", [transition(row, notices=tuple(notice(key) for key in keys), channels=channels)])
    return row.id


def due(store: Store) -> list[tuple[str, str]]:
    return sorted((owed.channel, owed.message.notice.key) for owed in store.owed(LATER, limit=99))


def test_a_notice_is_owed_once_to_each_channel_and_carries_what_a_channel_needs(bench: Bench) -> None:
    store = bench.open()
    id_ = owing(store, "started", channels=("ops", "dev"))
    ops, dev = sorted(store.owed(LATER, limit=99), key=lambda owed: owed.channel, reverse=True)
    assert (ops.channel, dev.channel, ops.sequence, ops.attempts) == ("ops", "dev", 1, 0)
    assert ops.message.notice == notice("started")
    message = ops.message
    assert (message.rollout, message.plan, message.target, message.cluster, message.image, message.step) == (
        id_, "plan-0", "web/app-0", "prod", "nginx:1.29", "soak")  # fmt: skip


def test_order_is_kept_within_a_channel_and_one_channel_does_not_wait_for_another(bench: Bench) -> None:
    store = bench.open()
    owing(store, "first", "second", channels=("ops", "dev"))
    assert due(store) == [("dev", "first"), ("ops", "first")]
    ops = next(owed for owed in store.owed(LATER, limit=99) if owed.channel == "ops")
    store.delivered(ops.id, LATER)
    assert due(store) == [("dev", "first"), ("ops", "second")]


def test_a_postponed_notice_holds_back_those_after_it_until_its_time(bench: Bench) -> None:
    store = bench.open()
    owing(store, "first", "second")
    (first,) = store.owed(LATER, limit=99)
    store.postponed(first.id, LATER + HOUR, "503 from hooks.example")
    assert due(store) == []
    (again,) = store.owed(LATER + HOUR, limit=99)
    assert (again.id, again.attempts, again.next_attempt_at) == (first.id, 1, LATER + HOUR)


def test_a_dead_notice_shows_and_lets_the_next_one_pass(bench: Bench) -> None:
    store = bench.open()
    id_ = owing(store, "first", "second")
    (first,) = store.owed(LATER, limit=99)
    store.dead(first.id, LATER, "404: no such hook")
    assert due(store) == [("ops", "second")]
    shown = store.notices(id_)
    assert [(n["key"], n["state"], n["attempts"], n["error"], n["settled_at"]) for n in shown] == [
        ("first", "dead", 1, "404: no such hook", LATER), ("second", "owed", 0, "", None)]  # fmt: skip
    assert {"id", "kind", "title", "why", "channel", "sequence", "at", "next_attempt_at"} <= shown[0].keys()


def test_owing_twice_under_one_key_is_owing_once(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, notices=(notice("held"), notice("held")), channels=("ops",))])
    store.commit("d1", [transition(row, seen_version=1, notices=(notice("held"), notice("resumed")), channels=("ops",))])
    assert [(n["key"], n["sequence"]) for n in store.notices(row.id)] == [("held", 1), ("resumed", 2)]


def test_what_is_settled_stays_settled(bench: Bench) -> None:
    store = bench.open()
    id_ = owing(store, "first")
    (first,) = store.owed(LATER, limit=99)
    store.delivered(first.id, LATER)
    store.postponed(first.id, LATER + HOUR, "late answer")
    store.dead(first.id, LATER, "late answer")
    store.delivered(12345, LATER)
    (shown,) = store.notices(id_)
    assert (shown["state"], shown["attempts"], shown["error"]) == ("delivered", 1, "")


def test_nothing_is_owed_for_a_decision_that_was_not_written(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, seen_version=5, notices=(notice("started"),), channels=("ops",))])
    assert store.notices(row.id) == []


def test_notices_of_a_rollout_at_rest_are_still_delivered(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, outcome=Outcome.FAILED, notices=(notice("stepped-back"),), channels=("ops",))])
    assert due(store) == [("ops", "stepped-back")]


def test_the_longest_due_comes_first_and_no_more_than_asked_for(bench: Bench) -> None:
    store = bench.open()
    first, second, third = claimed(store, 3)
    for row, minutes in ((first, 3), (second, 1), (third, 2)):
        at = START + timedelta(minutes=minutes)
        store.commit("d1", [transition(row, at=at, notices=(notice("started"),), channels=("ops",))])
    assert [owed.rollout for owed in store.owed(LATER, limit=2)] == [second.id, third.id]
    assert [owed.rollout for owed in store.owed(START + timedelta(minutes=1), limit=9)] == [second.id]


def test_a_notice_that_one_process_delivers_is_not_given_to_another_meanwhile(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    owing(one, "first")
    assert due(one) == [("ops", "first")]
    assert due(one) == [("ops", "first")], "who has it may ask again"
    if one is not other:
        assert due(other) == []
    bench.advance(timedelta(seconds=16))
    assert due(other) == [("ops", "first")], "who died with it in hand loses nothing"


def test_what_was_given_up_is_counted_by_rollout(bench: Bench) -> None:
    store = bench.open()
    id_ = owing(store, "first", "second")
    assert store.standing().dead == {}
    (first,) = store.owed(LATER, limit=99)
    store.dead(first.id, LATER, "404: no such hook")
    assert store.standing().dead == {id_: 1}
