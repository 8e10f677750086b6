"""The codec of stored values: whatever the core can hold comes back, and whatever it does not know it refuses by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Literal, NewType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.effects import FieldTest, PatchDeployment
from rollout.core.errors import Refused
from rollout.core.history import Event, Notice
from rollout.core.state import State
from rollout.store.codec import Undecodable, decode, encode
from rollout.store.coders import coder_of

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
Name = NewType("Name", str)


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    BIG = 2


@dataclass(frozen=True, slots=True)
class Idle:
    """No fields at all."""


@dataclass(frozen=True, slots=True)
class Running:
    since: datetime
    left: timedelta = timedelta(hours=6)
    inner: Idle | Running | None = None


@dataclass(frozen=True, slots=True)
class Everything:
    phase: Idle | Running
    name: Name = Name("n")
    colour: Colour = Colour.RED
    size: Size | None = None
    mode: Literal["canary", "offline"] = "canary"
    figures: tuple[float, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    seen: frozenset[str] = frozenset()
    by_pod: Mapping[str, Idle | Running] = field(default_factory=dict)
    by_hour: Mapping[int, float] = field(default_factory=dict)
    value: str | int | bool | None = None
    maybe: Running | None = None


times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis wants the bounds naive
spans = st.timedeltas(min_value=timedelta(days=-9000), max_value=timedelta(days=9000))
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
st.register_type_strategy(datetime, times)
st.register_type_strategy(timedelta, spans)
st.register_type_strategy(str, words)
st.register_type_strategy(float, st.floats(allow_nan=False))
leaves = st.none() | st.booleans() | st.floats() | st.integers() | words
keys = st.sampled_from(["kind", "phase", "since", "name", "x"])
json_trees = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner))
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(st.from_type(State))
def test_every_state_comes_back_as_it_was(state: State) -> None:
    text = encode(state)
    assert decode(State, text) == state
    assert encode(decode(State, text)) == text, "one value has one text"


@quick
@given(st.from_type(Everything))
def test_every_kind_of_field_comes_back_as_it_was(value: Everything) -> None:
    assert decode(Everything, encode(value)) == value


@quick
@given(st.one_of(st.from_type(Event), st.from_type(Notice), st.from_type(PatchDeployment), st.from_type(FieldTest)))
def test_other_values_of_the_core_come_back_too(value: Event | Notice | PatchDeployment | FieldTest) -> None:
    assert decode(type(value), encode(value)) == value


@quick
@given(json_trees)
def test_any_other_json_is_refused_and_never_a_crash(tree: object) -> None:
    try:
        decode(Everything, json.dumps(tree))
    except Undecodable:
        assert issubclass(Undecodable, Refused)
    else:
        assert isinstance(tree, dict)
        assert "phase" in tree


def test_the_text_is_compact_readable_and_tagged() -> None:
    value = Everything(Running(NOON, timedelta(hours=6)), by_pod={"b": Idle(), "a": Idle()}, seen=frozenset({"z", "y"}))
    assert encode(value) == (
        '{"kind":"Everything","phase":{"kind":"Running","since":"2026-03-29T12:00:00+00:00","left":21600,"inner":null},'
        '"name":"n","colour":"red","size":null,"mode":"canary","figures":[],"pair":["a",1],"seen":["y","z"],'
        '"by_pod":{"a":{"kind":"Idle"},"b":{"kind":"Idle"}},"by_hour":{},"value":null,"maybe":null}'
    )


def test_times_of_other_zones_are_stored_in_utc_and_naive_ones_are_a_bug() -> None:
    shanghai = NOON.astimezone(timezone(timedelta(hours=8)))
    assert decode(Running, encode(Running(shanghai))).since.tzinfo is UTC
    with pytest.raises(ValueError, match="naive datetime"):
        encode(Running(NOON.replace(tzinfo=None)))


def test_what_json_cannot_say_of_floats_is_said_in_words() -> None:
    value = Everything(Idle(), figures=(math.inf, -math.inf, math.nan, 1e308))
    assert '"figures":["Infinity","-Infinity","NaN",1e+308]' in encode(value)
    back = decode(Everything, encode(value)).figures
    assert back[:2] == (math.inf, -math.inf)
    assert math.isnan(back[2])


def test_a_missing_field_takes_its_default() -> None:
    assert decode(Running, '{"kind":"Running","since":"2026-03-29T12:00:00Z"}') == Running(NOON)


@pytest.mark.parametrize(("text", "path", "seen"), [
    ('{"kind":"Everything","phase":{"kind":"Flying"}}', "phase.kind", "'Flying' is none of Idle, Running"),
    ('{"kind":"Everything","phase":{}}', "phase.kind", "None is none of"),
    ('{"kind":"Everything","phase":{"kind":"Running"}}', "phase.since", "missing and has no default"),
    ('{"kind":"Everything","phase":{"kind":"Idle","speed":9}}', "phase.speed", "Idle has no such field"),
    ('{"kind":"Everything","phase":{"kind":"Idle"},"by_pod":{"p":{"kind":"Running"}}}', "by_pod[p].since", "missing"),
    ('{"kind":"Everything","phase":{"kind":"Idle"},"figures":[1,"x"]}', "figures[1]", "text where a number belongs"),
    ('{"kind":"Everything","phase":{"kind":"Idle"},"colour":"blue"}', "colour", "'blue' is no Colour"),
    ('{"kind":"Everything","phase":{"kind":"Idle"},"value":[]}', "value", "a list where one of"),
    ('{"kind":"Everything","phase":{"kind":"Idle"},"maybe":3}', "maybe", "a number where"),
    ('{"kind":"Other","phase":{"kind":"Idle"}}', "kind", "Everything has no such field with such a value"),
    ("[]", "its top", "a list where Everything belongs"),
    ("{", "its top", "not JSON"),
    ("[" * 100_000, "its top", "not JSON"),
])  # fmt: skip
def test_what_a_newer_version_wrote_is_refused_with_row_path_and_remedy(text: str, path: str, seen: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(Everything, text, row="rollout r1")
    message = str(caught.value)
    assert message.startswith(f"rollout r1, at {path}: ")
    assert seen in message
    assert "this version of rollout is too old for it" in message
    assert "run the version that wrote it" in caught.value.problems[0].remedy


def test_booleans_are_no_numbers_and_numbers_no_booleans() -> None:
    with pytest.raises(Undecodable, match="true or false where a number belongs"):
        decode(Everything, '{"phase":{"kind":"Idle"},"pair":["a",true]}')


@dataclass(frozen=True)
class Own:
    kind: str


@dataclass(frozen=True)
class Ambiguous:
    when: datetime | str


@dataclass(frozen=True)
class Either:
    one: Own | Idle


@dataclass(frozen=True)
class Unknown:
    thing: object


@pytest.mark.parametrize("cls", [Ambiguous, Unknown])
def test_types_that_could_not_be_read_back_are_refused_when_the_coder_is_built(cls: type) -> None:
    with pytest.raises(TypeError):
        encode(cls(None))


def test_a_class_with_a_field_named_kind_keeps_it() -> None:
    assert encode(Own("mine")) == '{"kind":"mine"}'
    assert decode(Own, '{"kind":"mine"}') == Own("mine")
    assert encode(Either(Own("mine"))) == '{"kind":"Either","one":{"kind":"Own","kind_":"mine"}}'
    assert decode(Either, encode(Either(Own("mine")))) == Either(Own("mine"))


def test_coders_are_built_once() -> None:
    assert coder_of(tuple[float, ...]) is coder_of(tuple[float, ...])
