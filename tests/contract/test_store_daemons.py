"""Several daemons on one database: no decision is written twice, none is lost, whoever sleeps and wakes writes nothing."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest

from rollout.core.commands import Verb
from rollout.core.errors import Refused
from rollout.core.history import Outcome
from rollout.ports import RolloutFilter, RolloutRow, Store, Transition
from tests.contract.stores import HOUR, LEASE, START, Bench, bench, claimed, event, notice, plan, rollout, submitted, transition

__all__ = ["bench"]
STEPS = 8


@dataclass
class Daemon:
    """A loop like the engine's: renew, claim, decide from memory, commit."""

    name: str
    store: Store
    memory: dict[str, RolloutRow] = field(default_factory=dict)
    written: list[tuple[str, int]] = field(default_factory=list)
    refused: int = 0

    def turn(self) -> None:
        if not self.store.renew(self.name, lease=LEASE):
            owned = [self.store.rollout(rollout) for rollout in self.store.owned(self.name)]
            self.memory = {row.id: row for row in owned if row is not None}
        self.memory |= {row.id: row for row in self.store.claim(self.name, limit=4, lease=LEASE)}
        self.decide()

    def decide(self) -> None:
        rows = list(self.memory.values())
        written = self.store.commit(self.name, [self._next(row) for row in rows])
        self.refused += len(rows) - len(written)
        for row in rows:
            if row.id in written:
                self.written.append((row.id, row.version))
            if row.id in written and row.version < STEPS - 1:
                self.memory[row.id] = replace(row, version=row.version + 1)
            else:
                del self.memory[row.id]

    def _next(self, row: RolloutRow) -> Transition:
        last = row.version == STEPS - 1
        return transition(row, outcome=Outcome.SUCCEEDED if last else Outcome.ACTIVE, events=(event(f"step-{row.version}"),),
                          notices=(notice(f"n{row.version}"),), channels=("ops",))  # fmt: skip


def everything_ended(store: Store) -> bool:
    return all(row.outcome.at_rest for row in store.rollouts(RolloutFilter()))


def assert_each_step_was_written_once(store: Store, daemons: list[Daemon]) -> None:
    for row in store.rollouts(RolloutFilter()):
        assert [h.event.kind for h in store.history(row.id)] == [f"step-{n}" for n in range(STEPS)]
        assert [n["key"] for n in store.notices(row.id)] == [f"n{n}" for n in range(STEPS)]
        assert row.version == STEPS
    written = sorted(one for daemon in daemons for one in daemon.written)
    assert written == sorted({*written}), "two daemons believe that they wrote the same decision"


def test_three_daemons_at_once_write_every_decision_once(bench: Bench) -> None:
    watcher = bench.open()
    submitted(watcher, 24)
    daemons = [Daemon(f"d{number}", bench.open()) for number in range(3)]

    def run(daemon: Daemon) -> None:
        while not everything_ended(daemon.store):
            daemon.turn()

    threads = [threading.Thread(target=run, args=(daemon,)) for daemon in daemons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_each_step_was_written_once(watcher, daemons)
    assert sum(daemon.refused for daemon in daemons) == 0


def test_a_daemon_that_slept_past_its_lease_writes_nothing_of_what_others_took_over(bench: Bench) -> None:
    submitted(bench.open(), 6)
    sleeper, other = Daemon("d0", bench.open()), Daemon("d1", bench.open())
    sleeper.turn()
    other.turn()
    assert len(sleeper.memory) == 4
    bench.advance(LEASE * 2)
    while not everything_ended(other.store):
        other.turn()
    sleeper.decide()
    assert (sleeper.refused, sleeper.memory) == (4, {})
    assert_each_step_was_written_once(other.store, [sleeper, other])


def test_a_daemon_that_died_is_replaced_by_one_of_the_same_name_without_waiting_for_the_lease(bench: Bench) -> None:
    if bench.kind == "memory":
        return
    submitted(bench.open(), 3)
    Daemon("d0", bench.open()).turn()
    again = Daemon("d0", bench.open())
    while not everything_ended(again.store):
        again.turn()
    assert again.refused == 0


def test_who_types_commands_sees_which_daemons_live(bench: Bench) -> None:
    store = bench.open()
    assert store.standing().daemons == ()
    store.renew("d2", lease=LEASE)
    store.renew("d1", lease=LEASE)
    assert store.standing().daemons == ("d1", "d2")
    store.release("d2")
    assert store.standing().daemons == ("d1",)
    bench.advance(LEASE * 2)
    assert store.standing().daemons == ()


def test_a_command_that_waits_when_its_rollout_ends_is_answered_in_history(bench: Bench) -> None:
    store = bench.open()
    (row,) = claimed(store)
    pause = store.command(row.id, Verb.PAUSE, "ada", "lunch", START)
    store.command(row.id, Verb.ABORT, "bob", "it is slow", START + HOUR)
    store.commit("d1", [transition(row, outcome=Outcome.SUCCEEDED, consumed=(pause,), events=(event("succeeded"),))])
    told = [(item.event.kind, item.event.actor) for item in store.history(row.id)]
    assert told == [("succeeded", event("succeeded").actor), ("command-abort", "bob")]
    assert store.history(row.id)[-1].event.why.endswith("it had ended already (succeeded)")
    assert store.commands([row.id]) == {}


def test_only_a_canary_plan_is_told_that_it_may_supersede(bench: Bench) -> None:
    store = bench.open()
    store.submit(plan(), rollout("first-rollout", kind="Canary"))
    for kind in ("Canary", "Offline"):
        with pytest.raises(Refused) as told:
            store.submit(plan("second"), rollout("second-rollout", of=plan("second"), kind=kind))
        assert ("supersede" in told.value.problems[0].remedy) == (kind == "Canary")
