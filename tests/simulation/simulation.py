"""One seed from beginning to end: the real engine, a store, the pretend world, virtual time, and everything that can go wrong."""

from __future__ import annotations

import atexit
import heapq
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from rollout.core.commands import Verb
from rollout.core.decision import Execution, Timing
from rollout.core.effects import PatchDeployment
from rollout.core.errors import RolloutError
from rollout.core.history import Outcome
from rollout.core.observation import Task, TaskResult
from rollout.core.policy import Policy
from rollout.core.state import State
from rollout.engine.engine import Engine, Setup
from rollout.engine.outbox import Outbox
from rollout.engine.upkeep import Upkeep
from rollout.engine.usecases import Desk
from rollout.engine.workers import Inline
from rollout.ports import RolloutRow, Store
from rollout.sandbox.world import World
from rollout.store.memory import MemoryStore
from rollout.store.schema import upgrade
from rollout.store.sql import SqlStore, open_store
from tests.simulation.dice import Crash, Dice
from tests.simulation.happenings import happen
from tests.simulation.invariants import Broken, Facts, Invariant
from tests.simulation.players import Channel, Outages, PlayedCluster, PlayedStore, Stage, TrafficSource
from tests.simulation.pretend import START, RememberingCodec, WorldClock
from tests.simulation.quiet import quiet
from tests.simulation.rules import RULES
from tests.simulation.scenario import BACKENDS, LOOK_EVERY, NEW, OLD, Scenario, manifests, plan, scenario
from tests.simulation.traps import Trap

UPKEEP_EVERY = timedelta(minutes=10)
LEASE = timedelta(minutes=25)
PATIENCE = timedelta(hours=84)
"""How long a rollout may go on before a person stops it; it must have asked by then."""
SETTLE = timedelta(hours=2)
MOST_ROUNDS = 60_000
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of its own is made in it
"""Where SQLite's files lie: no power is ever lost here, and a disk's fsync would be most of the time."""


@dataclass
class Result:
    """What became of one seed."""

    seed: int
    outcome: str
    broken: str = ""
    invariant: str = ""
    story: list[str] = field(default_factory=list)


class Daemon:
    """One process: an engine and what supplies it."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        s = simulation
        self.name = name
        self.counts = s.counts
        self.awake = True
        self.next_upkeep = s.world.now
        self.cluster = PlayedCluster(s.stage, name, s)
        store = PlayedStore(s.stage, s.store)
        timing = Timing(LOOK_EVERY, timedelta(minutes=35), timedelta(hours=2))
        setup = Setup(name, s.policy, timing, ("ops",), LEASE)
        self.engine = Engine(
            setup, store, {"default": self.cluster}, {"preflight": s.preflight}, s.codec, s.clock, Inline()
        )  # fmt: skip
        self.upkeep = Upkeep(self.engine, s.sources)
        self.outbox = Outbox(store, {"ops": s.channel}, s.clock, Inline())

    def work(self, now: datetime, wall: datetime) -> bool:
        """Do everything that is due; say whether there was anything."""
        worked = False
        for rollout in self.engine.wakes.due(wall, 10):
            for rule in self.counts:
                rule.looked(self.name)
            self.engine.tick(rollout)
            worked = True
        if now >= self.next_upkeep:
            self.next_upkeep = now + UPKEEP_EVERY
            self.upkeep.keep_lease()
            self.upkeep.claim()
            self.upkeep.fetch_commands()
            self.upkeep.ask()
            self.outbox.deliver()
            worked = True
        return worked


class Simulation:
    """The world, the daemons in it, and the agenda of what is still to happen."""

    def __init__(self, story: Scenario, store: Callable[[WorldClock], Store] = MemoryStore) -> None:
        self.scenario = story
        self.world = World(START, story.seed, nodes=2, record_events=False)
        self.clock = WorldClock(self.world)
        self.store = store(self.clock)
        self.codec = RememberingCodec(self.store)
        self.policy = Policy(freeze_windows=story.freeze)
        self.outages = Outages()
        self.dice = Dice(story.random, story.trouble)
        self.stage = Stage(self.world, self.dice, self.outages, self.later, self.tell)
        self.stage.trap = Trap(self, story.trap)
        self.channel = Channel(self.stage)
        self.sources = {name: TrafficSource(self.stage, name, least=story.little_traffic) for name in BACKENDS.values()}
        self.agenda: list[tuple[datetime, int, str, Callable[[], object]]] = []
        self.daemons: list[Daemon] = []
        self.story: list[str] = []
        self._read: tuple[int, RolloutRow] | None = None
        self._decoded: tuple[int, State] | None = None
        self._numbers = count()
        self._names = count(1)
        self._passed = self.began = self._settled_at = self.world.now
        self.facts = Facts(self.world, scenario=story, outages=self.outages)
        self.rules: list[Invariant] = [rule(self.facts) for rule in RULES]
        self.watches = [rule for rule in self.rules if type(rule).passed is not Invariant.passed]
        self.counts = [rule for rule in self.rules if type(rule).looked is not Invariant.looked]

    # -- what the players call -------------------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        self.story.append(f"{self.world.now:%d %H:%M:%S}  {line}")

    def later(self, wait: timedelta, what: str, do: Callable[[], object]) -> None:
        heapq.heappush(self.agenda, (self.world.now + wait, next(self._numbers), what, do))

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        self.tell(f"{daemon} sends: {patch.why}")
        for rule in self.rules:
            rule.sent(daemon, patch)

    def preflight(self, execution: Execution, state: State, task: Task) -> TaskResult:
        del execution, state
        return TaskResult(task.key, self.clock.now(), "done", ok=True, why="ok")

    # -- from beginning to end -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        story = self.scenario
        self.world.behaviours[OLD] = story.old
        self.world.behaviours[NEW] = story.behaviour
        self.world.load(manifests(story.stable))
        self.world.advance_by(timedelta(minutes=10))
        self.world.observers.append(self._changed)
        made = plan(story.signals, story.most, approval=story.approval)
        self.rollout = Desk(self.store, self.codec, self.clock, self.policy).submit(made, "", "me").rollout.id
        self.facts.rollout = self.rollout
        self.facts.stored = self._stored
        self.facts.owner = self._owner
        self.facts.frozen = lambda: self.policy.frozen(self.clock.now()) is not None
        self.facts.row, self.facts.plan, self.facts.able = self._row, made.spec, self._able
        self.facts.skew = lambda: self.clock.skew
        self.facts.told = lambda: [dict(row) for row in self.store.notices(self.rollout)]
        self.facts.history = lambda: [row.event for row in self.store.history(self.rollout)]
        self.facts.arrived = self.channel.told
        self.facts.answered = {name: source.answered for name, source in self.sources.items()}
        self._passed = self.began = self.world.now
        self.start_daemon()
        for happening in story.happenings:
            self.later(happening.after, happening.what, lambda it=happening: happen(self, it))  # type: ignore[misc]  # bound now

    def run(self) -> Outcome:
        """Play until the rollout is at rest and everything late has arrived; then ask the last questions."""
        quiet()
        self.begin()
        limit = self.world.now + PATIENCE
        stopped = False
        for _ in range(MOST_ROUNDS):
            row = self._row()
            if row.outcome.at_rest:
                return self._settle(row.outcome)
            if self.world.now > limit and not stopped:
                stopped = True
                self._give_up()
                limit = self.world.now + timedelta(days=1)
            elif self.world.now > limit:
                raise Broken(self, f"after an abort it is still {row.step}: {row.why}")
            self._round()
        raise Broken(self, "it never ends: too many rounds")

    def _give_up(self) -> None:
        """A person stops what has not ended; the weather clears."""
        self.tell("somebody loses patience: abort")
        for rule in self.rules:
            rule.overdue()
        self._clear()
        self.store.command(self.rollout, Verb.ABORT, "me", "took too long", self.clock.now())

    def _clear(self) -> None:
        self.outages.spans.clear()
        self.dice.trouble = 0.0
        if not any(daemon.awake for daemon in self.daemons):
            self.start_daemon()

    def _settle(self, outcome: Outcome) -> Outcome:
        self.tell(f"at rest: {outcome}")
        self.facts.at_rest = True
        self._clear()
        self._time_passed()
        self._settled_at = self.world.now + SETTLE
        while self.world.now < self._settled_at:
            self._round(self._settled_at)
        for rule in self.rules:
            rule.ended()
        return outcome

    def _round(self, until: datetime | None = None) -> None:
        """Everything that is due now; else go on to when something is."""
        worked = False
        for daemon in list(self.daemons):
            if daemon.awake:
                worked = self._work(daemon) or worked
        if not worked:
            self._advance(until)

    def _work(self, daemon: Daemon) -> bool:
        try:
            worked = daemon.work(self.world.now, self.clock.now())
        except Crash:
            self.kill(daemon)
            return True
        if daemon.engine.bugs:
            raise Broken(self, f"a look raised: {daemon.engine.bugs}")
        return worked

    def _advance(self, until: datetime | None) -> None:
        moments = [self.agenda[0][0]] if self.agenda else []
        if (due := self.world.next_due()) is not None:
            moments.append(due)
        for daemon in self.daemons:
            if daemon.awake:
                moments.append(daemon.next_upkeep)
                if (wake := daemon.engine.wakes.next_at()) is not None:
                    moments.append(wake - self.clock.skew)
        if until is not None:
            moments.append(until)
        self.world.advance(max(min(moments), self.world.now))
        self._time_passed()
        while self.agenda and self.agenda[0][0] <= self.world.now:
            _, _, what, do = heapq.heappop(self.agenda)
            self.tell(what)
            try:
                do()
            except RolloutError as error:
                self.tell(f"... {error}")

    def _time_passed(self) -> None:
        span = self.world.now - self._passed
        self._passed = self.world.now
        self.facts.guardian = self._guardian()
        for rule in self.watches:
            rule.passed(span)

    def _guardian(self) -> str:
        if self.outages.now("cluster", self.world.now):
            return ""
        there = (
            d
            for d in self.daemons
            if d.awake and not (d.cluster.behind or d.cluster.late) and d.engine.active(self.rollout) is not None
        )
        return next((daemon.name for daemon in there), "")

    def _able(self) -> bool:
        watching = next((daemon for daemon in self.daemons if daemon.name == self.facts.guardian), None)
        return watching is not None and watching.engine.lease.certain() and not self.stage.away("store")

    def _changed(self, change: object) -> None:
        self._narrate(change)
        for rule in self.rules:
            rule.changed(change)  # type: ignore[arg-type]  # a Change

    def _narrate(self, change: object) -> None:
        resource, manager = change.resource, change.manager  # type: ignore[attr-defined]  # a Change
        if resource == "deployments" and manager != "kube-controller-manager":
            spec = change.new["spec"]  # type: ignore[attr-defined]  # as above
            image = spec["template"]["spec"]["containers"][0]["image"]
            paused = ", paused" if spec.get("paused") else ""
            self.tell(f"{change.name}: {spec['replicas']} x {image}{paused} (by {manager})")  # type: ignore[attr-defined]  # as above

    def _row(self) -> RolloutRow:
        """Read the row, again only where a commit may have changed it."""
        known = self._read
        if known is None or known[0] != self.stage.commits:
            row = self.store.rollout(self.rollout)
            assert row is not None
            self._read = known = (self.stage.commits, row)
        return known[1]

    def _stored(self) -> State:
        row = self._row()
        if self._decoded is None or self._decoded[0] != row.version:
            self._decoded = (row.version, self.codec.seen(row.state, row.id))
        return self._decoded[1]

    def _owner(self) -> str:
        return next((d.name for d in self.daemons if self.rollout in self.store.owned(d.name)), "")

    # -- processes -------------------------------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        daemon = Daemon(self, f"daemon-{next(self._names)}")
        self.daemons.append(daemon)
        self.tell(f"{daemon.name} starts")

    def lose(self, daemon: Daemon) -> None:
        """It dies, and nobody starts another."""
        daemon.cluster.close()
        self.daemons.remove(daemon)
        self.tell(f"{daemon.name} is dead")

    def kill(self, daemon: Daemon) -> None:
        self.lose(daemon)
        wait = timedelta(seconds=self.dice.random.choice((2, 30, 600, 7200)))
        self._settled_at = max(self._settled_at, self.world.now + wait + SETTLE)
        self.later(wait, "the supervisor starts another", self.start_daemon)

    def stall(self, span: timedelta, *, another: bool = True) -> None:
        """SIGSTOP, or a laptop that slept: its memory and its picture of the cluster stay as they are; another one starts."""
        for daemon in self.daemons:
            if daemon.awake:
                daemon.awake, daemon.cluster.behind = False, True
                self.tell(f"{daemon.name} stops")
                self.later(span, f"{daemon.name} goes on", lambda it=daemon: self._go_on(it))  # type: ignore[misc]  # bound now
        if another:
            self.start_daemon()

    def _go_on(self, daemon: Daemon) -> None:
        """It looks first with what it remembers, then its watches bring the rest."""
        daemon.awake = True
        self._work(daemon)
        daemon.cluster.catch_up()


def simulate(seed: int) -> Result:
    """Play one seed."""
    story = scenario(seed)
    if not story.sqlite:
        return _play(Simulation(story))
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        shutil.copy(_empty_database(), Path(folder) / "rollout.db")
        played = Simulation(story, lambda clock: _sqlite(Path(folder), clock))
        try:
            return _play(played)
        finally:
            played.store.close()


def _sqlite(folder: Path, clock: WorldClock) -> SqlStore:
    return open_store(f"sqlite:///{folder / 'rollout.db'}", clock=clock)


@cache
def _empty_database() -> Path:
    """Migrate one database in this process; every story gets a copy."""
    folder = Path(mkdtemp(prefix="rollout-simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    upgrade(f"sqlite:///{folder / 'empty.db'}", clock=WorldClock(World(START, 0)))
    return folder / "empty.db"


def _play(played: Simulation) -> Result:
    seed = played.scenario.seed
    try:
        outcome = played.run()
    except Broken as broken:
        return Result(seed, "broken", str(broken), broken.name, played.story)
    return Result(seed, outcome.value, story=played.story)
