"""Notifiers against the sandbox's chat: what it shows, and every way in which it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from rollout.adapters.slack import SlackNotifier, SlackSettings
from rollout.core.errors import Rejected, Unavailable
from rollout.sandbox.faults import Failing, Fault, Faults
from rollout.sandbox.http import HttpServer
from rollout.sandbox.webhooks import Mood, WebhookReceiver
from tests.adapters.messages import WHY, message
from tests.adapters.stub import HandClock

CLOCK = HandClock()


class Chat:
    """A channel and the chat behind it."""

    def __init__(self) -> None:
        self.receiver = WebhookReceiver(CLOCK.now)
        self.faults = Faults()
        self.server = HttpServer("webhooks", self.receiver.respond, self.faults, CLOCK.now).start()
        settings = SlackSettings.model_validate({"url": f"{self.server.url}/services/T0/B0/verysecret", "timeout": "1s"})
        self.channel = SlackNotifier("ops", settings, CLOCK)

    def close(self) -> None:
        self.channel.close()
        self.server.close()


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()


def test_a_message_arrives_with_what_was_seen_what_happens_next_and_which_rollout(chat: Chat) -> None:
    chat.channel.send(message())
    [received] = chat.receiver.accepted
    assert received.text.split("\n")[:2] == ["Stepping back: nginx 1.27.3", WHY]
    assert "Next: Nothing to do now" in received.text
    assert "rollout 7f3a9c | main: prod/nginx" in received.text


@pytest.mark.parametrize("mood", [Mood.NO_SERVICE, Mood.INVALID_TOKEN, Mood.NOT_OK])
def test_a_refusal_is_final_and_tells_what_to_do(chat: Chat, mood: Mood) -> None:
    chat.receiver.be(mood)
    with pytest.raises(Rejected) as caught:
        chat.channel.send(message())
    assert "verysecret" not in str(caught.value)
    assert not chat.receiver.accepted


def test_a_busy_chat_is_asked_again_when_it_wants_to_be(chat: Chat) -> None:
    chat.receiver.retry_after = timedelta(seconds=20)
    chat.receiver.be(Mood.RATE_LIMITED, times=1)
    with pytest.raises(Unavailable) as caught:
        chat.channel.send(message())
    assert caught.value.retry_after == timedelta(seconds=20)
    CLOCK.advance(timedelta(seconds=21))
    chat.channel.send(message())
    assert len(chat.receiver.accepted) == 1


def test_a_chat_that_fails_is_asked_again_later(chat: Chat) -> None:
    chat.receiver.be(Mood.ERROR, times=1)
    with pytest.raises(Unavailable):
        chat.channel.send(message())
    chat.channel.send(message())
    assert len(chat.receiver.accepted) == 1


@pytest.mark.parametrize("failing", [Failing.HANG, Failing.CUT, Failing.ERROR_500, Failing.UNAVAILABLE_503])
def test_a_chat_that_does_not_answer_may_have_the_message(chat: Chat, failing: Failing) -> None:
    chat.faults.set("webhooks", Fault(failing))
    with pytest.raises(Unavailable):
        chat.channel.send(message())


def test_a_login_page_is_not_a_delivery(chat: Chat) -> None:
    chat.faults.set("webhooks", Fault(Failing.HTML))
    with pytest.raises(Rejected, match="'ok' was expected"):
        chat.channel.send(message())
