"""The periodic work beside looking: the lease, claiming, commands, and the questions to the backends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import structlog

from rollout.core.cohorts import TargetView, cohorts
from rollout.core.plan import CanaryPlan
from rollout.core.signals import Answer, Question, Unreachable
from rollout.core.state import Ended, Preflight, Retreating
from rollout.core.windows import questions
from rollout.engine import events
from rollout.engine.active import Active
from rollout.engine.engine import Engine
from rollout.ports import RolloutError, SignalSource

log = structlog.get_logger()

CLAIM_AT_ONCE = 500
COME_BACK = 10.0
"""Seconds beyond a lease that other daemons get after an outage: a call that hung until then must end, and be made again."""


class Upkeep:
    """Keeps an engine supplied: each method is called periodically and does one thing."""

    def __init__(self, engine: Engine, sources: Mapping[str, SignalSource]) -> None:
        self._engine = engine
        self._sources = sources
        self._lock = threading.Lock()
        self._reading: set[str] = set()
        self._astray = False
        """The lease had been lost, and it is not known yet what of our memory is still ours."""
        self._doubtful = False
        """A claim may have been written whose answer was lost."""
        self._away_since: float | None = None
        """When the database first failed to renew the lease, None while it does."""
        self._patient_until = float("-inf")

    def keep_lease(self) -> None:
        """Renew; where the lease had been lost, keep only what the database gives back to us."""
        engine = self._engine
        asked_at = engine.clock.monotonic()
        try:
            kept = engine.store.renew(engine.setup.daemon, lease=engine.setup.lease, about=engine.setup.daemon)
        except RolloutError as error:
            log.warning(events.LEASE_UNCERTAIN, why=str(error))
            self._away_since = asked_at if self._away_since is None else self._away_since
            return
        away, self._away_since = asked_at - (self._away_since or asked_at), None
        if not kept:
            if engine.actives():
                log.error(events.LEASE_LOST, rollouts=len(engine.actives()))
            engine.lease.lost()
            self._astray = True
            length = engine.setup.lease.total_seconds()
            if away >= length / 2:
                self._patient_until = engine.clock.monotonic() + length + COME_BACK
        if self._astray and not self._keep_only_ours():
            return
        self._astray = False
        was_certain = engine.lease.certain()
        engine.lease.renewed(asked_at)
        if not was_certain:
            for active in engine.actives():
                engine.wakes.wake(active.execution.id)

    def _keep_only_ours(self) -> bool:
        """Go on with what nobody took meanwhile, forget the rest; False where the database did not tell (still uncertain)."""
        engine = self._engine
        try:
            mine = self._take_in()
        except RolloutError as error:
            log.warning(events.COMMIT_FAILED, what="claim", why=str(error))
            return False
        for active in engine.actives():
            if active.execution.id not in mine:
                log.warning(events.DROPPED, rollout=active.execution.id, why="the lease was lost and another daemon has it")
                engine.forget(active.execution.id)
        return True

    def claim(self) -> None:
        """Take what nobody owns: rollouts that were just submitted, or whose daemon has died.

        Not for a while after an outage that cost us the lease: then the database was away for everybody, and whoever stepped
        back meanwhile knows why. It comes back to its rollouts, and history gets the reason instead of only its trace.
        """
        if self._away_since is not None or self._engine.clock.monotonic() < self._patient_until:
            return  # a claim that is sent now might hang until the lease is there again, and take what it should not
        try:
            if self._doubtful:
                self._take_in()
            self._doubtful = False
            self._claim()
        except RolloutError as error:
            self._doubtful = True
            log.warning(events.COMMIT_FAILED, what="claim", why=str(error))

    def _take_in(self) -> frozenset[str]:
        """Take into memory what is ours by the database's word and was not known to be; return all that is ours."""
        engine = self._engine
        mine = engine.store.owned(engine.setup.daemon)
        rows = [engine.store.rollout(rollout) for rollout in mine if engine.active(rollout) is None]
        engine.adopt(row for row in rows if row is not None and not row.outcome.at_rest)
        return mine

    def _claim(self) -> None:
        engine = self._engine
        engine.adopt(list(engine.unread.values()))
        while True:
            rows = engine.store.claim(engine.setup.daemon, limit=CLAIM_AT_ONCE, lease=engine.setup.lease)
            engine.adopt(rows)
            if len(rows) < CLAIM_AT_ONCE:
                return

    def fetch_commands(self) -> None:
        """Bring people's commands to the board and wake whom they concern."""
        engine = self._engine
        try:
            commands = engine.store.commands()
        except RolloutError as error:
            log.warning(events.COMMIT_FAILED, what="commands", why=str(error))
            return
        for rollout in engine.board.put_commands(commands):
            engine.wakes.wake(rollout)

    def ask(self) -> None:
        """Ask every backend everything that is due, all rollouts together, each backend on a thread of its own."""
        by_backend: dict[str, dict[Question, str]] = {}
        for active in self._engine.actives():
            for question in due_questions(self._engine, active):
                by_backend.setdefault(question.backend, {})[question] = active.execution.id
        for backend, asked in by_backend.items():
            self._ask(backend, asked)

    def _ask(self, backend: str, asked: Mapping[Question, str]) -> None:
        with self._lock:
            if backend in self._reading:
                return
            self._reading.add(backend)
        self._engine.workers.spawn(f"source-{backend}", lambda: self._read(backend, asked))

    def _read(self, backend: str, asked: Mapping[Question, str]) -> None:
        engine = self._engine
        try:
            answers = self._answers(backend, asked)
        finally:
            with self._lock:
                self._reading.discard(backend)
        by_rollout: dict[str, list[Answer]] = {}
        for answer in answers:
            by_rollout.setdefault(asked[answer.question], []).append(answer)
        for rollout, items in by_rollout.items():
            if engine.active(rollout) is not None:
                engine.board.put_answers(rollout, items)
                engine.wakes.wake(rollout)

    def _answers(self, backend: str, asked: Mapping[Question, str]) -> Iterable[Answer]:
        """Ask; an answer that we cannot read is a bug of ours and counts as none."""
        source = self._sources.get(backend)
        if source is None:
            why = f"no backend {backend!r} is configured"
        else:
            try:
                return source.read(tuple(asked)).values()
            except Exception as error:
                self._engine.bugs += 1
                log.error(events.BUG, where=f"reading {backend}", exc_info=error)
                why = f"its answer could not be read: internal error ({type(error).__name__})"
        now = self._engine.clock.now()
        return [Answer(question, Unreachable(why), "", now) for question in asked]


def due_questions(engine: Engine, active: Active) -> tuple[Question, ...]:
    """Word what is due for one rollout, from its memory and the cluster's picture."""
    state, execution = active.state, active.execution
    if not execution.signals or isinstance(state.step, Preflight | Retreating | Ended):
        return ()
    cluster = engine.hands.cluster(execution.target.cluster)
    view = cluster.view(execution.target) if cluster is not None else None
    if not isinstance(view, TargetView) or not isinstance(execution.plan, CanaryPlan):
        return ()
    used = {signal.name: signal.used_until for signal in state.signals}
    parts = cohorts(view, execution.image)
    warm_up = execution.plan.spec.warm_up
    return questions(execution.signals, used, parts, execution.target.namespace, warm_up, engine.clock.now(), state.started_at)
