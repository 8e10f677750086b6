from __future__ import annotations

import gzip
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.adapters.breaker import Breaker
from rollout.adapters.clock import SystemClock
from rollout.adapters.http import (
    LONGEST_BODY,
    Backend,
    BackendSettings,
    Reply,
    describe,
    parse_json,
    refuse_status,
    retry_after,
    shorten,
)
from rollout.adapters.slack import SlackSettings
from rollout.core.errors import Rejected, Unavailable
from tests.adapters.stub import HandClock, Say, closed_port, stub

SECOND = timedelta(seconds=1)


@contextmanager
def backend(url: str, **settings: object) -> Iterator[Backend]:
    made = Backend("prom", BackendSettings.model_validate({"url": url, **settings}), HandClock(), url=url)
    try:
        yield made
    finally:
        made.close()


def test_a_refused_connection_is_unavailable_and_says_so() -> None:
    with backend(f"http://127.0.0.1:{closed_port()}") as peer, pytest.raises(Unavailable, match="prom: connection refused"):
        peer.send("GET", "/")


def test_a_backend_that_hangs_is_given_up_after_its_timeout() -> None:
    with stub(Say(hang=True)) as server, backend(server.url, timeout="1s") as peer:
        with pytest.raises(Unavailable, match="no answer within 1 s") as caught:
            peer.send("POST", "/", content=b"{}")
        assert caught.value.maybe_done


def test_an_answer_that_is_cut_off_is_never_half_believed() -> None:
    broken = pytest.raises(Unavailable, match="broke before the answer was complete")
    with stub(Say(body={"status": "success"}, cut_at=9)) as server, backend(server.url) as peer, broken:
        peer.send("GET", "/")


def test_a_pool_that_is_used_up_fails_instead_of_queueing_for_ever() -> None:
    with stub(Say(hang=True)) as server, backend(server.url, timeout="1s", connections=1) as peer:
        failures: list[str] = []

        def ask() -> None:
            with pytest.raises(Unavailable) as caught:
                peer.send("GET", "/")
            failures.append(str(caught.value))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert any("all 1 connections to it were busy" in failure or "no answer" in failure for failure in failures)


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (Say(502, "<html><title>Oops</title></html>", "text/html"), "HTTP 502 with an HTML page instead of JSON (Oops)"),
        (Say(503, "Service Unavailable", "text/plain"), "HTTP 503: Service Unavailable"),
        (Say(500, "", "text/plain"), "HTTP 500 with an empty body"),
    ],
)  # fmt: skip
def test_a_broken_server_is_unavailable_in_words(say: Say, words: str) -> None:
    with stub(say) as server, backend(server.url) as peer, pytest.raises(Unavailable) as caught:
        peer.send("GET", "/")
    assert str(caught.value) == f"prom: {words}"


def test_429_carries_the_wait_that_was_asked_for() -> None:
    answer = Say(429, "slow down", headers={"Retry-After": "7"})
    with stub(answer) as server, backend(server.url) as peer, pytest.raises(Unavailable) as caught:
        peer.send("GET", "/")
    assert caught.value.retry_after == timedelta(seconds=7)


def test_a_5xx_with_json_comes_back_because_the_body_says_what_is_wrong() -> None:
    with stub(Say(500, {"errors": [{"message": "boom"}]})) as server, backend(server.url) as peer:
        assert peer.send("GET", "/").status == 500


def test_json_that_is_cut_off_html_and_login_redirects_are_told_apart() -> None:
    assert "cut off or broken after 7 bytes" in describe(Reply(200, {}, b'{"a": ['))
    assert "HTML page instead of JSON (Sign in)" in describe(Reply(200, {}, b"<html><title>Sign in</title>"))
    moved = describe(Reply(302, {"location": "https://sso.example.com/login?state=secret"}, b""))
    assert moved == "HTTP 302: it redirects to sso.example.com (a login page, or a wrong URL?)"
    with pytest.raises(Unavailable, match="HTML page"):
        parse_json("prom", Reply(200, {}, b"<html><title>Sign in</title>"))


def test_deeply_nested_json_is_an_unavailable_backend_and_not_a_crash() -> None:
    with pytest.raises(Unavailable):
        parse_json("prom", Reply(200, {}, b"[" * 100_000))


@pytest.mark.parametrize(("status", "words"), [(401, "credentials"), (403, "permit"), (404, "path prefix"), (418, "HTTP 418")])
def test_a_4xx_is_rejected_with_a_remedy(status: int, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        refuse_status("prom", Reply(status, {}, b"no"))
    assert caught.value.code == status


def test_retry_after_is_read_in_seconds_fractions_and_dates() -> None:
    now = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    assert retry_after(Reply(429, {"retry-after": "0.5"}, b""), now) == timedelta(seconds=0.5)
    assert retry_after(Reply(429, {"retry-after": "Sun, 22 Nov 2026 13:00:30 GMT"}, b""), now) == timedelta(seconds=30)
    assert retry_after(Reply(429, {"retry-after": "soon"}, b""), now) is None
    assert retry_after(Reply(429, {"retry-after": "999999999"}, b""), now) == timedelta(hours=1)


def test_foreign_text_is_one_short_line_without_control_characters() -> None:
    assert shorten("a\x1b[31m\nb\t c" + "d" * 500) == "a [31m b c" + "d" * 147 + "..."


def test_a_token_file_is_read_again_for_every_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with stub(Say(body={})) as server, backend(server.url, bearer_token_file=str(token)) as peer:
        for value in ("one", "two"):
            token.write_text(value + "\n")
            peer.send("GET", "/")
        assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer one", "Bearer two"]
        token.unlink()
        with pytest.raises(Unavailable, match="a file of its settings cannot be read"):
            peer.send("GET", "/")


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://x", "http://", "http://u:p@h/", "http://h/?token=1", "http://h:99999"])
def test_a_url_that_is_relative_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackendSettings.model_validate({"url": url})
    assert url not in str(caught.value)


def test_no_secret_is_in_the_text_of_a_settings_error_or_a_repr() -> None:
    webhook = "https://hooks.slack.com/services/T0/B0/verysecret"
    with pytest.raises(ValidationError) as caught:
        SlackSettings.model_validate({"url": webhook, "headers": 5, "bearer_token": [webhook]})
    assert "verysecret" not in str(caught.value)
    assert "verysecret" not in repr(SlackSettings.model_validate({"url": webhook, "headers": {"X-Key": "verysecret"}}))


def test_http_client_libraries_do_not_log_urls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with stub(Say(body={})) as server, backend(server.url) as peer:
        peer.send("POST", "/services/verysecret", content=b"{}")
    assert "verysecret" not in caplog.text


def failing(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable), breaker.attempt():
            raise Unavailable("prom", "no answer within 10 s")


def test_a_breaker_opens_after_failures_in_a_row_and_names_the_last_one() -> None:
    breaker = Breaker("prom", HandClock(), limit=3)
    failing(breaker, 3)
    words = "left alone after 3 failures in a row, the last one: no answer within 10 s; asked again in 15 s"
    with pytest.raises(Unavailable, match=words), breaker.attempt():
        pytest.fail("the call must not be made")


def test_a_half_open_breaker_lets_exactly_one_probe_through() -> None:
    clock = HandClock()
    breaker = Breaker("prom", clock, limit=1)
    failing(breaker, 1)
    clock.advance(16 * SECOND)
    with breaker.attempt(), pytest.raises(Unavailable, match="left alone"), breaker.attempt():
        pytest.fail("a second probe must not be made")
    assert not breaker.is_open


def test_a_probe_that_fails_doubles_the_rest_and_one_that_succeeds_resets_it() -> None:
    clock = HandClock()
    breaker = Breaker("prom", clock, limit=1, rest=10 * SECOND, longest=30 * SECOND)
    failing(breaker, 1)
    for rest in (10, 20, 30, 30):
        clock.advance((rest - 1) * SECOND)
        assert breaker.is_open
        clock.advance(SECOND)
        failing(breaker, 1)
    clock.advance(30 * SECOND)
    with breaker.attempt():
        pass
    failing(breaker, 1)
    clock.advance(10 * SECOND)
    assert not breaker.is_open


def test_who_says_no_is_alive() -> None:
    breaker = Breaker("prom", HandClock(), limit=1)
    with pytest.raises(Rejected), breaker.attempt():
        raise Rejected("prom", "HTTP 400")
    assert not breaker.is_open


def test_a_crash_of_the_caller_releases_the_probe() -> None:
    clock = HandClock()
    breaker = Breaker("prom", clock, limit=1, rest=10 * SECOND)
    failing(breaker, 1)
    clock.advance(11 * SECOND)
    with pytest.raises(KeyboardInterrupt), breaker.attempt():
        raise KeyboardInterrupt
    clock.advance(60 * SECOND)
    with breaker.attempt():
        pass


def test_a_wait_that_the_backend_asks_for_is_kept() -> None:
    clock = HandClock()
    breaker = Breaker("prom", clock, limit=5)
    with pytest.raises(Unavailable), breaker.attempt():
        raise Unavailable("prom", "HTTP 429", retry_after=40 * SECOND)
    clock.advance(39 * SECOND)
    assert breaker.is_open
    clock.advance(2 * SECOND)
    assert not breaker.is_open


def packed(body: bytes, encoding: str = "gzip") -> Say:
    return Say(body=body, headers={"Content-Encoding": encoding})


def test_a_body_that_is_packed_is_unpacked_also_in_several_members() -> None:
    body = gzip.compress(b'{"a": ') + gzip.compress(b"1}")
    with stub(packed(body)) as server, backend(server.url) as peer:
        assert peer.send("GET", "/").body == b'{"a": 1}'
        assert server.seen[0].headers["accept-encoding"] == "gzip"


BOMB = gzip.compress(b"\0" * (64 << 20))


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (packed(BOMB), "longer than 32 MiB"),
        (packed(gzip.compress(BOMB), "gzip, gzip"), "packed as 'gzip, gzip', which nobody asked for"),
        (packed(b"\x0b\x02\x80{}\x03", "br"), "packed as 'br', which nobody asked for"),
        (packed(gzip.compress(b'{"status": "success"}' * 100)[:30]), "gzip that breaks off"),
        (packed(gzip.compress(b"{}")[:-1]), "gzip that breaks off"),
        (packed(b"{}"), "no gzip, although it says so"),
        (packed(gzip.compress(b"{}")[:-8] + b"\0" * 8), "no gzip, although it says so"),
    ],
    ids=["bomb", "bomb in a bomb", "br", "cut", "cut by one byte", "plain", "wrong sum"],
)
def test_a_body_that_is_not_packed_as_it_should_be_is_unavailable_and_costs_no_memory(say: Say, words: str) -> None:
    with stub(say) as server, backend(server.url) as peer:
        tracemalloc.start()
        try:
            with pytest.raises(Unavailable, match=words):
                peer.send("GET", "/")
            assert tracemalloc.get_traced_memory()[1] < 3 * LONGEST_BODY
        finally:
            tracemalloc.stop()


def test_a_body_that_drips_is_given_up_when_its_time_is_over() -> None:
    clock = HandClock()
    dripping = Say(body=b" " * 100, drip=lambda: clock.advance(SECOND))
    late = pytest.raises(Unavailable, match=r"was not complete within 10 s|no answer within 10 s")
    with stub(dripping) as server:
        peer = Backend("prom", BackendSettings(url=server.url), clock, url=server.url)
        with closing(peer), late as caught:
            peer.send("POST", "/", content=b"{}")
    assert caught.value.maybe_done


def test_headers_that_drip_are_given_up_when_their_time_is_over() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                pause = threading.Event()
                while not pause.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        peer = Backend("prom", BackendSettings(url=url, timeout=SECOND), SystemClock(), url=url)
        with closing(peer), pytest.raises(Unavailable, match="no answer within 1 s"):
            peer.send("GET", "/")
        thread.join()


def test_a_redirect_shows_a_host_and_never_what_it_carries() -> None:
    told = {
        "https://user:secret@sso.example.com/login?state=secret": "it redirects to sso.example.com (",
        "/login?token=secret": "it redirects to another path (",
        "http://[secret": "it redirects to a place that is no URL (",
    }
    for location, words in told.items():
        with stub(Say(302, "", headers={"Location": location})) as server, backend(server.url) as peer:
            shown = describe(peer.send("GET", "/"))
        assert words in shown
        assert "secret" not in shown


def test_a_pause_that_is_asked_for_is_kept_also_where_the_body_is_json() -> None:
    answer = Say(503, {"error": "overloaded"}, headers={"Retry-After": "20"})
    with stub(answer) as server, backend(server.url) as peer:
        with pytest.raises(Unavailable, match="overloaded") as caught:
            peer.send("GET", "/")
        assert caught.value.retry_after == 20 * SECOND
        assert peer.breaker.is_open


@pytest.mark.parametrize("token", [b"\xff\xfetoken", b"to\nken"])
def test_a_token_file_that_holds_no_token_is_told_without_its_text(tmp_path: Path, token: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(token)
    with stub(Say(body={})) as server, backend(server.url, bearer_token_file=str(path)) as peer:
        with pytest.raises(Unavailable) as caught:
            peer.send("GET", "/")
        assert server.seen == []
    assert str(caught.value) in {
        "prom: what it is to be shown (a token, a header) is no plain text",
        "prom: the request failed (LocalProtocolError)",
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bearer_token": "verysecrét"}, "a character that no header can carry"),
        ({"bearer_token": "verysecret\n"}, "a character that no header can carry"),
        ({"headers": {"X-Key": "verysecret\r\nX-Other: 1"}}, "a character that no header can carry"),
        ({"headers": {"X Key": "verysecret"}}, "should match pattern"),
        ({"password": "verysecret"}, "a password without a username"),
        ({"username": "u", "password": "verysecret", "bearer_token": "verysecret"}, "username, bearer_token are given"),
        ({"client_key": "key.pem"}, "a key without its certificate"),
    ],
)
def test_settings_that_would_fail_at_night_or_be_left_out_are_refused_at_once(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackendSettings.model_validate({"url": "http://prometheus:9090", **settings})
    assert words in str(caught.value)
    assert "verysecr" not in str(caught.value)
