"""Durations, percentages and images: one grammar, and one canonical form."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from rollout.core.images import check_image, parse_image
from rollout.core.quantities import format_duration, format_share, parse_duration, parse_share, seen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5400), ("6h", 21600), ("1d", 86400), ("1h30m", 5400), ("1d2h3m4s", 93784), ("0s", 0)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


NO_DURATIONS: list[object] = [
    "",
    "h",
    "6",
    "6 h",
    "6H",
    "6h ",
    "6h\n",
    "1m1h",
    "1h1h",
    "1.5h",
    "-1h",
    "+1h",
    "٣h",
    "1w",
    "PT1H",
    "1h30",
]


@pytest.mark.parametrize("text", [*NO_DURATIONS, None, True, [], 6, 6.5])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@given(st.integers(0, 31 * 86_400))
def test_every_duration_is_read_back_as_it_was_written(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


@given(st.integers(0, 10_000))
def test_every_share_is_read_back_as_it_was_written(basis_points: int) -> None:
    share = parse_share(f"{basis_points / 100}%")
    assert parse_share(format_share(share)) == share


@given(st.text(max_size=200))
def test_what_was_seen_is_shown_on_one_short_line(text: str) -> None:
    shown = seen(text)
    assert shown.isprintable()
    assert "\n" not in shown


DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nginx:1.27.4", ("", "nginx", "1.27.4", "")),
        (f"nginx@{DIGEST}", ("", "nginx", "", DIGEST)),
        (f"nginx:1.27@{DIGEST}", ("", "nginx", "1.27", DIGEST)),
        ("registry.example.com/a/b__c/d-e.f:v1_2.3-x", ("registry.example.com", "a/b__c/d-e.f", "v1_2.3-x", "")),
        ("registry:5000/app:1", ("registry:5000", "app", "1", "")),
        ("localhost/app:1", ("localhost", "app", "1", "")),
        ("[2001:db8::1]:5000/app:1", ("[2001:db8::1]:5000", "app", "1", "")),
        ("HOST/app:1", ("HOST", "app", "1", "")),
        ("library/nginx:1", ("", "library/nginx", "1", "")),
    ],
)
def test_references_are_read_by_the_full_grammar(text: str, parts: tuple[str, str, str, str]) -> None:
    image = parse_image(text)
    assert (image.domain, image.path, image.tag, image.digest) == parts
    assert str(image) == text
    assert check_image(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nginx", "no tag"),
        ("registry:5000/nginx", "no tag"),
        ("nginx:latest", "mutable tag"),
        ("registry:5000/nginx:latest", "mutable tag"),
        ("", "not valid"),
        (":1", "not valid"),
        ("nginx:", "tag"),
        ("nginx:1:2", "not valid"),
        ("nginx:-1", "tag"),
        ("nginx:" + "1" * 129, "tag"),
        ("nginx@sha256:abc", "digest"),
        (f"nginx@{DIGEST}0", "digest"),
        ("nginx@", "digest"),
        ("Nginx:1", "not valid"),
        ("a//b:1", "not valid"),
        ("a/:1", "not valid"),
        ("-a/b:1", "not valid"),
        ("a b:1", "not valid"),
        ("nginx:1\n", "tag"),
        ("https://registry/nginx:1", "a URL"),
        ("host:99999999/nginx:1", "not a host"),
        ("a" * 300 + ":1", "too long"),
        ("a-" * 5_000 + ":1", "too long"),
    ],
)
def test_references_that_cannot_be_stepped_back_from_are_refused(text: str, words: str) -> None:
    with pytest.raises(PydanticCustomError, match=words):
        check_image(text)


def test_a_digest_with_the_tag_latest_is_exact_enough() -> None:
    assert check_image(f"nginx:latest@{DIGEST}")


def test_the_full_name_is_what_registries_know() -> None:
    assert parse_image("nginx:1").repository == "docker.io/library/nginx"
    assert parse_image("someone/app:1").repository == "docker.io/someone/app"
    assert parse_image("registry:5000/app:1").repository == "registry:5000/app"


@given(st.text(max_size=300))
def test_no_text_is_a_surprise_to_the_grammar(text: str) -> None:
    try:
        image = parse_image(text)
    except PydanticCustomError:
        return
    assert str(image) == text
