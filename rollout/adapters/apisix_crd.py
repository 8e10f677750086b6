"""Gates on routes that an ingress controller owns: written to its ApisixRoute or ApisixPluginConfig, not past it.

A direct change of such a route is undone at the controller's next event, and at its hourly sync. So the item in the Kubernetes
object's list of plugins is changed: the whole list is read, changed, and written with the `resourceVersion` that was read,
because a merge patch can only replace a list, and these kinds do not support strategic merge.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from rollout.core.errors import Refused, Rejected
from rollout.core.gate import GateConfig, GateObject, Part, Place, PlaceKind, SavedGate, canonical
from rollout.core.gate_plan import part_is_closed

GROUP, VERSION = "apisix.apache.org", "v2"
PLURALS = {PlaceKind.APISIX_ROUTE: "apisixroutes", PlaceKind.APISIX_PLUGIN_CONFIG: "apisixpluginconfigs"}
_CONDITIONS = ("Accepted", "ResourcesAvailable")
"""What the controllers of 2.x and 1.x say of an object in its status."""
_GITOPS = ("argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")

Json = dict[str, Any]


class CustomObjects(Protocol):
    """Kubernetes custom objects of one cluster, in their JSON shape."""

    def get(self, group: str, version: str, namespace: str, plural: str, name: str) -> Mapping[str, Any]:
        """Read one. Raises Unavailable, Rejected (code 404 or 403)."""
        ...

    def patch_spec(
        self, group: str, version: str, namespace: str, plural: str, name: str, spec: Mapping[str, Any], resource_version: str
    ) -> None:
        """Replace these keys of `spec`, if the object still has this `resourceVersion`.

        Raises Conflict (409: somebody wrote in between), Unavailable (perhaps `maybe_done`), Rejected.
        """
        ...


class CustomGates:
    """Reads and writes gates in custom objects. One write is one attempt: whoever calls reads again after a Conflict."""

    def __init__(self, name: str, objects: CustomObjects) -> None:
        self._name = name
        self._objects = objects

    def get(self, place: Place, plugin: str, rule: str = "") -> GateObject:
        """Read an object and what stands in it for the gate: one part for each rule, or for the one asked for."""
        return self._describe(place, plugin, rule, self._read(place))

    def close_gate(self, place: Place, config: GateConfig, rule: str = "") -> None:
        """Put the closed gate's item in every part that is open."""
        found = self._read(place)
        current = self._describe(place, config.plugin, rule, found)
        item = {"name": config.plugin, "enable": True, "config": config.desired()}
        wanted = {part.rule: canonical(item) for part in current.parts if not part_is_closed(current, part, config)}
        self._put(place, config.plugin, found, wanted)

    def open_gate(self, saved: SavedGate) -> None:
        """Put back what was saved, in the parts that are still there."""
        self._put(saved.place, saved.plugin, self._read(saved.place), {part.rule: part.config for part in saved.parts})

    def _read(self, place: Place) -> Json:
        namespace, _, name = place.id.partition("/")
        return copy.deepcopy(dict(self._objects.get(GROUP, VERSION, namespace, PLURALS[place.kind], name)))

    def _put(self, place: Place, plugin: str, found: Json, wanted: Mapping[str, str | None]) -> None:
        changed = False
        for rule, holder in _holders(place, found):
            if rule in wanted:
                changed |= _set_item(holder, plugin, wanted[rule])
        if changed:
            namespace, _, name = place.id.partition("/")
            key = "http" if place.kind is PlaceKind.APISIX_ROUTE else "plugins"
            version = str(found.get("metadata", {}).get("resourceVersion", ""))
            spec = {key: found["spec"][key]}
            self._objects.patch_spec(GROUP, VERSION, namespace, PLURALS[place.kind], name, spec, version)

    def _describe(self, place: Place, plugin: str, rule: str, found: Json) -> GateObject:
        parts: list[Part] = []
        names: set[str] = set()
        for name, holder in _holders(place, found):
            items = holder.get("plugins") or []
            names |= {str(item.get("name")) for item in items}
            mine = [item for item in items if item.get("name") == plugin]
            if len(mine) > 1:
                raise Refused(f"{place}, rule {name or '-'}: {plugin} is listed {len(mine)} times; leave one, then try again")
            if rule in ("", name):
                parts.append(Part(name, canonical(mine[0]) if mine else None))
        if not parts:
            known = ", ".join(name for name, _ in _holders(place, found)) or "none"
            raise Refused(f"{place} has no rule {rule!r}; it has: {known}")
        self._refuse_declined(place, found)
        revision = str(found.get("metadata", {}).get("resourceVersion", ""))
        return GateObject(
            place, plugin, tuple(parts), name=place.id, plugins=tuple(sorted(names)), revision=revision, owner=_gitops(found)
        )

    def _refuse_declined(self, place: Place, found: Json) -> None:
        """Raise Rejected when the controller has looked at just this generation and will not apply it."""
        generation = found.get("metadata", {}).get("generation")
        for condition in (found.get("status") or {}).get("conditions") or ():
            current = condition.get("observedGeneration") == generation
            if condition.get("type") in _CONDITIONS and condition.get("status") == "False" and current:
                words = str(condition.get("message") or condition.get("reason") or "no reason given")[:200]
                raise Rejected(self._name, f"{place}: its controller does not apply it ({words})")


def _holders(place: Place, found: Json) -> Iterator[tuple[str, Json]]:
    """Walk what holds a list of plugins: each HTTP rule of an ApisixRoute by name, or an ApisixPluginConfig's spec."""
    spec = found.get("spec") or {}
    if place.kind is PlaceKind.APISIX_PLUGIN_CONFIG:
        yield "", spec
        return
    for rule in spec.get("http") or ():
        yield str(rule.get("name") or ""), rule


def _set_item(holder: Json, plugin: str, wanted: str | None) -> bool:
    """Replace, add or remove one item of a list of plugins; the others stay where they are. Says whether anything changed."""
    items = list(holder.get("plugins") or [])
    place = next((number for number, item in enumerate(items) if item.get("name") == plugin), None)
    if wanted is None:
        if place is None:
            return False
        del items[place]
    else:
        item = json.loads(wanted)
        if place is not None and items[place] == item:
            return False
        items[len(items) if place is None else place : len(items) if place is None else place + 1] = [item]
    if items or "name" not in holder:
        holder["plugins"] = items
    else:
        del holder["plugins"]  # a rule as it was before it had any; an ApisixPluginConfig must have the list
    return True


def _gitops(found: Json) -> str:
    """Say what would put its own version back: it is told, not refused, because its sync may be paused for the window."""
    metadata = found.get("metadata") or {}
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    for mark in _GITOPS:
        if mark in marks:
            return f"{mark.partition('/')[0]} ({marks[mark]})"
    return "Helm" if marks.get("app.kubernetes.io/managed-by") == "Helm" else ""
