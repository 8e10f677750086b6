"""What a daemon spends on evidence in a minute: for 1, 100 and 1,000 active rollouts of 11 pods on one backend of each kind.

    python -m tests.bench.evidence_bench

The real engine, its upkeep and the real adapters; the backends are stubs on loopback that answer at once, so the figures are the
daemon's own: requests, KiB sent, seconds of CPU for asking and for judging and deciding. The second table lets one backend hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from rollout.core import machine
from rollout.core.cohorts import ANNOTATION_ID, TargetView
from rollout.core.decision import Execution, Timing
from rollout.core.policy import Policy
from rollout.core.signals import Answer, Question
from rollout.core.state import Soaking, State
from rollout.core.target import Target
from rollout.engine.active import Active
from rollout.engine.engine import Engine, Setup
from rollout.engine.upkeep import Upkeep
from rollout.engine.workers import Inline, Threads, Workers
from rollout.ports import SignalSource
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.adapters.stub import Say, Script, Seen, Stub, stub
from tests.bench import signal_bench
from tests.simulation.days import LOOKS, NEW, OLD, Day, M, plan
from tests.simulation.pretend import WorldClock, WorldCluster

SIGNALS = {"prometheus": "apisix-5xx", "elasticsearch": "error-logs", "skywalking": "skywalking-traces"}
MINUTES = 3
PATIENCE = timedelta(seconds=30)


class Copies(WorldCluster):
    """One target of the world, shown as many: each with names and addresses of its own."""

    def __init__(self, day: Day) -> None:
        super().__init__(day.world)
        self._day = day
        self._copies: dict[str, TargetView] = {}

    def prepare(self, targets: Mapping[str, Target]) -> None:
        active = self._day.engine.active(self._day.id)
        assert active is not None
        self.follow(active.execution.target.namespace)
        seen = super().view(active.execution.target)
        assert isinstance(seen, TargetView)
        assert seen.canary is not None
        assert seen.stable is not None
        for number, (rollout, target) in enumerate(targets.items()):
            names = {seen.stable.name: target.stable, seen.canary.name: target.canary}
            pods = tuple(
                replace(
                    pod, name=f"app-{number}-{n}", uid=f"u{number}-{n}", ip=signal_bench.address(number, n),
                    deployment=names.get(pod.deployment, pod.deployment),
                    containers=tuple(replace(container, name=target.container) for container in pod.containers),
                )
                for n, pod in enumerate(seen.pods)
            )  # fmt: skip
            self._copies[target.stable] = TargetView(
                target,
                seen.seen_at,
                replace(seen.stable, name=target.stable, images={target.container: OLD}),
                replace(seen.canary, name=target.canary, images={target.container: NEW}, annotations={ANNOTATION_ID: rollout}),
                pods,
            )

    def view(self, target: Target) -> TargetView:
        return replace(self._copies[target.stable], seen_at=self.world.now)


class Fleet:
    """An engine with so many rollouts in their soak, watched by these signals."""

    def __init__(self, rollouts: int, signals: Sequence[str], sources: Mapping[str, SignalSource], workers: Workers) -> None:
        self.day = Day(*signals)
        self.day.run(30 * M)
        self.clock = WorldClock(self.day.world)
        cluster = Copies(self.day)
        store = MemoryStore(self.clock)
        setup = Setup(
            "bench", Policy(), Timing(LOOKS.look_every, timedelta(days=9), LOOKS.longest_gap), ("ops",), timedelta(days=9)
        )
        self.engine = Engine(setup, store, {"default": cluster}, {}, StoredCodec(store), self.clock, workers)
        self.engine.lease.renewed(self.clock.monotonic())
        self.upkeep = Upkeep(self.engine, sources)
        state: State = self.day.state()
        used = self.day.world.now.replace(second=0, microsecond=0) - 3 * M
        state = replace(state, signals=tuple(replace(s, used_until=used) for s in state.signals))
        plans = {f"r{number}": plan(f"svc-{number}", signals) for number in range(rollouts)}
        cluster.prepare({rollout: made.target for rollout, made in plans.items()})
        for rollout, made in plans.items():
            self.engine._put(Active(Execution(rollout, made, made.signals), state, 1))

    def pass_minute(self) -> None:
        self.day.world.advance_by(M)

    def judge(self) -> None:
        """Look at every rollout and decide; what storing costs is store_bench's to say."""
        setup, now = self.engine.setup, self.clock.now()
        for active in self.engine.actives():
            asked = machine.Question(active.execution, setup.policy, setup.timing)
            decision = machine.decide(asked, active.state, self.engine._look(active), (), now)
            active.state = decision.state
            assert isinstance(active.state.step, Soaking), decision.why


def script_of(kind: str, day_now: Sequence[Fleet]) -> Script:
    """Answer as signal_bench's backends, by the fleet's clock."""
    if kind != "skywalking":
        return signal_bench.prometheus if kind == "prometheus" else signal_bench.elasticsearch

    def answer(seen: Seen) -> Say:
        said = signal_bench.skywalking(seen)
        if b"getTimeInfo" in seen.body and day_now:
            now = round(day_now[0].day.world.now.timestamp() * 1000)
            said = Say(body={"data": {"version": "10.4.0", "getTimeInfo": {"timezone": "+0000", "currentTimestamp": now}}})
        return said

    return answer


@dataclass
class Cost:
    requests: float
    kib: float
    asking: float
    judging: float


def measure(kind: str, rollouts: int) -> Cost:
    """Let some minutes pass, and average what one of them cost; the first, in which the backend is met, is not counted."""
    fleets: list[Fleet] = []
    with stub(script_of(kind, fleets)) as server:
        sources: dict[str, SignalSource] = {}
        fleet = Fleet(rollouts, [SIGNALS[kind]], sources, Inline())
        fleets.append(fleet)
        source = signal_bench.made(kind, server.url, fleet.clock)
        sources[kind] = source
        asking = judging = 0.0
        for minute in range(MINUTES + 1):
            if minute == 1:
                server.seen.clear()
                asking = judging = 0.0
            fleet.pass_minute()
            started = time.thread_time()
            fleet.upkeep.ask()
            asked = time.thread_time()
            fleet.judge()
            asking, judging = asking + asked - started, judging + time.thread_time() - asked
        source.close()
        used = {s.used_until for active in fleet.engine.actives() for s in active.state.signals}
        assert len(fleet.engine.actives()) == rollouts
        assert len(used) == 1, "some rollout was left behind"
        sent = sum(len(seen.body) for seen in server.seen) / 1024
        return Cost(len(server.seen) / MINUTES, sent / MINUTES, asking / MINUTES, judging / MINUTES)


class Watched:
    """Notes when a source has answered."""

    def __init__(self, inner: SignalSource) -> None:
        self._inner = inner
        self.name = inner.name
        self.answered = threading.Event()
        self.took = 0.0

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        started = time.perf_counter()
        answers = self._inner.read(questions)
        self.took = time.perf_counter() - started
        self.answered.set()
        return answers

    def check(self) -> Sequence[object]:
        return ()

    def close(self) -> None:
        self._inner.close()


def one_hangs(rollouts: int, hung: str) -> dict[str, float]:
    """Seconds until each backend that works had answered for all rollouts; `hung` never answers ("" for none)."""
    fleets: list[Fleet] = []
    workers = Threads()
    with ExitStack() as stack:
        servers: dict[str, Stub] = {
            kind: stack.enter_context(stub(Say(hang=True) if kind == hung else script_of(kind, fleets))) for kind in SIGNALS
        }
        sources: dict[str, SignalSource] = {}
        fleet = Fleet(rollouts, list(SIGNALS.values()), sources, workers)
        fleets.append(fleet)
        watched = {kind: Watched(signal_bench.made(kind, server.url, fleet.clock)) for kind, server in servers.items()}
        sources.update(watched)  # type: ignore[arg-type]  # its check is never called
        fleet.pass_minute()
        started = time.perf_counter()
        fleet.upkeep.ask()
        blocked = time.perf_counter() - started
        for kind, source in watched.items():
            assert kind == hung or source.answered.wait(PATIENCE.total_seconds())
        found = {kind: source.took for kind, source in watched.items() if kind != hung}
        for server in servers.values():
            server.stopping.set()
        workers.close(PATIENCE.total_seconds())
        for source in watched.values():
            source.close()
        return {"ask": blocked, **found}


def main() -> None:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    print("| backend | rollouts | requests a minute | KiB a minute | CPU s a minute, asking | CPU s a minute, judging |")
    print("|---|---|---|---|---|---|")
    for kind in SIGNALS:
        for rollouts in (1, 100, 1_000):
            cost = measure(kind, rollouts)
            print(f"| {kind} | {rollouts} | {cost.requests:g} | {cost.kib:.0f} | {cost.asking:.3f} | {cost.judging:.3f} |")
    print(
        "\n| 100 rollouts; which backend hangs | `ask` returns after ms | "
        + " | ".join(f"{kind} answered after ms" for kind in SIGNALS)
        + " |"
    )
    print("|---|---|---|---|---|")
    for hung in ("", *SIGNALS):
        took = one_hangs(100, hung)
        rest = " | ".join("-" if kind not in took else f"{took[kind] * 1000:.0f}" for kind in SIGNALS)
        print(f"| {hung or 'none'} | {took['ask'] * 1000:.0f} | {rest} |")


if __name__ == "__main__":
    main()
