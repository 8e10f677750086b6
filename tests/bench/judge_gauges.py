"""Simulated gauges per pod: a p95 that differs a little between pods, wobbles in time, and may be higher on the candidate."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rollout.core import judge_rank
from rollout.core.judge_rank import RankParameters


@dataclass(frozen=True, slots=True)
class Service:
    """`spread`: how much pods differ for good, `wobble`: how much a window differs (both parts of 1); `factor`: the candidate's."""

    spread: float = 0.05
    wobble: float = 0.1
    factor: float = 1.0
    onset: int = 0
    pods: int = 10
    windows: int = 288
    burst: float = 0.0
    """The chance that a window's value of one pod is ten times as high."""


def alarm_at(parameters: RankParameters, service: Service, random: Random) -> int | None:
    """Run once: windows until the alarm, None for none."""
    own = [1 + service.spread * random.gauss(0, 1) for _ in range(service.pods + 1)]
    state = judge_rank.start(parameters)
    for t in range(service.windows):
        values = [100 * part * (1 + service.wobble * random.gauss(0, 1)) * _burst(service, random) for part in own]
        factor = service.factor if t >= service.onset else 1.0
        seed = f"{random.random()}"
        state = judge_rank.update(parameters, state, [values[0] * factor], values[1:], seed=seed)
        if judge_rank.e_value(parameters, state) >= parameters.line:
            return t + 1
    return None


def _burst(service: Service, random: Random) -> float:
    return 10.0 if service.burst and random.random() < service.burst else 1.0
