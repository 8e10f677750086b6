"""The checks before anything is changed, gathered from the cluster, the backends and the store, with remedies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from rollout.core.cohorts import TargetView
from rollout.core.decision import Execution
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.plan import CanaryPlan
from rollout.core.plan_canary import Mode
from rollout.core.signals import Alarms, Answer, Counts, Gauges, NoData, PodKey, Question, Unreachable, Window
from rollout.core.signals_compiled import Signal
from rollout.core.state import State
from rollout.core.windows import floor
from rollout.ports import Check, Clock, Cluster, SignalSource, Store, Unavailable

MUST_EXIST = frozenset({"stable", "canary", "container"})
"""Checks without which there is nothing to observe either."""
LOOK_TIMEOUT = timedelta(seconds=10)


class Preflight:
    """Performs the task `preflight`. Also what `rollout doctor PLAN` shows."""

    def __init__(self, clusters: Mapping[str, Cluster], sources: Mapping[str, SignalSource], store: Store, clock: Clock) -> None:
        self._clusters = clusters
        self._sources = sources
        self._store = store
        self._clock = clock

    def perform(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Run every check. Raises Unavailable when the cluster does not answer."""
        del state
        lines = tuple(self.lines(execution))
        refused = [line for line in lines if line.level == "refused"]
        why = f"{len(lines)} checks, {len(refused)} refused" if refused else f"{len(lines)} checks passed"
        return TaskResult(task.key, self._clock.now(), "done", ok=not refused, why=why, lines=lines)

    def lines(self, execution: Execution) -> Iterable[Line]:
        """Run every check and word what was found."""
        target = execution.target
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            yield Line("cluster", "refused", f"no cluster {target.cluster!r} is configured", "add it to the daemon's configuration")
            return
        observed = isinstance(execution.plan, CanaryPlan) and execution.plan.spec.mode is Mode.OBSERVE
        for check in cluster.preflight(target, execution.image):
            yield _observed(_line(check)) if observed else _line(check)
        view = cluster.look(target, timeout=LOOK_TIMEOUT)
        yield from self._signals(execution, view)

    def _signals(self, execution: Execution, view: TargetView) -> Iterable[Line]:
        """Ask every signal now about the stable's pods: a query that returns nothing now will return nothing later."""
        if not execution.signals:
            yield Line("signals", "warning", "the plan names no signal: only Kubernetes itself is watched",
                       "add `signals: [skywalking-traces, apisix-5xx, error-logs]`")  # fmt: skip
            return
        for signal in execution.signals:
            yield self._signal(execution, signal, view)

    def _signal(self, execution: Execution, signal: Signal, view: TargetView) -> Line:
        name = f"signal {signal.name}"
        level = "refused" if signal.required and not signal.dry_run else "warning"
        source = self._sources.get(signal.backend)
        if source is None:
            return Line(name, level, f"no backend {signal.backend!r} is configured", "add it to the daemon's configuration")
        question = self.question(execution, signal, view)
        if not question.pods:
            return Line(name, "warning", "the stable has no ready pod to ask about yet")
        answer = _newest(source, question)
        known: set[str] = set()
        match answer.reading:
            case Unreachable(why):
                raise Unavailable(signal.backend, why)
            case NoData(why):
                return Line(name, level, f"no data about the stable pods: {why}", f"asked: {answer.query[:300]}")
            case Counts(by_pod):
                known = set(by_pod)
            case Gauges(by_value):
                known = set(by_value)
            case Alarms():
                return Line(name, "ok", "answers")
        missing = sorted({pod.name for pod in question.pods} - known)
        if missing and len(missing) == len(question.pods):
            return Line(name, level, "knows none of the stable pods", f"asked: {answer.query[:300]}")
        if missing:
            return Line(name, "warning", f"knows nothing of {', '.join(missing[:5])}")
        return Line(name, "ok", f"answers for {len(known)} stable pods")

    def question(self, execution: Execution, signal: Signal, view: TargetView) -> Question:
        """Word a signal's question about the last whole window and the stable's ready pods."""
        end = floor(self._clock.now() - signal.delay, signal.window)
        window = Window(end - signal.window, end)
        plan = execution.plan
        stable = plan.target.stable
        pods = tuple(
            sorted(
                PodKey(execution.target.namespace, pod.name, pod.uid, pod.ip)
                for pod in view.pods
                if pod.ready and pod.deployment == stable and isinstance(plan, CanaryPlan)
            )
        )
        return Question(signal.name, signal.backend, signal.ask, signal.parameters, pods, window)


def _observed(line: Line) -> Line:
    """Where people drive the canary we change nothing: what would refuse ours is told, as long as there is something to judge."""
    if line.level != "refused" or line.name in MUST_EXIST:
        return line
    return replace(line, level="warning")


def _newest(source: SignalSource, question: Question) -> Answer:
    """Answer about the last window, or about the one before it: a backend whose clock is behind has not finished the last yet."""
    window = question.window
    before = replace(question, window=Window(window.start - window.length, window.start))
    answers = source.read((question, before))
    return answers[before] if isinstance(answers[question].reading, NoData) else answers[question]


def _line(check: Check) -> Line:
    return Line(check.name, check.level, check.message, check.remedy)
