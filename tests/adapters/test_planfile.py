"""Plan files as people and accidents write them: every one is read, or refused in words at a place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.adapters.planfile import load_planfile, parse_planfile
from rollout.adapters.yamlfile import LARGEST, MOST_VALUES, read_yaml
from rollout.core.errors import Problem, Refused
from rollout.core.plan import CanaryPlan

GOOD = """\
apiVersion: rollout/v1
kind: Canary
metadata:
  name: nginx
spec:
  target:
    namespace: shop
    stable: nginx
  image: registry.example.com/shop/nginx:1.20
"""
JSON = """{"apiVersion": "rollout/v1", "kind": "Canary", "metadata": {"name": "nginx"},
"spec": {"target": {"namespace": "shop", "stable": "nginx"}, "image": "nginx:1.20"}}"""


def problems_of(content: bytes | str) -> tuple[Problem, ...]:
    """Read it, expect a refusal, and give its problems."""
    with pytest.raises(Refused) as caught:
        parse_planfile(content.encode() if isinstance(content, str) else content, "plan.yaml")
    assert caught.value.problems
    for problem in caught.value.problems:
        assert problem.file == "plan.yaml"
        assert problem.message
        assert "Traceback" not in problem.shown()
    return caught.value.problems


def with_spec(*lines: str) -> str:
    """Add lines to the spec of a good plan."""
    return GOOD + "".join(f"  {line}\n" for line in lines)


def test_a_target_and_an_image_are_enough() -> None:
    file = parse_planfile(GOOD.encode(), "plan.yaml")
    assert isinstance(file.plan, CanaryPlan)
    assert file.plan.spec.replicas.max == 3
    assert file.source == GOOD


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        "# 订单服务的金丝雀发布计划\n" + GOOD + "  description: 订单服务 ⛵\n",
        "---\n" + GOOD + "...\n",
        "%YAML 1.1\n---\n" + GOOD,
        GOOD.rstrip("\n"),
        JSON,
    ],
    ids=["bom", "crlf", "chinese", "markers", "directive", "no-newline", "json"],
)
def test_what_editors_do_to_a_file_is_no_error(content: str) -> None:
    assert parse_planfile(content.encode(), "plan.yaml").plan.name == "nginx"


def test_every_problem_is_told_at_once_with_its_place() -> None:
    found = problems_of(with_spec("soak: 24", "sok: 1h", "replicas: [1]", "maxShare: 0.25"))
    assert [(p.line, p.column, p.key) for p in found] == [
        (10, 9, "spec.soak"),
        (11, 3, "spec.sok"),
        (12, 13, "spec.replicas"),
        (13, 13, "spec.maxShare"),
    ]
    assert "24h" in found[0].remedy
    assert "did you mean soak?" in found[1].remedy
    assert found[2].message == "a list was seen, a map is expected"
    assert "10%" in found[3].remedy


def test_the_line_of_the_file_is_shown_with_a_mark_under_the_place() -> None:
    problem = problems_of(with_spec("soak: 24"))[0]
    assert problem.shown().splitlines()[1:] == ["  10 |   soak: 24", "     |         ^"]


def test_a_mark_under_a_line_with_chinese_counts_two_columns_a_character() -> None:
    first, second = problems_of(with_spec("approvals: {中文: true, soak: 1}"))
    assert second.column == first.column + len("中文: true, ")
    assert second.shown().splitlines()[2].index("^") == first.shown().splitlines()[2].index("^") + len("中文: true, ") + 2


def test_a_key_that_is_missing_is_shown_at_the_map_that_lacks_it() -> None:
    found = problems_of(GOOD.replace("    namespace: shop\n", ""))
    assert [(p.key, p.line, p.message) for p in found] == [("spec.target.namespace", 6, "is required")]


def test_a_duplicate_key_is_refused_and_the_first_one_named() -> None:
    found = problems_of(with_spec("soak: 24h", "soak: 25h", "replicas: {max: 2, max: 3}"))
    assert [(p.line, p.key) for p in found] == [(11, "spec.soak"), (12, "spec.replicas.max")]
    assert "line 10" in found[0].message


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("approvals: {beforePromotion: yes}", "spec.approvals.beforePromotion", "'yes' was seen, true or false"),
        ("approvals: {beforePromotion: on}", "spec.approvals.beforePromotion", "'on' was seen"),
        ("approvals: {beforePromotion: 1}", "spec.approvals.beforePromotion", "1 was seen"),
        ("replicas: {every: 6:00}", "spec.replicas.every", "'6:00' is not a duration"),
        ("replicas: {max: 0o3}", "spec.replicas.max", "'0o3' was seen, a whole number"),
        ("replicas: {max: 010}", "spec.replicas.max", "'010' was seen, a whole number"),
        ("replicas: {max: 1_0}", "spec.replicas.max", "'1_0' was seen"),
        ("replicas: {max: 3.0}", "spec.replicas.max", "3.0 was seen, a whole number"),
        ('replicas: {max: "3"}', "spec.replicas.max", "'3' was seen"),
        ("replicas: {max: true}", "spec.replicas.max", "true was seen"),
        ("replicas: {max: 0}", "spec.replicas.max", "at least 1"),
        ("soak: 2026-11-22", "spec.soak", "is not a duration"),
        ("soak: -6h", "spec.soak", "negative"),
        ("soak: 1.5h", "spec.soak", "fraction"),
        ("soak: 9999d", "spec.soak", "too long"),
        ("soak: 99999999999999999999h", "spec.soak", "is not a duration"),
        ("soak: 0s", "spec.soak", "too short"),
        ("soak:", "spec.soak", "nothing was seen"),
        ("soak: {h: 24}", "spec.soak", "a map was seen"),
        ('soak: "24h\\n"', "spec.soak", "is not a duration"),
        ("maxShare: 125%", "spec.maxShare", "outside"),
        ("maxShare: 25", "spec.maxShare", "percent sign"),
        ("maxShare: .nan", "spec.maxShare", "percentage"),
        ("mode: observed", "spec.mode", "enforce or observe"),
        ("timezone: Mars/Olympus", "spec.timezone", "not a time zone"),
        ("timezone: ../../etc/passwd", "spec.timezone", "not a time zone"),
        ("signals: skywalking-traces", "spec.signals", "a list is expected"),
        ("notify: [chat, chat]", "spec.notify", "2 times"),
        ("replicas: {initial: 4}", "spec.replicas.initial", "more than replicas.max"),
        ("description: [a]", "spec.description", "a text is expected"),
        ('description: "a\\0b"', "spec.description", "U+0000"),
        ('description: "\\ud800"', "spec.description", "U+D800"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_seen(line: str, key: str, words: str) -> None:
    found = problems_of(with_spec(line))
    assert [p.key for p in found] == [key]
    assert words in found[0].message
    assert found[0].line == 10


def test_numbers_stay_as_written_where_a_text_is_expected() -> None:
    text = GOOD.replace("name: nginx", "name: 123").replace("namespace: shop", "namespace: 1e3") + "  description: 1.20\n"
    plan = parse_planfile(text.encode(), "plan.yaml").plan
    assert isinstance(plan, CanaryPlan)
    assert (plan.name, plan.target.namespace, plan.spec.description) == ("123", "1e3", "1.20")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"# only a comment\n", "a map is expected"),
        (b"- a\n- b\n", "a list was seen, a map is expected"),
        (b"hello", "a map is expected"),
        (b"\x7fELF\x01\x01\x00\x00", "control character U+007F"),
        (b"\x00" * 100, "NUL"),
        (GOOD.encode() + b"\x00", "NUL"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (GOOD.encode("utf-16-be"), "NUL"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "UTF-16"),
        (b"\xff" * 10, "is not UTF-8"),
        (bytes(range(256)), "is not UTF-8"),
        (b"a: b: c\n", "broken YAML"),
        (b"a: [1, 2\nb: 3\n", "broken YAML"),
        (b"a: 'x\n", "broken YAML"),
        (b"a:\n\tb: 1\n", "broken YAML"),
        (b"a: %x\n", "broken YAML"),
        (b"%YAML 9.9\n---\na: 1\n", "broken YAML"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1\n", "not YAML"),
        (b'a: "\\U00110000"\n', "not YAML"),
        (b"? [a, b]\n: 1\n", "cannot be a key"),
        (b"{a: 1}: 1\n", "cannot be a key"),
        (GOOD.encode() + b"---\n" + GOOD.encode(), "a second document begins here"),
        (b"a: &x 1\nb: *x\n", "anchors and aliases are not allowed (&x)"),
        (b"a: *x\n", "anchors and aliases are not allowed (*x)"),
        (b"<<: {a: 1}\n", "is required"),
        (b"a: !!python/object/apply:os.system ['touch /tmp/owned']\n", "the tag"),
        (b"a: !include other.yaml\n", "the tag '!include'"),
        (b"[" * 50_000, "deeper than"),
        (b"{a: " * 50_000, "deeper than"),
        (b"a: [" + b"1," * (MOST_VALUES + 10) + b"]", "values"),
        (b"#" * (LARGEST + 1), "larger than 1024 KiB"),
        (b"kind: Canary\napiVersion: rollout/v2\n", "rollout/v1 is expected"),
        (b"kind: Kanary\napiVersion: rollout/v1\n", "'Kanary' is not a kind of plan"),
        (b"kind: [Canary]\n", "a list is not a kind of plan"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(content: bytes, words: str) -> None:
    assert any(words in p.message for p in problems_of(content)), problems_of(content)


def test_a_kind_with_a_typing_error_is_answered_with_the_nearest() -> None:
    assert "did you mean Canary?" in problems_of(GOOD.replace("Canary", "canary"))[0].remedy


def test_a_yaml_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
    )
    (problem,) = problems_of(bomb)
    assert (problem.line, problem.column) == (1, 4)


def test_comments_in_gbk_are_refused_with_the_place_and_the_guess() -> None:
    found = problems_of((GOOD + "# 中文注释\n").encode("gbk"))
    assert (found[0].line, found[0].column) == (10, 3)
    assert "GBK" in found[0].message
    assert "UTF-8" in found[0].remedy


def test_ten_megabytes_are_refused_without_being_parsed(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(GOOD.encode() + b"# x\n" * (10 * LARGEST // 4))
    began = time.process_time()
    with pytest.raises(Refused, match="larger than"):
        load_planfile(big)
    assert time.process_time() - began < 1


def test_a_file_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such file"):
        load_planfile(tmp_path / "nothing.yaml")
    with pytest.raises(Refused, match="is a folder"):
        load_planfile(tmp_path)
    with pytest.raises(Refused, match="not the name of a file"):
        load_planfile(Path("a\0b"))


def test_thousands_of_unknown_keys_are_answered_in_bounded_time() -> None:
    began = time.process_time()
    found = problems_of(with_spec(*(f"unknown{n}: 1" for n in range(5_000))))
    assert "problems more" in " ".join(p.message for p in found)
    assert len(found) <= 101
    assert time.process_time() - began < 5


def test_a_refused_text_never_shows_excerpts_when_told_not_to() -> None:
    with pytest.raises(Refused) as caught:
        read_yaml(b"password: 'hunter2\n", "settings.yaml", excerpts=False)
    assert all("hunter2" not in p.shown() for p in caught.value.problems)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_whatever_give_a_traceback(content: bytes) -> None:
    try:
        parse_planfile(content, "plan.yaml")
    except Refused as refused:
        assert refused.problems  # noqa: PT017 - not raising is right too


TOKENS = [*"{}[],:?!&*|>%@`'\"#-~ \t\n", "---", "...", "<<: ", "key: ", "spec:\n", "  ", "!!int ", "1e3", "0o7", "null", "\\x"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_no_jumble_of_yaml_signs_gives_a_traceback(text: str) -> None:
    try:
        parse_planfile((GOOD + text).encode(), "plan.yaml")
    except Refused as refused:
        assert refused.problems  # noqa: PT017 - not raising is right too


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = ["target", "image", "replicas", "soak", "signals", "promotion", "approvals", "notify", "maxShare", "timezone", "window"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["Canary", "Offline"]), st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6))
def test_no_value_under_a_known_key_gives_a_traceback(kind: str, spec: dict[str, object]) -> None:
    import json  # noqa: PLC0415 - JSON is YAML, which makes it the shortest writer of odd values

    text = json.dumps({"apiVersion": "rollout/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
    try:
        parse_planfile(text.encode(), "plan.yaml")
    except Refused as refused:
        assert refused.problems  # noqa: PT017 - not raising is right too
