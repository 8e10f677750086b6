"""What the kinds of plan share: frozen parts that refuse unknown keys, and rules across keys that report every problem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from rollout.core.quantities import Label

API_VERSION = "rollout/v1"
LENIENT = {"contradictions": "left to who asks"}
"""The context of a validation that builds a part although its keys contradict each other (plan_draft.py)."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two keys that do not fit together. `key` is a path below the part that says so, with dots.

    `also`: the other keys on whose values this rests, in the same form; where one of them cannot be read, nothing is known.
    """

    key: str
    message: str
    remedy: str = ""
    also: tuple[str, ...] = ()


class Part(BaseModel):
    """A map of a plan or of the settings: frozen, keys in camelCase, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        validate_default=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    bare: ClassVar[str] = ""
    """The key that a bare text stands for: `backup: postgresql-backup` is `backup: {template: postgresql-backup}`."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {cls.bare: value} if cls.bare and isinstance(value, str) else value

    @classmethod
    def bare_schema(cls) -> JsonSchemaValue:
        """Describe the bare text."""
        return {"type": "string"}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return {"anyOf": [cls.bare_schema(), handler.resolve_ref_schema(schema)]} if cls.bare else schema

    def contradictions(self) -> Iterator[Contradiction]:
        """Say which keys do not fit together; the keys themselves are already valid."""
        yield from ()

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        found = () if info.context is LENIENT else tuple(self.contradictions())
        if found:
            words = "; ".join(f"{c.key}: {c.message}" for c in found)
            raise PydanticCustomError("contradictions", "{text}", {"text": words, "contradictions": found})
        return self


class Metadata(Part):
    """What the plan is called. Identity of a plan is this name and the hash of its content."""

    name: Label


class Document(Part):
    """What every plan file has at its top, and how a plan is identified."""

    api_version: Literal["rollout/v1"]
    metadata: Metadata

    @property
    def name(self) -> str:
        """The plan's name."""
        return self.metadata.name

    def as_document(self) -> dict[str, Any]:
        """Give the plan back as a map in the form of a plan file, without keys that say what is the default anyway."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def canonical(self) -> str:
        """Write the plan as JSON that does not depend on comments, order, formatting or defaults that were spelled out.

        A key that a later version adds with a default does not change it, so that a plan keeps its identity.
        """
        return json.dumps(self.as_document(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def hash(self) -> str:
        """SHA-256 of the canonical document, as 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
