"""The JSON Schema of plan files, for editors: `rollout schema` prints it. The reader is stricter and says more."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from rollout.core.plan import Plan
from rollout.core.quantities import SHARE_PATTERN, format_duration, format_share

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _AsWritten(GenerateJsonSchema):
    """Shows defaults as a plan would write them, and no titles that only repeat the key."""

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401 - a default can be any value
        """Write durations as in a plan."""
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, tuple):
            return [self.encode_default(item) for item in dft]
        return super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - any of pydantic's schemas
        """Leave titles out."""
        del schema
        return False


def plan_json_schema() -> dict[str, Any]:
    """Describe every kind of plan: keys as written, durations and percentages as patterns, unknown keys not allowed."""
    plans: TypeAdapter[Plan] = TypeAdapter(Annotated[Plan, Field(discriminator="kind")])
    schema = plans.json_schema(by_alias=True, mode="validation", schema_generator=_AsWritten)
    _write_shares(schema)
    return {"$schema": DIALECT, "title": "A plan of rollout", **schema}


def _write_shares(schema: Any) -> None:  # noqa: ANN401 - any node of a JSON document
    if isinstance(schema, list):
        for node in schema:
            _write_shares(node)
    elif isinstance(schema, dict):
        if schema.get("pattern") == SHARE_PATTERN and isinstance(schema.get("default"), float):
            schema["default"] = format_share(schema["default"])
        for node in schema.values():
            _write_shares(node)
