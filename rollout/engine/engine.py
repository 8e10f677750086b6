"""Look, decide, commit, act: one rollout at a time, without waiting for anything outside.

`tick` itself reads memory, decides, and hands the rest to workers; without threads (workers.Inline) it is a plain function, and
the simulation is a plain loop. Going forward is committed before it is done; stepping back is done before it is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from rollout.core.cohorts import TargetView
from rollout.core.commands import Command
from rollout.core.decision import Decision, Execution, Timing, step_name
from rollout.core.effects import PatchDeployment, PostEvent
from rollout.core.machine import Question, decide, give_up
from rollout.core.observation import Observation
from rollout.core.policy import Policy
from rollout.core.signals import Unreachable
from rollout.core.state import Retreating, State
from rollout.core.target import Target
from rollout.engine import events
from rollout.engine.act import Hands
from rollout.engine.active import Active
from rollout.engine.board import Board
from rollout.engine.commits import Commits
from rollout.engine.lease import Lease
from rollout.engine.recipients import Takes
from rollout.engine.restores import with_measured_restore
from rollout.engine.saving import Saving
from rollout.engine.tasks import Performer, Tasks
from rollout.engine.wakes import Wakes
from rollout.engine.workers import Pool, Workers
from rollout.ports import Clock, Cluster, RolloutError, RolloutRow, Store, Unavailable

log = structlog.get_logger()

FAILURES_TO_GIVE_UP = 6
"""Looks in a row that failed by a bug of ours, about a minute: the canary is then as good as unwatched."""
LOOK_AFTER_ACT = timedelta(seconds=1)
"""The watch usually wakes us sooner; this is for the case that it does not."""
LONGEST_TRY = timedelta(seconds=8)
"""A step back that is not seen to be done is tried without end, at least this often; a cluster that is away is not hammered."""
LOOK_UNLEASED = timedelta(seconds=10)
"""What may not go forward now is not asked again at once; the renewal of the lease wakes it."""


class Codec(Protocol):
    """Turns stored text into what the core knows, and back. Raises Refused for what this version cannot read."""

    def state(self, text: str, row: str) -> State:
        """Read a state."""
        ...

    def text(self, state: State) -> str:
        """Write a state."""
        ...

    def execution(self, row: RolloutRow) -> Execution:
        """Read the plan of a rollout and compile it."""
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine is told once."""

    daemon: str
    policy: Policy
    timing: Timing
    channels: tuple[str, ...] = ()
    lease: timedelta = timedelta(seconds=15)
    takes: Takes = field(default_factory=dict)
    """The kinds of notice that a channel takes, where it does not take all."""


class Engine:
    """The rollouts that this daemon owns, in memory, and what happens to them."""

    def __init__(
        self,
        setup: Setup,
        store: Store,
        clusters: Mapping[str, Cluster],
        performers: Mapping[str, Performer],
        codec: Codec,
        clock: Clock,
        workers: Workers,
    ) -> None:
        self.setup = setup
        self.store = store
        self.hands = Hands(clusters)
        self.codec = codec
        self.clock = clock
        self.workers = workers
        self.board = Board()
        self.wakes = Wakes()
        self.lease = Lease(clock, setup.lease)
        self.saving = Saving(self, Commits(store, setup.daemon, workers))
        self.tasks = Tasks(performers, self.board, workers, clock, self.wakes.wake)
        self._lock = threading.Lock()
        self._actives: dict[str, Active] = {}
        self._by_deployment: dict[tuple[str, str], set[str]] = {}
        self.bugs = 0
        self.undecodable: dict[str, str] = {}
        """Rollouts that are ours and cannot be read, and why: nobody looks at them."""
        self.unread: dict[str, RolloutRow] = {}
        """Rollouts that are ours whose plan the database did not tell: it went away just then. They are read again."""
        for cluster in clusters.values():
            cluster.subscribe(self.changed)

    # -- which rollouts ----------------------------------------------------------------------------------------------

    def actives(self) -> list[Active]:
        """List what is in memory."""
        with self._lock:
            return list(self._actives.values())

    def active(self, rollout: str) -> Active | None:
        """Find one in memory."""
        with self._lock:
            return self._actives.get(rollout)

    def adopt(self, rows: Iterable[RolloutRow]) -> None:
        """Take rollouts into memory; what was already there, at the same version, keeps what it knows beyond the row."""
        for row in rows:
            known = self.active(row.id)
            try:
                execution = known.execution if known is not None else self._read(row)
                state = self.codec.state(row.state, row.id)
            except Unavailable as away:
                log.warning(events.COMMIT_FAILED, what="read", rollout=row.id, why=str(away))
                self.unread[row.id] = row
                continue
            except RolloutError as error:
                self.undecodable[row.id] = str(error)
                log.error(events.UNDECODABLE, rollout=row.id, why=str(error))
                continue
            self.undecodable.pop(row.id, None)
            self.unread.pop(row.id, None)
            if known is not None:
                with known.lock:
                    self.saving.rejoin(known, state, row)
                self.wakes.wake(row.id)
                continue
            self._put(Active(execution, state, row.version, why=row.why))
            log.info(events.ADOPTED, rollout=row.id, target=str(execution.target), step=step_name(state))

    def _read(self, row: RolloutRow) -> Execution:
        return with_measured_restore(self.store, self.codec.execution(row), row.created_at)

    def _put(self, active: Active) -> None:
        execution = active.execution
        with self._lock:
            self._actives[execution.id] = active
            for key in _deployments(execution):
                self._by_deployment.setdefault(key, set()).add(execution.id)
        for target in execution.plan.targets:
            cluster = self.hands.cluster(target.cluster)
            if cluster is not None:
                cluster.follow(target.namespace)
        self.wakes.wake(execution.id)

    def forget(self, rollout: str) -> None:
        """Drop a rollout that has ended or is not ours any more."""
        with self._lock:
            active = self._actives.pop(rollout, None)
            for key in _deployments(active.execution) if active is not None else ():
                ids = self._by_deployment.get(key, set())
                ids.discard(rollout)
                if not ids:
                    self._by_deployment.pop(key, None)
        if active is not None:
            active.dropped = True
        self.wakes.forget(rollout)
        self.board.forget(rollout)

    def changed(self, namespace: str, deployment: str) -> None:
        """Something about a Deployment or its pods changed: look at its rollout now. Called from the watches' threads."""
        with self._lock:
            ids = list(self._by_deployment.get((namespace, deployment), ()))
        for rollout in ids:
            self.wakes.wake(rollout)

    # -- one look ----------------------------------------------------------------------------------------------------

    def tick(self, rollout: str) -> Decision | None:
        """Look at one rollout and set in motion what follows. None when it is not ours."""
        active = self.active(rollout)
        if active is None:
            return None
        with active.lock:
            if active.dropped:
                return None
            try:
                return self._tick(active)
            except Exception as error:
                self.bugs += 1
                active.failures += 1
                log.error(events.BUG, where="tick", rollout=rollout, exc_info=error)
                self.wakes.wake_at(rollout, self.clock.now() + timedelta(seconds=min(2 ** min(active.failures, 6), 60)))
                return None

    def _tick(self, active: Active) -> Decision:
        now = self.clock.now()
        commands = tuple(c for c in self.board.commands(active.execution.id) if c.id > active.last_command)
        question = Question(active.execution, self.setup.policy, self.setup.timing)
        decision = self._decide(active, question, commands, now)
        active.why = decision.why
        if decision.wake_at is not None:  # first, because what follows may know better when to look again
            self.wakes.wake_at(active.execution.id, decision.wake_at)
        if isinstance(decision.state.step, Retreating):
            self._go_back(active, decision)
        elif active.committing:
            active.state, active.overlooked = decision.kept, True
        elif decision.material or active.unsaved:
            self._go_forward(active, decision)
        else:
            active.state = decision.state
        for task in decision.tasks:
            self.tasks.ask(active.execution, active.state, task)
        return decision

    def _decide(self, active: Active, question: Question, commands: tuple[Command, ...], now: datetime) -> Decision:
        """Decide; where that fails again and again, nobody watches this canary: give up on it and step back."""
        seen = self._look(active)
        try:
            decision = decide(question, active.state, seen, commands, now)
        except Exception as error:
            given_up = None
            if active.failures >= FAILURES_TO_GIVE_UP:
                given_up = _give_up(question, active.state, seen, f"internal error: {type(error).__name__}", now)
            if given_up is None:
                raise
            if not isinstance(active.state.step, Retreating):
                self.bugs += 1
                log.error(events.BUG, where="given up", rollout=active.execution.id, exc_info=error)
            return given_up
        active.failures, active.looked = 0, True
        return decision

    def _look(self, active: Active) -> Observation:
        execution = active.execution
        cluster = self.hands.cluster(execution.target.cluster)
        if cluster is None:
            view = Unreachable(f"no cluster {execution.target.cluster!r} is configured")
            return Observation(
                view,
                tasks=self.board.results(execution.id),
                leased=self.lease.certain(),
                taken_over=not active.looked,
                unsaved_since=active.unsaved_since,
                write_trouble=active.trouble,
            )
        return Observation(
            cluster.view(execution.target),
            self.board.take_answers(execution.id),
            self.board.results(execution.id),
            self.lease.certain(),
            tuple(self._view(target) for target in execution.plan.targets[1:]),
            taken_over=not active.looked,
            unsaved_since=active.unsaved_since,
            write_trouble=active.trouble,
        )

    def _view(self, target: Target) -> TargetView | Unreachable:
        cluster = self.hands.cluster(target.cluster)
        return cluster.view(target) if cluster is not None else Unreachable(f"no cluster {target.cluster!r} is configured")

    # -- backward: act, then commit ----------------------------------------------------------------------------------

    def _go_back(self, active: Active, decision: Decision) -> None:
        """Keep the decision in memory, act in the pool that is there for nothing else, and let history follow."""
        self.saving.owe(active, decision)
        active.state = decision.state
        if not decision.backward:
            active.tries = 0
        if decision.backward and not active.backing:
            active.backing = True
            self.workers.spawn(Pool.BACK.of(active.execution.target.cluster), lambda: self._step_back(active, decision))
        elif active.unsaved:
            self.saving.save_owed(active)

    def _step_back(self, active: Active, decision: Decision) -> None:
        troubles: list[str] = []
        try:
            for patch in decision.backward:
                log.warning(events.STEP_BACK, rollout=active.execution.id, effect=patch.why, why=decision.why)
                troubles.append(self.hands.apply(active.execution.id, patch))
        finally:
            with active.lock:
                active.backing, active.trouble = False, next(filter(None, troubles), "")
        with active.lock:
            if active.unsaved and not active.dropped:
                self.saving.save_owed(active)
        self._post(decision.posts)
        self.wakes.wake_at(active.execution.id, self.clock.now() + min(LOOK_AFTER_ACT * 2 ** min(active.tries, 8), LONGEST_TRY))
        active.tries += 1

    # -- forward: commit, then act -----------------------------------------------------------------------------------

    def _go_forward(self, active: Active, decision: Decision) -> None:
        """Commit what was decided; where the lease is not certain, keep only what was learned."""
        stepped_back = isinstance(active.state.step, Retreating)
        active.state = decision.kept
        if not self.lease.certain() and not stepped_back:
            soonest = self.clock.now() + LOOK_UNLEASED
            self.wakes.wake_at(active.execution.id, max(decision.wake_at or soonest, soonest))
            return
        self.saving.save(active, decision, then=lambda: self._act(active, decision))

    def _act(self, active: Active, decision: Decision) -> None:
        """Perform the forward effects of a decision that stands in the database."""
        self._post(decision.posts)
        for patch in decision.forward:
            with active.lock:
                if patch.name in active.forwarding:
                    continue
                active.forwarding.add(patch.name)
            self.workers.spawn(Pool.FORWARD.of(patch.cluster), partial(self._apply_forward, active, patch))

    def _apply_forward(self, active: Active, patch: PatchDeployment) -> None:
        try:
            stepping_back = isinstance(active.state.step, Retreating) or active.dropped
            if not stepping_back and self.lease.certain():
                active.trouble = self.hands.apply(active.execution.id, patch)
        finally:
            with active.lock:
                active.forwarding.discard(patch.name)
        self.wakes.wake_at(active.execution.id, self.clock.now() + LOOK_AFTER_ACT)

    def _post(self, posts: Iterable[PostEvent]) -> None:
        for post in posts:
            self.workers.spawn(Pool.POSTS.of(post.cluster), partial(self.hands.post, post))


def _give_up(question: Question, state: State, seen: Observation, why: str, now: datetime) -> Decision | None:
    """Step back by what is seen; where that is what cannot be understood, without seeing."""
    try:
        return give_up(question, state, seen, why, now)
    except Exception:  # noqa: BLE001 - the error that led here is logged
        return give_up(question, state, replace(seen, view=Unreachable("it cannot be understood")), why, now)


def _deployments(execution: Execution) -> list[tuple[str, str]]:
    """Name the Deployments whose changes concern a rollout."""
    targets = execution.plan.targets
    return [(target.namespace, name) for target in targets for name in (target.stable, target.canary) if name]
