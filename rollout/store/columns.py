"""How values become columns: times that people can read and that sort, words without NUL bytes, pairs as JSON objects.

SQLite has no type for times. They are stored there as `YYYY-MM-DD HH:MM:SS[.ffffff]`, always UTC: the form that SQLite's own
`datetime()` gives, so `WHERE at > datetime('now', '-1 day')` compares rightly as text. PostgreSQL has `timestamptz`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def storable(text: str) -> str:
    """Replace what a database cannot hold (NUL, halves of surrogate pairs) by U+FFFD, so that no odd byte sinks a commit."""
    return _UNSTORABLE.sub("\ufffd", text)


class Words(TypeDecorator[str]):
    """Text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give the database only what it can hold."""
        return None if value is None else storable(value)


class Instant(TypeDecorator[datetime]):
    """A moment, aware and UTC in Python."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose `timestamptz` where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ANN401 - text or datetime, by dialect
        """Refuse naive datetimes: a moment without a zone is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime reached the store: {value!r}")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None).isoformat(sep=" ")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - text or datetime, by dialect
        """Give the moment back in UTC."""
        if value is None:
            return None
        if dialect.name == "postgresql":
            return cast("datetime", value).astimezone(UTC)
        return datetime.fromisoformat(value).replace(tzinfo=UTC)


class Pairs(TypeDecorator[tuple[tuple[str, str], ...]]):
    """Ordered pairs of words, as one JSON object; as a list of pairs where a key comes twice."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Let people write `facts->>'replicas'` where the database has a JSON type that keeps the order (not jsonb)."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSON(none_as_null=True))
        return dialect.type_descriptor(sa.JSON(none_as_null=True))

    def process_bind_param(self, value: Iterable[tuple[str, str]] | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002 - JSON
        """Make the object."""
        pairs = [(storable(key), storable(word)) for key, word in value or ()]
        return json_object(pairs)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[tuple[str, str], ...]:  # noqa: ANN401, ARG002 - JSON
        """Make pairs of it again."""
        return tuple((str(key), str(word)) for key, word in pairs_of(value))


class Figures(TypeDecorator[tuple[tuple[str, float], ...]]):
    """Ordered pairs of word and figure, as one JSON object. What JSON cannot say is stored as the words NaN, Infinity."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """As `Pairs`."""
        return Pairs().load_dialect_impl(dialect)

    def process_bind_param(self, value: Iterable[tuple[str, float]] | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002 - JSON
        """Make the object; whole figures without a decimal point."""
        return json_object([(storable(key), _shortest(figure)) for key, figure in value or ()])

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[tuple[str, float], ...]:  # noqa: ANN401, ARG002 - JSON
        """Make pairs of it again; `float` reads the three words as well."""
        return tuple((str(key), float(figure)) for key, figure in pairs_of(value))


def json_object(pairs: list[tuple[str, Any]]) -> Any:  # noqa: ANN401 - an object, or a list of pairs
    """Choose the object where no key comes twice, else the list."""
    as_object = dict(pairs)
    return as_object if len(as_object) == len(pairs) else [list(pair) for pair in pairs]


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]]:  # noqa: ANN401 - what `json_object` made
    """Turn `json_object`'s answer back."""
    if isinstance(value, dict):
        return value.items()
    return [(key, item) for key, item in value or ()]


def dumps(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Write JSON the short way; letters of every language stay readable."""
    return _ENCODER.encode(value)


def _shortest(figure: float) -> float | str:
    if not math.isfinite(figure):
        return _NOT_FINITE[0] if math.isnan(figure) else _NOT_FINITE[1 if figure > 0 else 2]
    whole = int(figure)
    return whole if whole == figure and abs(whole) < 1 << 53 else figure
