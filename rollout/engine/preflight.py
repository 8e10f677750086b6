"""The checks before anything is changed, gathered from the cluster, the backends and the store, with remedies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from rollout.core.cohorts import TargetView
from rollout.core.decision import Execution
from rollout.core.history import Outcome
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.pace import PACE_SLACK, pace_of
from rollout.core.plan import CanaryPlan
from rollout.core.plan_canary import Mode
from rollout.core.shares import Refusal, start_share
from rollout.core.signals import Alarms, Answer, Counts, Gauges, NoData, PodKey, Question, Unreachable, Window
from rollout.core.signals_compiled import Signal
from rollout.core.state import State
from rollout.core.target import Target
from rollout.core.windows import floor
from rollout.core.wording import percent, span, step_words
from rollout.ports import Check, Clock, Cluster, RolloutFilter, SignalSource, Store, Unavailable

MUST_EXIST = frozenset({"stable", "canary", "container"})
"""Checks without which there is nothing to observe either."""
LOOK_TIMEOUT = timedelta(seconds=10)


AT_REST = "canary at rest"
"""The check that a rollout fails as soon as it has begun."""


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
        """Run every check and word what was found. Raises Unavailable at the first who does not answer."""
        target = execution.target
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            yield _no_cluster(target)
            return
        yield from self._cluster_lines(execution, cluster)
        view = cluster.look(target, timeout=LOOK_TIMEOUT)
        yield from _pace(execution, view)
        yield from self._signals(execution, view)

    def examine(self, execution: Execution) -> Iterator[Line]:
        """Run every check for a person: also what the rollout itself asks, and who does not answer is a line among the others."""
        target = execution.target
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            yield _no_cluster(target)
            return
        free, mine = self._free(execution)
        yield free
        try:
            for line in self._cluster_lines(execution, cluster):
                yield _serves(mine) if mine and line.name == AT_REST and line.level == "refused" else line
            view = cluster.look(target, timeout=LOOK_TIMEOUT)
        except Unavailable as error:
            yield Line(f"cluster {target.cluster}", "refused", str(error), "nothing more can be checked until it answers")
            return
        yield from _share(execution, view)
        yield from _pace(execution, view)
        yield from self._signals(execution, view, patient=True)

    def _free(self, execution: Execution) -> tuple[Line, str]:
        """Say whether another rollout has the target; with the id of the rollout where this very plan is the one that runs."""
        target = execution.target
        active = RolloutFilter(outcomes=(Outcome.ACTIVE,), target=str(target), limit=100)
        busy = [row for row in self._store.rollouts(active) if row.cluster == target.cluster]
        if not busy:
            return Line("target", "ok", f"no other rollout is active on {target}"), ""
        if busy[0].plan_hash == execution.plan.hash():
            return Line("target", "ok", f"rollout {busy[0].id} is this very plan, {busy[0].step}"), busy[0].id
        replaced = f", or say `supersede: {busy[0].id}` in the plan" if busy[0].kind == "Canary" else ""
        remedy = f"wait for it, or `rollout abort {busy[0].id}`{replaced}"
        return Line("target", "refused", f"rollout {busy[0].id} is active on {target} ({step_words(busy[0].step)})", remedy), ""

    def _cluster_lines(self, execution: Execution, cluster: Cluster) -> Iterator[Line]:
        target = execution.target
        observed = isinstance(execution.plan, CanaryPlan) and execution.plan.spec.mode is Mode.OBSERVE
        for check in cluster.preflight(target, execution.image):
            yield _observed(_line(check)) if observed else _line(check)

    def _signals(self, execution: Execution, view: TargetView, *, patient: bool = False) -> Iterable[Line]:
        """Ask every signal now about the stable's pods: a query that returns nothing now will return nothing later."""
        if not execution.signals:
            yield Line("signals", "warning", "the plan names no signal: only Kubernetes itself is watched",
                       "add `signals: [skywalking-traces, apisix-5xx, error-logs]`")  # fmt: skip
            return
        for signal in execution.signals:
            try:
                yield self._signal(execution, signal, view)
            except Unavailable as error:
                if not patient:
                    raise
                yield Line(f"signal {signal.name}", "refused", str(error), "the rollout waits for it, and is refused in the end")

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
                raise Unavailable(signal.backend, why.removeprefix(f"{signal.backend}: "))
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


def _no_cluster(target: Target) -> Line:
    return Line("cluster", "refused", f"no cluster {target.cluster!r} is configured", "add it to the daemon's configuration")


def _share(execution: Execution, view: TargetView) -> Iterator[Line]:
    """Say which part of the traffic the first replica would get now."""
    plan = execution.plan
    if not isinstance(plan, CanaryPlan) or view.stable is None or plan.spec.mode is Mode.OBSERVE:
        return
    share = start_share(plan, view.stable)
    if isinstance(share, Refusal):
        yield Line("share", "refused", share.why, share.remedy)
    else:
        yield Line("share", "ok", f"the first replica gets {percent(share)} beside {view.stable.ready} ready ones")


def _pace(execution: Execution, view: TargetView) -> Iterator[Line]:
    """Say where the Deployment's own deadline leaves a new pod less time to be judged than the plan wants."""
    plan, stable = execution.plan, view.stable
    if not isinstance(plan, CanaryPlan) or stable is None or plan.spec.mode is Mode.OBSERVE:
        return
    wanted = round(plan.spec.promotion.pace.total_seconds())
    given = pace_of(wanted, stable)
    if given < wanted:
        message = (
            f"{stable.name} has progressDeadlineSeconds {stable.progress_deadline_seconds}: in the promotion each new pod is judged"
            f" for {span(timedelta(seconds=given))}, not for {span(plan.spec.promotion.pace)}"
        )
        remedy = f"raise progressDeadlineSeconds to {wanted + PACE_SLACK} or more, or shorten promotion.pace"
        yield Line("pace", "warning", message, remedy)


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


def _serves(rollout: str) -> Line:
    """Answer instead of AT_REST where the plan runs: its canary is not to be scaled away."""
    return Line(AT_REST, "ok", f"it serves for rollout {rollout}, which is this very plan")
