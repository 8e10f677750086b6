"""Every general reason for which a canary waits, whatever step it is in. Watching goes on through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollout.core.canary_stops import blind_limit
from rollout.core.cohorts import Deployment
from rollout.core.decision import Scene, Tell, Wait
from rollout.core.evidence_counts import MISROUTED_WINDOWS
from rollout.core.findings import Findings
from rollout.core.history import NoticeKind
from rollout.core.plan_canary import CanaryPlan, Mode
from rollout.core.signals import Unreachable
from rollout.core.state import Certifying, HoldKind, Preflight, Promoting, Retiring, Soaking, Starting, State
from rollout.core.wording import listed, moment, plural, span

DISPLACED_ASK = 3
"""The third pod that somebody takes away within a day asks a person."""
COME_BACK = timedelta(minutes=10)
UNSAVED = timedelta(minutes=2)
"""A database that answers late is no news before that."""


def waits(scene: Scene, state: State, found: Findings) -> tuple[Wait, ...]:
    """List what keeps the rollout from going forward now, in the order in which people should read it."""
    return tuple(_waits(scene, state, found))


def _waits(scene: Scene, state: State, found: Findings) -> Iterator[Wait]:
    if state.paused is not None:
        because = f": {state.paused.reason}" if state.paused.reason else ""
        yield Wait(
            HoldKind.PAUSED, f"paused by {state.paused.actor}{because}", "`rollout resume` goes on; it is watched all the same."
        )
    if isinstance(scene.seen.view, Unreachable):
        yield Wait(HoldKind.CLUSTER_UNSEEN, f"the cluster cannot be seen: {scene.seen.view.why}")
    if (away := scene.seen.unsaved_since) is not None and scene.now - away >= UNSAVED:
        why = f"the database has taken nothing for {span(scene.now - away)}: that time is not credited, and nothing goes forward"
        yield Wait(HoldKind.UNSAVED, why, "Look at the database. It is watched and stepped back all the same.", away)
    yield from _pod_waits(scene, state, found)
    if not isinstance(state.step, Preflight | Starting | Retiring):
        yield from _signal_waits(scene, found)
    freeze = scene.policy.frozen(scene.now)
    if freeze is not None and not isinstance(state.step, Retiring):
        yield Wait(HoldKind.FROZEN, f"freeze window {freeze.name!r} until {moment(freeze.until)}: no forward step")


def _pod_waits(scene: Scene, state: State, found: Findings) -> Iterator[Wait]:
    view = scene.view
    if view is None or found.pods is None or isinstance(state.step, Preflight):
        return
    if found.pods.displaced:
        often = len(found.pods.memory.displaced)
        ask = f"; the {often}. within a day: is this node pool fit for a canary?" if often >= DISPLACED_ASK else ""
        yield Wait(
            HoldKind.DISPLACED,
            f"{found.pods.displaced[0].why}{ask}",
            "It has 10 minutes to come back; nothing is blamed on the version.",
        )
    if found.pods.shared:
        yield Wait(HoldKind.SHARED_INCIDENT, found.pods.shared[0].why)
    if found.pods.restarted:
        yield Wait(HoldKind.SUSPECT, found.pods.restarted[0].why, "A second restart steps it back.")
    stable = view.stable
    if stable is not None and stable.paused and not _paused_by_us(state, stable):
        yield Wait(
            HoldKind.FOREIGN_PAUSE,
            f"{stable.name} is paused (spec.paused) by somebody else",
            "Unpause it: `kubectl rollout resume`.",
        )
    if stable is not None and stable.replicas == 0 and not isinstance(state.step, Retiring):
        why = f"{stable.name} was scaled to 0: the canary serves alone, and there is nothing to compare it with"
        yield Wait(HoldKind.ALONE, why, "Scale it up again; `rollout abort` takes the canary to 0 as well.")
    grown = isinstance(state.step, Soaking) and state.step.grown_at is not None
    if (grown or isinstance(state.step, Certifying)) and not found.pods.displaced:
        yield from _unready(scene, found)
        yield from _missing(scene, state)


def _missing(scene: Scene, state: State) -> Iterator[Wait]:
    """A pod that was there and that the cluster does not make again (a quota, an admission webhook) holds, and asks in the end."""
    size = state.step.size if isinstance(state.step, Soaking | Certifying) else 0
    canary = scene.execution.target.canary
    there = [pod for pod in scene.cohorts.candidate if pod.deployment == canary and pod.deleting_since is None]
    if len(there) >= size or scene.view is None or scene.view.canary is None or scene.view.canary.replicas < size:
        return
    why = f"{canary}: {len(there)} of {plural(size, 'pod')} exist"
    since = next((hold.since for hold in state.holds if hold.kind is HoldKind.NOT_READY), scene.now)
    if scene.now - since >= COME_BACK:
        action = f"`kubectl describe replicaset` says why the cluster makes no pod of {canary}: a quota? an admission webhook?"
        yield Wait(HoldKind.OVERDUE, f"{why}, for {span(scene.now - since)}", action)
    yield Wait(HoldKind.NOT_READY, why)


def _unready(scene: Scene, found: Findings) -> Iterator[Wait]:
    """A pod that is not ready holds; after ten minutes a person is asked where it stays."""
    unready = [pod for pod in scene.cohorts.candidate if not pod.ready and pod.deleting_since is None]
    if not unready or found.pods is None:
        return
    homeless = f": {unready[0].unschedulable}" if unready[0].unschedulable else ""
    why = f"{listed(pod.name for pod in unready)} not ready{homeless}"
    first_seen = {pod.uid: pod.unready_since or pod.first_seen for pod in found.pods.memory.pods}
    longest = max((scene.now - first_seen.get(pod.uid, scene.now) for pod in unready), default=timedelta())
    if longest >= COME_BACK:
        why = f"{why}, for {span(longest)}"
        yield Wait(HoldKind.OVERDUE, why, "Look at the pod and its node; `rollout abort` steps back, otherwise it waits for it.")
    yield Wait(HoldKind.NOT_READY, why)


def _paused_by_us(state: State, stable: Deployment) -> bool:
    return isinstance(state.step, Promoting) and (state.step.paused_by_us or stable.paused_by_us)


def _signal_waits(scene: Scene, found: Findings) -> Iterator[Wait]:
    signals = found.signals
    if signals.shared:
        yield Wait(HoldKind.SHARED_INCIDENT, f"{signals.shared[0].name}: {signals.shared[0].why}")
    if signals.blind:
        first = signals.blind[0]
        names = listed(s.name for s in signals.blind)
        yield Wait(
            HoldKind.BLIND,
            f"{names}: {first.verdict.value}: {first.why}",
            f"No time is credited until it answers; it resumes by itself{_steps_back(scene, found)}.",
        )
    if signals.suspect:
        yield Wait(HoldKind.SUSPECT, f"{signals.suspect[0].name}: {signals.suspect[0].why}")
    misrouted = [s for s in signals.idle if s.idle_windows >= MISROUTED_WINDOWS]
    if misrouted:
        yield Wait(
            HoldKind.MISROUTED,
            f"{misrouted[0].name}: {misrouted[0].why}",
            "Look at the Service's selector and the gateway's upstream.",
        )
    elif signals.idle:
        yield Wait(
            HoldKind.IDLE,
            f"{signals.idle[0].name}: {signals.idle[0].why}",
            "A quiet service soaks longer; it goes on by itself.",
        )
    if signals.warming:
        yield Wait(HoldKind.WARMING, f"{signals.warming[0].name}: {signals.warming[0].why}")


def _steps_back(scene: Scene, found: Findings) -> str:
    """Say when the silence of its sources steps a canary back that is ours."""
    plan = scene.execution.plan
    if not isinstance(plan, CanaryPlan) or plan.spec.mode is Mode.OBSERVE:
        return ""
    everything = len(found.signals.blind) == found.signals.required
    return f", and steps back when it was silent for {span(blind_limit(plan, scene.execution.id, everything=everything))}"


def displaced_tells(scene: Scene, state: State, found: Findings) -> tuple[Tell, ...]:
    """Tell each pod that somebody took away, and ask a person at the third within a day."""
    if found.pods is None or isinstance(state.step, Preflight):
        return ()
    often = len(found.pods.memory.displaced)
    ask = often >= DISPLACED_ASK
    return tuple(
        Tell(
            "pod-displaced",
            trip.why,
            notice=NoticeKind.NEEDS_PERSON if ask else None,
            title=f"{scene.execution.target}: {often} candidate pods were taken away within a day",
            next_action="Look at the nodes; `rollout abort` steps back, otherwise it holds until the pods are back.",
            post_on=scene.execution.target.canary,
            warning=True,
        )
        for trip in found.pods.newly_displaced
    )
