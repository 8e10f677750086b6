"""What a rollout remembers: what was chosen and when, never that an effect was performed.

Everything here is stored (store/codec.py). Fields are never renamed or reordered; a new one has a default. The steps of the
offline procedure stand in core/state_offline.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rollout.core.evidence_state import SignalState
from rollout.core.history import Evidence, Outcome
from rollout.core.state_offline import OfflineMemory, OfflineStep


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fields of the stable Deployment that promotion writes, as they were just before, and what was written."""

    old_image: str
    old_min_ready_seconds: int
    new_image: str
    new_min_ready_seconds: int
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class Preflight:
    """Nothing has been changed yet; the checks run."""


@dataclass(frozen=True, slots=True)
class Starting:
    """The canary gets the new image and its first replica. `confirmed_at`: when the cluster showed both."""

    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Soaking:
    """The canary serves and is watched. `grown_at`: when the present `size` was seen ready; None while it is awaited."""

    size: int
    since: datetime
    grown_at: datetime | None = None
    credited: timedelta = timedelta()
    credited_at_size: timedelta = timedelta()
    confirmed: bool = False
    """The cluster has shown `size` as `spec.replicas`; another number from now on is somebody else's hand."""
    sized_at: datetime | None = None
    """When `size` was chosen, while its last pod is awaited: it must be ready within the plan's startDeadline."""


@dataclass(frozen=True, slots=True)
class Certifying:
    """The soak is over; positive evidence, and perhaps a person's word, are awaited."""

    size: int
    since: datetime
    credited: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Promoting:
    """The stable rolls. `confirmed_at`: when the cluster showed the new image; `paused_by_us`: a hold paused the Deployment."""

    size: int
    snapshot: Snapshot
    since: datetime
    confirmed_at: datetime | None = None
    paused_by_us: bool = False
    updated: int = 0
    """The most pods of the new version that were seen available; one more moves the deadline."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Everything is new; the bake. `credited`: how long it was watched and seen healthy."""

    size: int
    snapshot: Snapshot
    since: datetime
    credited: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Retiring:
    """The canary goes to 0; its job is done."""

    snapshot: Snapshot
    since: datetime


@dataclass(frozen=True, slots=True)
class Observing:
    """`mode: observe`: people drive the canary, we only judge and tell. `replicas`: what was last seen and told."""

    since: datetime
    replicas: int = 0
    seen_candidate: bool = False
    told_failing: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a rollout steps back, and as what it will end (`failed` or `aborted`)."""

    why: str
    kind: str
    ends_as: Outcome
    actor: str = "rollout"
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Retreating:
    """The canary goes to 0 at once; what promotion wrote on the stable goes back, where it still is what we wrote.

    `leave_stable`: somebody else changed the stable, or superseding adopts it: it is left alone.
    """

    reason: Reason
    since: datetime
    snapshot: Snapshot | None = None
    leave_stable: bool = False
    stuck_told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """At rest."""

    outcome: Outcome
    why: str
    at: datetime
    evidence: tuple[Evidence, ...] = ()


CanaryStep = Preflight | Starting | Soaking | Certifying | Promoting | Watching | Retiring | Observing
Step = CanaryStep | OfflineStep | Retreating | Ended


class HoldKind(StrEnum):
    """Why nothing goes forward. Stored: never rename. The order is the order in which they are told."""

    PAUSED = "paused"
    CLUSTER_UNSEEN = "cluster-unseen"
    FOREIGN_PAUSE = "foreign-pause"
    DISPLACED = "displaced"
    SHARED_INCIDENT = "shared-incident"
    BLIND = "blind"
    SUSPECT = "suspect"
    MISROUTED = "misrouted"
    NOT_READY = "not-ready"
    IDLE = "idle"
    FROZEN = "frozen"
    SHARE = "share"
    APPROVAL = "approval"
    EVIDENCE = "evidence"
    WARMING = "warming-up"
    OVERDUE = "overdue"
    OBSERVED_FAILING = "observed-failing"
    ACKNOWLEDGEMENT = "acknowledgement"
    UNANNOUNCED = "unannounced"
    GATE = "gate"
    WORK = "work"
    DECISION = "decision"
    STUCK = "stuck"
    UNSAVED = "database-away"
    ALONE = "stable-at-0"


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason to wait, since when, and whether people were told."""

    kind: HoldKind
    why: str
    since: datetime
    told: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """A person asked for no forward step."""

    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """A person agreed to go on. `unproven`: also without the evidence that was missing then, as they were told."""

    actor: str
    reason: str
    at: datetime
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class PodMemory:
    """What is remembered of a candidate pod between looks: when it was first seen, was ready, lost readiness.

    `restarts`: how often its containers had restarted when the baseline did alike; 0 where it never did.
    """

    uid: str
    name: str
    first_seen: datetime
    ran: bool = False
    ready_since: datetime | None = None
    unready_since: datetime | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """What the pod guards remember. `displaced`: when pods were taken away by somebody else, of the last 24 h."""

    pods: tuple[PodMemory, ...] = ()
    displaced: tuple[tuple[str, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """Which generation of a Deployment a state was made from. `deployment`: cluster, namespace and name, with `/` between them."""

    deployment: str
    uid: str
    generation: int
    older_since: datetime | None = None
    """Since when, without a break, an older one is shown."""


@dataclass(frozen=True, slots=True)
class State:
    """One rollout's whole memory. `deadline` is the step's, moved by held time; `looked_at` the last decision's time."""

    step: Step
    entered_at: datetime
    started_at: datetime
    deadline: datetime | None = None
    looked_at: datetime | None = None
    saved_at: datetime | None = None
    """When this was last decided to be stored, so that credited time is stored every few minutes without a row a minute."""
    paused: Paused | None = None
    approval: Approval | None = None
    holds: tuple[Hold, ...] = ()
    signals: tuple[SignalState, ...] = ()
    blind_since: datetime | None = None
    guards: GuardMemory = field(default_factory=GuardMemory)
    told: tuple[tuple[str, datetime], ...] = ()
    """Keys of throttled notices with the time at which they were last owed."""
    notices: int = 0
    """How many notices were owed so far: makes their keys unique and ordered."""
    stable_image: str = ""
    """What the stable ran when the canary was started; another image from then on is somebody else's hand."""
    summarised_at: datetime | None = None
    offline: OfflineMemory | None = None
    """What an offline rollout keeps across its steps; None for a canary."""
    because: str = ""
    """Who started it again and why, for its first notice; empty where it is the plan's first rollout."""
    watched_since: datetime | None = None
    """Since when it has been looked at without a break; what lasts can have lasted no longer as far as anybody knows."""
    pictures: tuple[Picture, ...] = ()
    """What was seen of the Deployments when this was decided; an older view of them is none (core/pictures.py)."""
