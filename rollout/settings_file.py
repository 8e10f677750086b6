"""From `config/rollout.yaml` and the environment to `Settings`, or every problem with its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from rollout.adapters.yamlfile import YamlFile, read_bytes, read_yaml, scalar
from rollout.core.errors import Problem
from rollout.core.plan_draft import draft_of
from rollout.core.plan_errors import Located, dotted, explain, unknown
from rollout.core.plan_errors import Path as KeyPath
from rollout.core.quantities import seen
from rollout.settings import Channel, ClusterEntry, CredentialEntry, Settings
from rollout.settings_entries import Entry, Models

PREFIX = "ROLLOUT_"
SECTIONS: Mapping[str, type[Entry]] = {"clusters": ClusterEntry, "backends": Entry, "gateways": Entry,
                                          "credentials": CredentialEntry, "channels": Channel}  # fmt: skip
_NOTHING = YamlFile("the environment", "", {}, {}, excerpts=False)


class _Prefixed(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


_Variables = create_model(
    "_Variables", __base__=_Prefixed, **{name: (field.annotation, None) for name, field in Settings.model_fields.items()}
)  # type: ignore[call-overload]


class _Environment(EnvSettingsSource):
    """Values that are no JSON stay the texts that they are: `ROLLOUT_DATABASE=sqlite:///rollout.db`."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 - a variable's value
        del field_name, field
        try:
            return json.loads(value)
        except ValueError:
            return value


def load_settings(path: Path | None, models: Models | None = None) -> Settings:
    """Read the configuration; without a path only the environment and defaults. Raises Refused with all problems.

    `models` gives the settings classes of the adapters; entries of unknown types are refused, and all others validated.
    """
    return parse_settings(read_bytes(path), str(path), models) if path is not None else parse_settings(b"", "", models)


def parse_settings(content: bytes, name: str, models: Models | None = None) -> Settings:
    """As `load_settings`, from bytes. An empty file is a file of defaults."""
    file = read_yaml(content, name, excerpts=False) if content.strip() else replace(_NOTHING, name=name or _NOTHING.name)
    given = file.value if file.value is not None else {}
    if not isinstance(given, dict):
        raise file.refused((file.locate(Located((), Problem("a map of sections is expected", remedy=_sections()))),))
    variables, odd = environment()
    merged = _merge(given, variables)
    located: tuple[Located, ...] = ()
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged, by_alias=True, by_name=False)
    except ValidationError as error:
        located = (*explain(error, Settings, merged, without=("contradictions",)), *_contradictions(merged))
    located += (*_entries(merged, models or {}), *_references(merged))
    if settings is None or located or odd or file.problems:
        raise file.refused((*odd, *(_place(file, one, variables) for one in located)))
    return settings


def environment() -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """Read what `ROLLOUT_` variables say, in the keys of the file, and complain about those that name no section."""
    odd = []
    known = tuple(Settings.model_fields)
    for name in sorted(os.environ):
        section, nested, _ = name.removeprefix(PREFIX).partition("__")
        # Only `__` makes it ours: Kubernetes itself sets ROLLOUT_PORT and the like where a Service is called rollout.
        if name.startswith(PREFIX) and nested and section.lower() not in known:
            remedy = unknown(section.lower(), known)
            odd.append(Problem(f"names no section: {section.lower()}", file=f"environment variable {name}", remedy=remedy))
    return _camel(_Environment(_Variables, env_ignore_empty=True)()), tuple(odd)


def _camel(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        to_camel(key): _camel(value) if isinstance(value, dict) else scalar(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _place(file: YamlFile, one: Located, variables: Mapping[str, Any]) -> Problem:
    """Find the place in the file, or name the variable where the value came from."""
    values: Any = variables
    for depth, part in enumerate(one.path):
        if not isinstance(values, dict) or part not in values:
            break
        values = values[part]
        if not isinstance(values, dict):
            words = (_snake(str(word)).upper() for word in one.path[: depth + 1])
            return replace(one.problem, file=f"environment variable {PREFIX}{'__'.join(words)}")
    return file.locate(one)


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


def _sections() -> str:
    return f"sections: {', '.join(Settings.model_fields)}"


def _contradictions(merged: Mapping[str, Any]) -> Iterator[Located]:
    """Say which keys do not fit together, of those that can be read: a slip in one line hides nothing in the next."""
    draft, rest = draft_of(Settings, merged)
    yield from draft.contradictions(rest) if rest is not None else ()


def _entries(merged: Mapping[str, Any], models: Models) -> Iterator[Located]:
    """Check each entry by the settings class of its type; what is wrong with an entry as such was already said."""
    for section, entry_class in SECTIONS.items():
        names: list[str] = []
        for n, entry, wrong in _readable(merged, section, entry_class):
            if "name" not in wrong and entry.name in names:
                message = f"another entry of {section} is called {entry.name!r}"
                yield _under((section, n, "name"), Located((), Problem(message, remedy="give each a name of its own")))
            names += [entry.name] if "name" not in wrong else []
            for one in _options(entry, section, models[section]) if section in models and "type" not in wrong else ():
                yield _under((section, n), one)


def _readable(merged: Mapping[str, Any], section: str, entry_class: type[Entry]) -> Iterator[tuple[int, Entry, frozenset[str]]]:
    """Give every entry of a section with its number, without the keys that cannot be read, and these."""
    given = merged.get(section)
    for n, item in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(item, dict):
            continue
        wrong: frozenset[str] = frozenset()
        try:
            entry = entry_class.model_validate(item)
        except ValidationError as error:
            wrong = frozenset(str(details["loc"][0]) for details in error.errors(include_url=False))
            rest = {key: value for key, value in item.items() if str(key) not in wrong}
            entry = entry_class.model_validate({"name": "x", **rest})
        yield n, entry, wrong


def _references(merged: Mapping[str, Any]) -> Iterator[Located]:
    """Say which gateways name a cluster that is not there: their ApisixRoutes would never be found."""
    clusters = [entry.name for _, entry, _ in _readable(merged, "clusters", ClusterEntry)] or [ClusterEntry(name="default").name]
    for n, gateway, _ in _readable(merged, "gateways", Entry):
        named = gateway.options.get("cluster")
        if isinstance(named, str) and named and named not in clusters:
            message = f"no cluster {named!r} is configured"
            yield _under(("gateways", n, "cluster"), Located((), Problem(message, remedy=unknown(named, clusters))))


def _options(entry: Entry, section: str, types: Mapping[str, type[BaseModel]]) -> tuple[Located, ...]:
    model = types.get(entry.type)
    if model is not None:
        return entry.attempt(model)[1]
    message = f"{seen(entry.type)} is not a type of {section}" if entry.type else "is required"
    return (Located(("type",), Problem(message, remedy=unknown(entry.type, tuple(types)))),)


def _under(path: KeyPath, one: Located) -> Located:
    full = (*path, *one.path)
    return Located(full, replace(one.problem, key=dotted(full)), one.of_key)
