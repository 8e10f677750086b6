"""HTTP requests and commands of offline plans, and everything that can go wrong with them."""

from __future__ import annotations

import gzip
import os
import sys
import threading
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.work import LARGEST, HttpRequests, LocalCommands
from rollout.core.errors import Refused, Unavailable
from rollout.ports_offline import Answered
from tests.adapters.stub import Say, closed_port, endless, stub

SHORT, LONG = timedelta(seconds=0.3), timedelta(seconds=20)
REQUESTS, COMMANDS = HttpRequests(SystemClock()), LocalCommands(SystemClock())


def get(url: str, timeout: timedelta = LONG, headers: dict[str, str] | None = None) -> Answered:
    return REQUESTS.send("GET", url, headers or {}, "", timeout=timeout)


def run(*words: str, timeout: timedelta = LONG, environment: dict[str, str] | None = None) -> Answered:
    return COMMANDS.run(words, environment or {}, timeout=timeout)


def shell(script: str, timeout: timedelta = LONG) -> Answered:
    return run("/bin/sh", "-c", script, timeout=timeout)


# -- HTTP --------------------------------------------------------------------------------------------------------------------


def test_a_request_is_sent_as_the_plan_says_it() -> None:
    with stub(Say(201, "made")) as server:
        answer = REQUESTS.send("POST", f"{server.url}/orders?a=1", {"X-Test": "yes"}, "für", timeout=LONG)
        seen = server.seen[0]
    assert (answer.code, answer.output) == (201, "made")
    assert (seen.method, seen.path, seen.query) == ("POST", "/orders", {"a": "1"})
    assert (seen.headers["x-test"], seen.body) == ("yes", "für".encode())


@pytest.mark.parametrize("status", [204, 404, 500, 503])
def test_every_status_is_an_answer_that_the_test_case_judges(status: int) -> None:
    with stub(Say(status)) as server:
        assert get(server.url).code == status


def test_a_redirect_is_not_followed() -> None:
    with stub(Say(302, headers={"Location": "/elsewhere"})) as server:
        assert get(server.url).code == 302
        assert len(server.seen) == 1


def test_a_server_that_hangs_is_no_answer() -> None:
    with stub(Say(hang=True)) as server, pytest.raises(Unavailable, match="no answer within"):
        get(server.url, SHORT)


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with stub(Say(body="x" * 1000, cut_at=10)) as server, pytest.raises(Unavailable):
        get(server.url)


def test_a_server_that_is_not_there_is_no_answer() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        get(f"http://127.0.0.1:{closed_port()}/")


def test_of_a_huge_answer_the_beginning_is_kept() -> None:
    with stub(Say(body=b"x" * (4 * LARGEST))) as server:
        assert get(server.url).output == "x" * LARGEST


def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut_too() -> None:
    with stub(packed(gzip.compress(b"x" * 50_000_000))) as server:
        assert get(server.url).output == "x" * LARGEST
        assert server.seen[0].headers["accept-encoding"] == "gzip"


def packed(body: bytes, encoding: str = "gzip") -> Say:
    return Say(body=body, headers={"Content-Encoding": encoding})


BOMB = gzip.compress(b"\0" * (200 << 20))


def test_a_body_that_unpacks_without_end_costs_no_memory() -> None:
    with stub(packed(BOMB)) as server:
        tracemalloc.start()
        try:
            assert get(server.url).output == "\0" * LARGEST
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (packed(gzip.compress(BOMB), "gzip, gzip"), "packed as 'gzip, gzip', which nobody asked for"),
        (packed(b"\x0b\x02\x80{}\x03", "br"), "packed as 'br'"),
        (packed(gzip.compress(b"ok" * 100)[:-1]), "gzip that breaks off"),
        (packed(b"plain"), "no gzip, although it says so"),
    ],
    ids=["bomb in a bomb", "br", "cut", "plain"],
)
def test_an_answer_that_is_not_packed_as_it_should_be_is_no_answer(say: Say, words: str) -> None:
    with stub(say) as server, pytest.raises(Unavailable, match=words):
        get(server.url)


def test_a_plan_that_asks_for_another_packing_gets_what_was_sent() -> None:
    with stub(packed(b"as it came", "br")) as server:
        assert get(server.url, headers={"accept-encoding": "br"}).output == "as it came"


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_an_answer_that_drips_is_left_in_time(beginning: bytes) -> None:
    with endless(beginning) as url, pytest.raises(Unavailable, match=r"no answer within 1 s|did not end in time"):
        get(url, timedelta(seconds=1))


def test_of_a_body_without_an_end_the_beginning_is_kept() -> None:
    with endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * LARGEST) as url:
        assert get(url).output == "x" * LARGEST


def test_an_answer_that_is_no_text_is_read_as_well_as_it_can_be() -> None:
    with stub(Say(body=b"\xff\xfeok", content_type="text/plain; charset=no-such-thing")) as server:
        assert get(server.url).output.endswith("ok")


def test_an_address_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(Refused, match="cannot be sent"):
        get("http://[::1/")


@pytest.mark.parametrize("charset", ["hex", "undefined", "zip", "idna"])
def test_a_charset_that_is_none_of_text_is_read_as_well_as_it_can_be(charset: str) -> None:
    with stub(Say(body="ok", content_type=f"text/plain; charset={charset}")) as server:
        assert get(server.url).output == "ok"


@pytest.mark.parametrize("value", ["geheim-Ω", "geheim\r\nX: y", "geheim\0"])
def test_a_header_that_cannot_be_sent_is_refused_without_repeating_it(value: str) -> None:
    with stub(Say()) as server, pytest.raises(Refused) as told:
        get(server.url, headers={"Authorization": value})
    assert "geheim" not in str(told.value)


# -- commands ----------------------------------------------------------------------------------------------------------------


def test_a_command_tells_its_exit_code_and_everything_it_printed() -> None:
    answer = shell("echo out; echo err >&2; exit 3")
    assert (answer.code, answer.output) == (3, "out\nerr\n")


def test_a_command_gets_no_shell_and_no_input() -> None:
    assert run("/bin/echo", "$HOME; rm *").output == "$HOME; rm *\n"
    assert run("/bin/cat").output == ""


def test_a_command_sees_its_rollout_and_none_of_the_daemons_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-secret")
    answer = run("/usr/bin/env", environment={"ROLLOUT_ID": "orders-1"})
    assert "ROLLOUT_ID=orders-1" in answer.output
    assert "PATH=" in answer.output
    assert "secret" not in answer.output


def test_a_command_that_does_not_end_is_killed_with_everything_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(Unavailable, match="did not end within"):
        shell(f"sleep 300 & echo $! > {mark}; wait", timedelta(seconds=2))
    wait_until_gone(int(mark.read_text()))


def test_what_a_command_leaves_behind_does_not_hold_its_result_up(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    answer = shell(f"sleep 300 & echo $! > {mark}; echo done")
    assert (answer.code, answer.output) == (0, "done\n")
    wait_until_gone(int(mark.read_text()))


def test_a_command_that_never_stops_printing_fills_no_memory() -> None:
    answer = run(sys.executable, "-c", f"import sys; sys.stdout.write('x' * {40 * LARGEST}); print('the end')")
    assert len(answer.output) == LARGEST
    assert answer.output.endswith("the end\n")


def test_a_command_that_dies_of_a_signal_has_failed() -> None:
    assert shell("kill -9 $$").code == -9


@pytest.mark.parametrize("words", [("/no/such/program",), ("/etc/passwd",), ("/bin/echo", "a\0b")])
def test_a_command_that_cannot_be_started_is_refused_in_words(words: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="cannot be started"):
        run(*words)


def wait_until_gone(pid: int) -> None:
    pause = threading.Event()
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # dead, and waiting for whoever adopted it
            return
        pause.wait(0.02)
    os.kill(pid, 9)
    raise AssertionError(f"process {pid} is still there")
