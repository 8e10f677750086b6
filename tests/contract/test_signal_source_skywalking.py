"""SkyWalking's adapter against the pretend OAP in three manners and, where it runs, a real one. The truth is the same for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.skywalking import SkyWalkingSettings, SkyWalkingSource
from rollout.core.signals import Alarms, Counts, Gauges, NoData, PodKey, Unreachable, Window
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox
from rollout.sandbox.skywalking import V8, V10, V10_BANYANDB, SkyWalking
from rollout.sandbox.skywalking_fields import FiredAlarm, Flavour
from tests.contract.signal_worlds import MINUTE, SignalWorld, Truth, sandbox, sandbox_world, stranger
from tests.peers.oap import OapServer, agent
from tests.peers.process import wait_until

FLAVOURS: dict[str, Flavour] = {"sandbox-8.7": V8, "sandbox-10": V10, "sandbox-banyandb": V10_BANYANDB}
QUICK = timedelta(seconds=5)


def source_at(made: Sandbox, flavour: Flavour) -> tuple[SkyWalkingSource, SkyWalking]:
    pretend = SkyWalking(made.live, flavour)
    server = made.serve("skywalking", pretend.respond)
    source = SkyWalkingSource("sw", SkyWalkingSettings(url=server.url, timeout=QUICK), made.clock)
    made._stack.callback(source.close)
    return source, pretend


def real_world(oap: OapServer, source: SkyWalkingSource) -> SignalWorld:
    """Push a finished minute to a real OAP: an erring pod, one with more errors than a page holds, a healthy one, an idle one."""
    service = f"shop-{oap.now()}"
    minute = oap.now() // 60_000 * 60_000 - 180_000
    start = datetime.fromtimestamp(minute / 1000, UTC)
    pods = [PodKey("default", f"{service}-{n}", f"u{n}", f"10.8.0.{n}") for n in range(1, 5)]
    figures = [(20, 2, 1), (130, 120, 0), (40, 0, 0)]
    for pod in pods:
        oap.report_instance(service, f"{pod.uid}@{pod.ip}", language="java", ipv4=pod.ip)
    for pod, (requests, errors, lines) in zip(pods, figures, strict=False):
        instance = f"{pod.uid}@{pod.ip}"
        oap.push_requests(service, instance, minute + 1000, requests, errors=errors)
        oap.push_logs([agent.log(service, instance, minute + n, "boom") for n in range(lines)])
        oap.push_logs([agent.log(service, instance, minute + 500, "fine", level="INFO")])
    truth = {pod: Truth(requests, errors, errors, lines) for pod, (requests, errors, lines) in zip(pods, figures, strict=False)}
    world = SignalWorld(source, service, Window(start, start + MINUTE), truth, pods[3], stranger(), SystemClock())

    def complete() -> bool:
        """Each of these is written at a moment of its own."""
        calls = world.read("error-traces", service=service)
        failed = world.read("success-rate", *pods, service=service)
        lines = world.read("error-logs", service=service)
        times = world.read("response-time", service=service)
        return (
            isinstance(calls, Counts) and isinstance(failed, Counts) and isinstance(lines, Counts) and isinstance(times, Gauges)
            and len(failed.by_pod) == 4 and len(lines.by_pod) == len(times.by_pod) == 3
            and all(sum(count.requests or 0 for count in found.by_pod.values()) == 190 for found in (calls, failed))
            and all(sum(count.events for count in found.by_pod.values()) == 122 for found in (calls, failed))
            and sum(count.events for count in lines.by_pod.values()) == 1
        )  # fmt: skip

    wait_until(complete, 60, "what was pushed to be readable")
    return world


@pytest.fixture(
    scope="module", params=[*FLAVOURS, pytest.param("oap", marks=[pytest.mark.peer("oap"), pytest.mark.xdist_group("oap")])]
)
def world(request: pytest.FixtureRequest) -> Iterator[SignalWorld]:
    with ExitStack() as stack:
        if request.param == "oap":
            oap: OapServer = request.getfixturevalue("oap_peer")
            settings = SkyWalkingSettings(url=oap.url)
            yield real_world(oap, stack.enter_context(closing(SkyWalkingSource("sw", settings, SystemClock()))))
        else:
            at = stack.enter_context(sandbox())
            yield sandbox_world(at, source_at(at, FLAVOURS[request.param])[0])


def test_error_traces_and_calls_are_counted_per_pod(world: SignalWorld) -> None:
    reading = world.read("error-traces", service=world.service)
    assert isinstance(reading, Counts)
    seen = {name: (count.events, count.requests) for name, count in reading.by_pod.items()}
    assert seen == {pod.name: (truth.error_traces, truth.requests) for pod, truth in world.truth.items()}
    assert sum(truth.error_traces for truth in world.truth.values()) > 10


def test_failed_calls_are_counted_by_the_success_rate(world: SignalWorld) -> None:
    reading = world.read("success-rate", service=world.service)
    assert isinstance(reading, Counts)
    seen = {name: (count.events, count.requests) for name, count in reading.by_pod.items()}
    assert seen == {pod.name: (truth.errors, truth.requests) for pod, truth in world.truth.items()}


def test_error_lines_are_counted_without_requests(world: SignalWorld) -> None:
    reading = world.read("error-logs", service=world.service)
    assert isinstance(reading, Counts)
    seen = {name: (count.events, count.requests) for name, count in reading.by_pod.items()}
    assert seen == {pod.name: (truth.error_logs, None) for pod, truth in world.truth.items()}


def test_response_times_are_milliseconds(world: SignalWorld) -> None:
    reading = world.read("response-time", service=world.service)
    assert isinstance(reading, Gauges)
    assert set(reading.by_pod) == {pod.name for pod in world.truth}
    assert all(10 < value < 200 for value in reading.by_pod.values())


def test_a_pod_that_is_alive_and_idle_is_measured_zero_and_a_stranger_is_unknown(world: SignalWorld) -> None:
    assert world.idle is not None
    reading = world.read("success-rate", world.idle, world.stranger, service=world.service)
    assert isinstance(reading, Counts)
    assert {name: (count.events, count.requests) for name, count in reading.by_pod.items()} == {world.idle.name: (0, 0)}
    assert isinstance(world.read("response-time", world.idle, service=world.service), NoData)
    assert isinstance(world.read("success-rate", world.stranger, service=world.service), NoData)


def test_a_service_that_nobody_knows_is_no_data(world: SignalWorld) -> None:
    reading = world.read("error-traces", service="no-such-service")
    assert isinstance(reading, NoData)
    assert "no live instance of service 'no-such-service'" in reading.why


def test_a_minute_that_is_still_being_written_is_not_judged(world: SignalWorld) -> None:
    now = world.clock.now().replace(second=0, microsecond=0)
    reading = world.read("success-rate", window=Window(now - MINUTE, now), service=world.service)
    assert isinstance(reading, NoData)
    assert "not finished in SkyWalking yet" in reading.why


def test_two_halves_of_a_window_make_the_whole(world: SignalWorld) -> None:
    middle = world.window.start + MINUTE
    halves = [Window(world.window.start, middle), Window(middle, world.window.end)]
    whole = world.read("error-traces", service=world.service)
    parts = [world.read("error-traces", window=half, service=world.service) for half in halves if half.start < half.end]
    assert isinstance(whole, Counts)
    for pod in world.truth:
        assert sum(part.by_pod[pod.name].events for part in parts if isinstance(part, Counts)) == whole.by_pod[pod.name].events


def test_no_alarm_is_the_good_answer(world: SignalWorld) -> None:
    assert world.read("alarms", service=world.service) == Alarms(())


def test_the_server_introduces_itself_to_doctor(world: SignalWorld) -> None:
    checks = world.source.check()
    assert {check.level for check in checks} == {"ok"}
    assert checks[0].message.startswith("SkyWalking ")


@pytest.fixture
def made() -> Iterator[Sandbox]:
    with sandbox() as at:
        yield at


def test_an_alarm_points_at_the_pod_of_its_instance_until_it_recovers(made: Sandbox) -> None:
    source, pretend = source_at(made, V10)
    world = sandbox_world(made, source)
    pod = next(iter(world.truth))
    instance = f"{pod.uid.replace('-', '')}@{pod.ip}"
    at = made.clock.now() - MINUTE
    pretend.alarms.append(FiredAlarm("nginx", "Response time is high", at, instance))
    first = world.read("alarms", service="nginx")
    pretend.alarms[0] = FiredAlarm("nginx", "Response time is high", at, instance, recovered_at=made.clock.now())
    second = world.read("alarms", service="nginx")
    assert isinstance(first, Alarms)
    assert [(alarm.pods, alarm.message) for alarm in first.firing] == [((pod.name,), "Response time is high")]
    assert second == Alarms(())


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        (Failing.HTML, "HTML page instead of JSON (Sign in)"),
        (Failing.ERROR_500, "HTTP 500"),
        (Failing.UNAVAILABLE_503, "HTTP 503"),
        (Failing.REFUSED_401, "it wants credentials"),
        (Failing.CUT, "broke before the answer was complete"),
    ],
)
def test_a_backend_in_trouble_is_unreachable_and_back_at_once_when_it_is_well(made: Sandbox, failing: Failing, words: str) -> None:
    source, _ = source_at(made, V10)
    world = sandbox_world(made, source)
    with made.using() as inside:
        inside.faults.set("skywalking", Fault(failing))
    reading = world.read("success-rate", service="nginx")
    with made.using() as inside:
        inside.faults.clear("skywalking")
    assert isinstance(reading, Unreachable)
    assert words in reading.why
    made.advance(timedelta(seconds=30))
    assert isinstance(world.read("success-rate", service="nginx"), Counts)


def test_a_server_whose_clock_is_ahead_is_told_and_does_not_shift_the_windows(made: Sandbox) -> None:
    with made.using() as inside:
        inside.faults.set_skew("skywalking", timedelta(seconds=90))
    source, _ = source_at(made, V10)
    world = sandbox_world(made, source)
    levels = {check.name: (check.level, check.message) for check in source.check()}
    reading = world.read("success-rate", service="nginx")
    assert levels["sw clock"] == ("warning", "its clock is 1 m 30 s ahead of ours")
    assert isinstance(reading, Counts)
    assert {name: count.events for name, count in reading.by_pod.items()} == {p.name: t.errors for p, t in world.truth.items()}


def test_all_rollouts_share_few_requests(made: Sandbox) -> None:
    source, pretend = source_at(made, V10)
    server = made.servers["skywalking"]
    asked: list[bytes] = []

    def counting(request: object) -> object:
        asked.append(b"")
        return pretend.respond(request)  # type: ignore[arg-type] # passed on

    server.respond = counting  # type: ignore[assignment] # as above
    world = sandbox_world(made, source)
    pods = list(world.truth)
    asks = ("error-traces", "success-rate", "response-time", "error-logs", "alarms")
    questions = [world.question(ask, pods[n], pods[n + 1], service="nginx") for ask in asks for n in range(9)]
    answers = source.read(questions)
    assert all(not isinstance(answer.reading, Unreachable | NoData) for answer in answers.values())
    assert len(asked) <= 6  # who are you (three), who is alive, what did they do, perhaps a second page
