"""Three daemons on one PostgreSQL: one is killed, one is frozen for longer than its lease and comes back."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from rollout.core.history import Outcome
from rollout.ports import RolloutFilter, Store
from rollout.store import schema
from rollout.store.sql import open_store
from tests.end_to_end.arena import CLOCK, CRASHES, GOOD, OLD, Arena, Chat, Node, until

COUNT = 300
BAD = "nginx:6.6.6"


def ended(store: Store) -> dict[str, Outcome]:
    """Read how every rollout ended that has."""
    return {row.id: row.outcome for row in store.rollouts(RolloutFilter(limit=2 * COUNT)) if row.outcome.at_rest}


def orphaned(store: Store, rollout: str) -> bool:
    """Say whether its daemon stepped it back and died before it could write that down: the heir finds only the tombstone."""
    return any(("reason", "tombstone") in row.event.facts for row in store.history(rollout))


def told_in_order(chat: Chat, store: Store, rollout: str) -> None:
    """Hold what the chat got against what was owed: all of it, in order; the same twice only where it came again at once."""
    owed = [str(notice["key"]) for notice in store.notices(rollout)]
    got = list(dict.fromkeys(key for sent, key in chat.sent if sent == rollout))
    assert got == owed, rollout


def test_three_daemons_share_300_rollouts_while_one_is_killed_and_one_sleeps(postgresql_database: str) -> None:
    schema.upgrade(postgresql_database, clock=CLOCK)
    chat = Chat()
    with ExitStack() as stack:
        arena = stack.enter_context(Arena(COUNT))
        arena.behave(BAD, CRASHES)
        stores = [stack.enter_context(closing(open_store(postgresql_database, clock=CLOCK))) for _ in range(3)]
        killed, frozen, last = (stack.enter_context(Node(arena, f"d{n}", store, chat)) for n, store in enumerate(stores))
        for number in range(COUNT):
            last.desk.submit(arena.plan(number, BAD if number % 10 == 0 else GOOD), "", "ada")
        everybody = {row.id for row in last.store.rollouts(RolloutFilter(limit=COUNT))}

        until(lambda: killed.owns() and frozen.owns() and len(arena.writes) > COUNT // 2, "all three are in the midst of it")
        lost = killed.owns() | frozen.owns()
        killed.gate.kill()
        frozen.gate.freeze()
        until(lambda: lost <= last.owns() | set(ended(last.store)), "the last one has taken everything over", 15)
        frozen.gate.thaw()

        until(lambda: len(ended(last.store)) == COUNT, "every rollout has ended", 180)
        until(lambda: all(n["state"] != "owed" for r in everybody for n in last.store.notices(r)), "everything is told", 60)
        outcomes = ended(last.store)
        images = {row.id: row.image for row in last.store.rollouts(RolloutFilter(limit=COUNT))}
        for rollout in everybody:
            bad = images[rollout] == BAD
            stepped_back = Outcome.ABORTED if orphaned(last.store, rollout) else Outcome.FAILED
            told = [row.event.why for row in last.store.history(rollout)][-4:]
            assert outcomes[rollout] is (stepped_back if bad else Outcome.SUCCEEDED), (rollout, told)
            told_in_order(chat, last.store, rollout)
        twice = {effect: times for effect, times in arena.forward().items() if times > 1}
        assert twice == {}, "a forward effect was performed twice"
        assert {write.daemon for write in arena.writes} == {"d0", "d1", "d2"}
        assert all(arena.replicas(number) == 0 for number in range(COUNT))
        assert len(chat.sent) < 1.2 * len(set(chat.sent)), "notices are told once, but for the few that a death left in doubt"


def test_a_daemon_that_slept_forgets_what_another_took(postgresql_database: str) -> None:
    schema.upgrade(postgresql_database, clock=CLOCK)
    with ExitStack() as stack:
        arena = stack.enter_context(Arena(2))
        stores = [stack.enter_context(closing(open_store(postgresql_database, clock=CLOCK))) for _ in range(2)]
        chat = Chat()
        sleeper = stack.enter_context(Node(arena, "sleeper", stores[0], chat, lease=1.0))
        for number in range(2):
            sleeper.desk.submit(arena.plan(number, soak="10h"), "", "ada")
        until(lambda: len(sleeper.owns()) == 2 and arena.replicas(0) and arena.replicas(1), "both have begun")
        sleeper.gate.freeze()
        other = stack.enter_context(Node(arena, "other", stores[1], chat, lease=1.0))
        until(lambda: len(other.owns()) == 2, "the other one has both", 15)
        sleeper.gate.thaw()
        until(lambda: not sleeper.owns(), "the sleeper has forgotten them", 15)
        assert sleeper.engine.lease.certain() or until(sleeper.engine.lease.certain, "the sleeper has a lease again") < 15
        arena.behave(GOOD, CRASHES)
        with arena.lock:
            for number in range(2):
                namespace, name = arena.targets[number]
                assert arena.world.get("deployments", namespace, name)["spec"]["template"]["spec"]["containers"][0]["image"] == OLD
        until(lambda: len(ended(other.store)) == 2, "both have stepped back")
        assert set(ended(other.store).values()) == {Outcome.FAILED}


def test_a_clean_stop_hands_over_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rollout.db"
    schema.upgrade(url, clock=CLOCK)
    with ExitStack() as stack:
        arena = stack.enter_context(Arena(3))
        stores = [stack.enter_context(closing(open_store(url, clock=CLOCK))) for _ in range(2)]
        with Node(arena, "first", stores[0], Chat(), lease=600) as first:
            for number in range(3):
                first.desk.submit(arena.plan(number, soak="10h"), "", "ada")
            until(lambda: all(arena.replicas(number) for number in range(3)), "all have begun")
        second = stack.enter_context(Node(arena, "second", stores[1], Chat(), lease=600))
        until(lambda: len(second.owns()) == 3, "the second has all", 5)
