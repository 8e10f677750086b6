"""The offline plan: gate closed, writers stopped, backup, upgrade, tests through the gate, and open again.

What can be refused without looking at the world is refused here: a gate for everybody or nobody, a schema change without a way
back, a way back that does not fit into the window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rollout.core.errors import Problem
from rollout.core.images import Image
from rollout.core.plan_base import Contradiction, Document, Part
from rollout.core.plan_gate import Gate
from rollout.core.plan_window import Window
from rollout.core.plan_work import HttpRequest, Job, TestCase, Work
from rollout.core.quantities import Duration, DurationOrZero, Flag, Label, Line, Name, Text, Whole, format_duration
from rollout.core.signals_compiled import Signal
from rollout.core.target import Target

H, M = timedelta(hours=1), timedelta(minutes=1)
_TIMED = ("backup.expected", "migrate.expected", "restore.expected", "tests.*.job.deadline", "tests.*.timeout", "margin")
"""Whatever takes time in the window."""


class OnFailure(StrEnum):
    """After a critical failure: wait for a person as long as a rollback still fits, or roll back at once."""

    ASK = "ask"
    ROLLBACK = "rollback"


class OfflineTarget(Part):
    """One Deployment that is upgraded; `image` where it differs from the plan's."""

    cluster: Label = "default"
    namespace: Label
    stable: Name
    container: Name = Field(default_factory=lambda fields: str(fields.get("stable", "")))
    image: Image | None = None

    @property
    def target(self) -> Target:
        """As the rest of the core knows it."""
        return Target(self.cluster, self.namespace, self.stable, self.container)


class Announce(Part):
    """When it is announced before the start, and where (default: where all notices go)."""

    offsets: Annotated[tuple[Duration, ...], Field(max_length=50)] = (72 * H, 24 * H, H, 10 * M)
    channels: Annotated[tuple[Label, ...], Field(max_length=50)] = ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Each once."""
        for offset, times in Counter(self.offsets).items():
            if times > 1:
                yield Contradiction("offsets", f"{format_duration(offset)} is given {times} times")


class Dependant(Part):
    """Somebody who will notice: a service or a team, declared where no topology shows it."""

    bare: ClassVar[str] = "name"

    name: Line
    contact: Line | None = None
    note: Text = ""


class Impact(Part):
    """Who will be hurt. `service`: the name in SkyWalking (default: the first target's); `hops` of callers and callees."""

    dependants: Annotated[tuple[Dependant, ...], Field(max_length=500)] = ()
    acknowledgement: Flag = False
    """Nothing goes on until a person has acknowledged the report."""
    service: Line | None = None
    hops: Annotated[Whole, Field(ge=1, le=5)] = 1


class Quiesce(Part):
    """Before the backup: hooks in order, and a Job that prints how many foreign database sessions there are (0 is awaited).

    `undo`: hooks that take back what those did, in order, before the gate is opened, whichever version serves then. They may run
    where the hooks have not, and again where the daemon died while one ran.
    """

    hooks: Annotated[tuple[Work, ...], Field(max_length=50)] = ()
    undo: Annotated[tuple[Work, ...], Field(max_length=50)] = ()
    sessions: Job | None = None
    deadline: Duration = 10 * M


class OfflineSpec(Part):
    """Everything that an offline rollout is told."""

    target: OfflineTarget | None = None
    targets: Annotated[tuple[OfflineTarget, ...], Field(max_length=20)] = ()
    """Several, in order, instead of `target`."""
    image: Image | None = None
    description: Text = ""
    stop: Flag = True
    schema_change: Flag = False
    window: Window
    announce: Announce = Announce()
    impact: Impact = Impact()
    gate: Gate
    quiesce: Quiesce = Quiesce()
    backup: Job | None = None
    migrate: Job | None = None
    restore: Job | None = None
    start_deadline: Duration = 10 * M
    """How long the new pods may take to be rolled out."""
    tests: Annotated[tuple[TestCase, ...], Field(max_length=200)] = ()
    on_failure: OnFailure = OnFailure.ASK
    margin: DurationOrZero = 15 * M
    """Time kept free at the end of the window for stopping, starting and second attempts."""
    watch: DurationOrZero = 30 * M
    accept_unproven: Flag = False
    """The gate may be closed without a probe from outside that proves it."""
    notify: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    follows: Line | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """What cannot work whatever the world looks like."""
        yield from self._targets_fit()
        yield from self._way_back()
        if not self.gate.probes.outside and not self.accept_unproven:
            yield Contradiction("gate.probes.outside", "no probe from outside would prove that the gate is closed",
                                "name one, or say acceptUnproven: true", ("acceptUnproven",))  # fmt: skip
        if not self.tests:
            yield Contradiction("tests", "nothing would say whether the upgrade worked", "give at least one test")
        if not self.stop and self.quiesce != Quiesce():
            words = "nothing is stopped, so that it would never run"
            yield Contradiction("quiesce", words, "leave it out, or say stop: true", ("stop",))
        for name, times in Counter(test.name for test in self.tests).items():
            if times > 1:
                yield Contradiction("tests", f"{times} tests are called {name!r}", "give each a name of its own")
        yield from self.too_tight(None)

    def _targets_fit(self) -> Iterator[Contradiction]:
        if (self.target is None) == (not self.targets):
            yield Contradiction(
                "targets" if self.targets else "target", "either target or targets is expected", also=("target", "targets")
            )
        for n, one in enumerate(self.targets):
            if one.image is None and self.image is None:
                yield Contradiction(f"targets.{n}.image", "is required", "or give spec.image for all of them", ("image",))
        if self.target is not None and self.target.image is not None:
            yield Contradiction("target.image", "only goes with targets", "write spec.image", ("target",))
        if self.target is not None and self.image is None:
            yield Contradiction("image", "is required", also=("target",))
        for key, times in Counter(one.target.key for one in self.targets).items():
            if times > 1:
                yield Contradiction("targets", f"{key} is named {times} times")

    def _way_back(self) -> Iterator[Contradiction]:
        also = ("schemaChange",)
        if self.schema_change:
            for key, job in (("backup", self.backup), ("restore", self.restore)):
                if job is None:
                    yield Contradiction(key, "is required", "schemaChange: true needs a backup and a way to restore it", also)
            if not self.stop:
                yield Contradiction(
                    "stop", "old and new code would run against one schema", "schemaChange: true needs stop: true", also
                )
        elif self.migrate is not None:
            remedy = "say schemaChange: true, with backup and restore"
            yield Contradiction("migrate", "a migration changes the database", remedy, also)
        if self.restore is not None and self.backup is None and not self.schema_change:
            yield Contradiction("restore", "there is no backup to restore", also=("backup", *also))

    def time_there(self) -> tuple[tuple[str, timedelta], ...]:
        """What the way to a tested upgrade takes, by name."""
        jobs = (("backup", self.backup), ("migrate", self.migrate))
        return (*((name, job.takes) for name, job in jobs if job is not None), ("tests", self.test_time))

    def time_back(self, earlier_restore: timedelta | None) -> tuple[tuple[str, timedelta], ...]:
        """What the way back takes, by name; the longer of the plan's and an earlier rollout's time for the restore."""
        restore = max(self.restore.takes, earlier_restore or timedelta(0)) if self.restore is not None else timedelta(0)
        return ("restore", restore), ("tests again", self.test_time), ("margin", self.margin)

    @property
    def test_time(self) -> timedelta:
        """All tests, each as long as it may take, one attempt."""
        return sum((test.longest for test in self.tests), timedelta(0))

    def too_tight(self, earlier_restore: timedelta | None) -> Iterator[Contradiction]:
        """Say whether a rollback would not fit into the window, with the arithmetic."""
        parts = [(name, span) for name, span in (*self.time_there(), *self.time_back(earlier_restore)) if span]
        needed = sum((span for _, span in parts), timedelta(0))
        if needed > self.window.duration:
            figures = " + ".join(f"{name} {format_duration(span)}" for name, span in parts)
            has = format_duration(self.window.duration)
            words = f"a rollback would not fit: {figures} = {format_duration(needed)}, the window has {has}"
            yield Contradiction("window.duration", words, f"at least {format_duration(needed)}", _TIMED)


class OfflinePlan(Document):
    """An offline rollout as a file describes it."""

    kind: Literal["Offline"]
    spec: OfflineSpec

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is upgraded, in order."""
        return tuple(one.target for one in self._all)

    @property
    def target(self) -> Target:
        """The first target: the one that the rollout is listed under."""
        return self.targets[0]

    @property
    def places(self) -> tuple[tuple[str, Target], ...]:
        """Every target with its key."""
        keys = [f"spec.targets[{n}]" for n in range(len(self.spec.targets))] or ["spec.target"]
        return tuple(zip(keys, self.targets, strict=False))

    @property
    def jobs(self) -> tuple[tuple[str, Job], ...]:
        """Every Job that the plan has made, with its key."""
        spec = self.spec
        plain = {"backup": spec.backup, "migrate": spec.migrate, "restore": spec.restore, "quiesce.sessions": spec.quiesce.sessions}
        work = (("quiesce.hooks", spec.quiesce.hooks), ("quiesce.undo", spec.quiesce.undo), ("tests", spec.tests))
        named = {f"{key}[{n}].job": one.job for key, several in work for n, one in enumerate(several)}
        return tuple((f"spec.{key}", job) for key, job in (plain | named).items() if job is not None)

    @property
    def requests(self) -> tuple[tuple[str, HttpRequest], ...]:
        """Every HTTP request that the plan has made, with its key."""
        quiesce = self.spec.quiesce
        work = (("quiesce.hooks", quiesce.hooks), ("quiesce.undo", quiesce.undo), ("tests", self.spec.tests))
        named = ((f"spec.{key}[{n}].http", one.http) for key, several in work for n, one in enumerate(several))
        return tuple((key, http) for key, http in named if http is not None)

    @property
    def image(self) -> str:
        """The new image of the first target."""
        return self.image_of(self.target)

    def image_of(self, target: Target) -> str:
        """The new image of one of the targets."""
        return next(one.image or self.spec.image or "" for one in self._all if one.target == target)

    @property
    def _all(self) -> tuple[OfflineTarget, ...]:
        return self.spec.targets or ((self.spec.target,) if self.spec.target is not None else ())

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Every image that the plan brings, with its key."""
        common = (("spec.image", self.spec.image),) if self.spec.image is not None else ()
        own = ((f"spec.targets[{n}].image", one.image) for n, one in enumerate(self.spec.targets) if one.image is not None)
        return (*common, *own)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The offline procedure is judged by tests, not by signals."""
        return ()

    @property
    def announcements(self) -> tuple[tuple[timedelta, datetime], ...]:
        """Every offset with its time (UTC), earliest first."""
        start = self.spec.window.starts_at
        return tuple((offset, start - offset) for offset in sorted(self.spec.announce.offsets, reverse=True))

    def latest_rollback_start(self, earlier_restore: timedelta | None, *, extended: timedelta = timedelta(0)) -> datetime:
        """The last moment (UTC) at which a rollback still fits: end of window - restore - tests - margin."""
        back = sum((span for _, span in self.spec.time_back(earlier_restore)), timedelta(0))
        return self.spec.window.ends_at + extended - back

    def problems_at(self, now: datetime, earlier_restore: timedelta | None = None) -> tuple[Problem, ...]:
        """Say what is wrong with submitting this plan now: a window in the past, a restore known to take longer than fits."""
        timed = tuple(f"spec.{key}" for key in _TIMED)
        tight = self.spec.too_tight(earlier_restore)
        problems = [Problem(c.message, key=f"spec.{c.key}", remedy=c.remedy, also=timed) for c in tight]
        window = self.spec.window
        if window.exists and now > window.starts_at + window.start_grace:
            words = f"{window.starts_at:%Y-%m-%d %H:%M} UTC is in the past, it is {now:%Y-%m-%d %H:%M} UTC"
            problems.append(Problem(words, key="spec.window.startAt", remedy="choose a later start", also=("spec.window",)))
        if self.spec.schema_change and self.spec.restore is not None and not self.spec.restore.expected and not earlier_restore:
            words = "nobody knows how long a restore takes: the plan does not say, and no earlier rollout has done it"
            remedy = "measure it, and write for example 20m"
            problems.append(Problem(words, key="spec.restore.expected", remedy=remedy, also=("spec.schemaChange",)))
        return tuple(problems)
