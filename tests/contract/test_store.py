"""What every store promises about rollouts, leases and commits. The outbox has its own file."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.core.commands import Verb
from rollout.core.errors import Refused
from rollout.core.history import Outcome
from rollout.ports import RolloutFilter, Submission
from tests.contract.stores import (
    HOUR,
    LEASE,
    START,
    Bench,
    bench,
    claimed,
    event,
    evidence,
    plan,
    rollout,
    submitted,
    transition,
)

__all__ = ["bench"]


def test_what_was_submitted_is_read_back_exactly(bench: Bench) -> None:
    store = bench.open()
    row = rollout(wake_at=START + timedelta(microseconds=1), why="größer als 10 % 中文 'quoted' \"twice\"", state='{"a":1}')
    done = store.submit(plan(), row, events=[event("submitted", evidence())])
    assert done == Submission(row, created=True)
    assert store.rollout(row.id) == row
    assert store.plan("nginx", "sha-1") == plan()
    assert [h.event for h in store.history(row.id)] == [event("submitted", evidence())]


def test_the_same_plan_again_starts_nothing_new(bench: Bench) -> None:
    store = bench.open()
    first = store.submit(plan(), rollout("first-rollout"))
    again = store.submit(plan(), rollout("second-rollout"))
    assert (again.created, again.rollout) == (False, first.rollout)
    assert store.rollout("second-rollout") is None


def test_a_submission_whose_answer_was_lost_is_safe_to_send_again(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout(), again=True)
    assert store.submit(plan(), rollout(), again=True) == Submission(rollout(), created=True)
    assert len(store.rollouts(RolloutFilter())) == 1


def test_a_second_plan_for_a_busy_target_is_refused_and_names_the_first(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout("first-rollout"))
    with pytest.raises(
        Refused, match="web/nginx in cluster prod has a rollout already, and a target has one at a time: first-rollout, "
    ):
        store.submit(plan(content="2"), rollout("second-rollout", of=plan(content="2")))
    assert store.plan("nginx", "sha-2") is None


def test_the_same_target_in_another_cluster_is_another_target(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout("first-rollout"))
    assert store.submit(plan(content="2"), rollout("second-rollout", of=plan(content="2"), cluster="edge")).created


def test_a_retry_is_a_new_rollout_once_the_old_one_is_at_rest(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    retry = rollout("retry-rollout", of=plan("plan-0"), target="web/app-0", follows=row.id, relation="retries",
                    created_at=START + HOUR)  # fmt: skip
    with pytest.raises(Refused, match=row.id):
        store.submit(plan("plan-0"), retry, again=True)
    store.commit("d1", [transition(row, outcome=Outcome.FAILED)])
    assert store.submit(plan("plan-0"), retry, again=True).created
    assert store.rollout("retry-rollout") == retry
    assert store.submit(plan("plan-0"), rollout("third-rollout", of=plan("plan-0"))).rollout.id == "retry-rollout"


def test_of_many_submissions_at_once_one_wins_and_the_others_are_told_so(bench: Bench) -> None:
    stores = [bench.open() for _ in range(4)]
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def submit(number: int) -> None:
        of = plan(content=str(number))
        start.wait()
        try:
            outcomes.append(f"created {stores[number].submit(of, rollout(f'rollout-{number}', of=of)).created}")
        except Refused as refused:
            outcomes.append("refused" if "web/nginx in cluster prod has a rollout already" in str(refused) else str(refused))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created True", "refused", "refused", "refused"]


def test_a_rollout_is_found_by_the_first_six_characters_of_its_id(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout("abcdef-1"))
    store.submit(plan("other"), rollout("abcdeg_2", of=plan("other"), target="web/other"))
    assert store.rollout("abcdef") == store.rollout("abcdef-1")
    assert store.rollout("abcde") is None
    assert store.rollout("ABCDEF") is None
    assert store.rollout("abcde_") is None
    assert store.rollout("abcdeg%") is None


def test_a_prefix_that_fits_several_rollouts_is_refused_with_their_ids(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout("abcdef-1"))
    store.submit(plan("other"), rollout("abcdef-2", of=plan("other"), target="web/other"))
    with pytest.raises(Refused, match="abcdef-1, abcdef-2"):
        store.rollout("abcdef")


def test_rollouts_are_listed_newest_first_and_filtered(bench: Bench) -> None:
    store = bench.open()
    claimed(store, 3)
    store.commit("d1", [transition(rollout("r1aaaaaaaa"), outcome=Outcome.SUCCEEDED)])
    ids = [[row.id[:2] for row in store.rollouts(wanted)] for wanted in (
        RolloutFilter(), RolloutFilter(outcomes=(Outcome.ACTIVE,)), RolloutFilter(plan="plan-2"),
        RolloutFilter(target="web/app-0"), RolloutFilter(target="prod/web/app-1"), RolloutFilter(limit=1),
        RolloutFilter(outcomes=(Outcome.FAILED, Outcome.SUCCEEDED)),
    )]  # fmt: skip
    assert ids == [["r2", "r1", "r0"], ["r2", "r0"], ["r2"], ["r0"], ["r1"], ["r2"], ["r1"]]


def test_a_commit_writes_state_history_and_outbox_and_grows_the_version(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    happened = (event("replica-added", evidence(), evidence("latency", "p99")), event("told"))
    assert store.commit("d1", [transition(row, events=happened)]) == {row.id}
    after = store.rollout(row.id)
    assert after == replace(row, version=1, state='{"kind":"State","size":2}', step="soak", wake_at=START + HOUR,
                            why="the first six hours were healthy", updated_at=START + timedelta(minutes=1))  # fmt: skip
    assert tuple(h.event for h in store.history(row.id)) == happened


def test_a_commit_that_saw_an_older_version_writes_nothing_and_sinks_no_other(bench: Bench) -> None:
    store = bench.open()
    first, second = claimed(store, 2)
    store.commit("d1", [transition(first)])
    written = store.commit("d1", [transition(first, events=(event("never"),)), transition(second, events=(event(),))])
    assert written == {second.id}
    assert store.history(first.id) == []
    assert len(store.history(second.id)) == 1


def test_two_decisions_about_one_rollout_in_one_commit_follow_each_other(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    second = transition(row, seen_version=1, outcome=Outcome.SUCCEEDED, why="done")
    third = transition(row, seen_version=2, why="after its end")
    assert store.commit("d1", [transition(row), second, third]) == {row.id}
    after = store.rollout(row.id)
    assert after is not None
    assert (after.version, after.outcome, after.why) == (2, Outcome.SUCCEEDED, "done")


def test_a_rollout_at_rest_has_an_end_and_no_owner_and_is_never_written_again(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, outcome=Outcome.ABORTED)])
    after = store.rollout(row.id)
    assert after is not None
    assert (after.outcome, after.ended_at, after.wake_at) == (Outcome.ABORTED, START + timedelta(minutes=1), None)
    assert store.owned("d1") == frozenset()
    assert store.commit("d1", [transition(after)]) == frozenset()
    assert store.claim("d2", limit=9, lease=LEASE) == []


def test_only_the_owner_commits(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.renew("d2", lease=LEASE)
    assert store.commit("d2", [transition(row)]) == frozenset()
    assert store.commit("nobody", [transition(row)]) == frozenset()
    assert store.rollout(row.id) == row


def test_a_rollout_is_claimed_by_one_daemon_until_its_lease_runs_out(bench: Bench) -> None:
    store = bench.open()
    rows = claimed(store, 3)
    assert store.owned("d1") == {row.id for row in rows}
    assert store.claim("d2", limit=9, lease=LEASE) == []
    bench.advance(LEASE * 2)
    store.renew("d2", lease=LEASE)
    assert sorted(row.id for row in store.claim("d2", limit=2, lease=LEASE)) == ["r0aaaaaaaa", "r1aaaaaaaa"]
    assert store.owned("d1") == frozenset()


def test_a_claim_takes_what_is_due_longest_first_and_brings_its_present_state(bench: Bench) -> None:
    store = bench.open()
    first, second = claimed(store, 2)
    store.commit("d1", [transition(first, wake_at=START + HOUR), transition(second, wake_at=START + HOUR / 2)])
    store.release("d1")
    taken = store.claim("d2", limit=9, lease=LEASE)
    assert [(row.id, row.version) for row in taken] == [(second.id, 1), (first.id, 1)]


def test_a_daemon_whose_lease_ran_out_can_commit_nothing_even_if_nobody_took_over(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    bench.advance(LEASE * 2)
    assert store.commit("d1", [transition(row)]) == frozenset()
    assert store.claim("d1", limit=9, lease=LEASE) == []
    assert store.rollout(row.id) == row


def test_a_lease_that_was_lost_is_told_and_begins_anew_with_what_nobody_took(bench: Bench) -> None:
    store = bench.open()
    rows = claimed(store, 2)
    assert store.renew("d1", lease=LEASE)
    bench.advance(LEASE * 2)
    (taken,) = store.claim("d2", limit=1, lease=LEASE)
    (left,) = (row for row in rows if row.id != taken.id)
    assert store.commit("d1", [transition(left)]) == frozenset()
    assert not store.renew("d1", lease=LEASE)
    assert store.owned("d1") == {left.id}
    assert store.commit("d1", [transition(taken)]) == frozenset()
    assert store.commit("d1", [transition(left)]) == {left.id}
    assert store.claim("d2", limit=9, lease=LEASE) == []


def test_renewing_keeps_a_lease_alive(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    for _ in range(3):
        bench.advance(LEASE * 0.6)
        assert store.renew("d1", lease=LEASE, about="host 1")
    assert store.commit("d1", [transition(row)]) == {row.id}


def test_releasing_gives_everything_back_at_once(bench: Bench) -> None:
    store = bench.open()
    claimed(store, 2)
    store.release("d1")
    assert len(store.claim("d2", limit=9, lease=LEASE)) == 2
    assert store.renew("d1", lease=LEASE)


def test_a_daemon_that_was_asleep_while_its_rollouts_were_taken_over_and_pruned_away_learns_it(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    bench.advance(HOUR)
    store.claim("d2", limit=9, lease=LEASE)
    store.prune(bench.clock.now() - HOUR / 2)
    assert not store.renew("d1", lease=LEASE)
    assert store.owned("d2") == {row.id}


def test_of_several_daemons_that_claim_at_once_none_gets_what_another_has(bench: Bench) -> None:
    stores = [bench.open() for _ in range(3)]
    submitted(stores[0], 30)
    taken: dict[str, list[str]] = {}
    start = threading.Barrier(3)

    def claim(number: int) -> None:
        start.wait()
        mine = taken.setdefault(f"d{number}", [])
        for _ in range(5):
            mine.extend(row.id for row in stores[number].claim(f"d{number}", limit=4, lease=LEASE))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted(id_ for ids in taken.values() for id_ in ids)
    assert everything == sorted(row.id for row in stores[0].rollouts(RolloutFilter()))


def test_commands_wait_in_order_until_a_decision_consumes_them(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    pause = store.command(row.id, Verb.PAUSE, "ada", "lunch", START)
    extend = store.command(row.id, Verb.EXTEND, "bob", "slow", START + HOUR, [("by", "30m")])
    waiting = store.commands()[row.id]
    assert [(c.id, c.verb, c.actor, c.reason, c.at) for c in waiting] == [
        (pause, Verb.PAUSE, "ada", "lunch", START), (extend, Verb.EXTEND, "bob", "slow", START + HOUR)]  # fmt: skip
    assert waiting[1].argument("by") == "30m"
    store.commit("d1", [transition(row, consumed=(pause,))])
    assert [c.id for c in store.commands([row.id, "another"])[row.id]] == [extend]
    assert store.commands([]) == {}


def test_a_command_is_consumed_only_by_a_decision_that_was_written(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    pause = store.command(row.id, Verb.PAUSE, "ada", "", START)
    store.commit("d1", [transition(row, seen_version=7, consumed=(pause,))])
    assert [c.id for c in store.commands()[row.id]] == [pause]


def test_a_command_to_nobody_or_to_a_rollout_at_rest_is_refused(bench: Bench) -> None:
    store = bench.open()
    with pytest.raises(Refused, match="there is no rollout r9"):
        store.command("r9", Verb.PAUSE, "ada", "", START)
    (row,) = claimed(store)
    store.commit("d1", [transition(row, outcome=Outcome.SUCCEEDED)])
    with pytest.raises(Refused, match=r"has ended \(succeeded\).*to abort"):
        store.command(row.id, Verb.ABORT, "ada", "", START)


def test_whoever_subscribed_is_called_for_commands_and_submissions(bench: Bench) -> None:
    store = bench.open()
    heard: list[str] = []
    bell = threading.Condition()

    def changed(rollout_id: str) -> None:
        with bell:
            heard.append(rollout_id)
            bell.notify_all()

    store.subscribe(changed)
    with bell:
        assert bench.kind != "postgresql" or bell.wait_for(lambda: heard == [""], timeout=5)
    (row,) = claimed(store)
    store.command(row.id, Verb.PAUSE, "ada", "", START)
    with bell:
        assert bell.wait_for(lambda: heard.count(row.id) == 2, timeout=5)


def test_history_is_read_from_where_one_stopped(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, events=tuple(event(f"e{n}", evidence(f"s{n}")) for n in range(5)))])
    first = store.history(row.id, limit=2)
    rest = store.history(row.id, after=first[-1].id)
    assert [h.event.kind for h in [*first, *rest]] == ["e0", "e1", "e2", "e3", "e4"]
    assert [e.signal for h in rest for e in h.event.evidence] == ["s2", "s3", "s4"]
    assert store.history("nobody") == []


def test_odd_words_and_figures_come_back(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    odd = replace(evidence(), counts=(("E", float("inf")), ("rate", 0.1), ("E", 1e300), ("big", 2.0**60)))
    happened = replace(event("odd", odd), facts=(("a", "1"), ("a", "2"), ("ключ", '"; DROP TABLE event; --')), why="")
    store.commit("d1", [transition(row, events=(happened,))])
    assert [h.event for h in store.history(row.id)] == [happened]


def test_a_byte_that_no_database_holds_sinks_no_commit(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    assert store.commit("d1", [transition(row, why="cut\x00here\ud800", events=(event("nul\x00"),))]) == {row.id}


def test_pruning_forgets_what_ended_before_and_nothing_else(bench: Bench) -> None:
    store = bench.open()
    old, young, active = claimed(store, 3)
    for row, at in ((old, START + HOUR), (young, START + 3 * HOUR)):
        store.command(row.id, Verb.PAUSE, "ada", "", START)
        store.commit("d1", [transition(row, at=at, outcome=Outcome.SUCCEEDED, events=(event("end", evidence()),))])
    store.commit("d1", [transition(active, events=(event("on", evidence()),))])
    retry = rollout("retry-rollout", of=plan("plan-0"), target="web/app-0", follows=old.id, relation="retries",
                    created_at=START + HOUR)  # fmt: skip
    store.submit(plan("plan-0"), retry, again=True)
    deleted = store.prune(START + 2 * HOUR)
    assert {name: count for name, count in deleted.items() if count and name != "daemon"} == {
        "event": 2, "reading": 1, "query": 1, "command": 1, "rollout": 1}  # fmt: skip
    assert store.rollout(old.id) is None
    assert store.history(old.id) == []
    assert (len(store.history(young.id)), len(store.history(active.id))) == (2, 1)
    left = store.rollout("retry-rollout")
    assert left is not None
    assert left.follows is None


def test_a_plan_that_was_carried_out_long_ago_and_pruned_is_still_not_new(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    store.commit("d1", [transition(row, outcome=Outcome.SUCCEEDED, events=(event(),))])
    assert store.prune(START + 9 * HOUR)["event"] == 1
    assert store.prune(START + 9 * HOUR)["event"] == 0
    again = store.submit(plan("plan-0"), rollout("new-rollout", of=plan("plan-0"), target="web/app-0"))
    assert (again.created, again.rollout.id) == (False, row.id)


def test_ping_passes_while_the_store_can_be_written(bench: Bench) -> None:
    store = bench.open()
    store.ping()
    store.ping()
