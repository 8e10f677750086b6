from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from rollout.adapters.slack import SlackNotifier, SlackSettings
from rollout.core.errors import Rejected, RolloutError, Unavailable
from tests.adapters.messages import message
from tests.adapters.stub import HandClock, Say, Stub, closed_port, stub

PATH = "/services/T000/B000/verysecret"


@contextmanager
def channel(say: Say, flavour: str = "slack") -> Iterator[tuple[SlackNotifier, Stub]]:
    with stub(say) as server:
        settings = SlackSettings.model_validate({"type": flavour, "url": server.url + PATH + "?k=verysecret", "timeout": "1s"})
        notifier = SlackNotifier("ops", settings, HandClock())
        try:
            yield notifier, server
        finally:
            notifier.close()


@pytest.mark.parametrize(
    ("flavour", "say"),
    [
        ("slack", Say(200, "ok", "text/html")),
        ("mattermost", Say(200, "ok\n", "text/plain")),
        ("rocketchat", Say(200, {"success": True})),
        ("discord", Say(204, "")),
        ("discord", Say(200, "ok", "text/plain")),
    ],
)
def test_a_message_is_delivered_when_status_and_body_say_so(flavour: str, say: Say) -> None:
    with channel(say, flavour) as (notifier, server):
        notifier.send(message())
    [seen] = server.seen
    assert seen.method == "POST"
    assert seen.headers["content-type"] == "application/json"
    assert "7f3a9c" in seen.body.decode()


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (Say(400, "invalid_payload", "text/html"), "HTTP 400: invalid_payload; the message will not be sent again"),
        (Say(403, "invalid_token", "text/html"), "HTTP 403: invalid_token; the webhook was revoked"),
        (Say(404, "no_service", "text/html"), "HTTP 404: no_service; the webhook was revoked"),
        (Say(410, "channel_is_archived", "text/html"), "HTTP 410: channel_is_archived"),
        (Say(404, {"id": "x", "message": "Couldn't find the webhook.", "status_code": 404}), "Couldn't find the webhook."),
        (Say(400, {"success": False, "error": "invalid channel"}), "HTTP 400: invalid channel"),
        (Say(200, {"success": False, "error": "disabled"}), "the message was declined: disabled"),
        (Say(200, "<html><title>Login</title>", "text/html"), "HTML page instead of JSON (Login); 'ok' was expected"),
        (Say(302, "", headers={"Location": "https://login.example.com/x?token=verysecret"}), "set the final URL"),
    ],
)
def test_a_message_that_is_declined_is_rejected_in_words(say: Say, words: str) -> None:
    with channel(say) as (notifier, _), pytest.raises(Rejected) as caught:
        notifier.send(message())
    assert words in str(caught.value)
    assert "verysecret" not in str(caught.value)


def test_429_says_when_to_come_back_and_nothing_is_sent_before() -> None:
    with channel(Say(429, "ratelimited", headers={"Retry-After": "30"})) as (notifier, server):
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                notifier.send(message())
            assert caught.value.retry_after == timedelta(seconds=30)
        assert len(server.seen) == 1


@pytest.mark.parametrize("say", [Say(500, "rollup_error", "text/html"), Say(503, {"success": False}), Say(hang=True)])
def test_a_chat_that_is_away_is_asked_again_later(say: Say) -> None:
    with channel(say) as (notifier, _), pytest.raises(Unavailable):
        notifier.send(message())


def everything(error: BaseException) -> str:
    chain = f"{error!r} {error} {vars(error)}"
    inner = [everything(other) for other in (error.__cause__, error.__context__) if other is not None]
    return " ".join([chain, *inner, *traceback.format_exception(error)])


def test_the_url_is_in_no_text_repr_or_chain_of_any_failure() -> None:
    broken = Say(200, "x" * 50, cut_at=3)
    for say in (Say(400, "no"), Say(500, "no"), Say(hang=True), Say(302, "", headers={"Location": PATH}), broken):
        with channel(say) as (notifier, _):
            assert "verysecret" not in repr(vars(notifier))
            with pytest.raises(RolloutError) as caught:
                notifier.send(message())
            assert "verysecret" not in everything(caught.value)
    settings = SlackSettings.model_validate({"url": f"http://127.0.0.1:{closed_port()}{PATH}"})
    refused = SlackNotifier("ops", settings, HandClock())
    with pytest.raises(Unavailable, match="ops: connection refused") as failed:
        refused.send(message())
    refused.close()
    assert "verysecret" not in everything(failed.value)
