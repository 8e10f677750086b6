"""A decision as a value, and the scene it is made in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.cohorts import Cohorts, TargetView
from rollout.core.effects import PatchDeployment, PostEvent
from rollout.core.history import Event, Evidence, Notice, NoticeKind
from rollout.core.observation import Observation, Task
from rollout.core.plan import OfflinePlan, Plan
from rollout.core.policy import Policy
from rollout.core.replacing import replace
from rollout.core.signals_compiled import Signal
from rollout.core.state import HoldKind, State, Step
from rollout.core.target import Target


@dataclass(frozen=True, slots=True)
class Execution:
    """What never changes for one rollout: its id, its plan, and what the plan was compiled to."""

    id: str
    plan: Plan
    signals: tuple[Signal, ...]
    actor: str = ""
    earlier_restore: timedelta | None = None
    """How long a restore took in an earlier rollout of this target, where one is known."""

    @property
    def target(self) -> Target:
        """What the rollout is about."""
        return self.plan.target

    @property
    def image(self) -> str:
        """The image that the rollout brings."""
        return self.plan.image


@dataclass(frozen=True, slots=True)
class Timing:
    """How closely a rollout is looked at. `look_every`: the longest time between two looks at an active rollout.

    `longest_gap`: time between two looks that is longer is not credited (the daemon was down, or the clock jumped).
    `save_every`: credited time is stored at least this often.
    """

    look_every: timedelta = timedelta(seconds=60)
    longest_gap: timedelta = timedelta(seconds=150)
    save_every: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Scene:
    """The arguments of a step: everything known, nothing that can be changed. `gap`: creditable time since the last look."""

    execution: Execution
    seen: Observation
    policy: Policy
    timing: Timing
    now: datetime
    gap: timedelta
    cohorts: Cohorts
    elapsed: timedelta = timedelta()
    """Wall time since the last look, 0 when the clock went back; `gap` is this, unless it is too long to be believed."""
    missed: timedelta = timedelta()
    """By how much the clock went on without anybody looking (core/watched.py); negative where it was set back."""

    @property
    def watched(self) -> timedelta:
        """The time since the last look that counts where something must last; of a clock that was set back, none."""
        return max(timedelta(), self.elapsed - max(timedelta(), self.missed))

    @property
    def unwatched(self) -> bool:
        """Say whether there may have been nobody since the last look: it is too long ago, or was another daemon's."""
        return self.gap != self.elapsed or self.seen.taken_over

    @property
    def view(self) -> TargetView | None:
        """What the cluster shows, None while it cannot be seen."""
        return self.seen.view if isinstance(self.seen.view, TargetView) else None


@dataclass(frozen=True, slots=True)
class Tell:
    """One thing that happened, worded once: a history row always, a notice and a Kubernetes Event where asked.

    `kind`: the history row's stable word. `notice`: the kind of notice, None for none; `title` its first line (default `why`).
    `post_on`: the Deployment that gets an Event; `warning` its type.
    """

    kind: str
    why: str
    notice: NoticeKind | None = None
    title: str = ""
    next_action: str = ""
    actor: str = "rollout"
    facts: tuple[tuple[str, str], ...] = ()
    evidence: tuple[Evidence, ...] = ()
    lines: tuple[str, ...] = ()
    """Evidence lines for the notice; default: those of `evidence`."""
    post_on: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """A reason to wait, as found in this look; since when it stands is remembered by the machine."""

    kind: HoldKind
    why: str
    next_action: str = ""
    since: datetime | None = None
    """Since when, where that is known better than by when it was first found."""


@dataclass(frozen=True, slots=True)
class Move:
    """What a step wants: the next state and what follows from it. `why`: one sentence for the person on call."""

    state: State
    why: str
    forward: tuple[PatchDeployment, ...] = ()
    backward: tuple[PatchDeployment, ...] = ()
    tasks: tuple[Task, ...] = ()
    tells: tuple[Tell, ...] = ()
    wake_in: timedelta | None = None
    holds: tuple[Wait, ...] = ()
    """Reasons to wait that only this step knows, beside the general ones."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the shell is to do. `kept` is what stays in memory where the commit of a forward decision fails.

    `material`: there is something to store now; otherwise the state stays in memory until the next time.
    `wake_at` is None exactly at rest.
    """

    state: State
    kept: State
    why: str
    wake_at: datetime | None
    material: bool
    forward: tuple[PatchDeployment, ...] = ()
    backward: tuple[PatchDeployment, ...] = ()
    tasks: tuple[Task, ...] = ()
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()
    posts: tuple[PostEvent, ...] = ()
    consumed: tuple[int, ...] = ()
    periodic: bool = False
    """It is material only because credited time is stored every few minutes: nothing has changed that asks for another look."""


def enter(state: State, step: Step, now: datetime, deadline: timedelta | None) -> State:
    """Go to a step: entered now, with its deadline, and no hold of the step before."""
    return replace(state, step=step, entered_at=now, deadline=now + deadline if deadline is not None else None)


def tell(scene: Scene, state: State, tells: tuple[Tell, ...]) -> tuple[State, tuple[Event, ...], tuple[Notice, ...]]:
    """Turn what happened into history and owed notices.

    A notice's key counts the notices of the rollout, so that the same transition, written again, owes the same notice once.
    """
    if not tells:
        return state, (), ()
    events: list[Event] = []
    notices: list[Notice] = []
    count = state.notices
    for item in tells:
        events.append(Event(scene.now, item.kind, step_name(state), item.why, item.actor, item.facts, item.evidence))
        if item.notice is not None:
            count += 1
            lines = item.lines or tuple(f"{e.signal}: {e.why}" for e in item.evidence)
            if count == 1 and state.because:
                lines = (state.because, *lines)
            key = f"{count:04d}-{item.notice.value}"
            title, where = item.title or item.why, _channels(scene.execution.plan, item.notice)
            notices.append(Notice(key, item.notice, title, item.why, scene.now, lines, item.next_action, where))
    return replace(state, notices=count), tuple(events), tuple(notices)


def _channels(plan: Plan, kind: NoticeKind) -> tuple[str, ...]:
    """Announcements of a maintenance go where its plan says."""
    announces = isinstance(plan, OfflinePlan) and kind is NoticeKind.ANNOUNCEMENT
    return plan.spec.announce.channels if announces and isinstance(plan, OfflinePlan) else ()


def posts(scene: Scene, tells: tuple[Tell, ...]) -> tuple[PostEvent, ...]:
    """Tell the story on the Deployments too, for `kubectl describe`."""
    target = scene.execution.target
    return tuple(
        PostEvent(
            target.cluster,
            target.namespace,
            item.post_on,
            "Warning" if item.warning else "Normal",
            "".join(word.capitalize() for word in item.kind.split("-")),
            f"rollout {scene.execution.id}: {item.why}"[:1000],
        )
        for item in tells
        if item.post_on
    )


def step_name(state: State) -> str:
    """Name the step as it is stored and shown: `soaking`, `promoting`, ..."""
    return type(state.step).__name__.lower()
