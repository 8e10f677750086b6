from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.notice_text import characters, cut, fitting, octets, parts_of, plain
from rollout.adapters.slack import Flavour, render
from rollout.core.history import NoticeKind
from tests.adapters.messages import WHY, message

FLAVOURS: tuple[Flavour, ...] = ("slack", "mattermost", "rocketchat", "discord")


def test_a_message_reads_title_what_was_seen_evidence_next_action_and_which_rollout() -> None:
    assert plain(parts_of(message()), 2000).split("\n") == [
        "Stepping back: nginx 1.27.3",
        WHY,
        "- errors: E = 24 >= 20",
        "- 13:00 to 13:05 UTC",
        "Next: Nothing to do now; fix the version, then `rollout retry 7f3a`.",
        "rollout 7f3a9c | main: prod/nginx | registry/nginx:1.27.3 | step soak",
    ]


@given(st.text(), st.lists(st.text(), max_size=30), st.text(), st.integers(300, 3000), st.sampled_from(("bytes", "text")))
def test_no_text_is_longer_than_its_channel_takes(why: str, lines: list[str], action: str, limit: int, kind: str) -> None:
    measure = octets if kind == "bytes" else characters
    text = plain(parts_of(message(why[::-1], why, tuple(lines), action)), limit, measure)
    assert measure(text) <= limit
    text.encode("utf-8")


def test_when_space_is_short_evidence_gives_way_and_the_next_action_stays() -> None:
    text = plain(parts_of(message(evidence=tuple(f"line {n} " + "x" * 50 for n in range(100)))), 900)
    assert "more lines)" in text
    assert "Next: Nothing to do now" in text
    assert "rollout 7f3a9c" in text
    assert WHY in text


def test_chinese_is_cut_by_bytes_and_never_within_a_character() -> None:
    assert cut("灰度发布失败", 12, octets) == "灰度发..."
    assert octets(cut("灰" * 100, 100, octets)) <= 100


def test_what_is_left_out_is_counted() -> None:
    assert fitting(["a" * 10] * 5, 45) == ["a" * 10, "a" * 10, "(and 3 more lines)"]


def test_line_breaks_and_control_characters_of_a_log_line_do_not_break_the_layout() -> None:
    assert parts_of(message(evidence=("a\r\n\x1b[31mb\u202ec",))).evidence == ("a [31mb c",)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_foreign_text_cannot_call_the_whole_channel(flavour: Flavour) -> None:
    text = json.dumps(render(message(why="@here <!channel> @all <@U123> [x](http://evil)"), flavour), ensure_ascii=False)
    assert "@here" not in text
    assert "@all" not in text
    assert "<!channel>" not in text
    assert "<@U123>" not in text.replace("\\\\<", "")
    assert flavour == "slack" or "[x](http" not in text


@given(st.text(max_size=200), st.lists(st.text(max_size=4000), max_size=60), st.sampled_from(FLAVOURS))
def test_no_payload_exceeds_the_limits_of_its_product(why: str, lines: list[str], flavour: Flavour) -> None:
    payload = render(message("&<>" * 900, why * 30, tuple(lines), "&" * 9000), flavour)
    blocks = payload.get("blocks", [])
    assert isinstance(blocks, list)
    assert len(blocks) <= 50
    for block in blocks:
        text = block["text"]["text"] if "text" in block else block["elements"][0]["text"]
        assert 0 < len(text) <= (150 if block["type"] == "header" else 3000)
    assert len(str(payload.get("text", ""))) < 40_000
    for embed in payload.get("embeds", []):  # type: ignore[attr-defined] # the payload is JSON
        assert len(embed["title"]) <= 256
        assert len(embed["description"]) <= 4096
    for attachment in payload.get("attachments", []):  # type: ignore[attr-defined] # the payload is JSON
        assert len(attachment["text"]) <= 7_600


def test_slack_gets_blocks_and_a_text_for_the_notification() -> None:
    payload = render(message(why="a < b & c"), "slack")
    blocks = payload["blocks"]
    assert isinstance(blocks, list)
    assert [block["type"] for block in blocks] == ["header", "section", "section", "section", "context"]
    assert blocks[1]["text"]["text"] == "a &lt; b &amp; c"
    assert blocks[3]["text"]["text"].startswith("*Next:* Nothing to do now")
    assert str(payload["text"]).startswith("Stepping back: nginx 1.27.3\na &lt; b &amp; c\n")


def test_a_step_back_is_red_and_an_end_that_is_good_green() -> None:
    def shade(kind: NoticeKind) -> object:
        return render(message(kind=kind), "mattermost")["attachments"][0]["color"]  # type: ignore[index] # JSON

    assert shade(NoticeKind.STEPPING_BACK) == "#c0392b"
    assert shade(NoticeKind.SUCCEEDED) == "#1e8449"
