"""The gate: who is let through to a service while it is worked on. Values, and the decisions what to write.

A gate is one plugin of the API gateway (APISIX) on one object: `ip-restriction` lets only listed addresses through,
`consumer-restriction` only listed consumers. What stood there before is saved, exactly, before the first write, and is what
opening puts back. Which request writes it depends on what was read and on the server's version, because the obvious ones
are traps: a null in a merge PATCH that hits nothing is stored and declined, a merge PATCH keeps keys of the old plugin, and
on 3.1 to 3.17 every PATCH encrypts the secrets of other plugins on the object once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

IP_RESTRICTION = "ip-restriction"
CONSUMER_RESTRICTION = "consumer-restriction"
DEFAULT_MESSAGE = "Your IP address is not allowed"
"""What `ip-restriction` answers when no message is configured (the plugin's schema, 2.12 to 3.18)."""


class PlaceKind(StrEnum):
    """Where a gate can stand. The first three are resources of the Admin API, the others Kubernetes objects. Stored."""

    ROUTE = "routes"
    SERVICE = "services"
    PLUGIN_CONFIG = "plugin_configs"
    APISIX_ROUTE = "ApisixRoute"
    APISIX_PLUGIN_CONFIG = "ApisixPluginConfig"

    @property
    def in_cluster(self) -> bool:
        """Say whether the object is a Kubernetes object (written past the Admin API)."""
        return self in (PlaceKind.APISIX_ROUTE, PlaceKind.APISIX_PLUGIN_CONFIG)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One object: an id of the Admin API, or `namespace/name` of a Kubernetes object."""

    kind: PlaceKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.id}"


@dataclass(frozen=True, slots=True)
class GateTarget:
    """Which object the gate belongs on, as the plan says it: by `id`, by exact `name`, by `host` and `uri`, or by `label`.

    `label` is `key=value`. For the Kubernetes kinds `namespace` and `name` name the object, and `rule` one entry of an
    ApisixRoute's `spec.http` (empty: all of them).
    """

    kind: PlaceKind = PlaceKind.ROUTE
    id: str = ""
    name: str = ""
    host: str = ""
    uri: str = ""
    label: str = ""
    namespace: str = ""
    rule: str = ""

    def __str__(self) -> str:
        parts = {"id": self.id, "name": self.name, "host": self.host, "uri": self.uri, "label": self.label,
                 "namespace": self.namespace, "rule": self.rule}  # fmt: skip
        return f"{self.kind.value} with " + ", ".join(f"{key} {value}" for key, value in parts.items() if value)


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What a closed gate is: the plugin, who is still let through, and the fixed answer for everybody else.

    `allow` holds addresses and networks (`ip-restriction`) or consumer names (`consumer-restriction`).
    """

    allow: tuple[str, ...]
    message: str
    plugin: str = IP_RESTRICTION
    response_code: int = 403

    def desired(self) -> dict[str, Any]:
        """Build the plugin's object. A 403 is the default of both plugins and is left out where it is not needed."""
        if self.plugin == CONSUMER_RESTRICTION:
            return {"type": "consumer_name", "whitelist": list(self.allow), "rejected_code": self.response_code,
                    "rejected_msg": self.message}  # fmt: skip
        desired: dict[str, Any] = {"whitelist": list(self.allow), "message": self.message}
        if self.response_code != 403:  # noqa: PLR2004 - the plugin's default
            desired["response_code"] = self.response_code
        return desired


@dataclass(frozen=True, slots=True, order=True)
class ApisixVersion:
    """A server's version, from the `Server: APISIX/3.18.0` header of its answers."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @classmethod
    def parse(cls, text: str) -> ApisixVersion | None:
        """Find a version in a header; None when the server hides it (`server_tokens` off)."""
        found = re.search(r"APISIX/(\d+)\.(\d+)(?:\.(\d+))?", text)
        return cls(int(found[1]), int(found[2]), int(found[3] or 0)) if found else None

    @property
    def knows_response_code(self) -> bool:
        """Say whether ip-restriction reads `response_code`; before 3.13.0 it is stored, answered 200 and ignored."""
        return (self.major, self.minor) >= (3, 13)

    @property
    def patch_damages_secrets(self) -> bool:
        """Say whether a PATCH may encrypt other plugins' secrets again: 3.1 to 3.17, by default from 3.10 on."""
        return (3, 1) <= (self.major, self.minor) <= (3, 17)


@dataclass(frozen=True, slots=True)
class Part:
    """One list of plugins of an object: its only one (`rule` empty), or that of one rule of an ApisixRoute.

    `config` is the canonical JSON of what stands there for the gate's plugin, None when it is absent: the plugin's object, or
    for Kubernetes objects the whole item (`{"name", "enable", "config", ...}`).
    """

    rule: str
    config: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class GateObject:
    """What was read of the object a gate stands on.

    `plugins` are the names of all plugins on it. `value` is the whole object as read, canonical JSON, for the writes that need
    it; it can hold other plugins' secrets, so it is never shown and never stored. `revision` changes with every write
    (`modifiedIndex`, `update_time`, `resourceVersion`). `owner` names what else claims to write it, empty when nothing does.
    """

    place: Place
    plugin: str
    parts: tuple[Part, ...]
    name: str = ""
    plugins: tuple[str, ...] = ()
    revision: str = ""
    owner: str = ""
    version: ApisixVersion | None = None
    value: str = field(default="{}", repr=False)

    def save(self) -> SavedGate:
        """Take what stands there now, to be put back later."""
        return SavedGate(place=self.place, plugin=self.plugin, parts=self.parts)

    def __str__(self) -> str:
        return f"{self.place}" + (f" ({self.name})" if self.name and self.name != self.place.id else "")


@dataclass(frozen=True, slots=True)
class SavedGate:
    """What stood there before the first write. Stored with the rollout: text, enums and tuples only."""

    place: Place
    plugin: str
    parts: tuple[Part, ...]

    @property
    def absent(self) -> bool:
        """Say whether there was no such plugin at all."""
        return all(part.config is None for part in self.parts)

    def to_json(self) -> str:
        """Write as one line of canonical JSON."""
        return canonical({"kind": self.place.kind.value, "id": self.place.id, "plugin": self.plugin,
                          "parts": [[part.rule, part.config] for part in self.parts]})  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> SavedGate:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError on anything else."""
        found = json.loads(text)
        parts = tuple(Part(rule, config) for rule, config in found["parts"])
        return cls(Place(PlaceKind(found["kind"]), found["id"]), found["plugin"], parts)


@dataclass(frozen=True, slots=True)
class SubPathPatch:
    """`PATCH /{place}/plugins/{plugin}`: replaces that plugin's object and nothing else, atomically."""

    place: Place
    plugin: str
    config: str


@dataclass(frozen=True, slots=True)
class MergePatchNull:
    """`PATCH /{place}` with `{"plugins": {plugin: null}}`. Only for a plugin that was just read to be there."""

    place: Place
    plugin: str


@dataclass(frozen=True, slots=True)
class PutWhole:
    """`PUT /{place}`: the object as read, with our one plugin changed. The last writer wins, so: read again and compare."""

    place: Place
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Nothing:
    """The world is already as wanted."""

    why: str


GateWrite = SubPathPatch | MergePatchNull | PutWhole


def canonical(value: object) -> str:
    """Write JSON in the one form in which equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def object_from_value(place: Place, plugin: str, value: Mapping[str, Any], *, owner: str = "", revision: str = "",
                      version: ApisixVersion | None = None) -> GateObject:  # fmt: skip
    """Turn one value of the Admin API into what decisions read."""
    plugins = value.get("plugins")
    plugins = plugins if isinstance(plugins, Mapping) else {}
    config = plugins.get(plugin)
    return GateObject(
        place=place,
        plugin=plugin,
        parts=(Part("", canonical(config) if isinstance(config, Mapping) else None),),
        name=str(value.get("name") or ""),
        plugins=tuple(sorted(plugins)),
        revision=revision,
        owner=owner,
        version=version,
        value=canonical(value),
    )
