"""Every pretend backend can fail on the wire; the webhook receiver answers as Slack does; compressed time can stand still."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.clock import CompressedClock
from rollout.sandbox.faults import Failing, Fault, Faults
from rollout.sandbox.http import HttpServer, Request, Response, text_response
from rollout.sandbox.serve import Sandbox, SandboxOptions
from rollout.sandbox.webhooks import Mood, WebhookReceiver
from tests.contract.sandbox_builders import START, manifests


def hello(request: Request) -> Response:
    return text_response(f"{request.method} {request.path} {request.one('q')} {request.body.decode()}")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer("hello", hello, Faults(), lambda: START) as running:
        yield running


def test_a_server_answers_with_the_worlds_date(server: HttpServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        answers = [client.post("/a/b?q=1", content=b"body") for _ in range(3)]
    assert {answer.text for answer in answers} == {"POST /a/b 1 body"}
    assert parsedate_to_datetime(answers[0].headers["date"]) == START
    server.faults.set_skew("hello", timedelta(hours=1))
    assert parsedate_to_datetime(httpx.get(server.url).headers["date"]) == START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("failing", "status"),
    [(Failing.ERROR_500, 500), (Failing.UNAVAILABLE_503, 503), (Failing.REFUSED_401, 401), (Failing.THROTTLED_429, 429)],
)
def test_a_fault_is_answered_with_its_status(server: HttpServer, failing: Failing, status: int) -> None:
    server.faults.set("hello", Fault(failing))
    assert httpx.get(server.url).status_code == status
    server.faults.clear("hello")
    assert httpx.get(server.url).status_code == 200


def test_a_fault_can_be_limited_to_a_path_and_a_method(server: HttpServer) -> None:
    server.faults.set("hello", Fault(Failing.ERROR_500, path="/bad", method="POST"))
    assert httpx.post(f"{server.url}/bad").status_code == 500
    assert httpx.get(f"{server.url}/bad").status_code == 200
    assert httpx.post(f"{server.url}/good").status_code == 200


def test_a_web_page_instead_of_an_answer(server: HttpServer) -> None:
    server.faults.set("hello", Fault(Failing.HTML))
    answer = httpx.get(server.url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_a_hang_lasts_until_the_client_gives_up_and_holds_nobody_else(server: HttpServer) -> None:
    server.faults.set("hello", Fault(Failing.HANG, path="/slow"))
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/slow", timeout=0.2)
    assert httpx.get(f"{server.url}/other").status_code == 200


def test_an_answer_can_break_off_in_the_middle(server: HttpServer) -> None:
    server.faults.set("hello", Fault(Failing.CUT))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(server.url)


def test_a_slow_answer_is_right(server: HttpServer) -> None:
    server.faults.set("hello", Fault(Failing.SLOW, delay=timedelta(seconds=0.2)))
    answer = httpx.get(f"{server.url}/x")
    assert answer.text == "GET /x  "
    assert answer.elapsed > timedelta(seconds=0.2)


def test_closing_ends_every_connection_and_thread() -> None:
    before = set(threading.enumerate())
    server = HttpServer("hello", hello, Faults(), lambda: START).start()
    server.faults.set("hello", Fault(Failing.HANG, path="/slow"))
    ended: list[str] = []

    def wait_for_ever() -> None:
        try:
            httpx.get(f"{server.url}/slow", timeout=20)
        except httpx.HTTPError as error:
            ended.append(type(error).__name__)

    with httpx.Client() as client:
        client.get(server.url)
        waiting = threading.Thread(target=wait_for_ever)
        waiting.start()
        server.close()
        waiting.join(5)
        assert len(ended) == 1
        with pytest.raises(httpx.HTTPError):
            client.get(server.url)
    assert set(threading.enumerate()) <= before


@pytest.fixture
def receiver() -> Iterator[tuple[WebhookReceiver, str]]:
    kept = WebhookReceiver(lambda: START)
    with HttpServer("webhooks", kept.respond, Faults(), lambda: START) as server:
        yield kept, f"{server.url}/services/T/B/secret"


def test_a_message_is_taken_and_shown(receiver: tuple[WebhookReceiver, str]) -> None:
    kept, url = receiver
    answer = httpx.post(url, json={"text": "<b>hello</b>"})
    assert (answer.status_code, answer.text) == (200, "ok")
    assert [message.text for message in kept.wait_for(1, 1)] == ["<b>hello</b>"]
    base = url.split("/services")[0]
    assert httpx.get(f"{base}/received").json()[0]["payload"] == {"text": "<b>hello</b>"}
    assert "&lt;b&gt;hello" in httpx.get(base).text


@pytest.mark.parametrize(
    ("mood", "status", "body"),
    [(Mood.RATE_LIMITED, 429, "rate_limited"), (Mood.NO_SERVICE, 404, "no_service"), (Mood.INVALID_TOKEN, 403, "invalid_token"),
     (Mood.ERROR, 500, "rollup_error"), (Mood.NOT_OK, 200, "thanks, but")],
)  # fmt: skip
def test_the_receiver_refuses_in_slacks_words(receiver: tuple[WebhookReceiver, str], mood: Mood, status: int, body: str) -> None:
    kept, url = receiver
    kept.be(mood, times=1)
    answer = httpx.post(url, json={"text": "x"})
    assert (answer.status_code, answer.text) == (status, body)
    assert ("retry-after" in answer.headers) == (mood is Mood.RATE_LIMITED)
    assert httpx.post(url, json={"text": "x"}).text == "ok"
    assert [message.accepted for message in kept.received] == [False, True]


def test_what_is_no_message_is_refused(receiver: tuple[WebhookReceiver, str]) -> None:
    _, url = receiver
    assert httpx.post(url, content=b"not json").text == "invalid_payload"
    assert httpx.post(url, json={"colour": "red"}).text == "no_text"


class HandClock:
    """A real clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def test_compressed_time_runs_stands_still_and_jumps() -> None:
    real = HandClock()
    clock = CompressedClock(real, START, speed=3_600.0)
    real.seconds = 2.0
    assert clock.now() == START + timedelta(hours=2)
    with clock.standing_still(), clock.standing_still():
        real.seconds = 10.0
        assert clock.now() == START + timedelta(hours=2)
    real.seconds = 11.0
    assert clock.now() == START + timedelta(hours=3)
    clock.set_speed(0.0)
    real.seconds = 100.0
    assert clock.jump(timedelta(hours=-1)) == clock.now() == START + timedelta(hours=2)
    assert clock.monotonic() == 100.0


def test_a_sandbox_moves_with_its_clock_and_by_hand() -> None:
    with Sandbox(SystemClock(), SandboxOptions(START, speed=0.0, warm_up=timedelta(minutes=10)), manifests()) as sandbox:
        assert sandbox.urls.keys() >= {"kubernetes", "prometheus", "webhooks"}
        assert sandbox.world.now == START + timedelta(minutes=10)
        assert sandbox.advance(timedelta(hours=1)) == sandbox.clock.now() == START + timedelta(minutes=70)
        sandbox.clock.set_speed(36_000.0)
        arrived = threading.Event()
        with sandbox.using() as world:
            world.observers.append(lambda change: arrived.set() if change.type == "DELETED" else None)
            world.delete_pod("shop", world.objects("pods")[0]["metadata"]["name"])
        assert arrived.wait(5)
