from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.chatbots import ChatbotNotifier, ChatbotSettings, Pace, Product, dingtalk_sign, feishu_sign, render
from rollout.core.errors import Rejected, RolloutError, Unavailable
from tests.adapters.messages import message
from tests.adapters.stub import HandClock, Say, Stub, stub

OK: dict[Product, Say] = {
    "dingtalk": Say(body={"errcode": 0, "errmsg": "ok"}),
    "wecom": Say(body={"errcode": 0, "errmsg": "ok"}),
    "feishu": Say(body={"code": 0, "msg": "success", "data": {}}),
}

TOKEN = "verysecret"  # noqa: S105 - what must not be seen again
SIGNED = {"secret": "SEC1"}


@contextmanager
def robot(product: Product, say: Say, **settings: object) -> Iterator[tuple[ChatbotNotifier, Stub]]:
    with stub(say) as server:
        url = f"{server.url}/robot/send?access_token=verysecret"
        made = ChatbotSettings.model_validate({"type": product, "url": url, "timeout": "2s", **settings})
        notifier = ChatbotNotifier("ops", made, HandClock())
        try:
            yield notifier, server
        finally:
            notifier.close()


@pytest.mark.parametrize("product", OK)
def test_code_zero_is_delivered(product: Product) -> None:
    with robot(product, OK[product]) as (notifier, server):
        notifier.send(message())
    [seen] = server.seen
    assert seen.query["access_token"] == TOKEN
    assert "7f3a9c" in seen.body.decode()
    assert "prod/nginx" in seen.body.decode()


def test_the_older_answer_of_feishu_counts_as_delivered_too() -> None:
    with robot("feishu", Say(body={"StatusCode": 0, "StatusMessage": "success"})) as (notifier, server):
        notifier.send(message())
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("product", "say", "words"),
    [
        ("dingtalk", Say(200, {"errcode": 310000, "errmsg": "keywords not in content"}), "code 310000: keywords not in content"),
        ("wecom", Say(200, {"errcode": 93000, "errmsg": "invalid webhook url"}), "code 93000: invalid webhook url"),
        ("feishu", Say(400, {"code": 9499, "msg": "Bad Request"}), "code 9499: Bad Request"),
        ("feishu", Say(200, {"code": 19021, "msg": "sign match fail"}), "check token, signing secret, keyword and IP list"),
        ("wecom", Say(200, "<html><title>Portal</title>", "text/html"), "this is not a robot's URL"),
        ("wecom", Say(200, {"hello": "world"}), "the answer holds no code"),
        ("wecom", Say(404, "not found", "text/plain"), "HTTP 404"),
    ],
)
def test_http_200_with_a_code_is_a_failure_in_the_robots_own_words(product: Product, say: Say, words: str) -> None:
    with robot(product, say) as (notifier, _), pytest.raises(Rejected) as caught:
        notifier.send(message())
    assert words in str(caught.value)
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "wait"), [(130101, timedelta(minutes=10)), (45009, timedelta(minutes=1)), (-1, None), (987654, None)]
)
def test_a_robot_that_is_busy_or_says_something_new_is_asked_again(code: int, wait: timedelta | None) -> None:
    say = Say(body={"errcode": code, "errmsg": "system busy"})
    with robot("dingtalk", say) as (notifier, _), pytest.raises(Unavailable) as caught:
        notifier.send(message())
    assert caught.value.retry_after == wait


@pytest.mark.parametrize("product", OK)
def test_a_server_error_is_asked_again_later(product: Product) -> None:
    for say in (Say(502, "<html>bad gateway</html>"), Say(500, {"oops": 1})):
        with robot(product, say) as (notifier, _), pytest.raises(Unavailable):
            notifier.send(message())


def test_dingtalk_is_signed_in_the_url_beside_the_token() -> None:
    with robot("dingtalk", OK["dingtalk"], **SIGNED) as (notifier, server):
        notifier.send(message())
    [seen] = server.seen
    stamp = int(seen.query["timestamp"])
    expected = base64.b64encode(hmac.new(b"SEC1", f"{stamp}\nSEC1".encode(), hashlib.sha256).digest()).decode()
    assert seen.query["sign"] == unquote_plus(expected.replace("+", "%2B"))
    assert seen.query["access_token"] == TOKEN
    assert dingtalk_sign(stamp, "SEC1") == expected


def test_feishu_is_signed_in_the_body_with_the_string_as_key() -> None:
    with robot("feishu", OK["feishu"], **SIGNED) as (notifier, server):
        notifier.send(message())
    body: Any = server.seen[0].json
    assert isinstance(body["timestamp"], str)
    expected = base64.b64encode(hmac.new(f"{body['timestamp']}\nSEC1".encode(), b"", hashlib.sha256).digest()).decode()
    assert body["sign"] == expected == feishu_sign(int(body["timestamp"]), "SEC1")


def test_a_keyword_that_the_robot_demands_is_in_every_message() -> None:
    text = json.dumps(render(message(), "dingtalk", "\u53d1\u5e03"), ensure_ascii=False)
    assert "\u53d1\u5e03" in text


@given(st.text(), st.lists(st.text(), max_size=40), st.sampled_from(("dingtalk", "wecom", "feishu")))
def test_no_message_exceeds_what_a_robot_takes(why: str, lines: list[str], product: Product) -> None:
    made: Any = render(message("\u7070" * 400, why * 20 + "\u7070" * 3000, tuple(lines)), product)
    if product == "wecom":
        assert len(made["markdown"]["content"].encode()) <= 4096
    assert len(json.dumps(made, ensure_ascii=False).encode()) <= 20_000


@pytest.mark.parametrize("product", OK)
def test_foreign_text_cannot_mention_or_link(product: Product) -> None:
    text = json.dumps(render(message(why='<@all> <at user_id="all"> [x](http://evil) @all'), product), ensure_ascii=False)
    assert "[x](http" not in text or product == "feishu"
    assert "<at user_id" not in text or '"tag": "plain_text"' in text
    assert " @all" not in text


def test_a_robot_is_not_spoken_to_more_often_than_it_listens() -> None:
    with robot("wecom", OK["wecom"]) as (notifier, server):
        for _ in range(18):
            notifier.send(message())
        with pytest.raises(Unavailable) as caught:
            notifier.send(message())
        assert caught.value.retry_after == timedelta(minutes=1)
        assert len(server.seen) == 18


def test_the_pace_lets_the_next_message_through_when_the_oldest_is_past() -> None:
    clock = HandClock()
    pace = Pace(clock, 2, timedelta(minutes=1))
    assert pace.take() is None
    clock.advance(timedelta(seconds=20))
    assert pace.take() is None
    assert pace.take() == timedelta(seconds=40)
    clock.advance(timedelta(seconds=40))
    assert pace.take() is None


def test_neither_token_nor_signing_secret_is_in_a_repr() -> None:
    made = ChatbotSettings.model_validate({"type": "feishu", "url": "https://x/verysecret", "secret": "verysecret"})
    assert "verysecret" not in repr(made)
    with robot("feishu", Say(hang=True), secret=TOKEN, timeout="1s") as (notifier, _), pytest.raises(RolloutError) as caught:
        notifier.send(message())
    assert "verysecret" not in repr(caught.value) + str(caught.value.__context__)
