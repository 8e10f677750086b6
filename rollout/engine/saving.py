"""What becomes of a decision in the database: written, lost to somebody else, or not taken now.

A decision to go forward that is not written has not happened: what was learned is kept, and it is decided again. A decision to
step back has happened already: what it owes to history and to people is kept until the database takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from rollout.core.decision import Decision, step_name
from rollout.core.history import Event, Notice, Outcome
from rollout.core.state import Ended, Retreating, State
from rollout.engine import events
from rollout.engine.active import Active, Sent
from rollout.engine.commits import Commits, Pending
from rollout.engine.recipients import addressed
from rollout.ports import RolloutError, RolloutRow, Transition

if TYPE_CHECKING:
    from rollout.engine.engine import Engine

log = structlog.get_logger()

RETRY = timedelta(seconds=2)
LONGEST_RETRY = timedelta(seconds=15)
"""While the database is away, what is owed to it is offered at least this often."""
MOST_UNANSWERED = 20


class Saving:
    """Sends transitions of active rollouts and takes the answers."""

    def __init__(self, engine: Engine, commits: Commits) -> None:
        self._engine = engine
        self.commits = commits

    def owe(self, active: Active, decision: Decision) -> None:
        """Remember what a decision that was acted upon owes to the database."""
        active.owed_events += decision.events
        active.owed_notices += decision.notices
        active.owed_commands += decision.consumed
        active.last_command = max((active.last_command, *decision.consumed))
        active.unsaved = active.unsaved or decision.material

    def save(self, active: Active, decision: Decision, then: Callable[[], None]) -> None:
        """Write a decision to go forward, with everything owed from before; `then` runs when it stands.

        It is looked at again at once where that can bring more: not after a save of credited time, and not before an effect
        that is only now sent has been answered (that wakes it), or every look until then would write the same again.
        """
        quiet = decision.periodic or bool(decision.forward)
        extra = (decision.events, decision.notices, decision.consumed)
        self._send(active, decision.state, decision.why, extra, adopt=True, then=then, quiet=quiet)

    def save_owed(self, active: Active) -> None:
        """Write the present state with everything that is owed."""
        if not active.committing:
            self._send(active, active.state, active.why, ((), (), ()), adopt=False, then=lambda: None)

    def _send(
        self,
        active: Active,
        state: State,
        why: str,
        extra: tuple[tuple[Event, ...], tuple[Notice, ...], tuple[int, ...]],
        *,
        adopt: bool,
        then: Callable[[], None],
        quiet: bool = False,
    ) -> None:
        engine = self._engine
        now = engine.clock.now()
        outcome = state.step.outcome if isinstance(state.step, Ended) else Outcome.ACTIVE
        channels = active.execution.plan.spec.notify or engine.setup.channels
        transition = Transition(
            rollout=active.execution.id,
            seen_version=active.version,
            state=engine.codec.text(state),
            outcome=outcome,
            step=step_name(state),
            why=why,
            wake_at=None if outcome.at_rest else now + engine.setup.timing.look_every,
            at=now,
            events=active.owed_events + extra[0],
            notices=addressed(active.owed_notices + extra[1], channels, engine.setup.takes),
            channels=channels,
            consumed=active.owed_commands + extra[2],
        )
        owed = (len(active.owed_events), len(active.owed_notices), len(active.owed_commands))
        active.committing = True
        active.unsaved_since = active.unsaved_since or now
        sent = Sent(state, transition, adopt, owed, then, quiet)
        self.commits.put(Pending(transition, lambda answer: self._answered(active, sent, answer)))

    def _answered(self, active: Active, sent: Sent, answer: str) -> None:
        if answer == "lost":
            self._lost(active)
            return
        engine, transition = self._engine, sent.transition
        with active.lock:
            active.committing = False
            if active.dropped:
                return
            if answer != "written":
                if answer == "unknown":
                    active.unanswered = (*active.unanswered, sent)[-MOST_UNANSWERED:]
                engine.wakes.wake_at(transition.rollout, engine.clock.now() + _patience(active))
                return
            overlooked, active.overlooked, active.refused = active.overlooked, False, 0
            self._written(active, sent)
        sent.then()
        _log(transition)
        if transition.outcome.at_rest:
            engine.forget(transition.rollout)
        elif sent.adopt:
            if overlooked or not sent.quiet:
                engine.wakes.wake(transition.rollout)
        else:
            # What was saved is done already: looking again at once would step back, save and look for ever while it cannot see.
            engine.wakes.wake_at(transition.rollout, engine.clock.now() + RETRY)

    def _written(self, active: Active, sent: Sent) -> None:
        active.version = max(active.version, sent.transition.seen_version + 1)
        active.unanswered, active.unsaved_since = (), None
        active.owed_events = active.owed_events[sent.owed[0] :]
        active.owed_notices = active.owed_notices[sent.owed[1] :]
        active.owed_commands = active.owed_commands[sent.owed[2] :]
        active.last_command = max((active.last_command, *sent.transition.consumed))
        overtaken = isinstance(active.state.step, Retreating) and not isinstance(sent.state.step, Retreating | Ended)
        if overtaken:
            _number_after(active, sent.state.notices)
        elif sent.adopt:
            active.state = sent.state
        active.unsaved = overtaken or bool(active.owed_events or active.owed_notices or active.owed_commands)

    def _lost(self, active: Active) -> None:
        """Find out whose the row is: another daemon's now, or our own commit was written and its answer was lost.

        The database is asked without the rollout's lock: while it hangs, looking and stepping back go on.
        """
        engine = self._engine
        rollout = active.execution.id
        try:
            row = engine.store.rollout(rollout)
            mine = rollout in engine.store.owned(engine.setup.daemon)
            stored = engine.codec.state(row.state, row.id) if row is not None else None
        except RolloutError as error:
            log.error(events.COMMIT_FAILED, rollout=rollout, why=str(error))
            with active.lock:
                active.committing = False
                wait = _patience(active)
            engine.wakes.wake_at(rollout, engine.clock.now() + wait)
            return
        with active.lock:
            active.committing = False
            if active.dropped:
                return
            if row is None or stored is None:
                self._drop(active, "its row is gone")
                return
            self.rejoin(active, stored, row)
            if row.outcome.at_rest:
                self._drop(active, f"it has ended: {row.why}")
            elif not mine and engine.lease.certain():
                self._drop(active, "another daemon has it")
            elif not mine:
                engine.wakes.wake_at(rollout, engine.clock.now() + RETRY)
            else:
                engine.wakes.wake(rollout)

    def _drop(self, active: Active, why: str) -> None:
        log.warning(events.DROPPED, rollout=active.execution.id, why=why, unsaved=len(active.owed_events))
        self._engine.forget(active.execution.id)

    def rejoin(self, active: Active, stored: State, row: RolloutRow) -> None:
        """Bring memory and row together: what our own commit wrote whose answer was lost, or what another daemon wrote."""
        if row.version == active.version:
            return
        ours = next((sent for sent in active.unanswered if sent.stands_in(row)), None)
        if ours is not None:
            self._written(active, ours)
            return
        log.warning(events.COMMIT_LOST, rollout=row.id, seen=active.version, stored=row.version)
        active.unanswered, active.unsaved_since = (), None
        self._catch_up(active, stored, row.version)

    def _catch_up(self, active: Active, stored: State, version: int) -> None:
        """Take the stored state; a step back that it does not know yet stays, with what it owes beyond the stored notices."""
        active.version = version
        if not isinstance(active.state.step, Retreating) or isinstance(stored.step, Retreating | Ended):
            told = stored.notices
            active.owed_notices = tuple(n for n in active.owed_notices if int(n.key.split("-", 1)[0]) > told)
            if isinstance(stored.step, Retreating):
                active.owed_events = () if not active.owed_notices else active.owed_events
            active.state = stored
        else:
            _number_after(active, stored.notices)
        active.unsaved = bool(active.owed_events or active.owed_notices) or not isinstance(stored.step, type(active.state.step))


def _patience(active: Active) -> timedelta:
    """Count one more commit that was not taken, and say how long to wait before the next."""
    wait: timedelta = min(RETRY * 2 ** min(active.refused, 10), LONGEST_RETRY)
    active.refused += 1
    return wait


def _number_after(active: Active, told: int) -> None:
    """Give owed notices keys after those that the database already has: a commit of ours may have been written late."""
    behind = told + len(active.owed_notices) - active.state.notices
    if behind > 0 and active.owed_notices:
        numbered = enumerate(active.owed_notices, told + 1)
        active.owed_notices = tuple(replace(n, key=f"{number:04d}-{n.kind.value}") for number, n in numbered)
    active.state = replace(active.state, notices=max(active.state.notices, told + len(active.owed_notices)))


def _log(transition: Transition) -> None:
    """Write a line for what happened; progress that is merely saved, so that a restart loses none, is for debugging."""
    write = log.info if transition.events or transition.consumed or transition.outcome.at_rest else log.debug
    write(events.TICK, rollout=transition.rollout, step=transition.step, outcome=transition.outcome.value, why=transition.why)
