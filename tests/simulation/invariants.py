"""What must hold, whatever happens: each invariant is a sentence, and is checked inside the world at every change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollout.core.cohorts import ANNOTATION_STOPPED, ANNOTATION_STOPPED_WHY
from rollout.core.effects import PatchDeployment
from rollout.core.state import Ended, Promoting, Soaking, Starting, State
from rollout.core.tombstone import read
from rollout.sandbox.kube_objects import Json
from rollout.sandbox.storage import Change
from rollout.sandbox.world import World
from tests.simulation.scenario import BACKENDS, CANARY, NAMESPACE, NEW, OLD, STABLE

OURS = "rollout"


class Broken(BaseException):
    """An invariant does not hold. A BaseException, so that no loop swallows it."""

    def __init__(self, invariant: object, why: str) -> None:
        sentence = (type(invariant).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{type(invariant).__name__}: {sentence}\n    {why}")
        self.name = type(invariant).__name__


def replicas(deployment: Json | None) -> int:
    return int(deployment["spec"]["replicas"]) if deployment else 0


def image(deployment: Json | None) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else ""


def annotation(deployment: Json | None, key: str) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(key, "")) if deployment else ""


def pod_image(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def role(pod: Json) -> str:
    return str(pod["metadata"]["labels"].get("role", ""))


@dataclass
class Facts:
    """What the referee knows of the story, beyond what the world shows."""

    world: World
    rollout: str = ""
    every: timedelta = timedelta(hours=6)
    most_share: float = 0.25
    stored: Any = None
    """Returns the state as the database has it now."""
    owner: Any = None
    """Returns the daemon that owns the rollout by the database's word."""
    frozen: Any = None
    """Returns whether the policy's freeze stands by the daemons' clock."""
    skew: Any = None
    """Returns how far the daemons' clock is from the world's."""
    row: Any = None
    """Returns the rollout's row as the database has it now."""
    plan: Any = None
    """What the plan says (a CanarySpec)."""
    able: Any = None
    """Returns whether the guardian may write: its lease is certain, and the database is there."""
    guardian: str = ""
    """The daemon that is awake, has the rollout in memory and sees the cluster; empty where there is none."""
    tombstoned: bool = False
    at_rest: bool = False
    scenario: Any = None
    outages: Any = None
    told: Any = None
    """Returns the rows of the outbox."""
    history: Any = None
    """Returns everything that history tells, in order."""
    arrived: list[str] = field(default_factory=list)
    answered: Mapping[str, set[datetime]] = field(default_factory=dict)

    def canary_serves(self) -> bool:
        return replicas(self.deployment(CANARY)) > 0

    def shared(self) -> bool:
        """The baseline suffers as well in this story: nothing can be said of the canary alone."""
        return any(h.what in {"stable unready", "canary evicted", "canary deleted"} for h in self.scenario.happenings)

    def sighted(self, at: datetime) -> bool:
        """Every signal of the story could be asked then."""
        return not any(self.outages.now(BACKENDS[name], at) for name in self.scenario.signals) and not self.outages.now(
            "cluster", at
        )

    def outage_count(self) -> int:
        return sum(len(spans) for name, spans in self.outages.spans.items() if name != "store")

    def state(self) -> State:
        found: State = self.stored()
        return found

    def deployment(self, name: str) -> Json | None:
        return self.world.find("deployments", NAMESPACE, name)

    def pods(self, wanted: str = "") -> list[Json]:
        return [pod for pod in self.world.objects("pods", NAMESPACE) if not wanted or role(pod) == wanted]


class Invariant:
    """One sentence. A subclass says when it does not hold; by default nothing is looked at."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def fail(self, why: str) -> None:
        raise Broken(self, why)

    def changed(self, change: Change) -> None:
        """A Deployment or pod was written."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        """A daemon is about to send a write."""

    def looked(self, daemon: str) -> None:
        """A daemon looks at the rollout."""

    def passed(self, span: timedelta) -> None:
        """So much time has passed."""

    def overdue(self) -> None:
        """The rollout has gone on for days."""

    def ended(self) -> None:
        """The rollout is at rest, and everything late has arrived."""


def forward(patch: PatchDeployment) -> bool:
    return not patch.if_fields and not any(key == ANNOTATION_STOPPED and value for key, value in patch.annotations)


def _raises(change: Change, name: str) -> bool:
    return (
        change.resource == "deployments"
        and change.name == name
        and change.manager == OURS
        and replicas(change.new) > replicas(change.old)
    )


class ShareIsKept(Invariant):
    """No write of ours asks for more of the traffic than the plan allows."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        del daemon
        canary = self.facts.deployment(CANARY)
        if patch.name != CANARY or not forward(patch) or patch.replicas is None or patch.replicas <= replicas(canary):
            return
        if canary and patch.if_version != canary["metadata"]["resourceVersion"]:
            return
        ready = sum(is_ready(pod) for pod in self.facts.pods("release"))
        pods = min(ready, replicas(self.facts.deployment(STABLE)))
        share = patch.replicas / (patch.replicas + pods)
        if share > self.facts.most_share + 1e-9:
            self.fail(f"{patch.replicas} canaries beside {pods} ready stable pods are {share:.1%}")


class OneReplicaInSixHours(Invariant):
    """Never are two replicas added within six hours."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.highest = 0
        self.at: datetime | None = None

    def changed(self, change: Change) -> None:
        if not _raises(change, CANARY):
            return
        size = replicas(change.new)
        if size <= self.highest:
            return
        if size > self.highest + 1:
            self.fail(f"{size - self.highest} replicas were added at once")
        if self.at is not None and change.at - self.at < self.facts.every:
            self.fail(f"replica {size} came {change.at - self.at} after the one before")
        self.highest, self.at = size, change.at


class WhatWasAddedStays(Invariant):
    """A replica of ours is taken away alone only where others changed the numbers, or the baseline was away for long."""

    OTHERS = frozenset({"canary raised", "canary lowered", "stable scaled down", "stable unready", "hotfix"})

    def changed(self, change: Change) -> None:
        if change.resource != "deployments" or change.name != CANARY or change.manager != OURS:
            return
        story = self.facts.scenario
        if story.trap == "shrinks while growing" or any(happening.what in self.OTHERS for happening in story.happenings):
            return
        if 0 < replicas(change.new) < replicas(change.old):
            self.fail(f"it went from {replicas(change.old)} to {replicas(change.new)}")


class CommittedBeforeForward(Invariant):
    """Nothing goes forward that the database does not know."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        del daemon
        if not forward(patch):
            return
        step = self.facts.state().step
        if patch.name == STABLE and patch.image == NEW and not isinstance(step, Promoting):
            self.fail(f"the stable is promoted while the database says {type(step).__name__}")
        if patch.name == CANARY and patch.image == NEW and not isinstance(step, Starting):
            self.fail(f"the canary is started while the database says {type(step).__name__}")
        if patch.name == CANARY and patch.image is None and (patch.replicas or 0) > 1 and isinstance(step, Soaking):
            size = step.size
            if (patch.replicas or 0) > size:
                self.fail(f"the canary goes to {patch.replicas} while the database says {size}")


class OnlyTheOwnerGoesForward(Invariant):
    """Only the daemon that owns the rollout, by an unexpired lease, goes forward."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        if forward(patch) and self.facts.owner() != daemon:
            self.fail(f"{daemon} sent {patch.why!r}, the owner is {self.facts.owner() or 'nobody'}")


class HandsOffWhileHeld(Invariant):
    """Nothing grows and nothing is promoted while a person has paused it or a freeze window stands."""

    def sent(self, daemon: str, patch: PatchDeployment) -> None:
        del daemon
        grows = patch.name == CANARY and (patch.replicas or 0) > replicas(self.facts.deployment(CANARY))
        promotes = patch.name == STABLE and patch.image == NEW
        if not forward(patch) or not (grows or promotes):
            return
        if self.facts.frozen():
            self.fail(f"{patch.why!r} in a freeze window")
        if self.facts.state().paused is not None:
            self.fail(f"{patch.why!r} while it is paused")


class NothingAfterATombstone(Invariant):
    """Nothing goes forward after a tombstone, whoever sent it and whenever it arrives."""

    def changed(self, change: Change) -> None:
        if change.resource != "deployments":
            return
        if change.name == CANARY and annotation(change.new, ANNOTATION_STOPPED) == self.facts.rollout:
            self.facts.tombstoned = True
        if not self.facts.tombstoned:
            return
        if _raises(change, CANARY):
            self.fail(f"the canary went to {replicas(change.new)} after its tombstone")
        promoted = change.name == STABLE and change.manager == OURS and image(change.new) == NEW != image(change.old)
        if promoted:
            self.fail("the stable got the new image after the canary's tombstone")
        if change.manager == OURS and change.name == CANARY and not annotation(change.new, ANNOTATION_STOPPED):
            self.fail("the tombstone was taken away")


class ForeignZeroStands(Invariant):
    """A canary that somebody else scaled to 0 stays at 0."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.started = False
        self.stopped = False

    def changed(self, change: Change) -> None:
        if change.resource != "deployments" or change.name != CANARY:
            return
        if change.manager == OURS:
            if self.stopped and replicas(change.new) > replicas(change.old):
                self.fail(f"we raised it to {replicas(change.new)}")
            self.started = self.started or replicas(change.new) > 0
        elif self.started and replicas(change.old) > 0 and replicas(change.new) == 0:
            self.stopped = True


class TheReasonIsKept(Invariant):
    """What a tombstone says of why it was set is what the rollout ends as, whoever lives to write it down."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.words = ""

    def changed(self, change: Change) -> None:
        if change.resource != "deployments" or change.name != CANARY or change.manager != OURS:
            return
        if annotation(change.new, ANNOTATION_STOPPED) != self.facts.rollout:
            return
        self.words = annotation(change.new, ANNOTATION_STOPPED_WHY)
        if not self.words:
            self.fail("there is a tombstone, and no word of why")

    def ended(self) -> None:
        if not self.words:
            return
        step = self.facts.state().step
        if read(self.words) is None:
            self.fail(f"{self.words!r} cannot be read")
        # Cut before what the reader of a tombstone adds: a short reason is short.
        if isinstance(step, Ended) and not (
            self.words.startswith(f"{step.outcome} (") and step.why.split(" (so says", 1)[0][:30] in self.words
        ):
            self.fail(f"the tombstone says {self.words!r}, the database {step.outcome}: {step.why!r}")


class HotfixStands(Invariant):
    """An image that somebody else put is never overwritten."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.foreign: dict[str, str] = {}
        self.written: set[str] = set()

    def changed(self, change: Change) -> None:
        if change.resource != "deployments" or image(change.old) == image(change.new):
            return
        if change.manager != OURS:
            if change.name == STABLE or change.name in self.written:
                self.foreign[change.name] = image(change.new)
        elif change.name in self.foreign:
            self.fail(f"{change.name} had {self.foreign[change.name]}, we wrote {image(change.new)}")
        else:
            self.written.add(change.name)


class RestIsWhole(Invariant):
    """At rest everything is old or everything is new, and no canary of ours serves."""

    def ended(self) -> None:
        state = self.facts.state()
        canary, stable = self.facts.deployment(CANARY), self.facts.deployment(STABLE)
        outcome = getattr(state.step, "outcome", None)
        if outcome is None:
            self.fail(f"it is not at rest but {type(state.step).__name__}")
        mine = annotation(canary, "rollout/id") == self.facts.rollout and image(canary) == NEW
        if mine and replicas(canary) and self.last_canary_writer == OURS:
            self.fail(f"the canary has {replicas(canary)} replicas after {outcome}")
        if image(stable) not in {OLD, NEW}:
            return
        expected = NEW if str(outcome) == "succeeded" else OLD
        if image(stable) != expected and not self.foreign_stable:
            self.fail(f"{outcome}, and the stable runs {image(stable)}")
        others = [pod["metadata"]["name"] for pod in self.facts.pods("release") if pod_image(pod) != image(stable)]
        if others and not stable["spec"].get("paused"):  # type: ignore[index]  # the stable is never deleted here
            self.fail(f"{outcome}, the stable is {image(stable)}, and {others} are not")
        if stable and stable["spec"].get("minReadySeconds", 0) and not self.foreign_stable:
            self.fail(f"{outcome}, and minReadySeconds is still {stable['spec']['minReadySeconds']}")

        if stable and stable["spec"].get("paused") and self.paused_by == OURS:
            self.fail(f"{outcome}, and {STABLE} is still paused, by us")

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.last_canary_writer = ""
        self.foreign_stable = False
        self.paused_by = ""

    def changed(self, change: Change) -> None:
        if change.resource != "deployments" or change.manager == "kube-controller-manager":
            return
        if change.name == CANARY and replicas(change.old) != replicas(change.new):
            self.last_canary_writer = change.manager
        if change.name == STABLE and change.manager != OURS and image(change.old) != image(change.new):
            self.foreign_stable = True
        if change.name == STABLE and change.new["spec"].get("paused") and not (change.old or {"spec": {}})["spec"].get("paused"):
            self.paused_by = change.manager
