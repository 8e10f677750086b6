"""Entries of the configuration whose keys depend on their type: clusters, backends, gateways, channels.

The settings class of each type lives with its adapter. An entry keeps what was written, and builds the adapter's settings from it:
keys in camelCase become attributes, `passwordFile` and `passwordEnv` become the secret `password`.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from rollout.core.errors import Problem, Refused
from rollout.core.plan_errors import Located, explain, unknown
from rollout.core.plan_errors import Path as KeyPath
from rollout.core.quantities import Label, Line, as_text, seen

M = TypeVar("M", bound=BaseModel)
Models = Mapping[str, Mapping[str, type[BaseModel]]]
"""Settings classes by section and type: `{"backends": {"prometheus": PrometheusSettings}}`."""


def to_attribute(key: str) -> str:
    """Turn `caFile` into `ca_file`, and leave `ca_file` as it is."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower()


class Entry(BaseModel):
    """One entry: what all types share, and beside it the keys of its type, unseen in every repr."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    name: Label
    type: Line = ""

    @model_validator(mode="before")
    @classmethod
    def _only_texts_as_keys(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value

    @property
    def options(self) -> dict[str, Any]:
        """The keys of the type as they were written. May hold secrets."""
        return dict(self.__pydantic_extra__ or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, type={self.type!r})"

    __str__ = __repr__

    def build(self, model: builtins.type[M]) -> M:
        """Make an adapter's settings. Raises Refused with all problems, keys as they were written."""
        built, located = self.attempt(model)
        if built is None:
            raise Refused(f"the settings of {self.name} are not valid", tuple(one.problem for one in located))
        return built

    def attempt(self, model: builtins.type[M]) -> tuple[M | None, tuple[Located, ...]]:
        """As `build`, with the problems as values, paths relative to the entry."""
        values, written, problems = self._values(model)
        try:
            built = model.model_validate(values)
        except ValidationError as error:
            failed = {to_attribute(str(one.path[0])).rpartition("_")[0] for one in problems}
            found = (one for one in explain(error, model, values) if one.path[:1] not in {(name,) for name in failed})
            return None, (*problems, *(_as_written(one, written, model) for one in found))
        return (None, tuple(problems)) if problems else (built, ())

    def _values(self, model: builtins.type[BaseModel]) -> tuple[dict[str, Any], dict[str, str], list[Located]]:
        values: dict[str, Any] = {}
        written: dict[str, str] = {}
        problems: list[Located] = []
        for shared in ("name", "type"):
            if shared in model.model_fields and getattr(self, shared):
                values[shared] = getattr(self, shared)
        for key, value in self.options.items():
            attribute, found = to_attribute(key), as_text(value) if isinstance(value, str) else value
            base, _, source = attribute.rpartition("_")
            if attribute not in model.model_fields and base in model.model_fields and source in ("file", "env"):
                attribute = base
                found, problem = _fetch(source, as_text(value))
                if problem:
                    problems.append(Located((key,), Problem(problem, key=key)))
                    continue
            if attribute in written:
                message = f"goes not together with {written[attribute]}"
                problems.append(Located((key,), Problem(message, key=key), of_key=True))
                continue
            values[attribute], written[attribute] = found, key
        return values, written, problems


def _fetch(source: str, where: object) -> tuple[str, str]:
    """Read a secret from a file or a variable; the second of the pair says what is wrong, without the secret."""
    if not isinstance(where, str) or not where or "\0" in where:
        return "", f"{seen(where)} was seen, the name of a {'file' if source == 'file' else 'variable'} is expected"
    if source == "env":
        secret = os.environ.get(where, "")
        return secret, "" if secret else f"the environment variable {where} is not set"
    try:
        secret = Path(where).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return "", f"{where} cannot be read: {reason}"
    return secret, "" if secret else f"{where} is empty"


def _as_written(one: Located, written: Mapping[str, str], model: type[BaseModel]) -> Located:
    """Name the keys as the file does, and what is allowed in the file's spelling."""
    first, *rest = one.path or ("",)
    shown = written.get(to_attribute(str(first)), to_camel(str(first)))
    path: KeyPath = (shown, *rest) if one.path else ()
    problem = one.problem
    remedy = problem.remedy
    if one.of_key and not rest:
        remedy = unknown(shown, spellings(model))
    message = problem.message.replace(seen(first), seen(shown)) if one.of_key else problem.message
    key = problem.key.replace(str(first), shown, 1)
    return Located(path, Problem(message, key=key, remedy=remedy), one.of_key)


def spellings(model: type[BaseModel]) -> tuple[str, ...]:
    """List the keys that an entry of this type may have, with the file and variable forms of its secrets."""
    found = ["name", "type"]
    for name, field in model.model_fields.items():
        if name in ("name", "type"):
            continue
        found.append(to_camel(name))
        if "SecretStr" in str(field.annotation) and "Mapping" not in str(field.annotation):
            found += [f"{to_camel(name)}File", f"{to_camel(name)}Env"]
    return tuple(dict.fromkeys(found))
