from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import GraphQLObjectType, GraphQLSchema, build_ast_schema, extend_schema, parse, validate
from graphql.execution.values import get_variable_values
from graphql.language import DocumentNode, OperationDefinitionNode
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.http import LONGEST_BODY
from rollout.adapters.skywalking_graphql import (
    HEALTH,
    KEYWORDS,
    PAGE_V2,
    SCHEMA,
    SERVER,
    TRACE_V2,
    Call,
    Lines,
    alarms,
    documents,
    error_traces,
    instances,
    log_lines,
    metric,
    service_id,
)
from rollout.adapters.skywalking_versions import Dialect, dialect_of_schema, dialect_of_version, parse_version

DURATION = {"start": "2026-11-22 1300", "end": "2026-11-22 1304", "step": "MINUTE"}
RELEASES = {"v8.7.0": "8.0", "v9.7.0": "9.7.0-1a2b3c4", "v10.4.0": "10.4.0-1a2b3c4"}


def dialect(text: str) -> Dialect:
    found = dialect_of_version(text)
    assert found is not None
    return found


def every_call(known: Dialect, number: int = 0) -> Iterator[Call]:
    service, instance = "order-svc", f"10.1.2.{number}"
    yield instances(("instances", number), known, service, DURATION)
    yield metric(("cpm", number), known, "service_instance_cpm", service, instance, DURATION)
    for lines in (Lines(level="ERROR"), Lines(keyword="boom"), Lines()):
        where = {"service": service, "instance": instance}
        yield log_lines((lines, number), known, lines, **where, duration=DURATION, page=1, size=100)
    yield error_traces(("t", number), trace_v2=known.trace_v2, service=service, instance=instance, duration=DURATION, page=1)
    yield alarms(("alarms", number), known, DURATION, 1)


def schemas() -> Path:
    shared = Path(os.environ.get("ROLLOUT_SHARED", Path(__file__).parents[3] / "shared"))
    return shared / "facts" / "skywalking-query-protocol"


def schema(release: str) -> GraphQLSchema:
    folder = schemas() / release
    if not folder.is_dir():
        pytest.skip(f"the query protocol's schemas are not there ({folder}); set ROLLOUT_SHARED")
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.graphqls"))]
    if not any("scalar Long" in text for text in texts):
        texts.append("scalar Long")
    parts = [definition for text in texts for definition in parse(text).definitions]
    base = [part for part in parts if not part.kind.endswith("_extension")]
    more = [part for part in parts if part.kind.endswith("_extension")]
    built = build_ast_schema(DocumentNode(definitions=tuple(base)), assume_valid_sdl=True)
    return extend_schema(built, DocumentNode(definitions=tuple(more)), assume_valid_sdl=True)


def fields(built: GraphQLSchema, name: str) -> frozenset[str]:
    found = built.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return frozenset(found.fields)


@pytest.mark.parametrize("release", RELEASES)
def test_every_document_is_valid_in_the_release_that_it_is_for_with_its_variables(release: str) -> None:
    known, built = dialect(RELEASES[release]), schema(release)
    calls = [call for number in range(3) for call in every_call(known, number)]
    for document in documents(calls, 10_000):
        parsed = parse(document.text)
        assert validate(built, parsed) == []
        [operation] = parsed.definitions
        assert isinstance(operation, OperationDefinitionNode)
        values = get_variable_values(built, operation.variable_definitions or (), dict(document.variables))
        assert not isinstance(values, list), values  # a list holds the errors
    for text in (SERVER, HEALTH, KEYWORDS, SCHEMA, *((TRACE_V2,) if known.trace_v2 else ())):
        assert validate(built, parse(text)) == []


def test_a_document_of_ten_is_not_valid_in_eight_so_the_dialects_matter() -> None:
    built = schema("v8.7.0")
    [document] = documents(every_call(dialect("10.4.0")), 10_000)
    assert validate(built, parse(document.text)) != []


@pytest.mark.parametrize("release", RELEASES)
def test_a_server_that_hides_its_version_is_known_by_its_schema(release: str) -> None:
    built, known = schema(release), dialect(RELEASES[release])
    of = [fields(built, name) for name in ("Query", "Logs", "AlarmMessage")]
    found = dialect_of_schema("custom-build", *of)
    assert (found.metadata_v2, found.mqe, found.trace_v2, found.error_reason, found.alarm_recovery) == (
        known.metadata_v2, known.mqe, known.trace_v2, known.error_reason, known.alarm_recovery,
    )  # fmt: skip
    assert found.complexity <= known.complexity


@pytest.mark.parametrize(
    ("text", "version"),
    [("8.0", (8, 0, 0)), ("9.7.0-SNAPSHOT-1a2b3c4", (9, 7, 0)), ("10.4.0-1a2b3c4", (10, 4, 0)), ("nightly", None), ("", None)],
)
def test_versions_are_read_as_servers_write_them(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("text", "limit", "mqe"), [("9.0.0", 100, False), ("9.2.0", 1000, False), ("9.5.0", 1000, True), ("9.7.0", 3000, True)]
)
def test_no_document_exceeds_the_complexity_limit_of_its_release(text: str, limit: int, mqe: bool) -> None:  # noqa: FBT001 - a table
    known = dialect(text)
    assert known.mqe is mqe
    calls = [metric(n, known, "service_instance_cpm", "svc", f"10.0.0.{n}", DURATION) for n in range(500)]
    packed = list(documents(calls, known.complexity))
    assert all(_fields(document.text) <= limit for document in packed)
    assert [key for document in packed for key in document.aliases.values()] == list(range(500))
    assert len(packed) <= 500 * 8 / (limit * 0.8) + 1


def test_whole_traces_are_asked_for_in_documents_whose_answers_can_still_be_read() -> None:
    known = dialect("10.4.0")
    calls = [error_traces(n, trace_v2=True, service="svc", instance=f"i{n}", duration=DURATION, page=1) for n in range(100)]
    largest = max(len(document.aliases) for document in documents(calls, known.complexity))
    assert largest * PAGE_V2 * 100 * 150 < LONGEST_BODY  # spans of a trace, bytes of a span
    assert largest > 20


def _fields(text: str) -> int:
    count = 0
    for node in _walk(parse(text).to_dict()):
        count += node.get("kind") == "field"
    return count


def _walk(node: object) -> Iterator[dict[str, object]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def test_equal_values_share_a_variable_so_that_a_duration_is_sent_once() -> None:
    calls = [metric(n, dialect("10.4.0"), "service_instance_cpm", "svc", f"10.0.0.{n}", DURATION) for n in range(100)]
    [document] = documents(calls, 10_000)
    assert len(document.variables) == 102
    assert len(document.body) < 30_000


@given(st.text())
def test_no_name_gets_into_the_text_of_a_document(name: str) -> None:
    [plain] = documents([metric("k", dialect("10.4.0"), "service_instance_cpm", "svc", "a", DURATION)], 10_000)
    [hostile] = documents([metric("k", dialect("10.4.0"), "service_instance_cpm", name, name, DURATION)], 10_000)
    assert plain.text == hostile.text


def test_ids_are_built_as_the_server_builds_them() -> None:
    assert service_id("order-svc") == "b3JkZXItc3Zj.1"
