"""One offline rollout from a seed: the real engine on the pretend world, with crashes, lost answers, and hands that reach in.

The invariants are checked inside the world, at every change of a pod and with a request from outside at every step of time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from rollout.core.cohorts import OURS
from rollout.core.commands import Verb
from rollout.core.errors import RolloutError
from rollout.core.history import NoticeKind, Outcome
from rollout.core.policy import Policy
from rollout.core.state import State
from rollout.core.state_offline import BackingUp, BackStage, Deciding, Migrating, RollingBack
from rollout.engine.usecases import Desk
from rollout.ports import RolloutRow
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.kube_objects import Json
from rollout.sandbox.storage import Change
from rollout.sandbox.world import World
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.simulation.dice import Crash, Dice
from tests.simulation.offline_daemon import Daemon
from tests.simulation.offline_deadlines import EveryStepIsLeft
from tests.simulation.offline_invariants import GUARDED, OPENING, Broken, Rule
from tests.simulation.offline_players import (
    OUTSIDE,
    Database,
    WorldApisix,
)
from tests.simulation.offline_tale import (
    BACKUP,
    GRACE,
    JOBS,
    MIGRATE,
    NEW,
    OLD,
    RESTORE,
    WINDOW_START,
    H,
    M,
    Tale,
    manifests,
    plan_for,
)
from tests.simulation.players import Channel, Outages, Stage
from tests.simulation.pretend import START, WorldClock
from tests.simulation.quiet import quiet


class Story:
    """One run. `told` is the story, for whoever has to find out why a seed is red."""

    def __init__(self, made: Tale, *, trouble: float | None = None) -> None:
        self.tale = made
        self.told: list[str] = []
        self.world = World(START, made.random.randrange(1 << 30), record_events=False)
        self.world.load(manifests())
        self.world.advance_by(M)
        self.database = Database()
        self.apisix = WorldApisix(self.world, made.before)
        self.original = self.apisix.gate()
        self._behave()
        self._later: list[tuple[datetime, str, Callable[[], object]]] = []
        dice = Dice(made.random, made.trouble if trouble is None else trouble, most_crashes=6)
        self.outages = Outages()
        self.stage = Stage(self.world, dice, self.outages, self._soon, self._say)
        self.clock = WorldClock(self.world)
        self.inner = MemoryStore(self.clock)
        self.channel = Channel(self.stage)
        self.plan = plan_for(made)
        self.hand_opened: datetime | None = None
        self.hand_scaled: datetime | None = None
        self.deaths = 0
        self.daemons: list[Daemon] = []
        self._names = count(1)
        self._codec = StoredCodec(self.inner)
        self.rollout = ""
        self.acted: list[str] = []
        self.person_at: datetime | None = None
        self.unwatched = timedelta()
        """So long nobody has seen to the rollout since a hand opened its gate: asleep, dead, or without the lease."""
        self._decoded: tuple[int, State] | None = None
        self._deadlines = EveryStepIsLeft(self)
        self._probed_at = self.world.now - M
        self._opened = False
        self.world.observers.append(self._watch)

    def _say(self, words: str) -> None:
        self.told.append(f"{self.world.now:%d %H:%M:%S} {words}")

    def _soon(self, wait: timedelta, what: str, do: Callable[[], object]) -> None:
        self._later.append((self.world.now + wait, what, do))

    def _behave(self) -> None:
        self.world.behaviours[OLD] = Behaviour(stop_after=timedelta(seconds=20))
        if self.tale.new_lingers:
            self.world.behaviours[NEW] = Behaviour(stop_after=timedelta(seconds=20))
        for image, how in ((BACKUP, self.tale.backup), (MIGRATE, self.tale.migrate), (RESTORE, self.tale.restore)):
            self.world.behaviours[image] = JOBS[how]

    def born(self) -> None:
        """Start a daemon; what the ones before know is theirs."""
        self.daemons.append(Daemon(self, f"d{next(self._names)}"))
        self._say(f"{self.daemons[-1].name} starts")

    def _die(self, daemon: Daemon) -> None:
        self._say(f"{daemon.name} is dead")
        self.deaths += 1
        daemon.cluster.close()
        self.daemons.remove(daemon)
        self.born()

    def passes(self, image: str) -> bool:
        return self.database.schema == ("old" if image == OLD else "new") and (image == OLD or self.tale.new_passes)

    def sent(self, daemon: str, patch: Any) -> None:  # noqa: ANN401 - the Referee's signature
        self._say(f"{daemon} sends: {patch.why}")

    # -- the world, watched -------------------------------------------------------------------------------------------

    def row(self) -> RolloutRow:
        """Read the row as the database has it."""
        row = self.inner.rollout(self.rollout)
        assert row is not None
        return row

    def guardian(self) -> str:
        """Name the daemon that sees to the rollout; empty where there is none."""
        seeing = (d.name for d in self.daemons if d.awake and not d.cluster.behind and d.watches(self.rollout))
        return next(seeing, "")

    def state(self) -> State:
        """Read the state as the database has it."""
        row = self.row()
        if self._decoded is None or self._decoded[0] != row.version:
            self._decoded = (row.version, self._codec.state(row.state, row.id))
        return self._decoded[1]

    def _watch(self, change: Change) -> None:
        if change.resource == "pods" and change.new is not None:
            self._watch_pod(change)
        touched = change.resource == "deployments" and change.manager == OURS and change.old["spec"] != change.new["spec"]  # type: ignore[index]  # not the first
        if touched and self._opened:
            raise Broken(Rule.OPEN_STAYS, f"we wrote {change.new['spec']['replicas']} replicas")

    def _watch_pod(self, change: Change) -> None:
        pod = change.new
        old_phase = change.old["status"].get("phase") if change.old is not None else None
        phase = pod["status"].get("phase")
        image = pod["spec"]["containers"][0]["image"]
        gone = change.type.value == "DELETED"
        if image in (OLD, NEW) and phase == "Running" and old_phase != "Running" and not gone:
            self._service_starts(image)
        if image in (BACKUP, MIGRATE, RESTORE) and not gone and phase != old_phase:
            self._job_pod(image, pod, phase)
        elif image in (MIGRATE, RESTORE) and gone and old_phase == "Running":
            self._say(f"{image} was cut off")

    def _alive(self, *images: str) -> list[str]:
        return [
            p["metadata"]["name"]
            for p in self.world.objects("pods", "shop")
            if p["spec"]["containers"][0]["image"] in images and p["status"].get("phase") == "Running"
        ]

    def _service_starts(self, image: str) -> None:
        self._say(f"a pod of {image} starts, schema {self.database.schema}")
        wanted = "old" if image == OLD else "new"
        by_hand = self._by_hand()
        if self.database.schema != wanted and not by_hand:
            raise Broken(Rule.ONE_SCHEMA, f"{image} starts on schema {self.database.schema}")
        self.database.mixed |= bool(self._alive(RESTORE))
        if self._alive(OLD if image == NEW else NEW) and not by_hand:
            raise Broken(Rule.NEVER_TOGETHER, "old and new code run at once")

    def _by_hand(self) -> bool:
        return self.hand_scaled is not None and self.world.now - self.hand_scaled < 3 * M

    def _job_pod(self, image: str, pod: Json, phase: str) -> None:  # noqa: C901 - one case for each Job's beginning and end
        name = pod["metadata"]["labels"]["job-name"]
        if phase == "Running":
            self._say(f"{name} runs")
            if self._alive(OLD, NEW) and not self._by_hand():
                raise Broken(Rule.NOBODY_WRITES, f"{name} runs beside the service")
            if image in (MIGRATE, RESTORE) and len(self._alive(image)) > 1:
                raise Broken(Rule.ONE_JOB, f"{name} runs beside another of its kind")
            if image == MIGRATE:
                if not self.database.backups or (self.state().offline or None) is None or not self.state().offline.backup:  # type: ignore[union-attr]
                    raise Broken(Rule.BACKUP_FIRST, "a migration without a verified backup")
                self.database.schema = "half"
            if image == RESTORE:
                if self._alive(MIGRATE):
                    raise Broken(Rule.HALTED_FIRST, "a restore while a migration runs")
                self.database.schema, self.database.mixed = "half", False
        elif phase == "Succeeded":
            if image == BACKUP and self.tale.backup == "good":
                self.database.backups[name] = self.database.schema
            if image == MIGRATE:
                self.database.schema = "new"
            if image == RESTORE:
                wanted = next(e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "ARTIFACT")
                if wanted not in self.database.backups:
                    raise Broken(Rule.RIGHT_ARTIFACT, f"restored {wanted!r}, which is no backup")
                self.database.schema = self.database.backups[wanted]
                self.database.restored += 1

    def look_from_outside(self) -> None:
        """Nobody from outside gets through while the gate is said to be closed."""
        state = self.state()
        memory = state.offline
        served = self.apisix.ask(OUTSIDE)
        if served.status != 200:
            return
        image = json.loads(served.body)["image"]
        by_hand = self.hand_opened is not None and self.world.now - self.hand_opened < timedelta(minutes=2) + self.down()
        if memory is not None and memory.closed_at is not None and type(state.step).__name__ in GUARDED and not by_hand:
            raise Broken(Rule.NOBODY_GETS_IN, f"an outside request was served by {image} in {type(state.step).__name__}")
        if image == NEW and type(state.step).__name__ not in OPENING and not by_hand:
            raise Broken(Rule.NOBODY_GETS_IN, f"an outside request reached the new version in {type(state.step).__name__}")

    def down(self) -> timedelta:
        """How long the gateway was away, or nobody was there: nobody could close the gate again."""
        return sum((b - a for a, b in self.outages.spans.get("gateway", ())), self.unwatched)

    def run(self) -> Outcome:
        """Tell it to its end, and check what must be true there."""
        quiet()
        self.born()
        desk = Desk(self.inner, self._codec, self.clock, Policy())
        self.rollout = desk.submit(self.plan, "test", "me").rollout.id
        end = START + 12 * H
        hands = [(START + after, what) for after, what in self.tale.hands]
        while self.world.now < end and not self.row().outcome.at_rest:
            while hands and hands[0][0] <= self.world.now:
                self._hand(hands.pop(0)[1], desk)
            self._person(desk)
            self._go_on()
        while self.world.now < max((daemon.asleep_until for daemon in self.daemons), default=START) + M:
            self._go_on()  # whoever sleeps beyond the end wakes with what it remembers
        return self._check_end(end)

    def _go_on(self) -> None:
        self._land_late()
        for daemon in list(self.daemons):
            self._work(daemon)
        self._opened |= self.row().step == "watchingopen"
        if self.world.now - self._probed_at >= timedelta(seconds=20):
            self._probed_at = self.world.now
            self.look_from_outside()
        self._step()

    def _work(self, daemon: Daemon) -> None:
        if not daemon.awake:
            return
        try:
            daemon.work()
        except Crash:
            self._die(daemon)
        if daemon.engine.bugs:
            raise Broken(Rule.NO_BUG, "a bug in the engine")

    def _land_late(self) -> None:
        """Let writes land whose client has long given up."""
        for item in [x for x in self._later if x[0] <= self.world.now]:
            self._later.remove(item)
            self._say(item[1])
            try:
                item[2]()
            except RolloutError as error:
                self._say(f"  declined: {error}")

    def _step(self) -> None:
        awake = [daemon for daemon in self.daemons if daemon.awake]
        soon = [self.world.now + timedelta(seconds=20), *(x[0] for x in self._later)]
        soon += [at for daemon in awake if (at := daemon.engine.wakes.next_at()) is not None]
        if (due := self.world.next_due()) is not None:
            soon.append(due)
        before, watched = self.world.now, any(daemon.watches(self.rollout) for daemon in awake)
        self.world.advance(max(min(soon), before + timedelta(milliseconds=200)))
        if not watched:
            self.unwatched += self.world.now - before
        self._deadlines.passed(self.world.now - before)

    def _hand(self, what: str, desk: Desk) -> None:
        self._say(f"HAND: {what}")
        now = self.world.now
        try:
            match what:
                case "gate opened by hand":
                    if self.apisix.gate() is not None and self.apisix.gate() != self.original:
                        self.apisix.call("PATCH", "/routes/1", '{"plugins": {"ip-restriction": null}}')
                        self.hand_opened, self.unwatched = now, timedelta()
                        self.database.written |= bool(self._alive(NEW))
                case "scaled up by hand":
                    step = self.state().step
                    restores = isinstance(step, RollingBack) and step.stage is BackStage.RESTORE
                    if not self._alive(OLD, NEW) and (restores or isinstance(step, BackingUp | Migrating)):
                        self.hand_scaled = now
                        self.world.scale("shop", "orders", 1)
                case "gateway away" | "store away" | "cluster away" | "gateway gone":
                    backend, how = what.split(maxsplit=1)
                    self.outages.add(backend, now, now + (4 * M if how == "away" else 40 * M))
                case "abort" | "pause" | "cancel":
                    self._tell(desk, Verb(what))
                    if what == "pause":
                        self._soon(15 * M, "resume", lambda: self._tell(desk, Verb.RESUME))
                case "extend":
                    self._tell(desk, Verb.EXTEND, (("by", "30m"),))
                case _:
                    self._hand_on_daemons(what)
        except RolloutError as error:
            self._say(f"  declined: {error}")

    def _hand_on_daemons(self, what: str) -> None:
        """A laptop's lid (nobody else is there), SIGSTOP (another one starts, the first wakes with what it knew), kill -9."""
        if what == "daemon killed":
            for daemon in [daemon for daemon in self.daemons if daemon.awake]:
                self._die(daemon)
            return
        kind, _, exactly = what.partition(" for ")
        if kind == "pods unseen":
            for daemon in self.daemons:
                self._soon(float(exactly.split()[0]) * M, "the watch of pods is current again", daemon.cluster.loses("pods"))
            return
        drawn = {"daemon asleep": (5, 50), "daemon gone": (50,), "daemon stalled": (2, 4, 9)}
        for daemon in self.daemons:
            daemon.sleep(self.tale.random.choice((float(exactly.split()[0]),) if exactly else drawn[kind]) * M)
        if kind == "daemon stalled":
            self.born()

    def _person(self, desk: Desk) -> None:
        """Answer what is asked, now and then; in the end somebody always does."""
        state = self.state()
        step = state.step
        asked = isinstance(step, Deciding) or (isinstance(step, RollingBack) and bool(step.stuck))
        late = self.world.now > START + 4 * H
        if not asked and not late:
            self.person_at = None
            return
        if self.person_at is None:
            self.person_at = self.world.now + 4 * M
        if self.world.now < self.person_at or (self.tale.person == "nobody" and not late):
            return
        self.person_at = self.world.now + 12 * M
        verb = self.tale.person if not late else "abort" if isinstance(step, RollingBack) else "rollback"
        if self.acted.count(verb) > 2 and not late:
            verb = "rollback"
        verb = "rollback" if verb == "nobody" else verb
        self.acted.append(verb)
        self._say(f"PERSON: {verb}")
        self._tell(desk, Verb(verb))

    def _tell(self, desk: Desk, verb: Verb, arguments: tuple[tuple[str, str], ...] = ()) -> None:
        """Ask past the desk, which refuses what makes no sense: what it lets through may make none when it is taken up."""
        desk.store.command(self.rollout, verb, "me", "test", self.world.now, arguments)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _check_end(self, end: datetime) -> Outcome:
        row = self.row()
        if not row.outcome.at_rest:
            raise Broken(Rule.REST, f"not at rest at {end}: {row.step}: {row.why}")
        events = [h.event for h in self.inner.history(self.rollout)]
        kinds = [e.kind for e in events]
        left_closed = "left-closed" in kinds
        if not left_closed and self.apisix.gate() != self.original:
            raise Broken(Rule.AS_FOUND, f"the gate was {self.original}, and ends as {self.apisix.gate()}")
        offsets = [dict(e.facts)["offset"] for e in events if e.kind == "announced"]
        if len(set(offsets)) != len(offsets) or kinds.count("begun") > 1:
            raise Broken(Rule.ONCE, f"announced more than once: {offsets}")
        begun = next((e.at for e in events if e.kind == "begun"), None)
        if begun is not None and begun > WINDOW_START + GRACE:
            raise Broken(Rule.GRACE, f"begun at {begun:%H:%M}, after the grace")
        if row.outcome is Outcome.SUCCEEDED and not self.tale.new_passes and "open" not in self.acted:
            raise Broken(Rule.GREEN_OR_A_WORD, "a version that fails its tests was opened by nobody's word")
        if "begun" not in kinds and row.outcome is Outcome.SUCCEEDED:
            raise Broken(Rule.ANNOUNCED, "began without a word")
        keys = [n["key"] for n in self.inner.notices(self.rollout) if n["kind"] == NoticeKind.ANNOUNCEMENT.value]
        if len(keys) != len(set(keys)):
            raise Broken(Rule.ONCE, "a notice twice")
        deployment = self.world.get("deployments", "shop", "orders")
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        if left_closed:
            return row.outcome
        opened = "gate-opened" in kinds and "stepping-back" not in kinds  # whoever aborts then gets nothing undone
        wanted = ("new", NEW) if row.outcome is Outcome.SUCCEEDED or opened else ("old", OLD)
        schema = "mixed" if self.database.mixed else self.database.schema
        if (schema, image) != wanted or deployment["spec"]["replicas"] != 2:
            found = f"{deployment['spec']['replicas']} x {image} on schema {schema}"
            raise Broken(Rule.WHOLE, f"ended {row.outcome.value} with {found}")
        return row.outcome
