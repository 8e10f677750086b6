"""Backends that answer nearly right: one or a few places of a true answer hold something else. Whatever comes is a reading.

A mutation that fails is named by its seed. More than the tests play:
`ROLLOUT_HOSTILE_ANSWERS=20000 pytest tests/hostile/test_answers.py`.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rollout.adapters.alertmanager import AlertmanagerSettings, AlertmanagerSource
from rollout.adapters.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from rollout.adapters.prometheus import PrometheusSettings, PrometheusSource
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.cohorts import Cohorts
from rollout.core.evidence import absorb
from rollout.core.evidence_counts import Setting
from rollout.core.signals import Alarms, Answer, Counts, Gauges, Unreachable
from rollout.ports import Clock, SignalSource
from rollout.sandbox.http import Request, Respond, Response
from rollout.sandbox.serve import Sandbox
from rollout.sandbox.skywalking import V8, V10, V10_BANYANDB, SkyWalking
from rollout.sandbox.skywalking_fields import FiredAlarm, Flavour
from tests.contract.signal_worlds import MINUTE, SignalWorld, sandbox, sandbox_world
from tests.core.builders import canary_plan
from tests.core.scenes import parts, view

SEEDS = int(os.environ.get("ROLLOUT_HOSTILE_ANSWERS", "60"))
ASKS = {
    "prometheus": {"5xx": "apisix-5xx", "latency": "apisix-latency"},
    "elasticsearch": {"error-logs": "error-logs"},
    "alertmanager": {"alerts": "alertmanager"},
    "skywalking": {
        "error-traces": "skywalking-traces", "success-rate": "skywalking-success-rate", "response-time": "skywalking-response-time",
        "error-logs": "skywalking-logs", "alarms": "skywalking-alarms",
    },
}  # fmt: skip
"""The presets by what each kind of source can be asked."""
KINDS = {
    "prometheus": ("prometheus", None), "elasticsearch": ("elasticsearch", None), "alertmanager": ("alertmanager", None),
    "skywalking 8.7": ("skywalking", V8), "skywalking 10": ("skywalking", V10), "skywalking banyandb": ("skywalking", V10_BANYANDB),
}  # fmt: skip
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, -(10**30), 0.5, -0.0, math.nan, math.inf, "", "x", "NaN", "+Inf", "-7", "1e999", "\ud800",
    "2026-13-45T99:99:99Z", [], {}, [[]], [None], {"": None}, "a" * 3000, [0] * 50,
)  # fmt: skip


def mutated(document: Any, chosen: random.Random) -> Any:  # noqa: ANN401 - JSON
    """Give the document with one place changed: a value replaced, an entry lost, renamed or doubled."""
    if not isinstance(document, dict | list) or not document or chosen.random() < 0.1:
        return chosen.choice(HOSTILE)
    copy = document.copy()
    place = chosen.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    match chosen.randrange(10):
        case 0:
            del copy[place]
        case 1 if isinstance(copy, dict):
            copy[chosen.choice(("", "x", "value", "errors"))] = copy.pop(place)
        case 2 if isinstance(copy, list):
            copy += [copy[place]] * chosen.choice((1, 30))
        case _:
            copy[place] = mutated(copy[place], chosen)
    return copy


class Mutating:
    """Answers as another does; once armed, some of its answers are wrong in a few places, the first after a few true ones."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._chosen: random.Random | None = None
        self._true = 0

    def arm(self, seed: int | None) -> None:
        self._chosen = None if seed is None else random.Random(seed)
        self._true = self._chosen.randrange(6) if self._chosen else 0

    def __call__(self, request: Request) -> Response:
        response, chosen = self._respond(request), self._chosen
        self._true -= 1
        if chosen is None or self._true >= 0 or (self._true < -1 and chosen.random() < 0.6):
            return response
        document = json.loads(response.body)
        for _ in range(chosen.choice((1, 1, 1, 2, 5))):
            document = mutated(document, chosen)
        status = chosen.choice((response.status,) * 12 + (200, 400, 429, 500, 503))
        return replace(response, status=status, body=json.dumps(document).encode())


@dataclass
class Hostile:
    """A source, its backend, and how to make another source of the same."""

    world: SignalWorld
    backend: Mutating
    kind: str
    url: str

    def source(self) -> SignalSource:
        return made_source(self.kind, self.url, self.world.clock)


def made_source(kind: str, url: str, clock: Clock) -> SignalSource:
    match kind:
        case "prometheus":
            return PrometheusSource(kind, PrometheusSettings(url=url), clock)
        case "elasticsearch":
            return ElasticsearchSource(kind, ElasticsearchSettings(url=url), clock)
        case "alertmanager":
            return AlertmanagerSource(kind, AlertmanagerSettings(url=url), clock)
        case _:
            return SkyWalkingSource(kind, SkyWalkingSettings(url=url), clock)


@pytest.fixture(scope="module", params=KINDS)
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    kind, flavour = KINDS[request.param]
    with ExitStack() as stack:
        made = stack.enter_context(sandbox())
        backend = Mutating(respond_of(made, kind, flavour))
        url = made.serve("hostile", backend).url
        first = made_source(kind, url, made.clock)
        stack.callback(first.close)
        found = Hostile(sandbox_world(made, first), backend, kind, url)
        assert {type(answer.reading) for answer in answers(found, first)} <= {Counts, Gauges, Alarms}, "untouched, all is told"
        yield found


def respond_of(made: Sandbox, kind: str, flavour: Flavour | None) -> Respond:
    if flavour is None:
        if kind == "alertmanager":
            made.alertmanager.fire("High", {"pod": "web-1", "namespace": "default"}, "too many errors")
        respond: Respond = getattr(made, kind).respond
        return respond
    pretend = SkyWalking(made.live, flavour)
    pretend.alarms.append(FiredAlarm("nginx", "Response time is high", made.clock.now() - MINUTE))
    return pretend.respond


def answers(hostile: Hostile, source: SignalSource) -> list[Answer]:
    given: dict[str, str] = {"service": "nginx"} if hostile.kind == "skywalking" else {}
    asked = [
        replace(hostile.world.question(ask, window=hostile.world.window, **given), signal=preset)
        for ask, preset in ASKS[hostile.kind].items()
    ]
    told = source.read(asked)
    return [told[question] for question in asked]


def test_whatever_a_backend_answers_is_a_reading_that_the_core_can_use(hostile: Hostile) -> None:
    told: set[type] = set()
    for seed in range(SEEDS):
        source = hostile.source()
        hostile.backend.arm(seed)
        try:
            found = answers(hostile, source)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            hostile.backend.arm(None)
            source.close()
        told |= {type(answer.reading) for answer in found}
        judge(hostile, found, seed)
    assert Unreachable in told, "some of what was read was broken"
    assert told & {Counts, Gauges, Alarms}, "and some was not"


def judge(hostile: Hostile, found: list[Answer], seed: int) -> None:
    """Let the core use each answer, with half of the pods as candidates."""
    signals = canary_plan(signals=[answer.question.signal for answer in found]).signals
    names = sorted(pod.name for pod in hostile.world.truth)
    pods = parts(view(5, 5))
    renamed = [replace(pod, name=name) for pod, name in zip((*pods.candidate, *pods.baseline), names, strict=True)]
    cohorts = Cohorts(tuple(renamed[:5]), tuple(renamed[5:]))
    try:
        states = absorb(Setting("r", 24.0), signals, (), found, cohorts, found[0].at)
    except Exception as error:
        raise AssertionError(f"seed {seed}: the core: {type(error).__name__}: {error}") from error
    assert all(math.isfinite(state.e_value) for state in states), f"seed {seed}"
