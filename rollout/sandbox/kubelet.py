"""Pods from birth to death: scheduled, pulled, started, ready, crashed, restarted, evicted, removed.

One object plays the scheduler and all kubelets. What a container does follows from the Behaviour of its image; the time
spans are those that real clusters have (crash back-off 10 s doubling to 5 min, reset after 10 min; node lost after 40 s).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rollout.sandbox.behaviour import Behaviour, Behaviours
from rollout.sandbox.kernel import CONTROLLER, KUBELET, SCHEDULER, Kernel
from rollout.sandbox.kube_objects import Json, controller_of, name_of, namespace_of, stamp, uid_of, with_metadata
from rollout.sandbox.nodes import Nodes
from rollout.sandbox.pod_status import Exit, Life, Stage, pod_status
from rollout.sandbox.storage import Change, ChangeType
from rollout.sandbox.traffic import Traffic

SCHEDULE_SECONDS = 0.1
SANDBOX_SECONDS = 0.4
_RESTART_SECONDS = 1.0
_BACKOFF_SECONDS, _BACKOFF_LIMIT = 10.0, 300.0
_BACKOFF_RESET = timedelta(minutes=10)
_STARTED_STAGES = frozenset({Stage.RUNNING, Stage.EXITED})


class Kubelet:
    """The lives of all pods."""

    def __init__(self, kernel: Kernel, nodes: Nodes, behaviours: Behaviours, traffic: Traffic) -> None:
        self.lives: dict[str, Life] = {}
        self._kernel = kernel
        self._nodes = nodes
        self._behaviours = behaviours
        self._traffic = traffic
        behaviours.listeners.append(self._behaviour_changed)
        kernel.observe(self._saw)

    def _saw(self, change: Change) -> None:
        if change.resource != "pods":
            return
        pod = change.new
        if change.type is ChangeType.ADDED:
            images = tuple(container["image"] for container in pod["spec"]["containers"])
            owner = controller_of(pod)
            finite = (owner is not None and owner["kind"] == "Job") or pod["spec"].get("restartPolicy") == "Never"
            life = Life(uid_of(pod), namespace_of(pod), name_of(pod), images, change.at, finite)
            self.lives[life.uid] = life
            self._plan(life, SCHEDULE_SECONDS, self._schedule)
        elif change.type is ChangeType.DELETED:
            gone = self.lives.pop(uid_of(pod), None)
            if gone is not None and gone.node:
                self._nodes.placed(gone.node, -1)

    def life(self, namespace: str, name: str) -> Life:
        """Find the life of a pod by its name. Raises ApiError 404."""
        return self.lives[uid_of(self._kernel.storage.get("pods", namespace, name))]

    def available_at(self, pod: Json, min_ready_seconds: int) -> datetime | None:
        """Tell when a pod becomes (or became) available; None while it is not ready."""
        life = self.lives.get(uid_of(pod))
        if life is None or not life.ready or life.ready_since is None:
            return None
        return life.ready_since + timedelta(seconds=min_ready_seconds)

    def delete(self, pod: Json, manager: str, *, grace_seconds: float | None = None) -> Json:
        """Begin the graceful end of a pod (0 removes it at once); return its present state. Twice is once."""
        life = self.lives[uid_of(pod)]
        if grace_seconds is None:
            grace_seconds = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        if grace_seconds <= 0 or life.stage in {Stage.UNSCHEDULED, Stage.SUCCEEDED, Stage.FAILED}:
            return self._kernel.storage.remove("pods", life.namespace, life.name, manager, self._kernel.now)
        if "deletionTimestamp" in pod["metadata"]:
            return pod
        end = stamp(self._kernel.now + timedelta(seconds=grace_seconds))
        doomed = with_metadata(pod, deletionTimestamp=end, deletionGracePeriodSeconds=int(grace_seconds))
        doomed = self._kernel.storage.replace("pods", doomed, manager, self._kernel.now)
        self._kernel.event(doomed, "Killing", f"Stopping container {_first_container(doomed)}", source=KUBELET)
        if not self._nodes.is_lost(life.node):
            self._plan_removal(life, grace_seconds)
        return doomed

    def disrupt(self, pod: Json, reason: str, message: str) -> Json:
        """Mark a pod as taken away by somebody else (condition DisruptionTarget)."""
        life = self.lives[uid_of(pod)]
        life.condition("DisruptionTarget", "True", self._kernel.now, reason, message)
        return self._publish(life)

    def evict_for_pressure(self, pod: Json, message: str) -> None:
        """End a pod as a kubelet under pressure does: phase Failed, reason Evicted, the object stays."""
        life = self.lives[uid_of(pod)]
        life.turn += 1
        now = self._kernel.now
        life.condition("DisruptionTarget", "True", now, "TerminationByKubelet", message)
        life.exit = Exit("Error", 137, life.started_at or now, now)
        life.failure = ("Evicted", message)
        life.stage = Stage.FAILED
        self._unready(life, "PodFailed")
        self._kernel.event(self._pod(life), "Evicted", message, type_="Warning", source=KUBELET)

    def node_lost(self, node: str) -> None:
        """Let a node stop answering: its pods turn unready; whoever is deleted there stays Terminating."""
        for life in [life for life in self.lives.values() if life.node == node]:
            life.turn += 1
            self._unready(life, "NodeStatusUnknown")

    def node_back(self, node: str) -> None:
        """Let a lost node answer again: pods that were deleted meanwhile go, the others become ready."""
        for life in [life for life in self.lives.values() if life.node == node]:
            if "deletionTimestamp" in self._pod(life)["metadata"]:
                self._plan_removal(life, 30.0)
            elif life.stage is Stage.RUNNING:
                self._plan_running(life)
            elif life.stage in {Stage.CREATING, Stage.WAITING}:
                self._plan(life, SANDBOX_SECONDS, self._pull)

    def retry_unscheduled(self) -> None:
        """Look again for a node for every pod that found none."""
        for life in list(self.lives.values()):
            if life.stage is Stage.UNSCHEDULED:
                self._plan(life, SCHEDULE_SECONDS, self._schedule)

    def _behaviour(self, life: Life) -> Behaviour:
        return self._behaviours.at(life.images, self._kernel.now)

    def _behaviour_changed(self, image: str) -> None:
        for life in list(self.lives.values()):
            if image in life.images and life.stage is Stage.RUNNING and not self._nodes.is_lost(life.node):
                self._plan_running(life)

    def _plan(self, life: Life, seconds: float, action: Callable[[Life], None]) -> None:
        """Let something happen to a pod later, unless its plans change before; replaces nothing by itself."""
        turn = life.turn

        def happen() -> None:
            if life.turn == turn and life.uid in self.lives:
                action(life)

        self._kernel.call_in(seconds, happen)

    def _plan_removal(self, life: Life, grace_seconds: float) -> None:
        def remove() -> None:
            if life.uid in self.lives and not self._nodes.is_lost(life.node):
                self._kernel.storage.remove("pods", life.namespace, life.name, KUBELET, self._kernel.now)

        runs = life.stage in _STARTED_STAGES
        seconds = min(self._behaviour(life).stop_after.total_seconds(), grace_seconds) if runs else _RESTART_SECONDS
        self._kernel.call_in(seconds, remove)

    def _pod(self, life: Life) -> Json:
        return self._kernel.storage.get("pods", life.namespace, life.name)

    def _publish(self, life: Life) -> Json:
        pod = self._pod(life)
        changed = {**pod, "status": pod_status(life, pod["spec"]["containers"])}
        if life.node and pod["spec"].get("nodeName") != life.node:
            changed["spec"] = {**pod["spec"], "nodeName": life.node}
        return self._kernel.storage.replace("pods", changed, KUBELET, self._kernel.now)

    def _schedule(self, life: Life) -> None:
        pod, now = self._pod(life), self._kernel.now
        node = pod["spec"].get("nodeName") or self._nodes.choose()
        if not node:
            words = self._nodes.why_none()
            life.condition("PodScheduled", "False", now, "Unschedulable", words)
            self._publish(life)
            self._kernel.event(pod, "FailedScheduling", words, type_="Warning", source=SCHEDULER)
            return
        life.node, life.scheduled_at, life.stage = node, now, Stage.CREATING
        life.host_ip = self._nodes.address(node)
        self._nodes.placed(node, 1)
        life.condition("PodScheduled", "True", now)
        life.condition("Initialized", "True", now)
        life.condition("Ready", "False", now, "ContainersNotReady", "containers with unready status")
        life.condition("ContainersReady", "False", now, "ContainersNotReady", "containers with unready status")
        self._publish(life)
        words = f"Successfully assigned {life.namespace}/{life.name} to {node}"
        self._kernel.event(pod, "Scheduled", words, source=SCHEDULER)
        self._plan(life, SANDBOX_SECONDS, self._pull)

    def _pull(self, life: Life) -> None:
        life.ip = life.ip or self._nodes.new_pod_ip()
        behaviour = self._behaviour(life)
        image = self._behaviours.governing(life.images)
        life.culprit = life.images.index(image)
        if behaviour.pull_error:
            life.pulls_failed += 1
            self._block(life, "ErrImagePull", behaviour.pull_error, "Failed")
            self._plan(life, _RESTART_SECONDS, self._back_off_pull)
        elif behaviour.config_error:
            self._block(life, "CreateContainerConfigError", behaviour.config_error, "Failed")
            self._plan(life, _BACKOFF_SECONDS, self._pull)
        else:
            self._kernel.event(self._pod(life), "Pulling", f'Pulling image "{image}"', source=KUBELET)
            self._plan(life, behaviour.pull_after.total_seconds(), self._start)

    def _block(self, life: Life, reason: str, message: str, event: str) -> None:
        if life.stage is not Stage.WAITING or life.waiting != (reason, message):
            life.stage, life.waiting = Stage.WAITING, (reason, message)
            self._publish(life)
        self._kernel.event(self._pod(life), event, f"{reason}: {message}", type_="Warning", source=KUBELET)

    def _back_off_pull(self, life: Life) -> None:
        image = life.images[life.culprit]
        self._block(life, "ImagePullBackOff", f'Back-off pulling image "{image}"', "BackOff")
        self._plan(life, _backoff(life.pulls_failed), self._pull)

    def _start(self, life: Life) -> None:
        now = self._kernel.now
        life.stage, life.started_at = Stage.RUNNING, now
        if life.first_started_at is None:
            life.first_started_at = now
            self._traffic.pod_started(life.uid, life.images, now)
        if life.exit is not None and life.restarts < life.crashes:
            life.restarts = life.crashes
        pod = self._publish(life)
        self._kernel.event(pod, "Started", f"Started container {_first_container(pod)}", source=KUBELET)
        self._plan_running(life)

    def _plan_running(self, life: Life) -> None:
        """Plan everything that lies before a container that runs, from its behaviour as it is now."""
        life.turn += 1
        behaviour = self._behaviour(life)
        if life.finite:
            self._plan(life, self._left(life, behaviour.completes_after), self._complete)
            return
        if not life.ready and behaviour.ready_after is not None:
            self._plan(life, self._left(life, behaviour.ready_after), self._become_ready)
        may_crash = behaviour.crash_times is None or life.crashes < behaviour.crash_times
        if may_crash and behaviour.oom_after is not None:
            self._plan(life, self._left(life, behaviour.oom_after), lambda it: self._crash(it, "OOMKilled", 137))
        if may_crash and behaviour.crash_after is not None:
            self._plan(life, self._left(life, behaviour.crash_after), lambda it: self._crash(it, "Error", 1))
        if behaviour.unready_after is not None:
            self._plan(life, self._left(life, behaviour.unready_after), self._fail_probe)
            if behaviour.unready_for is not None:
                span = behaviour.unready_after + behaviour.unready_for
                self._plan(life, self._left(life, span), self._become_ready)

    def _left(self, life: Life, after_start: timedelta) -> float:
        started = life.started_at or self._kernel.now
        return max((started + after_start - self._kernel.now).total_seconds(), 0.0)

    def _become_ready(self, life: Life) -> None:
        if life.ready or life.stage is not Stage.RUNNING:
            return
        life.ready, life.ready_since = True, self._kernel.now
        life.condition("Ready", "True", self._kernel.now)
        life.condition("ContainersReady", "True", self._kernel.now)
        self._publish(life)

    def _fail_probe(self, life: Life) -> None:
        if life.ready:
            self._unready(life, "ContainersNotReady")
            words = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            self._kernel.event(self._pod(life), "Unhealthy", words, type_="Warning", source=KUBELET)

    def _unready(self, life: Life, reason: str) -> None:
        life.ready, life.ready_since = False, None
        life.condition("Ready", "False", self._kernel.now, reason)
        life.condition("ContainersReady", "False", self._kernel.now, reason)
        self._publish(life)

    def _crash(self, life: Life, reason: str, code: int) -> None:
        now = self._kernel.now
        started = life.started_at or now
        life.turn += 1
        if life.exit is not None and now - started >= _BACKOFF_RESET:
            life.forgiven = life.crashes  # the back-off counts from here again
        life.crashes += 1
        life.exit = Exit(reason, code, started, now)
        recent = life.crashes - life.forgiven
        life.stage = Stage.EXITED if recent <= 1 else Stage.WAITING
        wait = _RESTART_SECONDS if recent <= 1 else _backoff(recent - 1)
        if recent > 1:
            words = f"back-off {int(wait)}s restarting failed container={_first_container(self._pod(life))}"
            life.waiting = ("CrashLoopBackOff", words)
            self._kernel.event(self._pod(life), "BackOff", words, type_="Warning", source=KUBELET)
        self._unready(life, "ContainersNotReady")
        self._plan(life, wait, self._start)

    def _complete(self, life: Life) -> None:
        behaviour = self._behaviour(life)
        now = self._kernel.now
        life.turn += 1
        life.stage = Stage.SUCCEEDED if behaviour.exit_code == 0 else Stage.FAILED
        reason = "Completed" if behaviour.exit_code == 0 else "Error"
        life.exit = Exit(reason, behaviour.exit_code, life.started_at or now, now)
        self._unready(life, "PodCompleted" if behaviour.exit_code == 0 else "PodFailed")


def _backoff(failures: int) -> float:
    return float(min(_BACKOFF_SECONDS * 2 ** min(failures - 1, 10), _BACKOFF_LIMIT))


def _first_container(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["name"])


def deletion_rank(life: Life | None, pod: Json, neighbours: int, now: datetime) -> Sequence[float]:
    """Order pods for a scale-down, first to go first (ReplicaSet controller's ActivePodsWithRanks).

    Unassigned before assigned, not running before running, unready before ready, crowded nodes before others, lately ready
    before long ready, many restarts before few, young before old.
    """
    if life is None:
        return (0.0,)
    cost = float((pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", 0))
    ready_for = (now - life.ready_since).total_seconds() if life.ready_since else 0.0
    age = (now - life.created_at).total_seconds()
    assigned, running = float(bool(life.node)), float(life.first_started_at is not None)
    return (assigned, running, float(life.ready), cost, -neighbours, ready_for, -life.restarts, age)


__all__ = ["CONTROLLER", "Kubelet", "deletion_rank"]
