"""The invariants that need time, signals or people: how long a fault serves, what is credited, what is told."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from rollout.sandbox.kube_objects import Json
from rollout.sandbox.storage import Change, ChangeType
from tests.simulation.invariants import OURS, Facts, Invariant, image, is_ready, pod_image, role
from tests.simulation.scenario import BACKENDS, NEW, STABLE

AT_ONCE = timedelta(seconds=90)
"""Also with an API that fails now and then."""
GRACE = timedelta(minutes=2)
SLACK = timedelta(minutes=50)
"""A window, its delay and two looks: how late the daemon may learn that nothing is seen any more."""
AT_ONCE_REASONS = frozenset({"CrashLoopBackOff", "CreateContainerConfigError"})


def fault_of(pod: Json) -> str:
    """What the cluster shows of a pod that is bad enough to step back at once."""
    for status in pod["status"].get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in AT_ONCE_REASONS:
            return str(waiting["reason"])
        for part in ("state", "lastState"):
            if ((status.get(part) or {}).get("terminated") or {}).get("reason") == "OOMKilled":
                return "OOMKilled"
    return ""


class FaultsAreLeftAtOnce(Invariant):
    """A canary whose fault the daemon can see, with the API reachable, is at 0 within 90 seconds.

    Lost readiness is a fault once it has stood for its grace before one daemon's eyes, whoever saw the pod ready before: the
    cluster shows that it was. The grace begins anew with a daemon that takes over: nobody watched meanwhile, and the cluster's
    own time of the loss is by another clock than the daemon's, from which it may differ by more than the grace.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.bad: dict[str, str] = {}
        self.unready: dict[str, datetime] = {}
        """By pod: since when the present guardian has seen it without its readiness."""
        self.guardian = ""
        self.exposed = timedelta()
        self.seen_at = facts.world.now

    def changed(self, change: Change) -> None:
        if change.resource != "pods" or role(change.new) != "canary" or pod_image(change.new) != NEW:
            return
        uid = change.new["metadata"]["uid"]
        if change.type is ChangeType.DELETED or "deletionTimestamp" in change.new["metadata"]:
            self.bad.pop(uid, None)
            self.unready.pop(uid, None)
            return
        fault = fault_of(change.new)
        if fault and uid not in self.bad:
            self.bad[uid] = fault
            self.seen_at = change.at
        if is_ready(change.new):
            self.unready.pop(uid, None)
        elif change.old is not None and is_ready(change.old):
            self.unready.setdefault(uid, change.at)

    def passed(self, span: timedelta) -> None:
        now = self.facts.world.now
        self._begin_anew(now)
        lost = now - min(self.unready.values(), default=now) - GRACE
        if not (self.bad or lost > timedelta()) or self.facts.shared() or not self.facts.canary_serves():
            self.exposed = timedelta()
            return
        if self.facts.guardian:
            self.exposed += min(span, now - self.seen_at if self.bad else lost)
        if self.exposed > AT_ONCE:
            self.fail(f"{[*self.bad.values()] or 'lost readiness'} for {self.exposed}, and the canary still serves")

    def _begin_anew(self, now: datetime) -> None:
        guardian = self.facts.guardian
        if guardian and guardian != self.guardian:
            self.guardian = guardian
            self.unready = dict.fromkeys(self.unready, now)


class NobodySpins(Invariant):
    """Nobody looks again and again at what cannot change: at most 400 looks of all daemons in ten minutes."""

    MOST = 400
    SPAN = timedelta(minutes=10)

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.looks: deque[datetime] = deque(maxlen=self.MOST)

    def looked(self, daemon: str) -> None:
        now = self.facts.world.now
        if len(self.looks) == self.MOST and now - self.looks[0] < self.SPAN:
            self.fail(f"{self.MOST} looks within {now - self.looks[0]}, the last by {daemon}")
        self.looks.append(now)


class ADayIsCredited(Invariant):
    """The stable is never promoted before a day was seen ready and well, certified, and approved where the plan wants it."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.seen = timedelta()
        self.promoted = False
        self.ready: dict[str, bool] = {}
        """The canary's pods, by name."""
        self.version = -1

    def passed(self, span: timedelta) -> None:
        self._see(span)
        row = self.facts.row()
        if self.promoted or row.version == self.version:
            return
        self.version = row.version
        credited: timedelta = getattr(self.facts.state().step, "credited", timedelta())
        if credited > self.seen + SLACK * (1 + self.facts.outage_count()):
            self.fail(f"{credited} are credited, and only {self.seen} were seen ready and well")

    def _see(self, span: timedelta) -> None:
        facts = self.facts
        if self.promoted or not facts.canary_serves() or not facts.sighted(facts.world.now - span):
            return
        if all(self.ready.values()):
            self.seen += span

    def changed(self, change: Change) -> None:
        if change.resource == "pods" and role(change.new) == "canary":
            if change.type is ChangeType.DELETED:
                self.ready.pop(change.name, None)
            else:
                self.ready[change.name] = is_ready(change.new)
        promoted = (
            change.resource == "deployments"
            and change.name == STABLE
            and change.manager == OURS
            and image(change.new) == NEW != image(change.old)
        )
        if not promoted:
            return
        self.promoted = True
        if self.seen + SLACK * (1 + self.facts.outage_count()) < timedelta(hours=24):
            self.fail(f"only {self.seen} were seen ready and well")
        state = self.facts.state()
        signals = state.signals
        uncertified = [s.name for s in signals if not s.certified]
        if uncertified and state.approval is None:
            self.fail(f"{uncertified} are not certified, and nobody approved")
        if self.facts.scenario.approval and state.approval is None:
            self.fail("the plan wants a person's word, and nobody gave it")
        for name in self.facts.scenario.signals:
            windows = len(self.facts.answered[BACKENDS[name]])
            if windows < 24 * 4 * 0.9 - 2:
                self.fail(f"{name} answered {windows} windows of a quarter of an hour only")


class NothingGoodIsStopped(Invariant):
    """A good version with which nobody interferes goes all the way, whatever calls fail and however often its daemon dies."""

    def ended(self) -> None:
        story = self.facts.scenario
        if story.conduct != "healthy" or story.happenings or story.trap or story.approval:
            return
        step = self.facts.state().step
        if str(getattr(step, "outcome", "")) != "succeeded":
            self.fail(f"it ended as {getattr(step, 'outcome', 'nothing')}: {getattr(step, 'why', '')}")


class NoticesAreTold(Invariant):
    """Every notice that is owed is told, in order, at least once."""

    def ended(self) -> None:
        rows = self.facts.told()
        keys = [str(row["key"]) for row in rows]
        if len(set(keys)) != len(keys):
            self.fail(f"owed twice: {keys}")
        numbers = [int(key.split("-", 1)[0]) for key in keys]
        if numbers != list(range(1, len(numbers) + 1)):
            self.fail(f"there are holes: {keys}")
        firsts = list(dict.fromkeys(self.facts.arrived))
        if firsts != keys:
            self.fail(f"owed {keys}, arrived {firsts}")
        kinds = {key.split("-", 1)[1] for key in keys}
        outcome = str(getattr(self.facts.state().step, "outcome", ""))
        needed: dict[str, set[str]] = {"succeeded": {"started", "promoting", "promoted", "succeeded"}}
        missing = needed.get(outcome, set()) - kinds
        if missing:
            self.fail(f"{outcome}, and nobody was told of {sorted(missing)}")
        if outcome in {"failed", "aborted"} and not kinds & {"stepped-back", "needs-a-person"}:
            self.fail(f"{outcome}, and nobody was told")
