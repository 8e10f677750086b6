"""What Kubernetes itself shows of the candidate's pods, judged at once: no window, no warm-up, no statistics.

A crash loop, an OOM kill, an image that cannot be pulled at the start, a container that cannot be configured, readiness lost
beyond grace, and repeated restarts fail. A pod that somebody else took away is displaced, not failed. What the baseline
suffers equally holds instead of failing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.cohorts import Cohorts, Container, Pod
from rollout.core.replacing import replace
from rollout.core.state import GuardMemory, PodMemory
from rollout.core.wording import plural, span

READINESS_GRACE = timedelta(minutes=2)
"""How long a pod that was ready may be unready before it counts as failed."""
DISPLACED_MEMORY = timedelta(hours=24)
RESTARTS_FAIL = 2
"""One restart of a container holds and is told; the second fails."""
RESTART_HOLD = timedelta(minutes=15)
SHARED_WITHIN = timedelta(hours=1)
"""How far apart a candidate's and a baseline pod's kill may be to count as the same trouble."""
CRASH_LOOP = "CrashLoopBackOff"
PULL_ERRORS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG_ERRORS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Trip:
    """One guard that tripped on one pod. `cause` is comparable between cohorts (CrashLoopBackOff, OOMKilled, unready, ...).

    `container`: which one, empty for the pod as a whole. `at`: when it happened, where it is over and only remembered.
    """

    cause: str
    pod: str
    node: str
    why: str
    container: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PodFindings:
    """What the guards say of one look. `failing` wins over everything; the others hold."""

    memory: GuardMemory
    failing: tuple[Trip, ...] = ()
    shared: tuple[Trip, ...] = ()
    displaced: tuple[Trip, ...] = ()
    restarted: tuple[Trip, ...] = ()
    newly_displaced: tuple[Trip, ...] = ()


def watch(memory: GuardMemory, cohorts: Cohorts, container: str, now: datetime) -> PodFindings:
    """Judge every candidate pod by what the cluster shows of it now and what is remembered of it."""
    known = {pod.uid: pod for pod in memory.pods}
    remembered: list[PodMemory] = []
    displaced: list[Trip] = []
    trips: list[Trip] = []
    excused: list[Trip] = []
    ran_somewhere = any(_has_run(pod.container(container)) for pod in cohorts.candidate)
    for pod in cohorts.candidate:
        before = known.get(pod.uid) or PodMemory(pod.uid, pod.name, now)
        present = _remember(before, pod, container, now)
        remembered.append(present)
        if pod.displaced or (pod.unschedulable and (present.ran or ran_somewhere)):
            displaced.append(Trip("displaced", pod.name, pod.node, f"{_name(pod)} was taken away: {_taken(pod)}"))
        elif pod.deleting_since is None:
            trips.extend(_trips(pod, present, container, now, ran_somewhere=ran_somewhere))
            excused.extend(_excused(pod, present, now))
    old = tuple(item for item in memory.displaced if now - item[1] < DISPLACED_MEMORY)
    seen = {uid for uid, _ in old}
    ended = [Trip("displaced", p.name, p.node, f"{_name(p)} was taken away: {p.displaced}") for p in cohorts.gone if p.displaced]
    trips.extend(Trip("Failed", p.name, p.node, f"{_name(p)} failed") for p in cohorts.gone if _failed(p, now))
    fresh = [(pod.uid, trip) for pod, trip in _displaced_pods(cohorts, [*displaced, *ended]) if pod.uid not in seen]
    failing, shared = _split(trips, cohorts, container, now)
    return PodFindings(
        memory=GuardMemory(_excuse(remembered, cohorts, shared), old + tuple((uid, now) for uid, _ in fresh)),
        failing=tuple(t for t in failing if t.cause not in {"restarted", "pull-again"}),
        shared=(*shared, *excused),
        displaced=tuple(displaced) + tuple(t for t in failing if t.cause == "pull-again"),
        restarted=tuple(t for t in failing if t.cause == "restarted"),
        newly_displaced=tuple(trip for _, trip in fresh),
    )


def grace_left(memory: GuardMemory, now: datetime) -> timedelta | None:
    """Tell how soon a pod that lost its readiness runs out of grace; None where none is about to."""
    left = [pod.unready_since + READINESS_GRACE - now for pod in memory.pods if pod.unready_since is not None]
    return min((wait for wait in left if wait > timedelta()), default=None)


def _displaced_pods(cohorts: Cohorts, displaced: Sequence[Trip]) -> list[tuple[Pod, Trip]]:
    if not displaced:
        return []
    by_name = {pod.name: pod for pod in (*cohorts.candidate, *cohorts.gone)}
    return [(by_name[trip.pod], trip) for trip in displaced]


def _failed(pod: Pod, now: datetime) -> bool:
    """Say whether a pod ended by itself, lately: a pod of a Deployment is restarted, never finished.

    One that is being deleted is no such pod: since 1.27 its kubelet reports `Failed` where a container answers SIGTERM with an
    exit code, and it is we who take canary pods away.
    """
    return not pod.displaced and pod.deleting_since is None and pod.phase == "Failed" and now - pod.created_at < DISPLACED_MEMORY


def _remember(before: PodMemory, pod: Pod, container: str, now: datetime) -> PodMemory:
    if pod.ready and before.ran and before.ready_since is not None and before.unready_since is None:
        return before
    state = pod.container(container)
    ran = before.ran or _has_run(state)
    if pod.ready:
        return replace(before, ran=True, ready_since=before.ready_since or now, unready_since=None)
    if (before.ready_since is not None or pod.lost_readiness) and before.unready_since is None:
        return replace(before, ran=ran, unready_since=now)
    if before.unready_since is not None and before.unready_since > now:  # the clock went back: no hour more of grace
        return replace(before, ran=ran, unready_since=now)
    return replace(before, ran=ran)


def _has_run(state: Container | None) -> bool:
    """Say whether this container has been started at least once: its image was there."""
    return state is not None and (bool(state.image_id) or state.restarts > 0 or state.ready)


def _trips(pod: Pod, present: PodMemory, container: str, now: datetime, *, ran_somewhere: bool) -> list[Trip]:
    found: list[Trip] = []
    for state in pod.containers:
        trip = _container_trip(pod, present, state, ran_somewhere=ran_somewhere)
        if trip is not None and not (trip.at is not None and _told_before(pod, present, trip.cause)):
            found.append(trip)
    main = pod.container(container)
    if not found and present.unready_since is not None and now - present.unready_since >= READINESS_GRACE:
        lost = span(now - present.unready_since)
        found.append(Trip("unready", pod.name, pod.node, f"{_name(pod)} was ready and has not been for {lost}"))
    if not found and main is not None and 0 < main.restarts < RESTARTS_FAIL and _recent(main, now):
        found.append(Trip("restarted", pod.name, pod.node, f"{_name(pod)}: {main.name} restarted once ({_exit(main)})"))
    return found


def _recent(state: Container, now: datetime) -> bool:
    return state.terminated_at is None or now - state.terminated_at < RESTART_HOLD


def _container_trip(pod: Pod, present: PodMemory, state: Container, *, ran_somewhere: bool) -> Trip | None:
    at = f"{_name(pod)}: {state.name}"
    if state.terminated == "OOMKilled":
        return Trip("OOMKilled", pod.name, pod.node, f"{at} was killed for using more memory than its limit",
                    state.name, state.terminated_at)  # fmt: skip
    if state.waiting == CRASH_LOOP:
        return Trip(CRASH_LOOP, pod.name, pod.node, f"{at} crash-loops, {plural(state.restarts, 'restart')} ({_exit(state)})",
                    state.name)  # fmt: skip
    if state.waiting in PULL_ERRORS:
        why = f"{at} cannot pull {state.image}: {state.waiting}{_detail(state)}"
        again = present.ran or (ran_somewhere and state.waiting != "InvalidImageName")
        return Trip("pull-again" if again else "pull", pod.name, pod.node, why)
    if state.waiting in CONFIG_ERRORS:
        return Trip(state.waiting, pod.name, pod.node, f"{at} cannot start: {state.waiting}{_detail(state)}")
    if state.restarts >= RESTARTS_FAIL:
        return Trip("restarts", pod.name, pod.node, f"{at} restarted {state.restarts} times ({_exit(state)})",
                    state.name, state.terminated_at)  # fmt: skip
    return None


def _restarts(pod: Pod) -> int:
    return sum(state.restarts for state in pod.containers)


def _told_before(pod: Pod, present: PodMemory, cause: str) -> bool:
    """Say whether this is what the baseline suffered as well, and nothing has happened since: it is not blamed later either."""
    enough = 1 if cause == "OOMKilled" else RESTARTS_FAIL
    return present.restarts > 0 and _restarts(pod) - present.restarts < enough


def _excused(pod: Pod, present: PodMemory, now: datetime) -> list[Trip]:
    """What was shared holds for a while after its last restart, and is forgotten then."""
    ends = [state.terminated_at for state in pod.containers if state.terminated_at is not None]
    if not present.restarts or not ends or now - max(ends) >= RESTART_HOLD:
        return []
    return [Trip("shared", pod.name, pod.node, f"{_name(pod)} restarted as baseline pods did")]


def _excuse(remembered: list[PodMemory], cohorts: Cohorts, shared: list[Trip]) -> tuple[PodMemory, ...]:
    """Remember how often a pod had restarted when the baseline did alike."""
    names = {trip.pod for trip in shared if trip.container}
    if not names:
        return tuple(remembered)
    counted = {pod.name: _restarts(pod) for pod in cohorts.candidate}
    return tuple(replace(pod, restarts=counted[pod.name]) if pod.name in names else pod for pod in remembered)


def _split(trips: list[Trip], cohorts: Cohorts, container: str, now: datetime) -> tuple[list[Trip], list[Trip]]:
    """Part the trips by whether the baseline trips equally: at least as large a part of it, for the same cause."""
    if not trips:
        return [], []
    alive = [pod for pod in cohorts.baseline if pod.deleting_since is None]
    failing: list[Trip] = []
    shared: list[Trip] = []
    for trip in trips:
        like = sum(_suffers(pod, trip, container, now) for pod in alive)
        mine = len({t.pod for t in trips if t.cause == trip.cause})
        candidates = max(1, len(cohorts.candidate))
        equally = bool(alive) and like > 0 and like / len(alive) >= mine / candidates / 2
        if equally and trip.cause not in {"restarted", "pull-again"}:
            shared.append(replace(trip, why=f"{trip.why}; so do {like} of {len(alive)} baseline pods"))
        else:
            failing.append(trip)
    return failing, shared


def _suffers(pod: Pod, trip: Trip, container: str, now: datetime) -> bool:
    """Say whether a baseline pod shows the same, in the same container and at about the same time."""
    state = pod.container(trip.container or container)
    if state is None:
        return False
    when = trip.at or now
    match trip.cause:
        case "unready":
            return not pod.ready and not pod.displaced
        case "OOMKilled":
            return state.terminated == "OOMKilled" and _about_then(state, when)
        case "restarts":
            return state.restarts >= RESTARTS_FAIL and _about_then(state, when)
        case "pull":
            return state.waiting in PULL_ERRORS
        case _:
            return state.waiting == trip.cause


def _about_then(state: Container, when: datetime) -> bool:
    """Say whether the last termination is near enough to be the same trouble and not another story."""
    return state.terminated_at is not None and abs(when - state.terminated_at) < SHARED_WITHIN


def _name(pod: Pod) -> str:
    return f"pod {pod.name} on {pod.node}" if pod.node else f"pod {pod.name}"


def _taken(pod: Pod) -> str:
    return pod.displaced or f"cannot be scheduled ({pod.unschedulable})"


def _exit(state: Container) -> str:
    code = f", exit code {state.exit_code}" if state.exit_code is not None else ""
    return f"{state.terminated or 'reason unknown'}{code}{_detail(state)}"


def _detail(state: Container) -> str:
    return f", {state.message.strip()[:200]}" if state.message.strip() else ""
