"""What `doctor`, `signals test` and `notify test` ask, so that the command line only prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from rollout.core.decision import Execution
from rollout.core.history import Notice, NoticeKind
from rollout.core.observation import Line
from rollout.core.signals import Alarms, Counts, Gauges, NoData, Unreachable
from rollout.engine.preflight import Preflight
from rollout.ports import Check, Clock, Cluster, Message, RolloutError, SignalSource, Store

LOOK = timedelta(seconds=10)


@runtime_checkable
class Checkable(Protocol):
    """Whatever can say how it is."""

    def check(self) -> Sequence[Check]:
        """Tell: reachable, which version, clock skew."""
        ...


def check_up(store: Store, others: Mapping[str, object]) -> Iterator[Line]:
    """Ask the database, and everything else that can say how it is, by the name under which to show it."""
    try:
        store.ping()
    except RolloutError as error:
        yield Line("database", "refused", str(error), "see the database's own log")
    else:
        yield Line("database", "ok", "reads and writes")
    for name, other in others.items():
        try:
            checks = other.check() if isinstance(other, Checkable) else ()
        except RolloutError as error:
            yield Line(name, "refused", str(error), "is its address right, and does it run?")
            continue
        for check in checks:
            yield Line(f"{name}: {check.name}", check.level, check.message, check.remedy)


def try_signals(
    execution: Execution, cluster: Cluster, sources: Mapping[str, SignalSource], store: Store, clock: Clock
) -> Iterator[str]:
    """Ask each signal about the stable's pods in the last whole window, and word query, answer and verdict."""
    view = cluster.look(execution.target, timeout=LOOK)
    preflight = Preflight({execution.target.cluster: cluster}, sources, store, clock)
    for signal in execution.signals:
        yield f"{signal.name} ({signal.backend})"
        source = sources.get(signal.backend)
        if source is None:
            yield f"  no backend {signal.backend!r} is configured"
            continue
        question = preflight.question(execution, signal, view)
        answer = source.read((question,))[question]
        yield f"  window   {question.window.start:%H:%M:%S} to {question.window.end:%H:%M:%S} UTC, {len(question.pods)} stable pods"
        yield f"  query    {answer.query}"
        match answer.reading:
            case Counts(by_pod):
                for pod, count in sorted(by_pod.items()):
                    requests = "requests not measured" if count.requests is None else f"of {count.requests:g} requests"
                    yield f"  answer   {pod}: {count.events:g} events {requests}"
                events = sum(c.events for c in by_pod.values())
                limit = "" if signal.limit is None else f", limit {signal.limit:g}"
                yield f"  verdict  the stable has {events:g} events; judged by {signal.judge.value}{limit}"
            case Gauges(values):
                for pod, value in sorted(values.items()):
                    yield f"  answer   {pod}: {value:g}"
                yield f"  verdict  judged by {signal.judge.value}" + ("" if signal.limit is None else f", limit {signal.limit:g}")
            case Alarms(firing):
                yield f"  answer   {len(firing)} alarms fire" + "".join(f"\n           {a.name}: {a.message}" for a in firing)
                yield "  verdict  " + ("shared incident: holds" if firing else "healthy")
            case NoData(why):
                yield f"  verdict  no data: {why}"
            case Unreachable(why):
                yield f"  verdict  unreachable: {why}"


def test_message(now: datetime) -> Message:
    """Make the notice that `notify test` sends."""
    why = "Somebody ran `rollout notify test`; nothing is upgraded."
    evidence = ("If you can read this, this channel works.",)
    notice = Notice("0000-test", NoticeKind.STEP, "rollout: test notice", why, now, evidence, "Nothing to do.")
    return Message(notice, "test", "test", "none", "none", "none", "none")
