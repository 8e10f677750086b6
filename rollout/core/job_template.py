"""Jobs from templates: parameters put in, what they print read back. Pure: the YAML is read and the Job created elsewhere.

A template is a whole Job manifest. `{{NAME}}` in any of its texts is replaced by a parameter, `{{NAME:word}}` by `word` where the
parameter is not given; scripts (`command` and `args`) are left alone, they read the parameters as environment variables.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollout.core.errors import Problem, Refused

ARTIFACT = "ARTIFACT"
"""The parameter that tells a restore which artifact: the id that the backup printed."""
ARTIFACT_SHA256 = "ARTIFACT_SHA256"
ROLLOUT_ID = "ROLLOUT_ID"
"""The parameter that names the rollout; part of the artifact's id."""
_PLACE = re.compile(r"\{\{([A-Z][A-Z0-9_]*)(?::([^{}]*))?\}\}")
_MARK = re.compile(r"^rollout-artifact: (\{.*\})\s*$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_SCRIPTS = ("command", "args")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a backup made: `id` finds it again, `size` is bytes, `sha256` lower-case hexadecimal."""

    id: str
    size: int
    sha256: str

    def parameters(self) -> dict[str, str]:
        """Tell a restore what it is to restore."""
        return {ARTIFACT: self.id, ARTIFACT_SHA256: self.sha256}


def artifact_in(log: str) -> Artifact | None:
    """Read the last `rollout-artifact: {...}` line of a Job's log; None when there is none that is complete and not empty."""
    marks = _MARK.findall(log)
    try:
        found = json.loads(marks[-1]) if marks else {}
        artifact = Artifact(str(found["id"]), int(found["size"]), str(found["sha256"]).lower())
    except (ValueError, KeyError, TypeError):
        return None
    good = artifact.id and artifact.size > 0 and re.fullmatch(r"[0-9a-f]{64}", artifact.sha256)
    return artifact if good else None


def parameters_of(template: Mapping[str, Any]) -> dict[str, str | None]:
    """Tell which parameters a template names, with their defaults; None where one must be given."""
    found: dict[str, str | None] = {}
    for text in _texts(template):
        for name, default in _placed(text):
            found[name] = found.get(name) if default is None else default
    return found


def rendered(template: Mapping[str, Any], parameters: Mapping[str, str]) -> Json:
    """Put the parameters in, and give them to every container as environment variables.

    What the template itself sets for a container's variable stays. Raises Refused that names every parameter that is missing.
    """
    missing = [name for name, default in parameters_of(template).items() if default is None and not parameters.get(name)]
    if missing:
        name = str(template.get("metadata", {}).get("name", "template"))
        problems = tuple(Problem(f"{name} needs the parameter {key}", key=f"parameters.{key}") for key in missing)
        raise Refused(f"Job template {name} needs the parameters {', '.join(missing)}", problems)
    manifest: Json = _filled(copy.deepcopy(dict(template)), parameters)
    for container in containers(manifest):
        own = list(container.get("env") or ())
        named = {item.get("name") for item in own}
        container["env"] = [*({"name": k, "value": v} for k, v in sorted(parameters.items()) if k not in named), *own]
    return manifest


def namespace_of(manifest: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    """Tell which namespace a Job names for itself, with the parameters put in; empty where it names none."""
    metadata = manifest.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return str(_filled(named, parameters)) if named else ""


def containers(manifest: Mapping[str, Any]) -> list[Json]:
    """List the containers of a Job's pod, init containers first."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def process_of(container: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Give the argument list and the plain environment with which Kubernetes would start a container.

    Kubernetes itself expands `$(NAME)` of known variables and turns `$$` into `$` in commands and arguments.
    """
    environment = {item["name"]: str(item["value"]) for item in container.get("env") or () if "value" in item}
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [_REFERENCE.sub(lambda found: _expanded(found, environment), word) for word in words], environment


def _expanded(found: re.Match[str], environment: Mapping[str, str]) -> str:
    return "$" if found[1] is None else environment.get(found[1], found[0])


def _filled(value: Any, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - any part of a manifest
    if isinstance(value, dict):
        return {key: item if key in _SCRIPTS else _filled(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parameters) for item in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda place: parameters.get(place[1]) or place[2] or "", value)
    return value


def _texts(value: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401 - any part of a manifest
    if key in _SCRIPTS:
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _placed(text: str) -> Iterator[tuple[str, str | None]]:
    for place in _PLACE.finditer(text):
        yield place[1], place[2]
